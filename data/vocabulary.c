#include "data/vocabulary.h"

#include <string.h>

enum { BYTES = 256, BEGIN_OF_DOCUMENT = 256 };

static kern_status encode_bytes(int32_t *tokens, int64_t *count, int64_t *consumed,
                                const data_vocabulary *vocabulary, const char *text, int64_t bytes,
                                bool last) {
    (void)vocabulary;
    (void)last;
    for (int64_t i = 0; i < bytes; i++) tokens[i] = (unsigned char)text[i];
    *count = *consumed = bytes;
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
        return kern_fail(KERN_ERR_USAGE, "no vocabulary is called '%s'; there is: byte", name);
    *vocabulary = data_vocabulary_byte();
    return KERN_OK;
}
