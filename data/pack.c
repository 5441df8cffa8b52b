#include "data/pack.h"

#include "data/files.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

enum { TEXT_BYTES = 1 << 16, MOST_SHARDS = 100000 };

typedef struct {
    const data_pack_options *options;
    data_pack_report report;
    data_files files;
    char **names;                /* [files] */
    data_shard_writer **writers; /* [shards] all but the last complete */
    int64_t shards, capacity;
    data_encoder *encoder;
    data_tokens tokens;
    char *text;
    int64_t text_capacity;
} packer;

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

static int by_text(const void *left, const void *right) {
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static kern_status refuse_equal_inputs(const data_files *files) {
    kern_status status = KERN_OK;
    char **sorted = NULL;
    size_t count = (size_t)files->count;
    TRY(kern_alloc((void **)&sorted, count * sizeof *sorted, "names of documents"));
    memcpy(sorted, files->paths, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_text);
    for (size_t i = 1; i < count && status == KERN_OK; i++)
        if (!strcmp(sorted[i - 1], sorted[i]))
            status = kern_fail(KERN_ERR_USAGE, "%s is named twice; a text must be packed once",
                               sorted[i]);
done:
    kern_free(sorted);
    return status;
}

static bool is_utf8(const char *name) {
    json_t *text = json_string(name);
    json_decref(text);
    return text != NULL;
}

static kern_status name_documents(packer *pack) {
    kern_status status = KERN_OK;
    named *list = NULL;
    int64_t count = pack->files.count;
    TRY(refuse_equal_inputs(&pack->files));
    TRY(kern_alloc_zero((void **)&list, (size_t)count * sizeof *list, "names of documents"));
    TRY(kern_alloc_zero((void **)&pack->names, (size_t)count * sizeof *pack->names,
                        "names of documents"));
    for (int64_t i = 0; i < count; i++) {
        list[i] = (named){stem_of(pack->files.paths[i]), i};
        if (!list[i].stem) TRY(kern_fail(KERN_ERR_MEMORY, "no memory for names of documents"));
    }
    qsort(list, (size_t)count, sizeof *list, by_stem);
    for (int64_t i = 0; i < count; i++) {
        bool shared = (i > 0 && !strcmp(list[i].stem, list[i - 1].stem)) ||
                      (i + 1 < count && !strcmp(list[i].stem, list[i + 1].stem));
        char *name = strdup(shared ? pack->files.paths[list[i].file] : list[i].stem);
        if (!name) TRY(kern_fail(KERN_ERR_MEMORY, "no memory for names of documents"));
        pack->names[list[i].file] = name;
        if (!is_utf8(name))
            TRY(kern_fail(KERN_ERR_USAGE, "%s: the name of this file is not UTF-8; rename it",
                          pack->files.paths[list[i].file]));
    }
done:
    for (int64_t i = 0; list && i < count; i++) free(list[i].stem);
    kern_free(list);
    return status;
}

/* The path of shard i: OUT, or OUT-00000.h5 where several are wanted. */
static kern_status shard_path(char **path, const data_pack_options *options, int64_t i) {
    const char *dot = strrchr(options->out, '.'), *slash = strrchr(options->out, '/');
    int stem = (int)strlen(options->out);
    if (dot && (!slash || dot > slash + 1)) stem = (int)(dot - options->out);
    int bytes = options->shard_tokens ? asprintf(path, "%.*s-%05lld%s", stem, options->out,
                                                 (long long)i, options->out + stem)
                                      : asprintf(path, "%s", options->out);
    return bytes < 0 ? kern_fail(KERN_ERR_MEMORY, "no memory for the name of a shard") : KERN_OK;
}

/* Old shards with higher numbers than ours would be read together with ours. */
static kern_status refuse_old_shards(const data_pack_options *options) {
    kern_status status = KERN_OK;
    struct stat about;
    for (int64_t i = 0; options->shard_tokens && i < MOST_SHARDS && status == KERN_OK; i++) {
        char *path = NULL;
        TRY(shard_path(&path, options, i));
        bool there = stat(path, &about) == 0;
        if (there)
            status = kern_fail(KERN_ERR_USAGE,
                               "%s is there from an earlier pack; remove its shards first", path);
        free(path);
        if (!there && i > 0) break;
    }
done:
    return status;
}

static kern_status open_next_shard(packer *pack) {
    kern_status status = KERN_OK;
    const data_pack_options *options = pack->options;
    char *path = NULL;
    if (pack->shards == MOST_SHARDS)
        TRY(kern_fail(KERN_ERR_USAGE, "more than %d shards; let them be larger", MOST_SHARDS));
    TRY(shard_path(&path, options, pack->shards));
    pack->writers =
        kern_grow(pack->writers, &pack->capacity, pack->shards + 1, sizeof *pack->writers);
    TRY(data_shard_create(&pack->writers[pack->shards], path, options->vocabulary, options->split,
                          options->source));
    pack->shards++;
done:
    free(path);
    return status;
}

static kern_status cannot_read(const char *path, gzFile file) {
    int number;
    const char *reason = gzerror(file, &number);
    if (number == Z_ERRNO) return kern_fail(KERN_ERR_FILE, "%s: %s", path, strerror(errno));
    return kern_fail(KERN_ERR_DATA, "%s: its gzip data are damaged: %s", path, reason);
}

/* Encodes the whole file into the begun document of `writer`. */
static kern_status encode_file(packer *pack, data_shard_writer *writer, gzFile file,
                               const char *path) {
    kern_status status = KERN_OK;
    int64_t held = 0; /* bytes of text that wait to be encoded */
    for (bool last = false; !last;) {
        pack->text = kern_grow(pack->text, &pack->text_capacity, held + TEXT_BYTES, 1);
        int got = gzread(file, pack->text + held, TEXT_BYTES);
        if (got < 0) return cannot_read(path, file);
        last = got < TEXT_BYTES; /* the end, or where a gzip file was cut */
        int number = Z_OK;
        if (last) gzerror(file, &number);
        if (number == Z_BUF_ERROR)
            return kern_fail(KERN_ERR_DATA, "%s: its gzip data end too early", path);
        pack->report.bytes += got;
        held += got;
        int64_t consumed;
        pack->tokens.count = 0;
        TRY(data_encode(&pack->tokens, &consumed, pack->encoder, pack->text, held, last, false));
        TRY(data_shard_append(writer, pack->tokens.ids, pack->tokens.count));
        held -= consumed;
        memmove(pack->text, pack->text + consumed, (size_t)held);
    }
done:
    return status;
}

static kern_status open_text(gzFile *file, const char *path) {
    struct stat about;
    *file = NULL;
    if (stat(path, &about))
        return kern_fail(KERN_ERR_FILE, "%s: cannot be opened: %s", path, strerror(errno));
    if (S_ISDIR(about.st_mode))
        return kern_fail(KERN_ERR_USAGE, "%s is a folder; name its files: '%s/*.txt'", path, path);
    *file = gzopen(path, "rb");
    if (*file) return KERN_OK;
    return kern_fail(KERN_ERR_FILE, "%s: cannot be opened: %s", path, strerror(errno));
}

/* Keeps the begun document, in a new shard where this one would become too large. */
static kern_status keep_document(packer *pack) {
    kern_status status = KERN_OK;
    data_shard_writer *writer = pack->writers[pack->shards - 1];
    int64_t tokens = data_shard_begun_tokens(writer), bound = pack->options->shard_tokens;
    if (bound && data_shard_kept_documents(writer) &&
        tokens > bound - data_shard_kept_tokens(writer)) {
        TRY(open_next_shard(pack));
        TRY(data_shard_move_document(pack->writers[pack->shards - 1], writer));
        TRY(data_shard_complete(writer));
        writer = pack->writers[pack->shards - 1];
    }
    data_shard_keep_document(writer);
    pack->report.documents++;
    pack->report.tokens += tokens;
done:
    return status;
}

static kern_status pack_file(packer *pack, int64_t i) {
    kern_status status = KERN_OK;
    const data_pack_options *options = pack->options;
    data_shard_writer *writer = pack->writers[pack->shards - 1];
    gzFile file;
    TRY(open_text(&file, pack->files.paths[i]));
    TRY(data_shard_begin_document(writer, pack->names[i]));
    TRY(encode_file(pack, writer, file, pack->files.paths[i]));
    int64_t tokens = data_shard_begun_tokens(writer);
    bool kept = tokens >= options->min_tokens;
    if (kept) {
        TRY(keep_document(pack));
    } else {
        data_shard_drop_document(writer);
        pack->report.left_out++;
        pack->report.left_out_tokens += tokens;
    }
    if (options->seen) options->seen(options->context, pack->names[i], tokens, kept);
done:
    if (file) gzclose(file);
    return status;
}

static kern_status pack_all(packer *pack) {
    kern_status status = KERN_OK;
    const data_pack_options *options = pack->options;
    for (int64_t i = 0; i < options->input_count; i++)
        TRY(data_files_add(&pack->files, options->inputs[i]));
    if (pack->files.count == 0) TRY(kern_fail(KERN_ERR_USAGE, "no text to pack was named"));
    TRY(name_documents(pack));
    TRY(refuse_old_shards(options));
    TRY(data_encoder_create(&pack->encoder, options->vocabulary));
    TRY(open_next_shard(pack));
    for (int64_t i = 0; i < pack->files.count; i++) TRY(pack_file(pack, i));
    if (pack->report.documents == 0)
        TRY(kern_fail(KERN_ERR_DATA,
                      "%s: nothing to write: all %lld documents have fewer than %lld tokens",
                      options->out, (long long)pack->files.count, (long long)options->min_tokens));
    TRY(data_shard_complete(pack->writers[pack->shards - 1]));
    for (int64_t i = 0; i < pack->shards; i++) TRY(data_shard_commit(pack->writers[i]));
    pack->report.shards = pack->shards;
done:
    return status;
}

kern_status data_pack(data_pack_report *report, const data_pack_options *options) {
    packer pack = {.options = options};
    kern_status status = pack_all(&pack);
    *report = pack.report;
    for (int64_t i = 0; i < pack.shards; i++) data_shard_writer_destroy(pack.writers[i]);
    for (int64_t i = 0; pack.names && i < pack.files.count; i++) free(pack.names[i]);
    free(pack.writers);
    kern_free(pack.names);
    free(pack.text);
    free(pack.tokens.ids);
    data_encoder_destroy(pack.encoder);
    data_files_clear(&pack.files);
    return status;
}
