#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "launch/niah.h"
#include "train/files.h"

struct launch_niah_samples {
    const launch_niah_plan *plan;
    const char *const *paths; /* [file_count] */
    int64_t file_count;
    const infer_needle_spec *spec;
    data_needle_maker *maker;   /* NULL where there are files */
    data_needle_reader *reader; /* of the group that is being read */
    launch_niah_group *group;
    int64_t groups, capacity;
};

static launch_niah_group *add_group(launch_niah_samples *samples) {
    samples->group =
        kern_grow(samples->group, &samples->capacity, samples->groups + 1, sizeof *samples->group);
    launch_niah_group *group = &samples->group[samples->groups++];
    *group = (launch_niah_group){.task = 0};
    return group;
}

/* Each run reads a file again, which what comes through a pipe cannot be. */
static kern_status check_file(const char *path) {
    struct stat about;
    if (strcmp(path, "-") && (stat(path, &about) || !S_ISFIFO(about.st_mode))) return KERN_OK;
    return kern_fail(KERN_ERR_USAGE,
                     "--ruler %s: is read several times, which a pipe or the standard input cannot "
                     "be; name a file",
                     path);
}

/* A file's samples are counted, and their tokens in this vocabulary. */
static kern_status survey(launch_niah_samples *samples, const char *path) {
    kern_status status = KERN_OK;
    data_needle_reader *reader = NULL;
    data_needle sample = {.index = 0};
    launch_niah_group *group = add_group(samples);
    group->label = train_text("%s", path);
    TRY(check_file(path));
    TRY(data_needle_reader_open(&reader, path));
    for (;; group->samples++) {
        bool more;
        data_tokens prompt;
        TRY(data_needle_read(&sample, &more, reader));
        if (!more) break;
        status = infer_needle_prompt(&prompt, &sample, samples->spec);
        int64_t length = prompt.count + samples->spec->answer_tokens;
        free(prompt.ids);
        data_needle_clear(&sample);
        if (status != KERN_OK) goto done;
        group->length = length > group->length ? length : group->length;
    }
    if (group->samples == 0)
        TRY(kern_fail(KERN_ERR_DATA, "%s has no samples; is it one of RULER's jsonl files?", path));
done:
    data_needle_reader_close(reader);
    return status;
}

/* The groups of our own tasks; the first sample of each is made, to see that there is room. */
static kern_status plan_groups(launch_niah_samples *samples) {
    kern_status status = KERN_OK;
    const launch_niah_plan *plan = samples->plan;
    TRY(data_needle_maker_create(&samples->maker, samples->spec->vocabulary, plan->text,
                                 samples->spec->begin));
    for (int64_t t = 0; t < plan->task_count; t++)
        for (int64_t l = 0; l < plan->length_count; l++) {
            data_needle sample;
            int64_t depth;
            launch_niah_group *group = add_group(samples);
            group->label = train_text("%lld", (long long)plan->tasks[t]);
            group->task = (int)plan->tasks[t];
            group->length = plan->lengths[l];
            group->samples = plan->samples;
            TRY(launch_niah_sample(&sample, &depth, samples, samples->groups - 1, 0));
            data_needle_clear(&sample);
        }
done:
    return status;
}

kern_status launch_niah_samples_create(launch_niah_samples **out, const launch_niah_plan *plan,
                                       const char *const *paths, int64_t count,
                                       const infer_needle_spec *spec) {
    kern_status status = KERN_OK;
    launch_niah_samples *samples = NULL;
    *out = NULL;
    TRY(kern_alloc_zero((void **)&samples, sizeof *samples, "samples"));
    samples->plan = plan;
    samples->paths = paths;
    samples->file_count = count;
    samples->spec = spec;
    for (int64_t i = 0; i < count; i++) TRY(survey(samples, paths[i]));
    if (count == 0) TRY(plan_groups(samples));
    *out = samples;
    samples = NULL;
done:
    launch_niah_samples_destroy(samples);
    return status;
}

void launch_niah_samples_destroy(launch_niah_samples *samples) {
    if (!samples) return;
    for (int64_t i = 0; i < samples->groups; i++) free(samples->group[i].label);
    free(samples->group);
    data_needle_reader_close(samples->reader);
    data_needle_maker_destroy(samples->maker);
    kern_free(samples);
}

int64_t launch_niah_groups(const launch_niah_samples *samples) {
    return samples->groups;
}

const launch_niah_group *launch_niah_group_of(const launch_niah_samples *samples, int64_t group) {
    ASSERT(group >= 0 && group < samples->groups);
    return &samples->group[group];
}

static kern_status read_sample(data_needle *sample, launch_niah_samples *samples,
                               const launch_niah_group *group, int64_t i) {
    kern_status status = KERN_OK;
    bool more;
    if (i == 0) {
        data_needle_reader_close(samples->reader);
        samples->reader = NULL;
        TRY(data_needle_reader_open(&samples->reader, group->label));
    }
    TRY(data_needle_read(sample, &more, samples->reader));
    if (!more)
        TRY(kern_fail(KERN_ERR_DATA, "%s became shorter while it was read; start again",
                      group->label));
done:
    return status;
}

kern_status launch_niah_sample(data_needle *sample, int64_t *depth, launch_niah_samples *samples,
                               int64_t group_index, int64_t i) {
    kern_status status = KERN_OK;
    const launch_niah_group *group = launch_niah_group_of(samples, group_index);
    const launch_niah_plan *plan = samples->plan;
    *sample = (data_needle){.index = 0};
    if (!group->task) {
        TRY(read_sample(sample, samples, group, i));
        double percent = data_needle_depth(sample);
        *depth = percent < 0 ? plan->depths : lrint(percent * (double)(plan->depths - 1) / 100);
    } else {
        *depth = i % plan->depths;
        data_needle_spec spec = {.task = group->task,
                                 .length = group->length,
                                 .answer_tokens = samples->spec->answer_tokens,
                                 .depth = data_needle_depth_of(*depth, plan->depths),
                                 .index = i,
                                 .seed = plan->seed};
        TRY(data_needle_make(sample, samples->maker, &spec));
    }
done:
    return status;
}

kern_status launch_niah_write(launch_niah_samples *samples, const char *path) {
    kern_status status = KERN_OK;
    char *text = NULL;
    int64_t bytes = 0, capacity = 0;
    for (int64_t g = 0; g < samples->groups; g++)
        for (int64_t i = 0; i < samples->group[g].samples; i++) {
            data_needle sample;
            int64_t depth;
            TRY(launch_niah_sample(&sample, &depth, samples, g, i));
            char *line = data_needle_line(&sample);
            data_needle_clear(&sample);
            if (!line) TRY(kern_fail(KERN_ERR_MEMORY, "no memory for JSON"));
            int64_t length = (int64_t)strlen(line);
            text = kern_grow(text, &capacity, bytes + length + 1, 1);
            memcpy(text + bytes, line, (size_t)length);
            bytes += length;
            text[bytes++] = '\n';
            free(line);
        }
    TRY(train_write_file(path, text, (size_t)bytes));
done:
    free(text);
    return status;
}
