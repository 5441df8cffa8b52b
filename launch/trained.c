#include "launch/trained.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "configs/conf.h"
#include "infer/mixer.h"
#include "launch/agree.h"
#include "launch/ranks.h"
#include "train/checkpoint.h"
#include "train/course.h"
#include "train/files.h"
#include "train/history.h"
#include "train/vocabulary.h"

/* Its directory's last name; with the step where a checkpoint of a run was named. */
static char *label_of(const launch_trained *run, const char *word) {
    char *path = realpath(run->dir, NULL), *step = strstr(run->checkpoint, "step-");
    const char *name = path && strrchr(path, '/') ? strrchr(path, '/') + 1 : run->dir;
    for (char *next = step; next; next = strstr(next + 1, "step-")) step = next;
    char *label = strcmp(run->dir, word) && step
                      ? train_text("%s@%lld", name, strtoll(step + strlen("step-"), NULL, 10))
                      : train_text("%s", name);
    free(path);
    return label;
}

static kern_status accept(void *context, const char *checkpoint) {
    kern_status status = KERN_OK;
    launch_trained *run = context;
    train_state state;
    data_vocabulary_destroy(run->vocabulary);
    run->vocabulary = NULL;
    TRY(train_checkpoint_vocabulary(&run->vocabulary, &state, checkpoint));
    TRY(train_course_check(&state, run->conf, NULL, run->config, checkpoint));
    TRY(train_vocabulary_fit(run->vocabulary, &run->conf->model, checkpoint));
    free(run->checkpoint);
    run->checkpoint = train_text("%s", checkpoint);
    run->step = state.step;
done:
    return status;
}

kern_status launch_trained_open(launch_trained *run, const char *word, const char *device,
                                int64_t tensor) {
    kern_status status = KERN_OK;
    TRY(kern_device_open(&run->device, device));
    run->word = train_text("%s", word);
    TRY(train_history_config(&run->config, &run->dir, word));
    run->alone = !run->dir;
    if (run->alone) run->dir = train_text("%s", word);
    TRY(infer_load(&run->conf, run->config, 0, NULL));
    TRY(launch_agree(run->conf));
    TRY(launch_ranks_open(&run->ranks, run->device, tensor ? tensor : launch_ranks_count()));
    TRY(infer_check_ranks(run->conf, run->ranks->tensor->ranks));
    TRY(train_history_use(word, accept, run));
    run->label = label_of(run, word);
done:
    return status;
}

static kern_status load(void *context, const char *checkpoint) {
    kern_status status = KERN_OK;
    launch_trained *run = context;
    kern_dtype dtype = run->conf->train.precision == CONF_F64 ? KERN_F64 : KERN_F32;
    train_state state;
    uint32_t crc;
    data_safetensors *file;
    if (!run->layout) run->layout = infer_parameters_create(run->conf);
    train_tensor *items = kern_array(run->layout->count, sizeof *items);
    for (int i = 0; i < run->layout->count; i++) {
        const infer_parameter *p = &run->layout->item[i];
        items[i] = (train_tensor){.name = p->name,
                                  .dtype = dtype,
                                  .rank = p->rank,
                                  .shape = {p->dim[0], p->dim[1], p->dim[2]}};
    }
    train_tensors tensors = {.count = run->layout->count, .items = items};
    TRY(train_checkpoint_open(&file, &state, &crc, checkpoint, &tensors));
    TRY(infer_values_open(&run->values, run->conf, run->ranks->tensor, run->readers, run->device,
                          file));
    run->step = state.step;
    snprintf(run->identity, sizeof run->identity, "step %lld, weights %08x", (long long)state.step,
             (unsigned)crc);
    free(run->checkpoint);
    run->checkpoint = train_text("%s", checkpoint);
done:
    free(items);
    return status;
}

kern_status launch_trained_load(launch_trained *run, infer_readers readers) {
    kern_status status = KERN_OK;
    char text[96];
    run->readers = readers;
    TRY(train_history_use(run->word, load, run));
    snprintf(text, sizeof text, "the weights: %s\n", run->identity);
    TRY(kern_comm_same(run->ranks->job, text));
done:
    return status;
}

void launch_trained_unload(launch_trained *run) {
    infer_values_destroy(run->values);
    run->values = NULL;
}

void launch_trained_close(launch_trained *run) {
    free(run->word);
    free(run->config);
    free(run->dir);
    free(run->checkpoint);
    free(run->label);
    conf_destroy(run->conf);
    data_vocabulary_destroy(run->vocabulary);
    infer_parameters_destroy(run->layout);
    infer_values_destroy(run->values);
    launch_ranks_close(run->ranks);
}
