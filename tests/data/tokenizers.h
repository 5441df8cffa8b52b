/* What tests of tokenizers share. */
#ifndef TESTS_DATA_TOKENIZERS_H
#define TESTS_DATA_TOKENIZERS_H

#include "data/bpe.h"
#include "tests/data/files.h"

#include <jansson.h>

#define TOKENIZERS TESTS_DIR "/data/tokenizer/"

static inline data_vocabulary *open_tokenizer(const char *name, const char *pattern) {
    data_vocabulary *vocabulary;
    char path[512];
    data_bpe_options options = {.pattern = pattern};
    snprintf(path, sizeof path, "%s%s", TOKENIZERS, name);
    assert_ok(data_bpe_open(&vocabulary, path, &options));
    return vocabulary;
}

/* All tokens of a text that comes whole, or in calls of up to `piece` more bytes. free(ids). */
static inline data_tokens encode_all(const data_vocabulary *vocabulary, const char *text,
                                     int64_t bytes, int64_t piece, bool special) {
    data_encoder *encoder;
    data_tokens tokens = {0};
    int64_t begin = 0, consumed;
    assert_ok(data_encoder_create(&encoder, vocabulary));
    for (int64_t end = 0; end < bytes || end == 0; begin += consumed) {
        end = piece && bytes - end > piece ? end + piece : bytes;
        /* A copy of this size, so that a sanitizer sees what is read behind it. */
        size_t size = end > begin ? (size_t)(end - begin) : 0;
        char *copy = malloc(size ? size : 1);
        assert_non_null(copy);
        memcpy(copy, text + begin, size);
        assert_ok(
            data_encode(&tokens, &consumed, encoder, copy, end - begin, end == bytes, special));
        free(copy);
        if (bytes == 0) break;
    }
    assert_int_equal(begin, bytes);
    data_encoder_destroy(encoder);
    return tokens;
}

/* The bytes of tokens, with names of special ones; free() them. */
static inline char *decode_all(const data_vocabulary *vocabulary, const data_tokens *tokens,
                               int64_t *bytes) {
    char *text = NULL;
    int64_t capacity = 0;
    *bytes = 0;
    for (int64_t i = 0; i < tokens->count; i++) {
        const char *part;
        int64_t length = vocabulary->decode(&part, vocabulary, tokens->ids[i]);
        if (length == 0) {
            part = data_vocabulary_special_name(vocabulary, tokens->ids[i]);
            assert_non_null(part);
            length = (int64_t)strlen(part);
        }
        text = kern_grow(text, &capacity, *bytes + length, 1);
        memcpy(text + *bytes, part, (size_t)length);
        *bytes += length;
    }
    return text;
}

static inline void assert_round_trip(const data_vocabulary *vocabulary, const char *text,
                                     int64_t bytes) {
    data_tokens tokens = encode_all(vocabulary, text, bytes, 0, false);
    int64_t got;
    char *again = decode_all(vocabulary, &tokens, &got);
    assert_int_equal(got, bytes);
    if (bytes) assert_memory_equal(again, text, (size_t)bytes);
    free(again);
    free(tokens.ids);
}

static inline void assert_same_tokens(const data_tokens *got, const data_tokens *expected,
                                      const char *what) {
    for (int64_t i = 0; i < got->count && i < expected->count; i++)
        if (got->ids[i] != expected->ids[i])
            fail_msg("%s: token %lld is %d, expected %d", what, (long long)i, got->ids[i],
                     expected->ids[i]);
    if (got->count != expected->count)
        fail_msg("%s: %lld tokens, expected %lld", what, (long long)got->count,
                 (long long)expected->count);
}

/* `ids` is an array of numbers. */
static inline void assert_ids(const data_tokens *got, const json_t *ids, const char *what) {
    data_tokens expected = {.count = (int64_t)json_array_size(ids)};
    expected.ids = malloc((size_t)expected.count * sizeof *expected.ids + 1);
    for (int64_t i = 0; i < expected.count; i++)
        expected.ids[i] = (int32_t)json_integer_value(json_array_get(ids, (size_t)i));
    assert_same_tokens(got, &expected, what);
    free(expected.ids);
}

static inline json_t *load_json(const char *name) {
    char path[512];
    json_error_t error;
    snprintf(path, sizeof path, "%s%s", TOKENIZERS, name);
    json_t *value = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (!value) fail_msg("%s: %s", path, error.text);
    return value;
}

static inline kern_status parse_json(data_vocabulary **vocabulary, const json_t *value) {
    char *text = json_dumps(value, JSON_COMPACT);
    kern_status status = data_bpe_parse(vocabulary, text, strlen(text), "made.json", NULL);
    free(text);
    return status;
}

/* free() it. */
static inline char *from_hex(const char *hex, int64_t *bytes) {
    *bytes = (int64_t)strlen(hex) / 2;
    char *text = malloc((size_t)*bytes + 1);
    for (int64_t i = 0; i < *bytes; i++) {
        unsigned byte;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
        text[i] = (char)byte;
    }
    return text;
}

#endif
