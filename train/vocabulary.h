/* The vocabulary of a run: what its tokens stand for. It is chosen at the start, and every
 * checkpoint carries it whole: vocabulary.json says which it is and how to read `tokenizer`, the
 * file that it came from. Format: docs/run-directory.md. All functions are local. */
#ifndef TRAIN_VOCABULARY_H
#define TRAIN_VOCABULARY_H

#include "configs/conf.h"
#include "data/source.h"
#include "data/vocabulary.h"
#include "train/state.h"

/* That a configuration for a new run gives data.pattern and data.begin only where there is a
 * data.tokenizer that they could be for: KERN_ERR_CONFIG. */
kern_status train_vocabulary_check(const conf_data *data);

/* The vocabulary of the training shards `source`: bytes, or that of the file data.tokenizer, read
 * as data.pattern and data.begin say. Errors: KERN_ERR_CONFIG where that option is needed, or where
 * the file holds another vocabulary (names both, and their hashes); those of data_bpe_open. All
 * name the option; *vocabulary is then NULL. End it with data_vocabulary_destroy. */
kern_status train_vocabulary_choose(const data_vocabulary **vocabulary, const ttt_conf *conf,
                                    const data_source *source);

/* That the shards were packed with this vocabulary: KERN_ERR_CONFIG with names and hashes of both
 * where they were not. `owner` is what has the vocabulary ("runs/x"), for the message. */
kern_status train_vocabulary_match(const data_vocabulary *vocabulary, const data_source *source,
                                   const char *owner);

/* That a model has its ids and begins documents with its token (bos -1: with none):
 * KERN_ERR_CONFIG with the numbers of both where not. */
kern_status train_vocabulary_fit(const data_vocabulary *vocabulary, const conf_model *model,
                                 const char *owner);

/* Writes it into the checkpoint directory that is being made. *files receives the sizes and
 * checksums of vocabulary.json and tokenizer; of the second, bytes -1 where there is none, as for
 * the byte vocabulary. KERN_ERR_FILE. */
kern_status train_vocabulary_write(train_state_file files[2], const char *directory,
                                   const data_vocabulary *vocabulary);

/* Reads it from a checkpoint whose files were found intact. Errors: KERN_ERR_FILE; KERN_ERR_DATA
 * where the files do not agree; *vocabulary is then NULL. */
kern_status train_vocabulary_read(const data_vocabulary **vocabulary, const char *directory,
                                  bool has_tokenizer);

#endif
