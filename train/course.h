/* The course of a run: all that decides its numbers. A run that goes on keeps it. */
#ifndef TRAIN_COURSE_H
#define TRAIN_COURSE_H

#include "configs/conf.h"
#include "train/state.h"

/* A hash of the course: of every option that is not at its fallback, but for those that may differ
 * between a run and its continuation, and of the data by its fingerprint, not by its path. So an
 * option that is added later, at a fallback that changes nothing, leaves it as it is; a fallback
 * stays what it is for good. train.micro_batch (sums depend on it) is to be the chosen one, not 0.
 * Errors: KERN_ERR_MEMORY. */
kern_status train_course_hash(uint64_t *hash, const ttt_conf *conf, uint32_t data_fingerprint);

typedef enum {
    TRAIN_COURSE_SAME,
    TRAIN_COURSE_OTHER_OPTIONS,
    TRAIN_COURSE_OTHER_DATA,
} train_course_relation;

/* Whether a checkpoint with this state is of the course that the configuration and the data have.
 * A fingerprint fills half of the hash, so the other half shows changed options where the data is
 * not at hand (data_fingerprint NULL). Errors: KERN_ERR_MEMORY. */
kern_status train_course_compare(train_course_relation *relation, const train_state *state,
                                 const ttt_conf *conf, const uint32_t *data_fingerprint);

/* The same as a refusal, KERN_ERR_CONFIG: `config` is the file of the configuration, which may
 * have been edited; `checkpoint` the directory. Says what differs, where that can be known, and how
 * to put it right. */
kern_status train_course_check(const train_state *state, const ttt_conf *conf,
                               const uint32_t *data_fingerprint, const char *config,
                               const char *checkpoint);

/* Refuses to go on with `changed` instead of `run`, both checked, where that would leave the
 * course: KERN_ERR_CONFIG naming the option, its value and what may be changed: train.threads,
 * train.memory_limit, data.train, data.valid and data.test (the hash sees to it that the data
 * itself is the same), run.* but run.dir, and train.steps and train.total_steps together, as long
 * as the schedule is as long. */
kern_status train_course_keep(const ttt_conf *run, const ttt_conf *changed);

/* Within train/course*.c: FNV-1a (64 bit); the options of states whose hash is an early one
 * (train/state.h), hashed as then; and whether there was an option of that name. There were several
 * texts of the options, and a state does not say of which its hash is. */
enum { TRAIN_COURSE_EARLY_TEXTS = 3 };
uint64_t train_course_fnv(const char *text);
kern_status train_course_early(uint64_t *hash, const ttt_conf *conf, int text);
bool train_course_early_has(const char *name, int text);

#endif
