/* Going on with a run that was stopped, killed or has more steps to do: what it goes on from, and
 * what makes it the newest course of the run. The steps themselves are train/loop.h. In this order:
 * open, load, ask whether it is done, begin. Local unless said otherwise. */
#ifndef TRAIN_RESUME_H
#define TRAIN_RESUME_H

#include "configs/conf.h"
#include "train/rundir.h"
#include "train/tensors.h"

/* Begins as zeros. Everything in it belongs to it. */
typedef struct {
    train_run *run;   /* locked by the job's first rank */
    ttt_conf *conf;   /* the run's configuration with the overrides */
    bool overridden;  /* it has some: config.yaml is to be written again */
    char *checkpoint; /* to go on from; NULL: the run has none yet and begins at step 0 */
} train_resume;

/* Finds the run (or the checkpoint of it) at `source`, locks it, applies the overrides, which must
 * leave its course as it is, and chooses the checkpoint: the one that was named, else the newest.
 * Errors: those of train_history_run, train_run_open, conf_load, train_course_keep,
 * train_history_latest and train_history_locate; what was there of the run is as it was.
 * train_resume_close is due in any case. Collective: the first rank of the job locks and chooses.
 */
kern_status train_resume_open(train_resume *resume, const char *source, int overrides,
                              const char *const *override, const kern_comm *job);
void train_resume_close(train_resume *resume);

/* Collective: reads the checkpoint, which must be there, into the tensors' memory and *state, but
 * for config_hash, which is the caller's. `conf` is resume->conf with what was chosen at start
 * filled in. Errors: those of train_checkpoint_load and train_course_check; the tensors' memory is
 * then perhaps overwritten. */
kern_status train_resume_load(train_state *state, const train_checkpoint_tensors *tensors,
                              const train_resume *resume, const ttt_conf *conf,
                              uint32_t data_fingerprint, const kern_comm *job);

/* Whether no step is left after `step` of them; then says so, and how to do more. */
bool train_resume_done(const train_resume *resume, int64_t step);

/* Says where the run goes on from, puts later checkpoints out of the way and, where there are
 * overrides, writes `conf` (resume->conf with what was chosen at start filled in) to config.yaml.
 * Errors: those of train_history_supersede and conf_write. */
kern_status train_resume_begin(const train_resume *resume, const ttt_conf *conf, int64_t step);

#endif
