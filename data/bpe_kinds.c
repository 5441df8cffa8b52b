/* Files that are taken for vocabularies and are none, or none that is read. */
#include "data/bpe_json.h"
#include "data/kinds.h"
#include "data/utf8.h"

#define MERGES_OR_JSON "name the model's tokenizer.json, or its merges.txt"

enum { LOOKED_AT = 4096 };

/* Beside what no text is either (data/kinds.h). Of two that fit, the one that comes first. */
static const struct {
    int length;
    const char *bytes, *name, *advice;
} beginnings[] = {
    {2, "\x80\2", "a Python pickle", MERGES_OR_JSON},
    {2, "\x80\3", "a Python pickle", MERGES_OR_JSON},
    {2, "\x80\4", "a Python pickle", MERGES_OR_JSON},
    {2, "\x80\5", "a Python pickle", MERGES_OR_JSON},
    {8, "TTTSHARD", "a shard", "name the vocabulary that it was packed with"},
    {9, "<!DOCTYPE", "a web page", "a download that failed leaves one"},
    {9, "<!doctype", "a web page", "a download that failed leaves one"},
    {5, "<html", "a web page", "a download that failed leaves one"},
};

/* A message of field 1, the first piece, whose own field 1 is a text, and 2 a number. */
static bool is_sentencepiece(const char *file, size_t bytes) {
    const unsigned char *b = (const unsigned char *)file;
    if (bytes < 8 || b[0] != 0x0A || b[2] != 0x0A || b[3] + 2 > b[1] || b[1] > 127) return false;
    return 4u + b[3] < bytes && (b[4 + b[3]] == 0x15 || b[4 + b[3]] == 0x18 || b[4 + b[3]] == 0x0A);
}

/* The first two lines have neither spaces nor tabs in them, as no file has that is read. */
static bool is_words(const char *file, size_t bytes) {
    const char *at = file;
    data_bpe_line l = {0};
    for (int i = 0; i < 2; i++)
        if (!data_bpe_next_line(&l, &at, file + bytes) ||
            memchr(l.begin, ' ', (size_t)(l.end - l.begin)))
            return false;
    return true;
}

/* RWKV's: a number, and the token as Python writes it. */
static bool is_rwkv(const char *file, size_t bytes) {
    size_t i = 0;
    while (i < bytes && file[i] >= '0' && file[i] <= '9') i++;
    return i > 0 && i + 1 < bytes && file[i] == ' ' && memchr("'\"b", file[i + 1], 3);
}

static kern_status is(const char *called, const char *name, const char *advice) {
    return kern_fail(KERN_ERR_DATA, "%s: is %s, which is no vocabulary that is read; %s", called,
                     name, advice);
}

kern_status data_bpe_check_kind(const char *file, size_t bytes, const char *called) {
    size_t head = bytes < LOOKED_AT ? bytes : LOOKED_AT;
    size_t mark = (size_t)data_utf8_mark(file, (int64_t)bytes);
    for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++)
        if ((size_t)beginnings[i].length <= bytes &&
            !memcmp(file, beginnings[i].bytes, (size_t)beginnings[i].length))
            return is(called, beginnings[i].name, beginnings[i].advice);
    if (is_sentencepiece(file, bytes)) return is(called, "a SentencePiece model", MERGES_OR_JSON);
    const data_kind *kind =
        data_kind_of(file, head < DATA_KIND_BYTES ? (int64_t)head : DATA_KIND_BYTES);
    if (kind) return is(called, kind->name, kind->is_text ? kind->advice : MERGES_OR_JSON);
    if (bytes && memchr(file, 0, head))
        return is(called, "a binary file of a kind that is not known", MERGES_OR_JSON);
    file += mark;
    bytes -= mark;
    size_t begin = 0;
    while (begin < bytes && memchr(" \t\r\n", file[begin], 4)) begin++;
    if (begin == bytes || file[begin] == '{') return KERN_OK;
    const char *line = memchr(file, '\n', bytes);
    if (line && memchr(file, '\t', (size_t)(line - file)))
        return is(called, "a list with tabs, as SentencePiece's .vocab", MERGES_OR_JSON);
    if (is_rwkv(file, bytes)) return is(called, "RWKV's vocabulary", MERGES_OR_JSON);
    if (is_words(file, bytes))
        return is(called, "a list of words, as WordPiece's vocab.txt", MERGES_OR_JSON);
    return KERN_OK;
}

kern_status data_bpe_no_model(const json_t *root, const char *called) {
    static const struct {
        const char *key, *name, *advice;
    } rows[] = {
        {"tokenizer_class", "a tokenizer_config.json", "name the tokenizer.json beside it"},
        {"model_type", "a model's config.json", "name the tokenizer.json beside it"},
        {"architectures", "a model's config.json", "name the tokenizer.json beside it"},
        {"bos_token", "a special_tokens_map.json", "name the tokenizer.json beside it"},
        {"eos_token", "a special_tokens_map.json", "name the tokenizer.json beside it"},
        {"config", "Mistral's tekken.json", MERGES_OR_JSON},
        {"weight_map", "an index of weights", "name the tokenizer.json beside it"},
        {"shards", "an index of shards", "name the vocabulary that they were packed with"},
    };
    const char *key;
    json_t *value;
    bool ids = json_object_size(root) > 0;
    json_object_foreach((json_t *)(uintptr_t)root, key, value) ids = ids && json_is_integer(value);
    if (ids)
        return is(called, "a vocab.json, which has no merges", "name the merges.txt beside it");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (json_object_get(root, rows[i].key)) return is(called, rows[i].name, rows[i].advice);
    return kern_fail(KERN_ERR_DATA, "%s: is JSON, but no tokenizer.json: it has no model", called);
}
