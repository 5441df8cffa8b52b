#include "train/course.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "configs/options.h"

static bool begins(const char *text, const char *with) {
    return !strncmp(text, with, strlen(with));
}

/* May differ between a run and its continuation. */
static bool is_free(const char *name) {
    if (!strcmp(name, "data.across_documents")) return false; /* which tokens make a sample */
    if (!strcmp(name, "data.tokenizer") || !strcmp(name, "data.pattern") ||
        !strcmp(name, "data.begin"))
        return false; /* a run goes on with the vocabulary that its checkpoints carry */
    return !strcmp(name, "train.threads") || !strcmp(name, "train.device") ||
           !strcmp(name, "train.memory_limit") || begins(name, "data.") ||
           (begins(name, "run.") && strcmp(name, "run.dir") != 0);
}

/* What conf_total_steps makes of them is compared instead. */
static bool is_length(const char *name) {
    return !strcmp(name, "train.steps") || !strcmp(name, "train.total_steps");
}

kern_status train_course_hash(uint64_t *hash, const ttt_conf *conf, uint32_t data_fingerprint) {
    kern_status status = KERN_OK;
    ttt_conf *copy = NULL;
    int64_t count;
    const conf_option *options = conf_options(&count);
    TRY(conf_copy(&copy, conf));
    int64_t total = conf_total_steps(conf);
    for (int64_t i = 0; i < count; i++) {
        const char *name = options[i].name;
        if (is_free(name) || is_length(name) || !strcmp(name, "run.dir"))
            TRY(conf_option_set(copy, &options[i], options[i].fallback));
    }
    copy->train.steps = copy->train.total_steps = total;
    TRY(conf_hash(hash, copy));
    *hash = (*hash ^ data_fingerprint) * UINT64_C(0x100000001b3);
done:
    conf_destroy(copy);
    return status;
}

static kern_status refuse(const ttt_conf *changed, const conf_option *option) {
    char *value = NULL;
    size_t bytes;
    FILE *to = open_memstream(&value, &bytes);
    if (to) conf_option_print(to, changed, option);
    if (!to || fclose(to)) {
        free(value);
        return kern_fail(KERN_ERR_MEMORY, "no memory for the text of an option");
    }
    kern_fail(KERN_ERR_CONFIG,
              "%s=%s cannot be given to a run that goes on: %s; what may change are "
              "train.threads, train.memory_limit, data.train (another path of the same data), "
              "data.valid, data.test, run.* and train.steps; for anything else begin a new run "
              "with train.init_from",
              option->name, value,
              strcmp(option->name, "run.dir") != 0
                  ? "it would change the course of the training"
                  : "it stays in the directory that --resume names");
    free(value);
    return KERN_ERR_CONFIG;
}

kern_status train_course_keep(const ttt_conf *run, const ttt_conf *changed) {
    int64_t count;
    const conf_option *options = conf_options(&count);
    for (int64_t i = 0; i < count; i++) {
        const char *name = options[i].name;
        if (is_free(name) || is_length(name)) continue;
        if (!conf_option_equal(run, changed, &options[i])) return refuse(changed, &options[i]);
    }
    long long before = conf_total_steps(run), after = conf_total_steps(changed);
    if (before != after)
        return kern_fail(KERN_ERR_CONFIG,
                         "train.steps=%lld train.total_steps=%lld would make the schedule %lld "
                         "steps long, but this run's is %lld; give train.total_steps=%lld too",
                         (long long)changed->train.steps, (long long)changed->train.total_steps,
                         after, before, before);
    return KERN_OK;
}
