/* What turns text into token ids and back. Shards remember a vocabulary's name, hash and size, and
 * nothing else of the program knows how text is cut: a model needs `size`, a document `bos`.
 * There are the byte vocabulary and those of tokenizer files (data/bpe.h). All functions are local;
 * a vocabulary may be used by many threads at once, an encoder by one at a time. */
#ifndef DATA_VOCABULARY_H
#define DATA_VOCABULARY_H

#include "kernels/base.h"

/* Ids in memory that grows; begin with zeros, free(ids). */
typedef struct {
    int32_t *ids;
    int64_t count, capacity;
} data_tokens;

typedef struct {
    int32_t id;
    const char *name; /* "<|endoftext|>" */
} data_special;

typedef struct data_vocabulary data_vocabulary;
struct data_vocabulary {
    const char *name; /* "byte", "llama3", ... */
    /* Eight hex digits: the CRC-32 of every token in the order of ids, each as the u32 number of
     * its bytes (little-endian) and the bytes; a special token has none. Behind them, where text is
     * changed or cut in other ways than between matches of patterns, what says how. */
    const char *hash;
    int64_t size;                 /* ids are 0 .. size-1; not every one need be a token */
    int32_t bos;                  /* begin of document, a special token */
    const data_special *specials; /* [special_count] by id; bos need not be among them */
    int64_t special_count;

    /* The file it was read from, whole (of two files, one that says the same), and the options it
     * was read with: data_bpe_parse makes the same vocabulary of them again. NULL for the byte
     * vocabulary. */
    const char *file;
    size_t file_bytes;
    const char *pattern; /* the option, or what was guessed where none was given */
    const char *begin;   /* the option, or the name of bos */

    /* What an encoder needs beside the vocabulary, and its end. */
    kern_status (*open)(void **scratch, const data_vocabulary *vocabulary);
    void (*close)(void *scratch);
    kern_status (*encode)(data_tokens *tokens, int64_t *consumed, const data_vocabulary *vocabulary,
                          void *scratch, const char *text, int64_t bytes, bool last, bool special);

    /* The bytes that a token stands for and their number; 0 for special tokens and for ids that the
     * vocabulary does not have. The bytes belong to the vocabulary. */
    int64_t (*decode)(const char **text, const data_vocabulary *vocabulary, int32_t token);

    void (*destroy)(const data_vocabulary *vocabulary); /* NULL: a constant */
};

/* 256 bytes, each its own token, and begin of document = 256: 257 tokens. */
const data_vocabulary *data_vocabulary_byte(void);

/* The vocabulary that is built in under this name. Errors: KERN_ERR_USAGE that lists the names
 * there are; *vocabulary is then NULL. */
kern_status data_vocabulary_find(const data_vocabulary **vocabulary, const char *name);

/* NULL is fine, and so is one that is built in. */
void data_vocabulary_destroy(const data_vocabulary *vocabulary);

/* The name of a special token, NULL where the id is none; the id of that name, -1 where none is. */
const char *data_vocabulary_special_name(const data_vocabulary *vocabulary, int32_t id);
int32_t data_vocabulary_special_id(const data_vocabulary *vocabulary, const char *name);

/* One thread's way to encode; the vocabulary must outlive it. Errors: KERN_ERR_MEMORY; *encoder is
 * then NULL. */
typedef struct data_encoder data_encoder;
kern_status data_encoder_create(data_encoder **encoder, const data_vocabulary *vocabulary);
void data_encoder_destroy(data_encoder *encoder); /* NULL is fine */

/* Appends the tokens of a prefix of text [bytes]. *consumed receives how many bytes it took: all if
 * `last`; else what no further text can change, perhaps nothing, and the next call must begin with
 * the rest. The ids do not depend on how a text is cut into calls. Any bytes are text. The names of
 * special tokens are ordinary text unless `special`. Errors: KERN_ERR_MEMORY, and KERN_ERR_DATA
 * where a pattern of the user's takes too long; tokens then holds part of them. */
kern_status data_encode(data_tokens *tokens, int64_t *consumed, data_encoder *encoder,
                        const char *text, int64_t bytes, bool last, bool special);

/* Makes room for `more` ids behind those that are there. Errors: KERN_ERR_MEMORY. */
kern_status data_tokens_reserve(data_tokens *tokens, int64_t more);

#endif
