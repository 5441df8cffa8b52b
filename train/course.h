/* The course of a run: all that decides its numbers. A run that goes on keeps it. */
#ifndef TRAIN_COURSE_H
#define TRAIN_COURSE_H

#include "configs/conf.h"

/* A hash of the course: of every option but those that may differ between a run and its
 * continuation, and of the data by its fingerprint, not by its path. train.micro_batch (sums depend
 * on it) is to be the chosen one, not 0. Errors: KERN_ERR_MEMORY. */
kern_status train_course_hash(uint64_t *hash, const ttt_conf *conf, uint32_t data_fingerprint);

/* Refuses to go on with `changed` instead of `run`, both checked, where that would leave the
 * course: KERN_ERR_CONFIG naming the option, its value and what may be changed: train.threads,
 * train.memory_limit, data.train, data.valid and data.test (the hash sees to it that the data
 * itself is the same), run.* but run.dir, and train.steps and train.total_steps together, as long
 * as the schedule is as long. */
kern_status train_course_keep(const ttt_conf *run, const ttt_conf *changed);

#endif
