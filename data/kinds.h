/* What a file is, found by looking at how it begins, whatever it is called. Pure functions. */
#ifndef DATA_KINDS_H
#define DATA_KINDS_H

#include <stdbool.h>
#include <stdint.h>

enum {
    DATA_KIND_BYTES = 512, /* of a file's beginning are enough to know it */
    DATA_KIND_REASON = 96,
};

/* A kind of file that is not plain text. */
typedef struct {
    enum { DATA_PACKED_NOT, DATA_PACKED_GZIP, DATA_PACKED_ZSTD } packed;
    const char *name;   /* "an xz file" */
    const char *advice; /* what to do with it */
    bool is_text;       /* by that advice it becomes the text that is meant */
} data_kind;

/* The kind of what begins with head [bytes]; NULL: none that is known, so it may be text. */
const data_kind *data_kind_of(const char *head, int64_t bytes);

bool data_kind_is_safetensors(const char *head, int64_t bytes);

/* Whether head [bytes] is not the beginning of a text in any encoding that has ASCII's letters: it
 * has a zero byte, or more than one byte in 32 is a control character. Then *reason says so. */
bool data_kind_is_binary(char reason[DATA_KIND_REASON], const char *head, int64_t bytes);

/* Whether head [bytes] is the beginning of a JSON array of objects, which some give to documents
 * instead of a line for each. */
bool data_kind_is_json_array(const char *head, int64_t bytes);

#endif
