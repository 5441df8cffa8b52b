#include "train/loop.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/source.h"
#include "kernels/matmul.h"
#include "train/checkpoint.h"
#include "train/course.h"
#include "train/dataset.h"
#include "train/diagnose.h"
#include "train/events.h"
#include "train/files.h"
#include "train/fit.h"
#include "train/history.h"
#include "train/metrics.h"
#include "train/progress.h"
#include "train/resume.h"
#include "train/rundir.h"
#include "train/signals.h"
#include "train/tensors.h"
#include "train/validation.h"
#include "train/vocabulary.h"

typedef struct {
    ttt_conf *conf; /* a copy, with what was chosen at start filled in */
    int threads;
    train_step *step;
    train_step_buffers buffers;
    data_source *source;
    const data_vocabulary *vocabulary;
    const char *checkpoint; /* to go on from, NULL: none; of the caller */
    char *origin;           /* that train.init_from means, NULL: random weights */
    train_validation *validation;
    int32_t *tokens;      /* [batch, T + 1] */
    const train_run *run; /* of the caller */
    train_metrics *metrics;
    train_events *events;
    train_progress *progress;
    train_checkpoint_tensors *tensors;
    train_state state;
    int64_t saved_step; /* of the newest checkpoint of this course; -1: there is none */
    bool prune_due;     /* older checkpoints wait until a step has gone well from the newest */
    bool stopped;       /* by a signal, in an evaluation that was due */
    bool signals;       /* `handlers` is to be restored */
    train_signals handlers;
    double flops, peak; /* model FLOPs of a step; of the machine by second */
} loop;

/* ---- opening ---- */

static kern_status open_data(loop *l) {
    return train_dataset_open(&l->source, l->conf, "data.train", l->conf->data.train,
                              l->conf->train.context, l->conf->data.across_documents);
}

/* That of the checkpoint to go on from; else of the data and, where there is one, of the checkpoint
 * to start from, which must be the same. */
static kern_status open_vocabulary(loop *l) {
    kern_status status = KERN_OK;
    const char *carrier = l->checkpoint ? l->checkpoint : l->origin;
    const data_vocabulary *chosen = NULL;
    if (!l->checkpoint) TRY(train_vocabulary_check(&l->conf->data));
    if (carrier) {
        TRY(train_checkpoint_vocabulary(&l->vocabulary, carrier));
        if (train_vocabulary_match(l->vocabulary, l->source, carrier) != KERN_OK)
            TRY(kern_fail(KERN_ERR_CONFIG,
                          "%s: %s; pack the texts with the vocabulary of that checkpoint",
                          l->checkpoint ? "data.train" : "train.init_from", kern_error()));
    }
    if (l->checkpoint || (carrier && !*l->conf->data.tokenizer)) goto done;
    TRY(train_vocabulary_choose(&chosen, l->conf, l->source));
    data_vocabulary_destroy(l->vocabulary);
    l->vocabulary = chosen;
done:
    return status;
}

/* What validation takes is not there for the step. */
static kern_status fit_step(loop *l, train_fit *fit) {
    double limit = train_memory_limit(l->conf), taken = train_validation_bytes(l->validation);
    char most[32], validation[32];
    train_bytes_text(most, limit);
    train_bytes_text(validation, taken);
    if (taken >= limit)
        return kern_fail(KERN_ERR_MEMORY,
                         "validation alone needs %s, and %s is %s; raise it, or train without "
                         "(run.eval_every=0)",
                         validation,
                         l->conf->train.memory_limit > 0 ? "train.memory_limit"
                                                         : "what this machine has free",
                         most);
    kern_status status = train_fit_create(&l->step, fit, l->conf, limit - taken, l->threads, false);
    if (status != KERN_ERR_MEMORY || taken <= 0) return status;
    return kern_fail_context(status,
                             "validation takes %s of %s (run.eval_every=0 goes without; with it, "
                             "%.0f bytes in all would be enough) and for the rest",
                             validation, most, taken + (double)fit->memory.total);
}

static kern_status open_step(loop *l) {
    kern_status status = KERN_OK;
    train_fit fit;
    const conf_train *train = &l->conf->train;
    TRY(fit_step(l, &fit));
    l->conf->train.micro_batch = fit.micro_batch; /* sums depend on it: part of the course */
    TRY(train_step_allocate(l->step));
    TRY(kern_alloc((void **)&l->tokens,
                   (size_t)(train->batch * (train->context + 1)) * sizeof *l->tokens, "batch"));
    l->buffers = train_step_memory_of(l->step);
    l->tensors = train_checkpoint_tensors_create(&l->buffers);
    TRY(train_course_hash(&l->state.config_hash, l->conf, data_source_fingerprint(l->source)));
done:
    return status;
}

static kern_status start_weights(loop *l) {
    train_state ignored;
    if (!l->origin) {
        infer_parameters_init(l->buffers.layout, l->conf, l->buffers.dtype, l->buffers.parameters);
        return KERN_OK;
    }
    kern_status status = train_checkpoint_load(&ignored, l->origin, &l->tensors->parameters, NULL);
    if (status != KERN_OK)
        return kern_fail_context(status, "train.init_from=%s", l->conf->train.init_from);
    fprintf(stderr, "starting from the weights of %s\n", l->origin);
    return KERN_OK;
}

static kern_status open_outputs(loop *l) {
    kern_status status = KERN_OK;
    TRY(train_metrics_open(&l->metrics, l->run->metrics, l->state.step));
    TRY(train_events_open(&l->events, l->run->events, l->state.step));
    kern_dtype product = l->conf->train.precision == CONF_BF16 ? KERN_BF16 : l->buffers.dtype;
    l->peak = kern_matmul_peak(product, l->threads);
    l->flops = train_model_flops(l->conf);
    l->progress = train_progress_create(stderr, l->state.step, l->conf->train.steps, 10);
done:
    return status;
}

/* ---- a step ---- */

static kern_status prune(loop *l) {
    kern_status status = KERN_OK;
    if (l->prune_due)
        status = train_history_prune(l->run->checkpoints, l->saved_step, l->conf->run.keep_last,
                                     l->conf->run.keep_every);
    l->prune_due = false;
    return status;
}

/* Weights that an update has ruined show in the loss of the next step; those that are not finite
 * must not become the newest checkpoint. */
static kern_status check_finite(const loop *l) {
    const char *name = train_checkpoint_tensors_not_finite(l->tensors);
    if (!name) return KERN_OK;
    return kern_fail(KERN_ERR_NUMERIC,
                     "outer step %lld: the optimiser's update (scope optimizer) made %s not finite",
                     (long long)l->state.step - 1, name);
}

static kern_status save(loop *l) {
    kern_status status = KERN_OK;
    if (l->saved_step == l->state.step) return status;
    TRY(check_finite(l));
    TRY(train_metrics_sync(l->metrics));
    TRY(train_checkpoint_save(l->run->checkpoints, &l->state, &l->tensors->parameters,
                              &l->tensors->moments, l->vocabulary));
    l->saved_step = l->state.step;
    l->prune_due = true;
done:
    return status;
}

static kern_status read_batch(loop *l) {
    const conf_train *train = &l->conf->train;
    for (int64_t s = 0; s < train->batch; s++) {
        kern_status status = data_source_read(l->tokens + s * (train->context + 1), l->source,
                                              train->seed, l->state.samples + s);
        if (status != KERN_OK) return status;
    }
    return KERN_OK;
}

static kern_status report(loop *l, int64_t step, const train_step_result *result, double seconds,
                          double data_seconds) {
    kern_status status = KERN_OK;
    double rate = (double)(l->conf->train.batch * l->conf->train.context) / seconds;
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
        {"data_seconds", data_seconds, false},
    };
    int64_t count = sizeof values / sizeof *values;
    int64_t every = l->conf->run.log_every ? l->conf->run.log_every : 1;
    if (step % every == 0 || l->state.step == l->conf->train.steps) {
        TRY(train_metrics_write(l->metrics, step, count, values));
        TRY(train_events_write(l->events, step, count, values));
    }
    train_progress_show(l->progress, l->state.step, result->loss, rate,
                        l->flops / seconds / l->peak);
done:
    return status;
}

static bool validation_due(const loop *l) {
    int64_t every = l->conf->run.eval_every, step = l->state.step;
    return l->validation && step && (step % every == 0 || step == l->conf->train.steps);
}

/* Of the weights after the steps done so far; written to the last one's line. */
static kern_status validate(loop *l) {
    kern_status status = KERN_OK;
    int64_t step = l->state.step - 1;
    double loss, error;
    status = train_validation_run(l->validation, &loss, &error, l->buffers.parameters);
    l->stopped = status == KERN_ERR_INTERRUPTED;
    if (l->stopped) return KERN_OK;
    if (status != KERN_OK)
        return kern_fail_context(status, "validation after outer step %lld", (long long)step);
    const train_value values[] = {{"validation_loss", loss, false},
                                  {"validation_standard_error", error, false}};
    TRY(train_metrics_write(l->metrics, step, 2, values));
    TRY(train_events_write(l->events, step, 2, values));
    train_progress_clear(l->progress);
    fprintf(stderr, "step %lld  validation loss %.4f", (long long)l->state.step, loss);
    if (isfinite(error)) /* of several windows */
        fprintf(stderr, " +- %.4f", error);
    fprintf(stderr, "\n");
done:
    return status;
}

static kern_status run_step(loop *l) {
    kern_status status = KERN_OK;
    const conf_train *train = &l->conf->train;
    int64_t number = l->state.step, every = l->conf->run.save_every;
    train_step_result result;
    double start = kern_seconds();
    TRY(read_batch(l));
    double data_seconds = kern_seconds() - start;
    status = train_step_run(l->step, &result, l->tokens, number);
    if (status == KERN_ERR_NUMERIC)
        return train_diagnose(l->conf, l->threads, &l->buffers, l->tokens, number);
    TRY(status);
    double seconds = kern_seconds() - start;
    l->state.step++;
    l->state.samples += train->batch;
    l->state.tokens += train->batch * train->context;
    l->state.seconds += seconds;
    TRY(prune(l));
    TRY(report(l, number, &result, seconds, data_seconds));
    if ((every && l->state.step % every == 0) || l->state.step == train->steps) TRY(save(l));
    if (validation_due(l)) TRY(validate(l));
done:
    return status;
}

static kern_status stop(loop *l) {
    kern_status status = KERN_OK;
    bool complete = l->state.step == l->conf->train.steps;
    train_progress_clear(l->progress);
    TRY(save(l));
    status = kern_fail(KERN_ERR_INTERRUPTED,
                       "stopped and saved at step %lld of %lld%s; to go on: ttt train --resume %s",
                       (long long)l->state.step, (long long)l->conf->train.steps,
                       complete ? ", in the last evaluation" : "", l->run->dir);
done:
    return status;
}

/* Says what is left of the run after the failure whose message is there. */
static kern_status failed(const loop *l, kern_status status) {
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
                  (long long)l->saved_step, dir);
    free(reason);
    return status;
}

static kern_status run_steps(loop *l) {
    kern_status status = KERN_OK;
    int64_t steps = l->conf->train.steps;
    while (l->state.step < steps && !train_signals_received()) TRY(run_step(l));
    if (l->stopped || l->state.step < steps) TRY(stop(l));
    TRY(prune(l));
    train_progress_destroy(l->progress); /* ends its line */
    l->progress = NULL;
    fprintf(stderr, "%s: %lld steps, %.3g tokens in %.0f s\n", l->run->dir,
            (long long)l->state.step, (double)l->state.tokens, l->state.seconds);
done:
    return status == KERN_OK || status == KERN_ERR_INTERRUPTED ? status : failed(l, status);
}

/* ---- a run ---- */

static kern_status find_origin(loop *l) {
    kern_status status = train_history_locate(&l->origin, l->conf->train.init_from);
    if (status == KERN_OK) return KERN_OK;
    return kern_fail_context(status, "train.init_from=%s", l->conf->train.init_from);
}

/* All that can be refused without a trace. */
static kern_status begin(loop *l, const ttt_conf *conf) {
    kern_status status = KERN_OK;
    TRY(conf_copy(&l->conf, conf));
    l->saved_step = -1;
    l->threads = train_threads(conf);
    omp_set_num_threads(l->threads);
    if (*conf->train.init_from && !l->checkpoint) TRY(find_origin(l));
    TRY(open_data(l));
    TRY(open_vocabulary(l));
    TRY(train_validation_create(&l->validation, l->conf, l->vocabulary, l->threads));
    TRY(open_step(l));
done:
    return status;
}

/* From here on a signal means: save and stop. */
static void take_signals(loop *l) {
    train_signals_install(&l->handlers);
    l->signals = true;
}

static void end(loop *l) {
    train_progress_destroy(l->progress);
    if (l->signals) train_signals_restore(&l->handlers);
    train_metrics_close(l->metrics);
    train_events_close(l->events);
    train_checkpoint_tensors_destroy(l->tensors);
    train_validation_destroy(l->validation);
    train_step_destroy(l->step);
    data_vocabulary_destroy(l->vocabulary);
    data_source_destroy(l->source);
    free(l->origin);
    kern_free(l->tokens);
    conf_destroy(l->conf);
}

kern_status train_loop_new(const ttt_conf *conf) {
    kern_status status = KERN_OK;
    loop l = {0};
    train_run *run = NULL;
    char *dir =
        *conf->run.dir ? train_text("%s", conf->run.dir) : train_text("runs/%s", conf->name);
    TRY(train_run_check_new(dir));
    TRY(begin(&l, conf));
    TRY(start_weights(&l));
    take_signals(&l);
    TRY(train_run_open(&run, dir, false));
    l.run = run;
    TRY(conf_write(l.conf, run->config));
    TRY(open_outputs(&l));
    TRY(run_steps(&l));
done:
    end(&l);
    train_run_close(run);
    free(dir);
    return status;
}

/* The weights, moments and place of the checkpoint; without one the state stays at step 0. */
static kern_status load_state(loop *l, const train_resume *from) {
    kern_status status = KERN_OK;
    if (!from->checkpoint) return start_weights(l);
    TRY(train_resume_load(&l->state, l->tensors, from));
    l->saved_step = l->state.step;
    l->prune_due = true;
done:
    return status;
}

static kern_status go_on(loop *l, const train_resume *from) {
    kern_status status = KERN_OK;
    bool validated = true;
    if (validation_due(l))
        TRY(train_metrics_find(&validated, l->run->metrics, l->state.step - 1, "validation_loss"));
    if (validated && train_resume_done(from, l->state.step)) return status;
    TRY(train_resume_begin(from, l->conf, l->state.step));
    TRY(open_outputs(l));
    if (!validated) TRY(validate(l)); /* a signal or the process's end prevented it */
    TRY(run_steps(l));
done:
    return status;
}

kern_status train_loop_resume(const char *source, int overrides, const char *const *override) {
    kern_status status = KERN_OK;
    train_resume from = {0};
    loop l = {0};
    TRY(train_resume_open(&from, source, overrides, override));
    l.run = from.run;
    l.checkpoint = from.checkpoint;
    status = begin(&l, from.conf);
    if (status == KERN_ERR_MEMORY)
        kern_fail_context(status, "only more memory helps a run that goes on, for it keeps its "
                                  "course");
    TRY(status);
    TRY(load_state(&l, &from));
    take_signals(&l);
    TRY(go_on(&l, &from));
done:
    end(&l);
    train_resume_close(&from);
    return status;
}
