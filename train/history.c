#include "train/history.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "train/checkpoint.h"
#include "train/files.h"
#include "train/terminal.h"

static const char PREFIX[] = "step-";
/* Whoever trains has made a newer one before it deletes one: so many times it does not outrun us.
 * A listing may lack a name that was given and the one that was taken away meanwhile: that there is
 * none is believed when it was seen so often. */
enum { MOST_TIMES = 1000, SURE = 3 };

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
    char *word = older ? train_terminal_word(older) : NULL;
    if (older)
        status = kern_fail(KERN_ERR_DATA,
                           "the newest checkpoint %s is damaged: %s; the newest intact one is of "
                           "step %lld, to go on from there: ttt train --resume %s",
                           newest, reason, (long long)state.step, word);
    else
        status = kern_fail(KERN_ERR_DATA,
                           "the newest checkpoint %s is damaged: %s; there is no older one that is "
                           "intact, so the run has to be started anew in another directory",
                           newest, reason);
    free(newest);
    free(older);
    free(reason);
    free(word);
    return status;
}

/* What a directory is, whatever its name: another one of that name is not the same. */
typedef struct {
    bool there;
    dev_t device;
    ino_t inode;
} identity;

static identity identity_of(const char *path) {
    struct stat info;
    if (stat(path, &info)) return (identity){.there = false};
    return (identity){true, info.st_dev, info.st_ino};
}

static bool unchanged(const identity *found, const char *path) {
    identity now = identity_of(path);
    return found->there && now.there && now.device == found->device && now.inode == found->inode;
}

/* Whether a file of a checkpoint is there and may not be read, which is no damage to it. */
static bool is_closed(const char *checkpoint) {
    char **names = NULL;
    int64_t count = 0;
    bool closed = train_list(&names, &count, checkpoint) != KERN_OK;
    for (int64_t i = 0; i < count && !closed; i++) {
        char *path = train_text("%s/%s", checkpoint, names[i]);
        closed = access(path, R_OK) && errno != ENOENT;
        free(path);
    }
    train_free_names(names, count);
    return closed;
}

/* The newest of the steps; *status says whether it is intact. False: it went away meanwhile. */
static bool verify_newest(char **checkpoint, kern_status *status, const char *directory,
                          const int64_t *steps, int64_t count) {
    train_state state;
    char *newest = step_path(directory, steps[0]);
    identity found = identity_of(newest);
    *status = train_checkpoint_verify(&state, newest);
    bool there = *status == KERN_OK || unchanged(&found, newest);
    if (*status == KERN_OK && state.step != steps[0])
        *status = kern_fail(KERN_ERR_DATA, "its state.json is of step %lld", (long long)state.step);
    if (*status == KERN_OK)
        *checkpoint = newest;
    else if (there && !(*status == KERN_ERR_FILE && is_closed(newest)))
        *status = refuse(directory, steps, count);
    if (*status != KERN_OK) free(newest);
    return there;
}

kern_status train_history_latest(char **checkpoint, const char *directory) {
    int64_t *steps, count;
    bool there = false;
    kern_status status = KERN_OK;
    *checkpoint = NULL;
    for (int again = 0; !there && again < MOST_TIMES; again++) {
        status = list_steps(&steps, &count, directory);
        if (status != KERN_OK) return status;
        there =
            count ? verify_newest(checkpoint, &status, directory, steps, count) : again + 1 >= SURE;
        free(steps);
    }
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

kern_status train_history_use(const char *source,
                              kern_status (*use)(void *context, const char *checkpoint),
                              void *context) {
    kern_status status = KERN_OK;
    bool there = false;
    for (int again = 0; !there && again < MOST_TIMES; again++) {
        char *checkpoint;
        status = train_history_locate(&checkpoint, source);
        if (status != KERN_OK) return status;
        identity found = identity_of(checkpoint);
        status = use(context, checkpoint);
        there = status == KERN_OK || unchanged(&found, checkpoint);
        free(checkpoint);
    }
    return status;
}

/* The run that the checkpoint lies in, NULL: in none. */
static char *run_around(const char *checkpoint) {
    /* Resolved first, so that "." and links lead to where the checkpoint really lies. */
    char *path = realpath(checkpoint, NULL);
    char *end = path ? strstr(path, "/checkpoints/") : NULL;
    for (char *next = end; next; next = strstr(next + 1, "/checkpoints/")) end = next;
    if (end && !strchr(end + strlen("/checkpoints/"), '/')) {
        *end = 0;
        if (holds(path, "config.yaml")) return path;
    }
    free(path);
    return NULL;
}

static char *run_of(const char *source) {
    if (holds(source, "state.json")) return run_around(source);
    return holds(source, "config.yaml") ? train_text("%s", source) : NULL;
}

kern_status train_history_run(char **run, const char *source) {
    *run = run_of(source);
    if (*run) return KERN_OK;
    if (holds(source, "state.json"))
        return kern_fail(KERN_ERR_USAGE,
                         "%s is a checkpoint that lies in no run (RUN/checkpoints/step-...), so "
                         "there is none to go on with; a new run can take its weights: ttt train "
                         "CONFIG train.init_from=%s",
                         source, source);
    return kern_fail(KERN_ERR_USAGE,
                     "%s is neither a run (no config.yaml) nor a checkpoint (no state.json)%s",
                     source, if_missing(source));
}

kern_status train_history_config(char **config, char **run, const char *source) {
    *config = NULL;
    *run = run_of(source);
    if (*run || (holds(source, "state.json") && holds(source, "config.yaml"))) {
        *config = train_text("%s/config.yaml", *run ? *run : source);
        return KERN_OK;
    }
    if (!holds(source, "state.json")) return train_history_run(run, source);
    return kern_fail(KERN_ERR_USAGE,
                     "%s lies in no run (RUN/checkpoints/step-...) and has no config.yaml, as is "
                     "so for those of early programs: copy its run's config.yaml into it",
                     source);
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
