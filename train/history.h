/* The checkpoints of a run: which there are, which one to go on from, which ones to delete.
 * Directory names are step-00000400; a suffix (.tmp, .old) says that it is no checkpoint (yet, or
 * any more). `directory` is the run's checkpoints/ everywhere. */
#ifndef TRAIN_HISTORY_H
#define TRAIN_HISTORY_H

#include "kernels/base.h"

/* Everything that finds a checkpoint here may do so while another process trains the run: one that
 * is deleted or replaced between its being found and its being read is no error, the newest is
 * then looked for again. */

/* The path of the newest checkpoint, verified to be intact (all of it is read); NULL, with KERN_OK,
 * where the run has none yet. Free with free(). KERN_ERR_DATA where the newest is damaged: names
 * it, the reason, the newest older one that is intact and the command that goes on from there;
 * nothing is chosen instead, because steps would be lost in silence. */
kern_status train_history_latest(char **checkpoint, const char *directory);

/* The checkpoint that a user's path means: a checkpoint directory itself, or a run, whose latest is
 * taken as above. KERN_ERR_USAGE where it is neither or the run has no checkpoint; *checkpoint is
 * then NULL. A checkpoint directory is not verified here. */
kern_status train_history_locate(char **checkpoint, const char *source);

/* Finds the checkpoint as train_history_locate does and gives it to `use`. Where that fails and the
 * checkpoint is no longer what was found there, the run's newest is found and given to `use` once
 * more, and so on. Errors: those of train_history_locate and of `use`; KERN_ERR_USAGE where
 * `source` is itself a checkpoint that was deleted meanwhile. */
kern_status train_history_use(const char *source,
                              kern_status (*use)(void *context, const char *checkpoint),
                              void *context);

/* The run directory that `source` is (has a config.yaml and no state.json) or lies in (is
 * RUN/checkpoints/step-...), as given to --resume.
 * KERN_ERR_USAGE where there is no such run; *run is then NULL. Free with free(). */
kern_status train_history_run(char **run, const char *source);

/* The configuration of a run or checkpoint: RUN/config.yaml; that of a checkpoint which lies in no
 * run is in the checkpoint. *run is as above, or NULL for such a checkpoint. KERN_ERR_USAGE where
 * there is none; both are then NULL. Free both with free(). */
kern_status train_history_config(char **config, char **run, const char *source);

/* Deletes what the rule does not keep of the checkpoints up to `step`, the one just completed. Kept
 * are: that one, the newest `keep_last` of them, and every one whose step is a multiple of
 * `keep_every`. A number of 0 means that there is no such rule; without any rule all are kept. */
kern_status train_history_prune(const char *directory, int64_t step, int64_t keep_last,
                                int64_t keep_every);

/* How many checkpoints there are; 0 where there is no such directory. */
kern_status train_history_count(int64_t *count, const char *directory);

/* Removes what a killed writer left, and puts a checkpoint back that was being replaced. For the
 * process that holds the run's lock. A directory that does not exist is fine. */
kern_status train_history_clean(const char *directory);

/* Before a run goes on from `step` although later checkpoints exist: renames those to
 * superseded-step-... , where nothing looks for them, so that the next latest is of the new course.
 * A superseded one of the same step is replaced. */
kern_status train_history_supersede(const char *directory, int64_t step);

#endif
