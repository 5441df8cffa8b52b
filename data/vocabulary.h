/* What turns text into token ids and back. A vocabulary is a constant description with two
 * functions; shards remember its name, hash and size, and nothing else of the program knows how
 * text is cut. All functions are local and thread-safe. */
#ifndef DATA_VOCABULARY_H
#define DATA_VOCABULARY_H

#include "kernels/base.h"

typedef struct data_vocabulary data_vocabulary;
struct data_vocabulary {
    const char *name; /* "byte" */
    /* Eight hex digits: the CRC-32 of every token in the order of ids, each as the u32 number of
     * its bytes (little-endian) and the bytes; a special token has none. */
    const char *hash;
    int64_t size; /* ids are 0 .. size-1 */
    int32_t bos;  /* begin of document, a special token */

    /* Encodes a prefix of text [bytes]. *consumed receives how many bytes it took; unless `last`,
     * the end of the text may be left for the next call, which must then begin with it (a token may
     * go on there), but of 64 KiB something is always taken. Writes *count tokens to tokens, which
     * has room for `bytes` of them. Any bytes are text. Errors: KERN_ERR_MEMORY. */
    kern_status (*encode)(int32_t *tokens, int64_t *count, int64_t *consumed,
                          const data_vocabulary *vocabulary, const char *text, int64_t bytes,
                          bool last);

    /* The bytes that a token stands for and their number; 0 for special tokens and for ids that the
     * vocabulary does not have. The bytes belong to the vocabulary. */
    int64_t (*decode)(const char **text, const data_vocabulary *vocabulary, int32_t token);
};

/* 256 bytes, each its own token, and begin of document = 256: 257 tokens. */
const data_vocabulary *data_vocabulary_byte(void);

/* The vocabulary of that name, as shards and configurations write it. Errors: KERN_ERR_USAGE that
 * lists the names there are; *vocabulary is then NULL. */
kern_status data_vocabulary_find(const data_vocabulary **vocabulary, const char *name);

#endif
