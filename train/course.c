#include "train/course.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "configs/options.h"
#include "train/files.h"
#include "train/terminal.h"

/* Of FNV-1a (64 bit), and its inverse: their product is 1 (mod 2^64). */
static const uint64_t PRIME = UINT64_C(0x100000001b3), INVERSE = UINT64_C(0xce965057aff6957b);

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
           !strcmp(name, "train.memory_limit") || begins(name, "data.") || begins(name, "ranks.") ||
           (begins(name, "run.") && strcmp(name, "run.dir") != 0);
}

/* What conf_total_steps makes of them is compared instead. */
static bool is_length(const char *name) {
    return !strcmp(name, "train.steps") || !strcmp(name, "train.total_steps");
}

/* Part of the course as it is. */
static bool is_course(const char *name) {
    return !is_free(name) && !is_length(name) && strcmp(name, "run.dir") != 0;
}

uint64_t train_course_fnv(const char *text) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *text; text++) hash = (hash ^ (unsigned char)*text) * PRIME;
    return hash;
}

/* "name=value" as conf_option_print has it; free() it. NULL: no memory. */
static char *assignment(const ttt_conf *conf, const conf_option *option) {
    char *text = NULL;
    size_t bytes;
    FILE *to = open_memstream(&text, &bytes);
    if (!to) return NULL;
    fprintf(to, "%s=", option->name);
    conf_option_print(to, conf, option);
    if (!fclose(to)) return text;
    free(text);
    return NULL;
}

/* Of what is not at its fallback alone, and in no order: so an option may be added to the table,
 * anywhere, and courses keep their hashes. */
static kern_status hash_options(uint64_t *hash, const ttt_conf *conf) {
    kern_status status = KERN_OK;
    ttt_conf *fallback = NULL;
    char total[64];
    int64_t count;
    const conf_option *options = conf_options(&count);
    TRY(conf_create(&fallback));
    snprintf(total, sizeof total, "total_steps=%lld", (long long)conf_total_steps(conf));
    *hash = train_course_fnv(total);
    for (int64_t i = 0; i < count; i++) {
        if (!is_course(options[i].name) || conf_option_equal(conf, fallback, &options[i])) continue;
        char *text = assignment(conf, &options[i]);
        if (!text) TRY(kern_fail(KERN_ERR_MEMORY, "no memory for the text of an option"));
        *hash += train_course_fnv(text);
        free(text);
    }
done:
    conf_destroy(fallback);
    return status;
}

kern_status train_course_hash(uint64_t *hash, const ttt_conf *conf, uint32_t data_fingerprint) {
    kern_status status = hash_options(hash, conf);
    *hash = (*hash ^ data_fingerprint) * PRIME;
    return status;
}

/* Whether the hash is that of these options, by their hash `options`; then *data is of the data. */
static bool is_of(uint32_t *data, uint64_t hash, uint64_t options) {
    uint64_t rest = (hash * INVERSE) ^ options;
    *data = (uint32_t)rest;
    return rest <= UINT32_MAX;
}

/* The same for an early hash, of whichever text. Options that came later have to be as they were
 * when there were none. */
static kern_status is_of_early(bool *is, uint32_t *data, uint64_t hash, const ttt_conf *conf) {
    kern_status status = KERN_OK;
    ttt_conf *fallback = NULL;
    int64_t count;
    const conf_option *options = conf_options(&count);
    *is = false;
    TRY(conf_create(&fallback));
    for (int text = 0; text < TRAIN_COURSE_EARLY_TEXTS && !*is; text++) {
        uint64_t early;
        TRY(train_course_early(&early, conf, text));
        *is = is_of(data, hash, early);
        for (int64_t i = 0; i < count; i++)
            if (is_course(options[i].name) && !train_course_early_has(options[i].name, text))
                *is = *is && conf_option_equal(conf, fallback, &options[i]);
    }
done:
    conf_destroy(fallback);
    return status;
}

kern_status train_course_compare(train_course_relation *relation, const train_state *state,
                                 const ttt_conf *conf, const uint32_t *data_fingerprint) {
    kern_status status = KERN_OK;
    uint64_t options;
    uint32_t data;
    bool same;
    if (state->early_hash) {
        TRY(is_of_early(&same, &data, state->config_hash, conf));
    } else {
        TRY(hash_options(&options, conf));
        same = is_of(&data, state->config_hash, options);
    }
    if (!same)
        *relation = TRAIN_COURSE_OTHER_OPTIONS;
    else if (data_fingerprint && data != *data_fingerprint)
        *relation = TRAIN_COURSE_OTHER_DATA;
    else
        *relation = TRAIN_COURSE_SAME;
done:
    return status;
}

/* ", train.lr=0.02 instead of train.lr=0.01": the first option that is not as in the configuration
 * `own` of the checkpoint; "" where that is not known. free() it. */
static char *difference(const ttt_conf *conf, const char *own) {
    ttt_conf *trained = NULL;
    char *text = train_text("%s", "");
    int64_t count;
    const conf_option *options = conf_options(&count);
    bool known = conf_load(&trained, own, 0, NULL) == KERN_OK;
    for (int64_t i = 0; known && i < count && !*text; i++) {
        if (!is_course(options[i].name) || conf_option_equal(conf, trained, &options[i])) continue;
        char *here = assignment(conf, &options[i]), *there = assignment(trained, &options[i]);
        free(text);
        text = train_text(", %s instead of %s", here ? here : "", there ? there : "");
        free(here);
        free(there);
    }
    long long total = conf_total_steps(conf), was = known ? conf_total_steps(trained) : total;
    if (!*text && total != was) {
        free(text);
        text = train_text(", a schedule of %lld steps instead of %lld", total, was);
    }
    conf_destroy(trained);
    return text;
}

static kern_status refuse_options(const ttt_conf *conf, const char *config,
                                  const char *checkpoint) {
    char *own = train_text("%s/config.yaml", checkpoint), *differs = difference(conf, own);
    bool copy = *differs && strcmp(own, config) != 0;
    char *from = train_terminal_word(own), *to = train_terminal_word(config);
    char *advice = copy ? train_text("to put it back: cp %s %s", from, to)
                        : train_text("undo the change, or put the config.yaml of its run there");
    kern_fail(KERN_ERR_CONFIG,
              "%s was trained with other options than %s says%s; %s (to go on with other options, "
              "begin a new run with train.init_from=%s)",
              checkpoint, config, differs, advice, checkpoint);
    free(from);
    free(to);
    free(advice);
    free(differs);
    free(own);
    return KERN_ERR_CONFIG;
}

kern_status train_course_check(const train_state *state, const ttt_conf *conf,
                               const uint32_t *data_fingerprint, const char *config,
                               const char *checkpoint) {
    kern_status status = KERN_OK;
    train_course_relation relation;
    TRY(train_course_compare(&relation, state, conf, data_fingerprint));
    if (relation == TRAIN_COURSE_OTHER_OPTIONS) TRY(refuse_options(conf, config, checkpoint));
    if (relation == TRAIN_COURSE_OTHER_DATA)
        TRY(kern_fail(KERN_ERR_CONFIG,
                      "%s was trained on other data than data.train=%s; name the shards that it "
                      "was trained on (to go on with others, begin a new run with "
                      "train.init_from=%s)",
                      checkpoint, conf->data.train, checkpoint));
done:
    return status;
}

static kern_status refuse(const ttt_conf *changed, const conf_option *option) {
    char *value = assignment(changed, option);
    if (!value) return kern_fail(KERN_ERR_MEMORY, "no memory for the text of an option");
    kern_fail(KERN_ERR_CONFIG,
              "%s cannot be given to a run that goes on: %s; what may change are "
              "train.device, train.threads, train.memory_limit, data.train (another path of the "
              "same data), data.valid, data.test, run.*, ranks.* and train.steps; for anything "
              "else begin a "
              "new run with train.init_from",
              value,
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
