/* Where a value that is not finite came from. */
#ifndef TRAIN_DIAGNOSE_H
#define TRAIN_DIAGNOSE_H

#include "train/step.h"

/* Runs the batch after `number` outer steps again, each rank its own sequences, one at a time, with
 * plans that keep and check every value. Returns KERN_ERR_NUMERIC with a message that names the
 * step, the sequence, the first op, its scope and its shapes, on all ranks that of the first one
 * that found any. The parameters are only read; buffers->gradient is overwritten. Collective. */
kern_status train_diagnose(const ttt_conf *conf, int threads, const train_step_buffers *buffers,
                           const kern_ranks *ranks, const int32_t *tokens, int64_t number);

#endif
