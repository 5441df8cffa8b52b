#include "train/resume.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "infer/mixer.h"
#include "train/checkpoint.h"
#include "train/course.h"
#include "train/files.h"
#include "train/history.h"
#include "train/terminal.h"

static kern_status load_configuration(train_resume *resume, int overrides,
                                      const char *const *override) {
    kern_status status = KERN_OK;
    ttt_conf *before = NULL;
    TRY(infer_load(&before, resume->run->config, 0, NULL));
    TRY(infer_load(&resume->conf, resume->run->config, overrides, override));
    TRY(train_course_keep(before, resume->conf));
    resume->overridden = overrides > 0;
done:
    conf_destroy(before);
    return status;
}

static kern_status choose_checkpoint(train_resume *resume, const char *source) {
    return strcmp(source, resume->run->dir)
               ? train_history_locate(&resume->checkpoint, source)
               : train_history_latest(&resume->checkpoint, resume->run->checkpoints);
}

kern_status train_resume_open(train_resume *resume, const char *source, int overrides,
                              const char *const *override, const kern_comm *job) {
    kern_status status = KERN_OK;
    char *dir = NULL;
    TRY(train_history_run(&dir, source));
    if (job->rank == 0) status = train_run_open(&resume->run, dir, true);
    TRY(kern_comm_meet(job, status));
    if (job->rank) resume->run = train_run_join(dir);
    TRY(load_configuration(resume, overrides, override));
    if (job->rank == 0) status = choose_checkpoint(resume, source);
    TRY(kern_comm_meet(job, status));
    TRY(train_tell_text(&resume->checkpoint, job));
done:
    free(dir);
    return status;
}

void train_resume_close(train_resume *resume) {
    train_run_close(resume->run);
    conf_destroy(resume->conf);
    free(resume->checkpoint);
    *resume = (train_resume){.run = NULL};
}

kern_status train_resume_load(train_state *state, const train_checkpoint_tensors *tensors,
                              const train_resume *resume, const ttt_conf *conf,
                              uint32_t data_fingerprint, const kern_comm *job) {
    kern_status status = KERN_OK;
    train_state read;
    TRY(train_checkpoint_load(&read, resume->checkpoint, &tensors->parameters, &tensors->moments,
                              job));
    TRY(train_course_check(&read, conf, &data_fingerprint, resume->run->config,
                           resume->checkpoint));
    read.config_hash = state->config_hash;
    *state = read;
done:
    return status;
}

bool train_resume_done(const train_resume *resume, int64_t step) {
    const char *word = resume->run->word;
    long long steps = resume->conf->train.steps;
    if (step < steps) return false;
    train_terminal_say(
        stderr,
        "%s has done %lld of %lld steps: nothing is left; for more: ttt train --resume %s "
        "train.steps=MORE train.total_steps=%lld",
        resume->run->dir, (long long)step, steps, word, (long long)conf_total_steps(resume->conf));
    return true;
}

kern_status train_resume_begin(const train_resume *resume, const ttt_conf *conf, int64_t step) {
    kern_status status = KERN_OK;
    if (resume->checkpoint)
        train_terminal_say(stderr, "going on from %s", resume->checkpoint);
    else
        train_terminal_say(stderr, "%s has no checkpoint: beginning at step 0", resume->run->dir);
    TRY(train_history_supersede(resume->run->checkpoints, step));
    if (resume->overridden) TRY(conf_write(conf, resume->run->config));
done:
    return status;
}
