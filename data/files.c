#include "data/files.h"
#include "data/json_fault.h"

#include <errno.h>
#include <glob.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static kern_status add_path(data_files *files, const char *path) {
    char *copy = strdup(path);
    if (!copy) return kern_fail(KERN_ERR_MEMORY, "no memory for the name of a file");
    files->paths =
        kern_grow(files->paths, &files->capacity, files->count + 1, sizeof *files->paths);
    files->paths[files->count++] = copy;
    return KERN_OK;
}

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), wanted = strlen(end);
    return length >= wanted && !strcmp(text + length - wanted, end);
}

/* Adds the shards of an index: they lie beside it. */
static kern_status add_index(data_files *files, const char *path) {
    kern_status status = KERN_OK;
    char *shard = NULL;
    json_error_t error;
    json_t *index = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    const json_t *shards = json_object_get(index, "shards");
    int folder = (int)(strrchr(path, '/') ? strrchr(path, '/') - path + 1 : 0);
    if (!index && access(path, R_OK))
        TRY(kern_fail(KERN_ERR_FILE, "%s: cannot be opened: %s", path, strerror(errno)));
    if (json_array_size(shards) == 0)
        TRY(kern_fail(KERN_ERR_DATA, "%s: is no index of shards%s%s", path, index ? "" : ": ",
                      index ? "" : data_json_fault(&error)));
    for (size_t i = 0; i < json_array_size(shards); i++) {
        const char *name = json_string_value(json_object_get(json_array_get(shards, i), "file"));
        if (!name || !*name || strchr(name, '/'))
            TRY(kern_fail(KERN_ERR_DATA, "%s: shard %d has no name", path, (int)i));
        free(shard);
        if (asprintf(&shard, "%.*s%s", folder, path, name) < 0) shard = NULL;
        if (!shard) TRY(kern_fail(KERN_ERR_MEMORY, "no memory for the name of a file"));
        if (access(shard, F_OK))
            TRY(kern_fail(KERN_ERR_FILE, "%s: its shard %s is missing", path, name));
        TRY(add_path(files, shard));
    }
done:
    free(shard);
    json_decref(index);
    return status;
}

kern_status data_files_add(data_files *files, const char *pattern) {
    kern_status status = KERN_OK;
    if (!strpbrk(pattern, "*?[") || access(pattern, F_OK) == 0)
        return ends_with(pattern, "-index.json") ? add_index(files, pattern)
                                                 : add_path(files, pattern);
    glob_t found = {0};
    int result = glob(pattern, 0, NULL, &found);
    if (result == GLOB_NOMATCH)
        status = kern_fail(KERN_ERR_USAGE, "no file matches %s", pattern);
    else if (result)
        status = kern_fail(KERN_ERR_FILE, "%s: a folder of it cannot be read", pattern);
    for (size_t i = 0; status == KERN_OK && i < found.gl_pathc; i++)
        status = add_path(files, found.gl_pathv[i]);
    globfree(&found);
    return status;
}

/* Moves the item that *list begins with to `item`, without its escapes and outer spaces, and *list
 * behind the comma that follows. */
static void take_item(char *item, const char **list) {
    const char *at = *list + strspn(*list, " \t\n");
    size_t length = 0, kept = 0; /* kept: without the spaces at the end */
    for (; *at && *at != ','; at++) {
        bool escaped = *at == '\\' && at[1] && strchr(",\\ ", at[1]);
        if (escaped) at++;
        item[length++] = *at;
        if (escaped || !strchr(" \t\n", *at)) kept = length;
    }
    item[kept] = 0;
    *list = *at ? at + 1 : at;
}

kern_status data_files_add_list(data_files *files, const char *list) {
    kern_status status = KERN_OK;
    const char *whole = list;
    bool is_file = strchr(list, ',') && access(list, F_OK) == 0;
    char *item = malloc(strlen(list) + 1);
    if (!item) return kern_fail(KERN_ERR_MEMORY, "no memory for the names of files");
    while (*list && status == KERN_OK) {
        take_item(item, &list);
        if (is_file && !strpbrk(item, "*?[") && access(item, F_OK))
            status = kern_fail(KERN_ERR_USAGE,
                               "%s: is taken for a list with commas, and there is no %s; write a "
                               "comma within a name as \\,",
                               whole, item);
        else if (*item)
            status = data_files_add(files, item);
    }
    free(item);
    return status;
}

static int by_text(const void *left, const void *right) {
    return strcmp(*(char *const *)left, *(char *const *)right);
}

const char *data_files_twice(const data_files *files) {
    const char *twice = NULL;
    char **sorted = kern_array(files->count, sizeof *sorted);
    for (int64_t i = 0; i < files->count; i++) sorted[i] = files->paths[i];
    qsort(sorted, (size_t)files->count, sizeof *sorted, by_text);
    for (int64_t i = 1; i < files->count && !twice; i++)
        if (!strcmp(sorted[i - 1], sorted[i])) twice = sorted[i];
    free(sorted);
    return twice;
}

void data_files_clear(data_files *files) {
    for (int64_t i = 0; i < files->count; i++) free(files->paths[i]);
    free(files->paths);
    *files = (data_files){0};
}
