#include "data/pack_parts.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The file's name without folder, .gz and one more extension; free() it. */
static char *stem_of(const char *path) {
    const char *slash = strrchr(path, '/');
    char *stem = strdup(slash ? slash + 1 : path);
    if (!stem) return NULL;
    size_t length = strlen(stem);
    if (length > 3 && !strcmp(stem + length - 3, ".gz")) stem[length - 3] = 0;
    char *dot = strrchr(stem, '.');
    if (dot && dot != stem) *dot = 0;
    return stem;
}

typedef struct {
    char *stem;
    int64_t file;
} named;

static int by_stem(const void *left, const void *right) {
    const named *a = left, *b = right;
    int order = strcmp(a->stem, b->stem);
    return order ? order : (a->file > b->file) - (a->file < b->file);
}

static bool is_utf8(const char *name) {
    json_t *text = json_string(name);
    json_decref(text);
    return text != NULL;
}

kern_status data_pack_names(char ***out, const data_files *files) {
    kern_status status = KERN_OK;
    named *list = NULL;
    char **names = NULL;
    int64_t count = files->count;
    *out = NULL;
    const char *twice = data_files_twice(files);
    if (twice)
        TRY(kern_fail(KERN_ERR_USAGE, "%s is named twice; a text must be packed once", twice));
    TRY(kern_alloc_zero((void **)&list, (size_t)count * sizeof *list, "names of documents"));
    TRY(kern_alloc_zero((void **)&names, (size_t)count * sizeof *names, "names of documents"));
    for (int64_t i = 0; i < count; i++) {
        list[i] = (named){stem_of(files->paths[i]), i};
        if (!list[i].stem) TRY(kern_fail(KERN_ERR_MEMORY, "no memory for names of documents"));
    }
    qsort(list, (size_t)count, sizeof *list, by_stem);
    for (int64_t i = 0; i < count; i++) {
        bool shared = (i > 0 && !strcmp(list[i].stem, list[i - 1].stem)) ||
                      (i + 1 < count && !strcmp(list[i].stem, list[i + 1].stem));
        char *name = strdup(shared ? files->paths[list[i].file] : list[i].stem);
        if (!name) TRY(kern_fail(KERN_ERR_MEMORY, "no memory for names of documents"));
        names[list[i].file] = name;
        if (!is_utf8(name))
            TRY(kern_fail(KERN_ERR_USAGE, "%s: the name of this file is not UTF-8; rename it",
                          files->paths[list[i].file]));
    }
    *out = names;
    names = NULL;
done:
    data_pack_names_free(names, count);
    for (int64_t i = 0; list && i < count; i++) free(list[i].stem);
    kern_free(list);
    return status;
}

void data_pack_names_free(char **names, int64_t count) {
    for (int64_t i = 0; names && i < count; i++) free(names[i]);
    kern_free(names);
}

kern_status data_pack_shard_path(char **path, const char *out, int64_t i) {
    const char *dot = strrchr(out, '.'), *slash = strrchr(out, '/');
    int stem = (int)strlen(out), bytes;
    if (dot && (!slash || dot > slash + 1)) stem = (int)(dot - out);
    *path = NULL;
    if (i >= 0)
        bytes = asprintf(path, "%.*s-%05lld%s", stem, out, (long long)i, out + stem);
    else
        bytes = asprintf(path, "%.*s-index.json", stem, out);
    return bytes < 0 ? kern_fail(KERN_ERR_MEMORY, "no memory for the name of a shard") : KERN_OK;
}
