/* Evaluation during training: the mean held-out loss with inner steps as at test time. */
#ifndef TRAIN_VALIDATION_H
#define TRAIN_VALIDATION_H

#include "configs/conf.h"
#include "data/vocabulary.h"
#include "kernels/comm.h"
#include "train/weights.h"

typedef struct train_validation train_validation;

/* Opens data.valid, which must be of the vocabulary, and compiles a model that only reads.
 * *validation is NULL, with KERN_OK, where data.valid is empty or run.eval_every is 0. `ranks` is
 * borrowed. */
kern_status train_validation_create(train_validation **validation, const ttt_conf *conf,
                                    const data_vocabulary *vocabulary, const kern_ranks *ranks,
                                    int threads);
void train_validation_destroy(train_validation *validation); /* NULL is fine */

/* Bytes that train_validation_run will use; 0 for NULL. */
double train_validation_bytes(const train_validation *validation);

/* Mean loss in nats per token over run.eval_windows windows of each document and its standard
 * error, with these weights. A signal to stop ends it early with KERN_ERR_INTERRUPTED.
 * Collective: the data ranks divide the windows, and all get the same. */
kern_status train_validation_run(train_validation *validation, double *loss, double *error,
                                 const train_weights *weights);

#endif
