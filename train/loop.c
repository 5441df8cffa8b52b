#include "train/loop.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/doing.h"
#include "train/diagnose.h"
#include "train/files.h"
#include "train/history.h"
#include "train/loop_state.h"
#include "train/resume.h"
#include "train/terminal.h"

/* ---- a step ---- */

static kern_status prune(train_loop *l) {
    kern_status status = KERN_OK;
    if (l->prune_due && l->first)
        status = train_history_prune(l->run->checkpoints, l->saved_step, l->conf->run.keep_last,
                                     l->conf->run.keep_every);
    l->prune_due = false;
    return status;
}

/* Weights that an update has ruined show in the loss of the next step; those that are not finite
 * must not become the newest checkpoint. */
static kern_status check_finite(const train_loop *l) {
    const char *name;
    kern_status status = train_checkpoint_tensors_not_finite(&name, l->tensors);
    if (status != KERN_OK || !name) return status;
    return kern_fail(KERN_ERR_NUMERIC,
                     "outer step %lld: the optimiser's update (scope optimizer) made %s not finite",
                     (long long)l->state.step, name);
}

/* That metrics could not be brought to the disk is no reason to lose steps. */
static kern_status save(train_loop *l) {
    kern_status status = KERN_OK;
    char *reason = NULL;
    if (l->saved_step == l->state.step) return status;
    TRY(kern_comm_meet(l->ranks->job, check_finite(l)));
    TRY(kern_comm_meet(l->ranks->job, l->first ? train_run_check_ours(l->run) : KERN_OK));
    kern_status synced = l->first ? train_metrics_sync(l->metrics) : KERN_OK;
    if (synced != KERN_OK) reason = train_text("%s", kern_error());
    l->unsaved = true;
    TRY(train_checkpoint_save(l->run->checkpoints, &l->state, &l->tensors->parameters,
                              &l->tensors->moments, l->vocabulary, l->conf, l->ranks->job));
    l->unsaved = false;
    l->saved_step = l->state.step;
    l->prune_due = true;
    if (synced != KERN_OK) status = kern_fail(synced, "%s", reason);
    TRY(kern_comm_meet(l->ranks->job, status));
done:
    free(reason);
    return status;
}

/* After a failure to read or write, whose message is there: steps that a checkpoint can still hold
 * are not lost with tokens that are damaged or a line of metrics. */
static kern_status rescue(train_loop *l, kern_status met) {
    if (l->unsaved || !l->state.step || l->saved_step == l->state.step) return met;
    char *reason = train_text("%s", kern_error());
    kern_status status = save(l);
    if (l->saved_step == l->state.step) {
        char *path = train_text("%s/step-%08lld/metrics.jsonl", l->run->checkpoints,
                                (long long)l->saved_step);
        status = l->first ? train_metrics_leave(l->metrics, path) : KERN_OK;
        status = kern_comm_meet(l->ranks->job, status);
        free(path);
    }
    kern_fail(met, "%s%s%s", reason, status == KERN_OK ? "" : "; and ",
              status == KERN_OK ? "" : kern_error());
    free(reason);
    return met;
}

/* The batch from this sample on. */
static kern_status read_batch(train_loop *l, int32_t *tokens, int64_t sample) {
    const conf_train *train = &l->conf->train;
    int64_t first = sample + l->ranks->data->rank * l->buffers.sequences;
    kern_status status = KERN_OK;
    double start = kern_seconds();
    for (int64_t s = 0; s < l->buffers.sequences && status == KERN_OK; s++)
        status =
            data_source_read(tokens + s * (train->context + 1), l->source, train->seed, first + s);
    l->data_seconds += kern_seconds() - start;
    return status;
}

/* While the device computes a step: the batch of the next one. What fails is met again, and
 * reported, when that step begins; where the device has failed, its message is to stay. */
static void read_ahead(void *context) {
    train_loop *l = context;
    const conf_train *train = &l->conf->train;
    if (l->state.step + 1 >= train->steps || l->buffers.device->stream->status != KERN_OK) return;
    l->ahead = read_batch(l, l->next, l->state.samples + train->batch) == KERN_OK &&
               train_step_put(l->step, l->next) == KERN_OK;
}

static kern_status take_batch(train_loop *l) {
    if (!l->ahead) return read_batch(l, l->tokens, l->state.samples);
    int32_t *tokens = l->tokens;
    l->tokens = l->next;
    l->next = tokens;
    l->ahead = false;
    return KERN_OK;
}

static kern_status report(train_loop *l, const train_step_result *result, double seconds) {
    kern_status status = KERN_OK;
    int64_t step = l->state.step;
    double rate = (double)result->tokens / seconds;
    const train_value values[] = {
        {"loss", result->loss, false},
        {"outer_grad_norm", result->outer_grad_norm, false},
        {"inner_grad_norm", result->inner_grad_norm, false},
        {"learning_rate", result->learning_rate, false},
        {"inner_multiplier", result->inner_multiplier, false},
        {"tokens", (double)l->state.tokens, true},
        {"tokens_per_second", rate, false},
        {"peak_fraction", l->flops / seconds / l->peak, false},
        {"seconds", seconds, false},
        {"data_seconds", l->data_seconds, false},
    };
    int64_t count = sizeof values / sizeof *values;
    int64_t every = l->conf->run.log_every ? l->conf->run.log_every : 1;
    if (step % every == 0 || step == l->conf->train.steps) {
        TRY(train_metrics_write(l->metrics, step, count, values));
        TRY(train_events_write(l->events, step, count, values));
    }
    train_progress_show(l->progress, step, result->loss, rate, l->flops / seconds / l->peak);
done:
    return status;
}

static bool validation_due(const train_loop *l) {
    int64_t every = l->conf->run.eval_every, step = l->state.step;
    return l->validation && step && (step % every == 0 || step == l->conf->train.steps);
}

/* Of the weights after the steps done so far; under the number of the last one. */
static kern_status validate(train_loop *l) {
    kern_status status = KERN_OK;
    int64_t step = l->state.step;
    double loss, error;
    status = train_validation_run(l->validation, &loss, &error, l->buffers.weights);
    l->stopped = status == KERN_ERR_INTERRUPTED;
    if (l->stopped) return KERN_OK;
    if (status != KERN_OK)
        return kern_fail_context(status, "validation after outer step %lld", (long long)step);
    const train_value values[] = {{"validation_loss", loss, false},
                                  {"validation_standard_error", error, false}};
    if (!l->first) goto done;
    TRY(train_metrics_write(l->metrics, step, 2, values));
    TRY(train_events_write(l->events, step, 2, values));
    train_progress_clear(l->progress);
    fprintf(stderr, "step %lld  validation loss %.4f", (long long)step, loss);
    if (isfinite(error)) /* of several windows */
        fprintf(stderr, " +- %.4f", error);
    fprintf(stderr, "\n");
done:
    return kern_comm_meet(l->ranks->job, status);
}

static kern_status run_step(train_loop *l) {
    kern_status status = KERN_OK;
    const conf_train *train = &l->conf->train;
    int64_t number = l->state.step, every = l->conf->run.save_every;
    train_step_result result;
    double start = kern_seconds();
    kern_doing_step(number + 1);
    l->data_seconds = 0;
    TRY(kern_comm_meet(l->ranks->job, take_batch(l)));
    status = train_step_run(l->step, &result, l->tokens, number);
    if (status == KERN_ERR_NUMERIC)
        return train_diagnose(l->conf, l->threads, &l->buffers, l->ranks, l->tokens, number);
    TRY(status);
    double seconds = kern_seconds() - start;
    l->state.step++;
    l->state.samples += train->batch;
    l->state.tokens += result.tokens;
    l->state.seconds += seconds;
    status = prune(l);
    if (status == KERN_OK && l->first) status = report(l, &result, seconds);
    TRY(kern_comm_meet(l->ranks->job, status));
    if ((every && l->state.step % every == 0) || l->state.step == train->steps) TRY(save(l));
    if (validation_due(l)) TRY(validate(l));
done:
    return status;
}

static kern_status stop(train_loop *l) {
    kern_status status = KERN_OK;
    bool complete = l->state.step == l->conf->train.steps;
    if (l->first) train_progress_clear(l->progress);
    TRY(save(l));
    status = kern_fail(KERN_ERR_INTERRUPTED,
                       "stopped and saved at step %lld of %lld%s; to go on: ttt train --resume %s",
                       (long long)l->state.step, (long long)l->conf->train.steps,
                       complete ? ", in the last evaluation" : "", l->run->word);
done:
    return status;
}

/* Says what is left of the run after the failure whose message is there. */
static kern_status failed(const train_loop *l, kern_status status) {
    char *reason = train_text("%s", kern_error());
    const char *dir = l->run->dir;
    if (l->saved_step < 0)
        kern_fail(status, "%s; %s has no checkpoint yet", reason, dir);
    else if (status == KERN_ERR_NUMERIC && l->prune_due)
        kern_fail(status,
                  "%s; no step has gone well since the last checkpoint, of step %lld, so its "
                  "weights may be ruined; the ones before it in %s/checkpoints are kept: begin a "
                  "new run with train.init_from=%s/checkpoints/step-... and a smaller train.lr, "
                  "inner.lr or clip",
                  reason, (long long)l->saved_step, dir, dir);
    else if (status == KERN_ERR_NUMERIC)
        kern_fail(status,
                  "%s; the last checkpoint, %s/checkpoints/step-%08lld, is kept, but the same "
                  "steps would fail again: begin a new run with train.init_from=%s and a smaller "
                  "train.lr, inner.lr or clip",
                  reason, dir, (long long)l->saved_step, dir);
    else
        kern_fail(status, "%s; to go on from step %lld: ttt train --resume %s", reason,
                  (long long)l->saved_step, l->run->word);
    free(reason);
    return status;
}

/* Whether a signal came to any rank; then the first one says what follows. */
static kern_status asked_to_stop(const train_loop *l, bool *asked) {
    const kern_comm *job = l->ranks->job;
    int64_t received = train_signals_received();
    kern_status status = job->agree_i64(job, &received, 1, KERN_MAX);
    *asked = received != 0;
    if (*asked && job->ranks > 1) fprintf(stderr, "\nttt: saving, then stopping\n");
    return status;
}

static kern_status run_steps(train_loop *l) {
    kern_status status = KERN_OK;
    int64_t steps = l->conf->train.steps;
    bool asked = false;
    train_step_meanwhile(l->step, read_ahead, l);
    while (l->state.step < steps) {
        TRY(asked_to_stop(l, &asked));
        if (asked) break;
        status = run_step(l);
        if (status == KERN_ERR_FILE || status == KERN_ERR_DATA) status = rescue(l, status);
        TRY(status);
    }
    if (l->stopped || l->state.step < steps) TRY(stop(l));
    TRY(kern_comm_meet(l->ranks->job, prune(l)));
    train_progress_destroy(l->progress); /* ends its line */
    l->progress = NULL;
    train_terminal_say(stderr, "%s: %lld steps, %.3g tokens in %.0f s", l->run->dir,
                       (long long)l->state.step, (double)l->state.tokens, l->state.seconds);
done:
    return status == KERN_OK || status == KERN_ERR_INTERRUPTED ? status : failed(l, status);
}

/* ---- a run ---- */

/* From here on a signal means: save and stop. Of several ranks one may have got it because another
 * one died: what it means is said when they have agreed to stop. */
static void take_signals(train_loop *l) {
    if (l->ranks->job->ranks == 1)
        train_signals_install(&l->handlers);
    else
        train_signals_install_saying(&l->handlers, NULL);
    l->signals = true;
}

/* The run, whose configuration is written. */
static kern_status create_run(train_loop *l, train_run **run, const char *dir) {
    kern_status status = KERN_OK;
    if (l->first) status = train_run_open(run, dir, false);
    if (l->first && status == KERN_OK) status = conf_write(l->conf, (*run)->config);
    TRY(kern_comm_meet(l->ranks->job, status));
    if (!l->first) *run = train_run_join(dir);
    l->run = *run;
done:
    return status;
}

kern_status train_loop_new(const ttt_conf *conf, const kern_ranks *ranks) {
    kern_status status = KERN_OK;
    train_loop l = {0};
    train_run *run = NULL;
    char *dir =
        *conf->run.dir ? train_text("%s", conf->run.dir) : train_text("runs/%s", conf->name);
    if (ranks->job->rank == 0) status = train_run_check_new(dir);
    TRY(kern_comm_meet(ranks->job, status));
    TRY(train_loop_begin(&l, conf, ranks));
    TRY(train_loop_check_disk(&l, dir, NULL));
    TRY(train_loop_start_weights(&l));
    take_signals(&l);
    TRY(create_run(&l, &run, dir));
    TRY(train_loop_open_outputs(&l));
    TRY(run_steps(&l));
done:
    train_loop_end(&l);
    train_run_close(run);
    free(dir);
    return status;
}

/* The weights, moments and place of the checkpoint; without one the state stays at step 0. */
static kern_status load_state(train_loop *l, const train_resume *from) {
    kern_status status = KERN_OK;
    if (!from->checkpoint) return train_loop_start_weights(l);
    TRY(train_resume_load(&l->state, l->tensors, from, l->conf, data_source_fingerprint(l->source),
                          l->ranks->job));
    train_step_gather(l->step);
    l->saved_step = l->state.step;
    l->prune_due = true;
done:
    return status;
}

/* Whether it is so on all ranks. */
static kern_status everywhere(bool *so, const kern_comm *job) {
    int64_t least = *so;
    kern_status status = job->agree_i64(job, &least, 1, KERN_MIN);
    *so = least != 0;
    return status;
}

static kern_status go_on(train_loop *l, const train_resume *from) {
    kern_status status = KERN_OK;
    bool validated = true;
    if (validation_due(l) && l->first)
        status = train_metrics_find(&validated, l->run->metrics, l->state.step, "validation_loss");
    TRY(kern_comm_meet(l->ranks->job, status));
    TRY(everywhere(&validated, l->ranks->job));
    if (validated && train_resume_done(from, l->state.step)) return status;
    if (l->state.step < l->conf->train.steps)
        TRY(train_loop_check_disk(l, l->run->dir, l->run->checkpoints));
    if (l->first) status = train_resume_begin(from, l->conf, l->state.step);
    TRY(kern_comm_meet(l->ranks->job, status));
    TRY(train_loop_open_outputs(l));
    if (!validated) TRY(validate(l)); /* a signal or the process's end prevented it */
    TRY(run_steps(l));
done:
    return status;
}

kern_status train_loop_resume(const char *source, int overrides, const char *const *override,
                              const kern_ranks *ranks) {
    kern_status status = KERN_OK;
    train_resume from = {0};
    train_loop l = {0};
    TRY(train_resume_open(&from, source, overrides, override, ranks->job));
    l.run = from.run;
    l.checkpoint = from.checkpoint;
    status = train_loop_begin(&l, from.conf, ranks);
    if (status == KERN_ERR_MEMORY)
        kern_fail_context(status, "only more memory helps a run that goes on, for it keeps its "
                                  "course");
    TRY(status);
    TRY(load_state(&l, &from));
    take_signals(&l);
    TRY(go_on(&l, &from));
done:
    train_loop_end(&l);
    train_resume_close(&from);
    return status;
}
