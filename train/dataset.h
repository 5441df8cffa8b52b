/* The data of a run, checked against its model before anything is built. */
#ifndef TRAIN_DATASET_H
#define TRAIN_DATASET_H

#include "configs/conf.h"
#include "data/source.h"

/* Opens the shards `paths`, the value of `option` ("data.train"), for samples of length + 1 tokens.
 * Errors: those of data_source_open; KERN_ERR_CONFIG where the model lacks ids of the vocabulary or
 * documents begin with another token than model.bos. All name the option; *source is then NULL.
 * Warns on stderr of held-out shards as data.train, and of training shards as another option. */
kern_status train_dataset_open(data_source **source, const ttt_conf *conf, const char *option,
                               const char *paths, int64_t length, bool across);

#endif
