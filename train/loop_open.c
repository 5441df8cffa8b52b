/* What a run needs before its first step, and where its results go. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "infer/mixer.h"
#include "kernels/matmul.h"
#include "train/algorithms.h"
#include "train/course.h"
#include "train/dataset.h"
#include "train/disk.h"
#include "train/files.h"
#include "train/fit.h"
#include "train/history.h"
#include "train/loop_state.h"
#include "train/terminal.h"
#include "train/vocabulary.h"

static kern_status open_data(train_loop *l) {
    return train_dataset_open(&l->source, l->conf, "data.train", l->conf->data.train,
                              l->conf->train.context, l->conf->data.across_documents);
}

/* That of the checkpoint to go on from; else of the data and, where there is one, of the checkpoint
 * to start from, which must be the same. */
static kern_status open_vocabulary(train_loop *l) {
    kern_status status = KERN_OK;
    const char *carrier = l->checkpoint ? l->checkpoint : l->origin;
    const data_vocabulary *chosen = NULL;
    train_state ignored;
    if (!l->checkpoint) TRY(train_vocabulary_check(&l->conf->data));
    if (l->checkpoint)
        TRY(train_checkpoint_vocabulary(&l->vocabulary, &ignored, carrier));
    else
        l->vocabulary = l->origin_vocabulary;
    l->origin_vocabulary = NULL;
    if (carrier) {
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
static kern_status fit_step(train_loop *l, train_fit *fit) {
    const kern_device *device;
    kern_status status = kern_device_open(&device, l->conf->train.device);
    if (status != KERN_OK) return status;
    double limit = train_rank_limit(l->conf, device, l->ranks);
    double taken = train_validation_bytes(l->validation);
    char most[32], validation[32];
    train_bytes_text(most, limit);
    train_bytes_text(validation, taken);
    if (taken >= limit)
        return kern_fail(KERN_ERR_MEMORY,
                         "validation alone needs %s, and %s is %s; raise it, or train without "
                         "(run.eval_every=0)",
                         validation,
                         l->conf->train.memory_limit > 0 ? "train.memory_limit" : "what is free",
                         most);
    status = train_fit_create(&l->step, fit, l->conf, limit - taken, l->ranks, l->threads, false);
    if (status != KERN_ERR_MEMORY || taken <= 0) return status;
    return kern_fail_context(status,
                             "validation takes %s of %s (run.eval_every=0 goes without; with it, "
                             "%.0f bytes in all would be enough) and for the rest",
                             validation, most, taken + (double)fit->memory.total);
}

static kern_status open_step(train_loop *l) {
    kern_status status = KERN_OK;
    train_fit fit;
    const conf_train *train = &l->conf->train;
    TRY(fit_step(l, &fit));
    /* Sums depend on it: part of the course. One that is given may be more than a rank reads. */
    if (!train->micro_batch) l->conf->train.micro_batch = fit.micro_batch;
    TRY(train_step_allocate(l->step));
    l->buffers = train_step_memory_of(l->step);
    int32_t **const tokens[] = {&l->tokens, &l->next};
    size_t batch = (size_t)(l->buffers.sequences * (train->context + 1)) * sizeof **tokens[0];
    for (int i = 0; i < 2; i++) TRY(kern_alloc((void **)tokens[i], batch, "batch"));
    l->tensors = train_checkpoint_tensors_create(&l->buffers);
    TRY(train_course_hash(&l->state.config_hash, l->conf, data_source_fingerprint(l->source)));
done:
    return status;
}

static kern_status load_origin(void *context, const char *checkpoint) {
    train_loop *l = context;
    train_state ignored;
    char *before = l->origin;
    l->origin = train_text("%s", checkpoint);
    free(before);
    kern_status status =
        train_checkpoint_load(&ignored, l->origin, &l->tensors->parameters, NULL, l->ranks->job);
    if (status == KERN_OK) train_step_gather(l->step);
    return status;
}

kern_status train_loop_start_weights(train_loop *l) {
    if (!l->origin) {
        train_step_start(l->step);
        return KERN_OK;
    }
    /* Several ranks keep to the checkpoint that the first one found. */
    const char *source = l->ranks->job->ranks > 1 ? l->origin : l->conf->train.init_from;
    kern_status status = l->ranks->job->ranks > 1 ? load_origin(l, source)
                                                  : train_history_use(source, load_origin, l);
    if (status != KERN_OK)
        return kern_fail_context(status, "train.init_from=%s", l->conf->train.init_from);
    train_terminal_say(stderr, "starting from the weights of %s", l->origin);
    return KERN_OK;
}

static kern_status open_outputs(train_loop *l) {
    kern_status status = KERN_OK;
    TRY(train_algorithms_save(l->run, l->buffers.device));
    TRY(train_metrics_open(&l->metrics, l->run->metrics, l->state.step));
    if (l->checkpoint) {
        char *path = train_text("%s/metrics.jsonl", l->checkpoint);
        status = train_metrics_catch_up(l->metrics, path, l->state.step);
        free(path);
        TRY(status);
    }
    /* The event files of early programs have numbers from 0. */
    int64_t again = l->state.step + !train_metrics_renumbered(l->metrics);
    TRY(train_events_open(&l->events, l->run->events, l->state.step ? again : 0));
    kern_dtype product = l->conf->train.precision == CONF_BF16 ? KERN_BF16 : l->buffers.dtype;
    const kern_machine *machine = l->buffers.device->machine;
    if (machine->memory <= 0)
        l->peak = kern_matmul_peak(product, l->threads);
    else /* NAN: of a GPU without figures no share is told */
        l->peak = machine->f32_flops > 0 ? kern_machine_flops(machine, product) : (double)NAN;
    l->peak *= l->ranks->job->ranks;
    l->flops = train_model_flops(l->conf);
    l->progress = train_progress_create(stderr, l->state.step, l->conf->train.steps, 10);
done:
    return status;
}

kern_status train_loop_open_outputs(train_loop *l) {
    return kern_comm_meet(l->ranks->job, l->first ? open_outputs(l) : KERN_OK);
}

/* What a run calls itself must be what it is; a checkpoint that is named is taken for its weights
 * alone. */
static kern_status accept_origin(void *context, const char *checkpoint) {
    kern_status status = KERN_OK;
    train_loop *l = context;
    ttt_conf *conf = NULL;
    train_state state;
    const char *source = l->conf->train.init_from;
    char *config = train_text("%s/config.yaml", source);
    data_vocabulary_destroy(l->origin_vocabulary);
    l->origin_vocabulary = NULL;
    TRY(train_checkpoint_vocabulary(&l->origin_vocabulary, &state, checkpoint));
    if (strcmp(checkpoint, source)) {
        TRY(infer_load(&conf, config, 0, NULL));
        TRY(train_course_check(&state, conf, NULL, config, checkpoint));
    }
    free(l->origin);
    l->origin = train_text("%s", checkpoint);
done:
    conf_destroy(conf);
    free(config);
    return status;
}

static kern_status find_origin(train_loop *l) {
    kern_status status = KERN_OK;
    train_state ignored;
    if (l->first) status = train_history_use(l->conf->train.init_from, accept_origin, l);
    TRY(kern_comm_meet(l->ranks->job, status));
    TRY(train_tell_text(&l->origin, l->ranks->job));
    if (!l->first) TRY(train_checkpoint_vocabulary(&l->origin_vocabulary, &ignored, l->origin));
done:
    if (status == KERN_OK) return KERN_OK;
    return kern_fail_context(status, "train.init_from=%s", l->conf->train.init_from);
}

static kern_status check_disk(const train_loop *l, const char *dir, const char *checkpoints) {
    kern_status status = KERN_OK;
    int64_t there = 0;
    if (checkpoints) TRY(train_history_count(&there, checkpoints));
    train_disk disk = train_disk_plan(l->conf, l->buffers.layout, l->buffers.dtype,
                                      (int64_t)l->vocabulary->file_bytes);
    TRY(train_disk_check(&disk, dir, there, checkpoints != NULL));
done:
    return status;
}

kern_status train_loop_check_disk(const train_loop *l, const char *dir, const char *checkpoints) {
    return kern_comm_meet(l->ranks->job, l->first ? check_disk(l, dir, checkpoints) : KERN_OK);
}

/* Ranks on several machines may find other files under the same names. */
static kern_status agree(const train_loop *l) {
    char *text = train_text("data.train (checksum): %08x\nvocabulary: %s %s\n",
                            (unsigned)data_source_fingerprint(l->source), l->vocabulary->name,
                            l->vocabulary->hash);
    kern_status status = kern_comm_same(l->ranks->job, text);
    free(text);
    return status;
}

/* What each rank does by itself. */
static kern_status open_inputs(train_loop *l) {
    kern_status status = KERN_OK;
    TRY(open_data(l));
    TRY(open_vocabulary(l));
    TRY(train_validation_create(&l->validation, l->conf, l->vocabulary, l->ranks, l->threads));
done:
    return status;
}

kern_status train_loop_begin(train_loop *l, const ttt_conf *conf, const kern_ranks *ranks) {
    kern_status status = KERN_OK;
    l->ranks = ranks;
    l->first = ranks->job->rank == 0;
    TRY(conf_copy(&l->conf, conf));
    l->saved_step = -1;
    l->threads = train_threads(conf);
    omp_set_num_threads(l->threads);
    if (l->run) TRY(train_algorithms_load(l->run, l->conf));
    if (*conf->train.init_from && !l->checkpoint) TRY(find_origin(l));
    TRY(kern_comm_meet(ranks->job, open_inputs(l)));
    TRY(agree(l));
    TRY(open_step(l));
done:
    return status;
}

void train_loop_end(train_loop *l) {
    train_progress_destroy(l->progress);
    if (l->signals) train_signals_restore(&l->handlers);
    train_metrics_close(l->metrics);
    train_events_close(l->events);
    train_checkpoint_tensors_destroy(l->tensors);
    train_validation_destroy(l->validation);
    train_step_destroy(l->step);
    data_vocabulary_destroy(l->vocabulary);
    data_vocabulary_destroy(l->origin_vocabulary);
    data_source_destroy(l->source);
    free(l->origin);
    kern_free(l->tokens);
    kern_free(l->next);
    conf_destroy(l->conf);
}
