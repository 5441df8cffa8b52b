#include "launch/outputs.h"

#include "launch/ranks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/aside.h"
#include "data/files.h"
#include "data/kinds.h"
#include "train/files.h"

enum { HEAD = 4096 };

struct launch_output {
    launch_file_kind kind;
    char *path;
};

/* A file that is there, or the name that one would have in a folder. */
typedef struct {
    bool known;
    dev_t device;
    ino_t inode;
    const char *name; /* NULL: device and inode are the file's own; else its folder's */
} identity;

static const struct {
    const char *name, *begins; /* NULL: see is_of_kind */
} kinds[LAUNCH_FILE_KINDS] = {
    [LAUNCH_SHARD] = {"a shard", "TTTSHARD"},
    [LAUNCH_INDEX] = {"an index of shards", "{\n \"format_version\""},
    [LAUNCH_EVAL_CSV] = {"a table that ttt eval wrote", "model,bin_start,"},
    [LAUNCH_NIAH_CSV] = {"a table that ttt niah wrote", "model,task,"},
    [LAUNCH_PICTURE] = {"a PNG picture", "\x89PNG\r\n\x1a\n"},
    [LAUNCH_SAMPLES] = {"a file of samples", "{\"index\":"},
    [LAUNCH_STATE] = {"the state of a session", NULL},
    [LAUNCH_PAGE] = {"a page that ttt report wrote", "<!doctype html>\n<html lang=en>"},
    [LAUNCH_PAGE_CSV] = {"a table that ttt report wrote", "section,figure,"},
    [LAUNCH_SAVED] = {"what ttt eval saved", "{\n \"tokenizer\":"},
    [LAUNCH_MEASURE] = {"a measure that was saved", "{\"command\":"},
};

enum { RUN_FILES = 4 };
static const char *const run_files[RUN_FILES] = {"config.yaml", "metrics.jsonl", "lock",
                                                 "algorithms"};

void launch_outputs_clear(launch_outputs *outputs) {
    for (int64_t i = 0; i < outputs->count; i++) free(outputs->item[i].path);
    for (int64_t i = 0; i < outputs->reads; i++) free(outputs->read[i]);
    free(outputs->item);
    free(outputs->read);
    *outputs = (launch_outputs){0};
}

void launch_outputs_write(launch_outputs *outputs, launch_file_kind kind, const char *path) {
    if (!path) return;
    outputs->item =
        kern_grow(outputs->item, &outputs->capacity, outputs->count + 1, sizeof *outputs->item);
    outputs->item[outputs->count++] = (struct launch_output){kind, train_text("%s", path)};
}

void launch_outputs_read(launch_outputs *outputs, const char *path) {
    if (!path) return;
    outputs->read = kern_grow(outputs->read, &outputs->read_capacity, outputs->reads + 1,
                              sizeof *outputs->read);
    outputs->read[outputs->reads++] = train_text("%s", path);
}

static void read_files(launch_outputs *outputs, data_files *files) {
    for (int64_t i = 0; i < files->count; i++) launch_outputs_read(outputs, files->paths[i]);
    data_files_clear(files);
}

void launch_outputs_read_word(launch_outputs *outputs, const char *word) {
    data_files files = {0};
    launch_outputs_read(outputs, word); /* an index lists others, and is read, too */
    data_files_add(&files, word);
    read_files(outputs, &files);
}

void launch_outputs_read_list(launch_outputs *outputs, const char *list) {
    data_files files = {0};
    data_files_add_list(&files, list);
    read_files(outputs, &files);
}

static char *folder_of(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash) return train_text(".");
    return train_text("%.*s", (int)(slash == path ? 1 : slash - path), path);
}

static const char *name_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static identity identify(const char *path) {
    struct stat about;
    identity found = {.known = !(strcmp(path, "-") ? stat(path, &about) : fstat(0, &about))};
    if (!found.known) {
        char *folder = folder_of(path);
        found.known = !stat(folder, &about);
        found.name = name_of(path);
        free(folder);
    }
    if (found.known) found.device = about.st_dev, found.inode = about.st_ino;
    return found;
}

static bool same(identity a, identity b) {
    return a.known && b.known && a.device == b.device && a.inode == b.inode && !a.name == !b.name &&
           (!a.name || !strcmp(a.name, b.name));
}

static bool exists_in(const char *folder, const char *name) {
    char *path = train_text("%s/%s", folder, name);
    bool found = !access(path, F_OK);
    free(path);
    return found;
}

static void read_folder(launch_outputs *outputs, const char *folder) {
    char **names = NULL;
    int64_t count = 0;
    if (train_list(&names, &count, folder) != KERN_OK) return;
    for (int64_t i = 0; i < count; i++) {
        char *path = train_text("%s/%s", folder, names[i]);
        launch_outputs_read(outputs, path);
        free(path);
    }
    train_free_names(names, count);
}

void launch_outputs_read_run(launch_outputs *outputs, const char *word) {
    char **names = NULL, *checkpoints = train_text("%s/checkpoints", word);
    int64_t count = 0;
    bool run = train_list(&names, &count, checkpoints) == KERN_OK;
    for (int i = 0; run && i < RUN_FILES; i++) {
        char *path = train_text("%s/%s", word, run_files[i]);
        launch_outputs_read(outputs, path);
        free(path);
    }
    for (int64_t i = 0; i < count; i++) {
        char *checkpoint = train_text("%s/%s", checkpoints, names[i]);
        read_folder(outputs, checkpoint);
        free(checkpoint);
    }
    if (exists_in(word, "state.json")) read_folder(outputs, word); /* a checkpoint */
    train_free_names(names, count);
    free(checkpoints);
}

/* Whether FOLDER/rest is, or would be, a part of the run or checkpoint in `folder`. */
static bool is_part(const char *folder, const char *rest, bool is_there) {
    if (exists_in(folder, "state.json") && exists_in(folder, "model.safetensors")) return true;
    if (!exists_in(folder, "config.yaml") || !exists_in(folder, "checkpoints")) return false;
    for (int i = 0; i < RUN_FILES; i++)
        if (!strcmp(rest, run_files[i])) return true;
    if (!strncmp(rest, "eval/", 5)) return is_there;
    return !strncmp(rest, "checkpoints/", 12) || !strncmp(rest, "events/", 7);
}

/* The path as the system sees it, as far as it is there; free(). */
static char *resolve(const char *path) {
    char *folder = folder_of(path), *real = realpath(folder, NULL);
    if (!real && strcmp(folder, ".") && strcmp(folder, "/")) real = resolve(folder);
    char *whole = train_text("%s/%s", real ? real : "", name_of(path));
    free(folder);
    free(real);
    return whole;
}

static kern_status refuse_part_of_run(const char *path, const char *target) {
    kern_status status = KERN_OK;
    char *whole = resolve(target);
    bool is_there = !access(target, F_OK);
    for (char *slash = strchr(whole + 1, '/'); slash && status == KERN_OK;
         slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (is_part(whole, slash + 1, is_there))
            status = kern_fail(KERN_ERR_USAGE, "%s: belongs to the run in %s; name another place",
                               path, whole);
        *slash = '/';
    }
    free(whole);
    return status;
}

kern_status launch_outputs_check_folder(const char *folder) {
    return refuse_part_of_run(folder, folder);
}

static bool is_of_kind(launch_file_kind kind, const char *head, int64_t bytes) {
    static const char state[] = "ttt-state-";
    const char *begins = kinds[kind].begins;
    if (begins) return bytes >= (int64_t)strlen(begins) && !memcmp(head, begins, strlen(begins));
    return memmem(head, (size_t)bytes, state, strlen(state)) != NULL;
}

static kern_status refuse_other_kind(const struct launch_output *output, const char *target) {
    char head[HEAD];
    int descriptor = open(target, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0 && errno == ENOENT) return KERN_OK;
    int64_t bytes = descriptor < 0 ? -1 : read(descriptor, head, sizeof head);
    int reason = errno;
    if (descriptor >= 0) close(descriptor);
    if (bytes < 0)
        return kern_fail(KERN_ERR_FILE, "%s: is there, and what it is cannot be seen: %s",
                         output->path, strerror(reason));
    if (bytes == 0 || is_of_kind(output->kind, head, bytes)) return KERN_OK;
    const data_kind *kind = data_kind_of(head, bytes);
    return kern_fail(KERN_ERR_USAGE,
                     "%s: is there and is not %s%s%s%s; name another file, or "
                     "replace it with --force",
                     output->path, kinds[output->kind].name, kind ? " (it is " : "",
                     kind ? kind->name : "", kind ? ")" : "");
}

static kern_status compare(const launch_outputs *outputs, int64_t i, const char *path) {
    const char *called = outputs->item[i].path;
    identity found = identify(path);
    for (int64_t r = 0; r < outputs->reads; r++)
        if (same(found, identify(outputs->read[r])))
            return kern_fail(KERN_ERR_USAGE,
                             "%s: writing it would destroy %s, which is read; name another file",
                             called, outputs->read[r]);
    struct stat about;
    bool to_file = !fstat(STDOUT_FILENO, &about) && S_ISREG(about.st_mode);
    if (to_file && same(found, (identity){true, about.st_dev, about.st_ino, NULL}))
        return kern_fail(KERN_ERR_USAGE, "%s: is where the standard output goes; name another file",
                         called);
    return KERN_OK;
}

/* What is written at that path, and before under another name; free() both. */
static kern_status find_names(char *name[2], const char *path) {
    kern_status status = data_aside_target(&name[0], path);
    name[1] = status == KERN_OK ? train_text("%s.partial", name[0]) : NULL;
    return status;
}

static kern_status compare_outputs(const launch_outputs *outputs, int64_t a, int64_t b) {
    kern_status status = KERN_OK;
    char *left[2] = {NULL}, *right[2] = {NULL};
    TRY(find_names(left, outputs->item[a].path));
    TRY(find_names(right, outputs->item[b].path));
    for (int i = 0; i < 4; i++)
        if (same(identify(left[i / 2]), identify(right[i % 2])))
            TRY(kern_fail(KERN_ERR_USAGE, "%s and %s are one file, which would be written twice",
                          outputs->item[a].path, outputs->item[b].path));
done:
    for (int i = 0; i < 2; i++) free(left[i]), free(right[i]);
    return status;
}

static kern_status check_output(const launch_outputs *outputs, int64_t i, bool force) {
    kern_status status = KERN_OK;
    const struct launch_output *output = &outputs->item[i];
    char *name[2] = {NULL};
    if (!*output->path) TRY(kern_fail(KERN_ERR_USAGE, "a file to be written has an empty name"));
    if (!strcmp(output->path, "-"))
        TRY(kern_fail(KERN_ERR_USAGE, "-: this goes to a file, which appears when it is whole, and "
                                      "not to the standard output; name one"));
    TRY(find_names(name, output->path));
    if (output->kind != LAUNCH_SAVED && output->kind != LAUNCH_MEASURE)
        TRY(refuse_part_of_run(output->path, name[0]));
    for (int n = 0; n < 2; n++) TRY(compare(outputs, i, name[n]));
    for (int64_t other = 0; other < i; other++) TRY(compare_outputs(outputs, other, i));
    if (!force) TRY(refuse_other_kind(output, name[0]));
done:
    free(name[0]);
    free(name[1]);
    return status;
}

/* Whether a file can be written there: it is begun, and given up. */
static kern_status try_place(const char *path) {
    data_aside *file;
    kern_status status = data_aside_create(&file, path);
    data_aside_destroy(file);
    return status;
}

kern_status launch_outputs_check(const launch_outputs *outputs, bool force) {
    kern_status status = KERN_OK;
    if (launch_ranks_rank()) return KERN_OK; /* the first one writes */
    for (int64_t i = 0; i < outputs->count; i++) TRY(check_output(outputs, i, force));
    for (int64_t i = 0; i < outputs->count; i++) TRY(try_place(outputs->item[i].path));
done:
    return status;
}
