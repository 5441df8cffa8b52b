#include "data/pack_parts.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/utf8.h"

static void cut_end(char *name, const char *end) {
    size_t length = strlen(name), bytes = strlen(end);
    if (length > bytes && !strcmp(name + length - bytes, end)) name[length - bytes] = 0;
}

/* The file's name without folder, .gz or .zst, and one more extension; free() it. */
static char *stem_of(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!strcmp(path, "-")) return strdup("stdin");
    char *stem = strdup(slash ? slash + 1 : path);
    if (!stem) return NULL;
    cut_end(stem, ".gz");
    cut_end(stem, ".zst");
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
    int64_t bytes = (int64_t)strlen(name);
    return data_utf8_prefix(name, bytes) == bytes;
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

/* Bytes of OUT before its extension. */
static int stem_bytes(const char *out) {
    const char *dot = strrchr(out, '.'), *slash = strrchr(out, '/');
    return (int)(dot && (!slash || dot > slash + 1) ? (size_t)(dot - out) : strlen(out));
}

kern_status data_pack_refuse_old(const char *out) {
    const char *slash = strrchr(out, '/'), *name = slash ? slash + 1 : out;
    const char *end = out + stem_bytes(out);
    size_t stem = (size_t)(end - name);
    char *folder = strndup(out, (size_t)(name - out));
    if (!folder) return kern_fail(KERN_ERR_MEMORY, "no memory for the name of a shard");
    DIR *stream = opendir(*folder ? folder : ".");
    int64_t first = INT64_MAX;
    for (struct dirent *entry; stream && (entry = readdir(stream));) {
        const char *number = entry->d_name + stem + 1;
        if (strncmp(entry->d_name, name, stem) || entry->d_name[stem] != '-') continue;
        if (strspn(number, "0123456789") != 5 || strcmp(number + 5, end)) continue;
        int64_t found = strtoll(number, NULL, 10);
        first = found < first ? found : first;
    }
    if (stream) closedir(stream);
    kern_status status = KERN_OK;
    if (first < INT64_MAX)
        status = kern_fail(KERN_ERR_USAGE,
                           "%.*s-%05lld%s is there from an earlier pack; remove its shards first",
                           (int)(end - out), out, (long long)first, end);
    free(folder);
    return status;
}

kern_status data_pack_shard_path(char **path, const char *out, int64_t i) {
    int stem = stem_bytes(out), bytes;
    *path = NULL;
    if (i >= 0)
        bytes = asprintf(path, "%.*s-%05lld%s", stem, out, (long long)i, out + stem);
    else
        bytes = asprintf(path, "%.*s-index.json", stem, out);
    return bytes < 0 ? kern_fail(KERN_ERR_MEMORY, "no memory for the name of a shard") : KERN_OK;
}
