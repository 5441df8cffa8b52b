#include "train/loop.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/source.h"
#include "kernels/matmul.h"
#include "train/checkpoint.h"
#include "train/diagnose.h"
#include "train/events.h"
#include "train/fit.h"
#include "train/history.h"
#include "train/metrics.h"
#include "train/progress.h"
#include "train/rundir.h"
#include "train/signals.h"
#include "train/tensors.h"
#include "train/validation.h"

typedef struct {
    ttt_conf *conf;  /* a copy, with what was chosen at start filled in */
    uint64_t course; /* hash of all that decides the numbers */
    int threads;
    train_step *step;
    train_step_buffers buffers;
    data_source *source;
    train_validation *validation;
    int32_t *tokens; /* [batch, T + 1] */
    train_run *run;
    train_metrics *metrics;
    train_events *events;
    train_progress *progress;
    train_checkpoint_tensors *tensors;
    train_state state;
    int64_t saved_step; /* -1: none of this process */
    double flops, peak; /* model FLOPs of a step; of the machine by second */
} loop;

/* ---- opening ---- */

/* Options that may differ between a run and its continuation. */
static kern_status course_hash(uint64_t *hash, const ttt_conf *conf) {
    kern_status status = KERN_OK;
    ttt_conf *copy = NULL;
    char total[64];
    snprintf(total, sizeof total, "train.total_steps=%lld", (long long)conf_total_steps(conf));
    TRY(conf_copy(&copy, conf));
    TRY(conf_set(copy, total));
    copy->train.steps = conf_total_steps(conf);
    copy->train.threads = 0;
    copy->train.memory_limit = 0;
    copy->train.micro_batch = 0;
    copy->run = (conf_run){.dir = copy->run.dir};
    TRY(conf_set(copy, "run.dir="));
    TRY(conf_hash(hash, copy));
done:
    conf_destroy(copy);
    return status;
}

static kern_status check_data(const loop *l) {
    const conf_model *model = &l->conf->model;
    int64_t vocabulary = data_source_vocabulary(l->source);
    if (vocabulary > model->vocab)
        return kern_fail(KERN_ERR_CONFIG,
                         "%s has a vocabulary of %lld and the model one of %lld; set model.vocab",
                         l->conf->data.train, (long long)vocabulary, (long long)model->vocab);
    if (data_source_bos(l->source) != model->bos)
        return kern_fail(
            KERN_ERR_CONFIG, "%s begins its documents with token %d but model.bos is %lld",
            l->conf->data.train, (int)data_source_bos(l->source), (long long)model->bos);
    return KERN_OK;
}

static kern_status open_data(loop *l) {
    kern_status status = KERN_OK;
    const conf_train *train = &l->conf->train;
    if (!*l->conf->data.train)
        return kern_fail(KERN_ERR_CONFIG, "data.train is empty; name the shards to train on, "
                                          "as made by ttt pack");
    TRY(data_source_open(&l->source, l->conf->data.train, train->context,
                         l->conf->data.across_documents));
    TRY(check_data(l));
    TRY(kern_alloc((void **)&l->tokens,
                   (size_t)(train->batch * (train->context + 1)) * sizeof *l->tokens, "batch"));
done:
    return status;
}

static kern_status open_step(loop *l) {
    kern_status status = KERN_OK;
    train_fit fit;
    double limit = train_memory_limit(l->conf) - train_validation_bytes(l->validation);
    TRY(train_fit_create(&l->step, &fit, l->conf, limit, l->threads, false));
    l->conf->train.micro_batch = fit.micro_batch; /* sums depend on it: part of the course */
    TRY(train_step_allocate(l->step));
    l->buffers = train_step_memory_of(l->step);
    l->tensors = train_checkpoint_tensors_create(&l->buffers);
done:
    return status;
}

static kern_status start_weights(loop *l) {
    kern_status status = KERN_OK;
    char *checkpoint = NULL;
    train_state ignored;
    if (!*l->conf->train.init_from) {
        infer_parameters_init(l->buffers.layout, l->conf, l->buffers.dtype, l->buffers.parameters);
        return status;
    }
    TRY(train_history_locate(&checkpoint, l->conf->train.init_from));
    TRY(train_checkpoint_load(&ignored, checkpoint, &l->tensors->parameters, NULL));
    fprintf(stderr, "starting from the weights of %s\n", checkpoint);
done:
    free(checkpoint);
    if (status != KERN_OK)
        return kern_fail_context(status, "train.init_from=%s", l->conf->train.init_from);
    return status;
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

static kern_status save(loop *l) {
    kern_status status = KERN_OK;
    if (l->saved_step == l->state.step) return status;
    TRY(train_metrics_sync(l->metrics));
    TRY(train_checkpoint_save(l->run->checkpoints, &l->state, &l->tensors->parameters,
                              &l->tensors->moments));
    l->saved_step = l->state.step;
    TRY(train_history_prune(l->run->checkpoints, l->state.step, l->conf->run.keep_last,
                            l->conf->run.keep_every));
done:
    return status;
}

static kern_status read_batch(loop *l) {
    const conf_train *train = &l->conf->train;
    for (int64_t s = 0; s < train->batch; s++) {
        kern_status status = data_source_read(l->tokens + s * (train->context + 1), l->source,
                                              (uint64_t)train->seed, l->state.samples + s);
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

static kern_status validate(loop *l, int64_t step) {
    kern_status status = KERN_OK;
    int64_t every = l->conf->run.eval_every;
    bool due = every && (l->state.step % every == 0 || l->state.step == l->conf->train.steps);
    if (!l->validation || !due) return status;
    double loss, error;
    status = train_validation_run(l->validation, &loss, &error, l->buffers.parameters);
    if (status == KERN_ERR_INTERRUPTED) return KERN_OK; /* the loop saves and stops */
    TRY(status);
    const train_value values[] = {{"validation_loss", loss, false},
                                  {"validation_standard_error", error, false}};
    TRY(train_metrics_write(l->metrics, step, 2, values));
    TRY(train_events_write(l->events, step, 2, values));
    train_progress_clear(l->progress);
    fprintf(stderr, "step %lld  validation loss %.4f +- %.4f\n", (long long)l->state.step, loss,
            error);
done:
    return status;
}

static kern_status run_step(loop *l) {
    kern_status status = KERN_OK;
    const conf_train *train = &l->conf->train;
    int64_t number = l->state.step;
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
    TRY(report(l, number, &result, seconds, data_seconds));
    TRY(validate(l, number));
    int64_t every = l->conf->run.save_every;
    if ((every && l->state.step % every == 0) || l->state.step == train->steps) TRY(save(l));
done:
    return status;
}

static kern_status run_steps(loop *l) {
    kern_status status = KERN_OK;
    train_signals saved;
    train_signals_install(&saved);
    while (l->state.step < l->conf->train.steps && !train_signals_received()) TRY(run_step(l));
    if (train_signals_received() && l->state.step < l->conf->train.steps) {
        train_progress_clear(l->progress);
        TRY(save(l));
        status =
            kern_fail(KERN_ERR_INTERRUPTED,
                      "stopped and saved at step %lld of %lld; to go on: ttt train --resume %s",
                      (long long)l->state.step, (long long)l->conf->train.steps, l->run->dir);
    }
done:
    train_signals_restore(&saved);
    return status;
}

/* ---- a run ---- */

static kern_status begin(loop *l, const ttt_conf *conf) {
    kern_status status = KERN_OK;
    TRY(conf_copy(&l->conf, conf));
    l->saved_step = -1;
    l->threads = conf->train.threads ? (int)conf->train.threads : omp_get_num_procs();
    omp_set_num_threads(l->threads);
    TRY(course_hash(&l->course, conf));
    l->state.config_hash = l->course;
    TRY(open_data(l));
    TRY(train_validation_create(&l->validation, l->conf, l->threads));
    TRY(open_step(l));
done:
    return status;
}

static void end(loop *l) {
    train_progress_destroy(l->progress);
    train_metrics_close(l->metrics);
    train_events_close(l->events);
    train_run_close(l->run);
    train_checkpoint_tensors_destroy(l->tensors);
    train_validation_destroy(l->validation);
    train_step_destroy(l->step);
    data_source_destroy(l->source);
    kern_free(l->tokens);
    conf_destroy(l->conf);
}

static void finish_line(const loop *l) {
    fprintf(stderr, "%s: %lld steps, %.3g tokens in %.0f s\n", l->run->dir,
            (long long)l->state.step, (double)l->state.tokens, l->state.seconds);
}

kern_status train_loop_new(const ttt_conf *conf) {
    kern_status status = KERN_OK;
    loop l = {0};
    char dir[4096];
    snprintf(dir, sizeof dir, "runs/%s", conf->name);
    TRY(begin(&l, conf));
    TRY(train_run_open(&l.run, *conf->run.dir ? conf->run.dir : dir, false));
    TRY(start_weights(&l));
    TRY(conf_write(l.conf, l.run->config));
    TRY(open_outputs(&l));
    TRY(run_steps(&l));
    finish_line(&l);
done:
    end(&l);
    return status;
}

/* The run's checkpoint to go on from, loaded; the state stays at step 0 where there is none yet. */
static kern_status load_state(loop *l, const char *source) {
    kern_status status = KERN_OK;
    char *checkpoint = NULL;
    bool whole_run = !strcmp(source, l->run->dir);
    if (whole_run)
        TRY(train_history_latest(&checkpoint, l->run->checkpoints));
    else
        TRY(train_history_locate(&checkpoint, source));
    if (!checkpoint) {
        TRY(start_weights(l));
        goto done;
    }
    TRY(train_checkpoint_load(&l->state, checkpoint, &l->tensors->parameters,
                              &l->tensors->moments));
    if (l->state.config_hash != l->course)
        status = kern_fail(KERN_ERR_CONFIG,
                           "%s was trained with other options than %s has now; a resumed run keeps "
                           "its course (to fine-tune instead: train.init_from=%s)",
                           checkpoint, l->run->config, checkpoint);
    l->saved_step = l->state.step;
done:
    free(checkpoint);
    return status;
}

kern_status train_loop_resume(const char *source, int overrides, const char *const *override) {
    kern_status status = KERN_OK;
    loop l = {0};
    ttt_conf *conf = NULL;
    char *dir = NULL;
    TRY(train_history_run(&dir, source));
    TRY(train_run_open(&l.run, dir, true));
    TRY(conf_load(&conf, l.run->config, overrides, override));
    TRY(begin(&l, conf));
    TRY(load_state(&l, source));
    TRY(train_history_supersede(l.run->checkpoints, l.state.step));
    if (overrides) TRY(conf_write(l.conf, l.run->config));
    TRY(open_outputs(&l));
    TRY(run_steps(&l));
    finish_line(&l);
done:
    end(&l);
    conf_destroy(conf);
    free(dir);
    return status;
}
