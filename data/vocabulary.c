#include "data/vocabulary.h"

#include <stdlib.h>
#include <string.h>

enum { BYTES = 256, BEGIN_OF_DOCUMENT = 256 };

struct data_encoder {
    const data_vocabulary *vocabulary;
    void *scratch;
};

kern_status data_tokens_reserve(data_tokens *tokens, int64_t more) {
    int64_t needed = tokens->count + more;
    if (needed <= tokens->capacity) return KERN_OK;
    int64_t capacity = tokens->capacity * 2 > needed ? tokens->capacity * 2 : needed;
    int32_t *ids = realloc(tokens->ids, (size_t)capacity * sizeof *ids);
    if (!ids) return kern_fail(KERN_ERR_MEMORY, "no memory for %lld tokens", (long long)capacity);
    tokens->ids = ids;
    tokens->capacity = capacity;
    return KERN_OK;
}

static kern_status encode_bytes(data_tokens *tokens, int64_t *consumed,
                                const data_vocabulary *vocabulary, void *scratch, const char *text,
                                int64_t bytes, bool last, bool special) {
    (void)vocabulary, (void)scratch, (void)last, (void)special;
    int32_t *ids = tokens->ids + tokens->count;
    for (int64_t i = 0; i < bytes; i++) ids[i] = (unsigned char)text[i];
    tokens->count += bytes;
    *consumed = bytes;
    return KERN_OK;
}

#define ROW4(n) (char)(n), (char)((n) + 1), (char)((n) + 2), (char)((n) + 3)
#define ROW16(n) ROW4(n), ROW4((n) + 4), ROW4((n) + 8), ROW4((n) + 12)
#define ROW64(n) ROW16(n), ROW16((n) + 16), ROW16((n) + 32), ROW16((n) + 48)

static int64_t decode_byte(const char **text, const data_vocabulary *vocabulary, int32_t token) {
    static const char every_byte[BYTES] = {ROW64(0), ROW64(64), ROW64(128), ROW64(192)};
    (void)vocabulary;
    bool known = token >= 0 && token < BYTES;
    *text = every_byte + (known ? token : 0);
    return known;
}

const data_vocabulary *data_vocabulary_byte(void) {
    static const data_vocabulary byte = {
        .name = "byte",
        .hash = "19ea78f8",
        .size = BYTES + 1,
        .bos = BEGIN_OF_DOCUMENT,
        .encode = encode_bytes,
        .decode = decode_byte,
    };
    return &byte;
}

kern_status data_vocabulary_find(const data_vocabulary **vocabulary, const char *name) {
    *vocabulary = NULL;
    if (strcmp(name, data_vocabulary_byte()->name))
        return kern_fail(KERN_ERR_USAGE,
                         "no vocabulary is called '%s'; there is: byte. Others come from a file: "
                         "--tokenizer FILE",
                         name);
    *vocabulary = data_vocabulary_byte();
    return KERN_OK;
}

void data_vocabulary_destroy(const data_vocabulary *vocabulary) {
    if (vocabulary && vocabulary->destroy) vocabulary->destroy(vocabulary);
}

const char *data_vocabulary_special_name(const data_vocabulary *vocabulary, int32_t id) {
    for (int64_t i = 0; i < vocabulary->special_count; i++)
        if (vocabulary->specials[i].id == id) return vocabulary->specials[i].name;
    return NULL;
}

int32_t data_vocabulary_special_id(const data_vocabulary *vocabulary, const char *name) {
    for (int64_t i = 0; i < vocabulary->special_count; i++)
        if (!strcmp(vocabulary->specials[i].name, name)) return vocabulary->specials[i].id;
    return -1;
}

kern_status data_encoder_create(data_encoder **out, const data_vocabulary *vocabulary) {
    kern_status status = KERN_OK;
    data_encoder *encoder = NULL;
    *out = NULL;
    TRY(kern_alloc_zero((void **)&encoder, sizeof *encoder, "an encoder"));
    encoder->vocabulary = vocabulary;
    if (vocabulary->open) TRY(vocabulary->open(&encoder->scratch, vocabulary));
    *out = encoder;
    encoder = NULL;
done:
    data_encoder_destroy(encoder);
    return status;
}

void data_encoder_destroy(data_encoder *encoder) {
    if (!encoder) return;
    if (encoder->scratch) encoder->vocabulary->close(encoder->scratch);
    kern_free(encoder);
}

kern_status data_encode(data_tokens *tokens, int64_t *consumed, data_encoder *encoder,
                        const char *text, int64_t bytes, bool last, bool special) {
    const data_vocabulary *vocabulary = encoder->vocabulary;
    *consumed = 0;
    /* A token has a byte at least, so that no encoder needs to look for room. */
    kern_status status = data_tokens_reserve(tokens, bytes);
    if (status != KERN_OK) return status;
    return vocabulary->encode(tokens, consumed, vocabulary, encoder->scratch, text, bytes, last,
                              special);
}
