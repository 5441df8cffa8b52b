/* The training loop: batches in, outer steps, metrics, checkpoints, until all steps are done or a
 * signal asks to stop. Resuming continues bit for bit. */
#ifndef TRAIN_LOOP_H
#define TRAIN_LOOP_H

#include "configs/conf.h"
#include "kernels/comm.h"

/* Trains `conf` (checked) as a new run in conf->run.dir (empty: runs/NAME), from random weights or
 * from the checkpoint that train.init_from names. What cannot be trained (data, memory, disk,
 * weights to start from, a directory in use) is refused before anything is created.
 * KERN_ERR_INTERRUPTED after a signal (train/signals.h): everything is saved and the message says
 * how to go on. KERN_ERR_NUMERIC where loss, gradient or updated weights are not finite: names
 * step, op and scope; the last checkpoint stays. Other errors: as their sources say; the run's last
 * checkpoint is intact whatever happens, and the message names it. Collective over the job, for
 * memory of train.device: each data rank reads its own sequences, which are those of one rank; the
 * first rank has the lock, metrics, events and the screen, and all write checkpoints. A rank that
 * fails alone (its machine's memory, its data) returns; the others then wait in a collective. */
kern_status train_loop_new(const ttt_conf *conf, const kern_ranks *ranks);

/* Goes on with the run (or from the checkpoint of it) at `source`; where all steps are done, says
 * so and returns KERN_OK. Overrides may change what does not change the course (train/course.h) and
 * are written to the run's config.yaml. Collective; with another number of ranks than before the
 * sums of a step have another order and its last bits may differ. */
kern_status train_loop_resume(const char *source, int overrides, const char *const *override,
                              const kern_ranks *ranks);

#endif
