#include "train/history.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "train/checkpoint.h"
#include "train/files.h"

static const char PREFIX[] = "step-";

static char *step_path(const char *directory, int64_t step) {
    return train_text("%s/%s%08lld", directory, PREFIX, (long long)step);
}

/* The step of the directory name, or -1 where it is no checkpoint's name. */
static int64_t name_step(const char *name) {
    const char *digits = name + sizeof PREFIX - 1;
    if (strncmp(name, PREFIX, sizeof PREFIX - 1) != 0) return -1;
    size_t length = strlen(digits);
    if (length < 8 || length > 18 || strspn(digits, "0123456789") != length) return -1;
    if (length > 8 && digits[0] == '0') return -1; /* not how we write that number */
    return strtoll(digits, NULL, 10);
}

static int descending(const void *left, const void *right) {
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a < b) - (a > b);
}

/* The steps of the checkpoints, newest first. Free with free(). */
static kern_status list_steps(int64_t **steps, int64_t *count, const char *directory) {
    char **names = NULL;
    int64_t name_count = 0, capacity = 0;
    struct stat info;
    *steps = NULL;
    *count = 0;
    if (stat(directory, &info)) return KERN_OK;
    kern_status status = train_list(&names, &name_count, directory);
    if (status != KERN_OK) return status;
    for (int64_t i = 0; i < name_count; i++) {
        if (name_step(names[i]) < 0) continue;
        *steps = kern_grow(*steps, &capacity, *count + 1, sizeof **steps);
        (*steps)[(*count)++] = name_step(names[i]);
    }
    train_free_names(names, name_count);
    if (*count) qsort(*steps, (size_t)*count, sizeof **steps, descending);
    return KERN_OK;
}

kern_status train_history_count(int64_t *count, const char *directory) {
    int64_t *steps;
    kern_status status = list_steps(&steps, count, directory);
    free(steps);
    return status;
}

/* The error for the damaged newest checkpoint, whose reason is the message that is there. */
static kern_status refuse(const char *directory, const int64_t *steps, int64_t count) {
    train_state state;
    char *reason = train_text("%s", kern_error()), *older = NULL;
    for (int64_t i = 1; i < count && !older; i++) {
        older = step_path(directory, steps[i]);
        if (train_checkpoint_verify(&state, older) == KERN_OK) break;
        free(older);
        older = NULL;
    }
    char *newest = step_path(directory, steps[0]);
    kern_status status;
    if (older)
        status = kern_fail(KERN_ERR_DATA,
                           "the newest checkpoint %s is damaged: %s; the newest intact one is of "
                           "step %lld, to go on from there: ttt train --resume %s",
                           newest, reason, (long long)state.step, older);
    else
        status = kern_fail(KERN_ERR_DATA,
                           "the newest checkpoint %s is damaged: %s; there is no older one that is "
                           "intact, so the run has to be started anew in another directory",
                           newest, reason);
    free(newest);
    free(older);
    free(reason);
    return status;
}

kern_status train_history_latest(char **checkpoint, const char *directory) {
    int64_t *steps, count;
    train_state state;
    *checkpoint = NULL;
    kern_status status = list_steps(&steps, &count, directory);
    if (status != KERN_OK) return status;
    if (count) {
        char *newest = step_path(directory, steps[0]);
        status = train_checkpoint_verify(&state, newest);
        if (status == KERN_OK && state.step != steps[0])
            status =
                kern_fail(KERN_ERR_DATA, "its state.json is of step %lld", (long long)state.step);
        if (status == KERN_OK)
            *checkpoint = newest;
        else
            free(newest);
        if (status != KERN_OK) status = refuse(directory, steps, count);
    }
    free(steps);
    return status;
}

static bool holds(const char *directory, const char *name) {
    struct stat info;
    char *path = train_text("%s/%s", directory, name);
    bool found = !stat(path, &info);
    free(path);
    return found;
}

/* What to say of a path that a user gave and that is nothing of ours. */
static const char *if_missing(const char *source) {
    struct stat info;
    return stat(source, &info) ? ": there is nothing of that name" : "";
}

kern_status train_history_locate(char **checkpoint, const char *source) {
    *checkpoint = NULL;
    if (holds(source, "state.json")) {
        *checkpoint = train_text("%s", source);
        return KERN_OK;
    }
    if (!holds(source, "config.yaml"))
        return kern_fail(KERN_ERR_USAGE,
                         "%s is neither a run (no config.yaml) nor a checkpoint (no state.json)%s",
                         source, if_missing(source));
    char *directory = train_text("%s/checkpoints", source);
    kern_status status = train_history_latest(checkpoint, directory);
    free(directory);
    if (status == KERN_OK && !*checkpoint)
        status = kern_fail(KERN_ERR_USAGE, "the run %s has no checkpoint yet", source);
    return status;
}

kern_status train_history_run(char **run, const char *source) {
    *run = NULL;
    if (holds(source, "config.yaml")) {
        *run = train_text("%s", source);
        return KERN_OK;
    }
    /* Resolved first, so that "." and links lead to where the checkpoint really lies. */
    char *path = holds(source, "state.json") ? realpath(source, NULL) : NULL;
    char *end = path ? strstr(path, "/checkpoints/") : NULL;
    for (char *next = end; next; next = strstr(next + 1, "/checkpoints/")) end = next;
    if (end && !strchr(end + strlen("/checkpoints/"), '/')) {
        *end = 0;
        if (holds(path, "config.yaml")) {
            *run = path;
            return KERN_OK;
        }
    }
    free(path);
    return kern_fail(KERN_ERR_USAGE,
                     "%s is neither a run (no config.yaml) nor a checkpoint within one "
                     "(RUN/checkpoints/step-...)%s; weights alone are taken over by "
                     "train.init_from",
                     source, if_missing(source));
}

/* Takes the name away first, so that no half deleted directory looks like a checkpoint. */
static kern_status delete_step(const char *directory, int64_t step) {
    kern_status status = KERN_OK;
    char *path = step_path(directory, step), *aside = train_text("%s.tmp", path);
    TRY(train_remove(aside));
    TRY(train_rename(path, aside));
    TRY(train_remove(aside));
done:
    free(aside);
    free(path);
    return status;
}

kern_status train_history_prune(const char *directory, int64_t step, int64_t keep_last,
                                int64_t keep_every) {
    int64_t *steps, count, newer = 0;
    if (keep_last <= 0 && keep_every <= 0) return KERN_OK;
    kern_status status = list_steps(&steps, &count, directory);
    for (int64_t i = 0; status == KERN_OK && i < count; i++) {
        bool kept =
            steps[i] >= step || newer < keep_last || (keep_every > 0 && steps[i] % keep_every == 0);
        if (steps[i] <= step) newer++;
        if (!kept) status = delete_step(directory, steps[i]);
    }
    free(steps);
    return status;
}

static bool ends_with(const char *text, const char *suffix) {
    size_t length = strlen(text), wanted = strlen(suffix);
    return length >= wanted && !strcmp(text + length - wanted, suffix);
}

static kern_status clean_one(const char *directory, const char *name) {
    kern_status status = KERN_OK;
    struct stat info;
    char *path = train_text("%s/%s", directory, name);
    char *final = train_text("%.*s", (int)(strlen(path) - strlen(".old")), path);
    if (ends_with(name, ".tmp"))
        TRY(train_remove(path));
    else if (ends_with(name, ".old"))
        TRY(lstat(final, &info) ? train_rename(path, final) : train_remove(path));
done:
    free(final);
    free(path);
    return status;
}

kern_status train_history_clean(const char *directory) {
    char **names = NULL;
    int64_t count = 0;
    struct stat info;
    if (stat(directory, &info)) return KERN_OK;
    kern_status status = train_list(&names, &count, directory);
    for (int64_t i = 0; status == KERN_OK && i < count; i++)
        if (!strncmp(names[i], PREFIX, sizeof PREFIX - 1)) status = clean_one(directory, names[i]);
    train_free_names(names, count);
    return status;
}

kern_status train_history_supersede(const char *directory, int64_t step) {
    int64_t *steps, count;
    kern_status status = list_steps(&steps, &count, directory);
    for (int64_t i = 0; status == KERN_OK && i < count && steps[i] > step; i++) {
        char *path = step_path(directory, steps[i]);
        char *aside = train_text("%s/superseded-%s%08lld", directory, PREFIX, (long long)steps[i]);
        status = train_remove(aside);
        if (status == KERN_OK) status = train_rename(path, aside);
        free(aside);
        free(path);
    }
    free(steps);
    return status;
}
