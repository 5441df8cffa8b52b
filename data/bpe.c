#include "data/bpe.h"

#include "data/bpe_model.h"
#include "data/utf8.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

enum { FILE_MOST = 256 << 20, PIECE = 1 << 16 };

static int64_t decode(const char **text, const data_vocabulary *vocabulary, int32_t id) {
    const data_bpe *bpe = (const data_bpe *)vocabulary;
    bool known = id >= 0 && id < bpe->ids;
    *text = bpe->pool + (known ? bpe->tokens[id].begin : 0);
    return known ? bpe->tokens[id].length : 0;
}

static void destroy(const data_vocabulary *vocabulary) {
    data_bpe *bpe = (data_bpe *)(uintptr_t)vocabulary;
    for (int i = 0; i < bpe->stage_count; i++) data_bpe_pattern_destroy(bpe->stages[i].pattern);
    for (int64_t i = 0; i < bpe->literal_count; i++) {
        free((char *)(uintptr_t)bpe->literals[i].text);
        free((char *)(uintptr_t)bpe->literals[i].name);
    }
    free(bpe->literals);
    free(bpe->pool);
    free(bpe->tokens);
    free(bpe->pairs);
    kern_free(bpe->specials);
    kern_free(bpe->words);
    kern_free(bpe->byte_pairs);
    kern_free(bpe->file);
    kern_free(bpe->pattern);
    kern_free(bpe);
}

static kern_status copy(char **to, const char *text, size_t bytes) {
    kern_status status = kern_alloc((void **)to, bytes + 1, "a tokenizer");
    if (status != KERN_OK) return status;
    memcpy(*to, text, bytes);
    (*to)[bytes] = 0;
    return KERN_OK;
}

typedef enum { RANKS, MERGES, JSON } format;

/* A line of ranks is base64, a space and a number: no merge looks like that, as its right half
 * would be a number and its left half four characters at least, which no first merge has. */
static format format_of(const char *file, size_t bytes) {
    size_t i = 0;
    while (i < bytes && strchr(" \t\r\n", file[i]) && file[i]) i++;
    if (i < bytes && file[i] == '{') return JSON;
    size_t begin = i;
    while (i < bytes && file[i] != ' ' && file[i] != '\n') i++;
    bool four = i > begin && (i - begin) % 4 == 0;
    return four && i + 1 < bytes && file[i] == ' ' && file[i + 1] >= '0' && file[i + 1] <= '9'
               ? RANKS
               : MERGES;
}

/* Names that an option may be, and regular expressions, which have other characters. */
static bool is_name(const char *pattern) {
    return pattern[strspn(pattern, "abcdefghijklmnopqrstuvwxyz0123456789_")] == 0;
}

/* The option's encoding, or NULL where it is a regular expression. */
static kern_status named_encoding(const data_bpe_encoding **encoding, const char *pattern) {
    *encoding = data_bpe_encoding_named(pattern);
    if (*encoding || !is_name(pattern)) return KERN_OK;
    return kern_fail(KERN_ERR_USAGE,
                     "no pattern is called '%s'; there are: %s; or give a regular expression",
                     pattern, data_bpe_encoding_names());
}

/* The special tokens that a file of ranks or merges does not name: those of its encoding; else one
 * behind the last token. */
static void put_specials(data_bpe *bpe, const data_bpe_encoding *encoding) {
    char name[64];
    if (!encoding || encoding->tokens != bpe->token_count || bpe->has_empty) {
        data_bpe_put_literal(bpe, "<|endoftext|>", "<|endoftext|>", (int32_t)bpe->ids, true, false);
        return;
    }
    for (const data_special *row = encoding->specials; row->name; row++)
        data_bpe_put_literal(bpe, row->name, row->name, row->id, true, false);
    bpe->vocabulary.size = encoding->size;
    if (strcmp(encoding->name, "llama3")) return;
    const data_special *row = encoding->specials;
    for (int32_t id = (int32_t)encoding->tokens, reserved = 0; id < encoding->size; id++) {
        if (row->name && row->id == id) {
            row++;
            continue;
        }
        snprintf(name, sizeof name, "<|reserved_special_token_%d|>", reserved++);
        data_bpe_put_literal(bpe, name, name, id, true, false);
    }
}

/* The pattern and the special tokens of a file that has neither. */
static kern_status complete_lines(data_bpe *bpe, const char *called, format kind,
                                  const char *pattern) {
    kern_status status = KERN_OK;
    const data_bpe_encoding *encoding = NULL;
    if (pattern)
        TRY(named_encoding(&encoding, pattern));
    else
        encoding = data_bpe_encoding_like(NULL, bpe->token_count);
    if (!pattern && !encoding && kind == MERGES) encoding = data_bpe_encoding_named("gpt2");
    if (!pattern && !encoding)
        TRY(kern_fail(KERN_ERR_USAGE,
                      "%s: names no pattern, and none is known for %lld tokens; give one "
                      "(--pattern): %s, or a regular expression",
                      called, (long long)bpe->token_count, data_bpe_encoding_names()));
    TRY(data_bpe_put_stage(bpe, &(data_bpe_stage){.regex = encoding ? encoding->regex : pattern},
                           called));
    put_specials(bpe, encoding);
    bpe->vocabulary.name = encoding ? encoding->name : "bpe";
    if (!pattern) TRY(copy(&bpe->pattern, encoding->name, strlen(encoding->name)));
done:
    return status;
}

static kern_status read_json(data_bpe *bpe, const char *file, size_t bytes, const char *called,
                             const char *pattern) {
    kern_status status = KERN_OK;
    const data_bpe_encoding *encoding = NULL;
    if (pattern) TRY(named_encoding(&encoding, pattern));
    TRY(data_bpe_read_json(bpe, file, bytes, called, encoding ? encoding->regex : pattern));
    if (bpe->stage_count == 1 && bpe->stages[0].regex && !encoding)
        encoding = data_bpe_encoding_like(bpe->stages[0].regex, bpe->token_count);
    bpe->vocabulary.name = encoding ? encoding->name : "bpe";
done:
    return status;
}

static kern_status read_file(data_bpe *bpe, const char *called, const data_bpe_options *options) {
    kern_status status = KERN_OK;
    data_vocabulary *vocabulary = &bpe->vocabulary;
    const char *pattern = options ? options->pattern : NULL;
    size_t mark = (size_t)data_utf8_mark(bpe->file, (int64_t)vocabulary->file_bytes);
    const char *file = bpe->file + mark;
    size_t bytes = vocabulary->file_bytes - mark;
    format kind = format_of(file, bytes);
    if (pattern) TRY(copy(&bpe->pattern, pattern, strlen(pattern)));
    if (kind == JSON) {
        TRY(read_json(bpe, file, bytes, called, pattern));
    } else {
        TRY((kind == RANKS ? data_bpe_read_ranks : data_bpe_read_merges)(bpe, file, bytes, called));
        TRY(complete_lines(bpe, called, kind, pattern));
    }
    TRY(data_bpe_finish(bpe, called, options ? options->begin : NULL));
    vocabulary->pattern = bpe->pattern;
done:
    return status;
}

kern_status data_bpe_parse(data_vocabulary **out, const char *file, size_t bytes,
                           const char *called, const data_bpe_options *options) {
    kern_status status = KERN_OK;
    data_bpe *bpe = NULL;
    *out = NULL;
    TRY(kern_alloc_zero((void **)&bpe, sizeof *bpe, "a tokenizer"));
    TRY(copy(&bpe->file, file, bytes));
    bpe->vocabulary = (data_vocabulary){
        .file = bpe->file,
        .file_bytes = bytes,
        .open = data_bpe_scratch_open,
        .close = data_bpe_scratch_close,
        .encode = data_bpe_encode,
        .decode = decode,
        .destroy = destroy,
    };
    TRY(read_file(bpe, called, options));
    *out = &bpe->vocabulary;
    bpe = NULL;
done:
    if (bpe) destroy(&bpe->vocabulary);
    return status;
}

/* The whole file, inflated where it is gzipped; free() it. */
static kern_status read_whole(char **file, size_t *bytes, const char *path) {
    kern_status status = KERN_OK;
    int64_t capacity = 0;
    *file = NULL;
    *bytes = 0;
    gzFile opened = gzopen(path, "rb");
    if (!opened) return kern_fail(KERN_ERR_FILE, "%s: cannot be opened: %s", path, strerror(errno));
    for (int got = 1; got > 0; *bytes += (size_t)got) {
        *file = kern_grow(*file, &capacity, (int64_t)*bytes + PIECE, 1);
        got = gzread(opened, *file + *bytes, PIECE);
        if (got < 0 || *bytes > FILE_MOST) {
            int number;
            const char *reason = gzerror(opened, &number);
            if (number == Z_ERRNO)
                TRY(kern_fail(KERN_ERR_FILE, "%s: cannot be read: %s", path, strerror(errno)));
            TRY(kern_fail(KERN_ERR_DATA, "%s: %s", path,
                          got < 0 ? reason : "is too large to be a tokenizer"));
        }
    }
    int number;
    gzerror(opened, &number);
    if (number == Z_BUF_ERROR)
        status = kern_fail(KERN_ERR_DATA, "%s: its gzip data end too early", path);
done:
    gzclose(opened);
    return status;
}

char *data_bpe_find_beside(const char *path) {
    static const char *const ends[][2] = {
        {"merges.txt", "vocab.json"}, {"vocab.bpe", "encoder.json"}, {NULL, "vocab.json"}};
    size_t length = strlen(path), folder = 0;
    if (length > 3 && !strcmp(path + length - 3, ".gz")) length -= 3;
    for (size_t i = 0; i < length; i++)
        if (path[i] == '/') folder = i + 1;
    for (size_t i = 0; i < 2 * sizeof ends / sizeof *ends; i++) {
        const char *const *end = ends[i / 2];
        size_t ending = end[0] ? strlen(end[0]) : length - folder;
        char *found = NULL;
        if (ending > length - folder || (end[0] && strncmp(path + length - ending, end[0], ending)))
            continue;
        if (asprintf(&found, "%.*s%s%s", (int)(length - ending), path, end[1], i % 2 ? ".gz" : "") <
            0)
            found = NULL;
        ASSERT(found);
        if (access(found, F_OK) == 0) return found;
        free(found);
    }
    return NULL;
}

/* Merges, and the vocab.json beside them: it is not needed where it says what is known. */
static kern_status parse_both(data_vocabulary **vocabulary, const char *file, size_t bytes,
                              const char *path, const char *beside,
                              const data_bpe_options *options) {
    kern_status status = KERN_OK;
    char *vocab = NULL, *json = NULL, *called = NULL;
    size_t vocab_bytes;
    TRY(read_whole(&vocab, &vocab_bytes, beside));
    if (data_bpe_parse(vocabulary, file, bytes, path, options) == KERN_OK &&
        data_bpe_agrees((data_bpe *)*vocabulary, vocab, vocab_bytes))
        goto done;
    data_vocabulary_destroy(*vocabulary);
    *vocabulary = NULL;
    if (asprintf(&called, "%s with %s", path, beside) < 0) called = NULL;
    ASSERT(called);
    TRY(data_bpe_join(&json, file, bytes, vocab, vocab_bytes, called));
    TRY(data_bpe_parse(vocabulary, json, strlen(json), called, options));
done:
    free(called);
    free(json);
    free(vocab);
    return status;
}

kern_status data_bpe_open(data_vocabulary **vocabulary, const char *path,
                          const data_bpe_options *options) {
    kern_status status = KERN_OK;
    char *file = NULL, *beside = NULL;
    size_t bytes;
    *vocabulary = NULL;
    TRY(read_whole(&file, &bytes, path));
    TRY(data_bpe_check_kind(file, bytes, path));
    if (format_of(file, bytes) == MERGES) beside = data_bpe_find_beside(path);
    if (beside)
        TRY(parse_both(vocabulary, file, bytes, path, beside, options));
    else
        TRY(data_bpe_parse(vocabulary, file, bytes, path, options));
done:
    free(beside);
    free(file);
    return status;
}
