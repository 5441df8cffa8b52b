/* Byte-level byte-pair encoding: vocabularies from the tokenizer files of others, exact to the last
 * id. A text is cut into pieces by a pattern; a piece's bytes are merged pair by pair, the pair of
 * the lowest rank first, the leftmost of equals; what is left are its tokens. docs/tokenizers.md
 * tells which files are read and what happens to bytes that are not UTF-8.
 * All functions are local and thread-safe. */
#ifndef DATA_BPE_H
#define DATA_BPE_H

#include "data/vocabulary.h"

typedef struct {
    /* The pattern of a file that names none: gpt2, cl100k_base, o200k_base, llama3, ..., or a
     * regular expression. NULL: guessed from the number of tokens. A tokenizer.json has its own,
     * which this replaces. */
    const char *pattern;
    /* The name of the special token that begins a document; NULL: the one usual for it. */
    const char *begin;
} data_bpe_options;

/* Reads a tokenizer file: ranks in base64 (.tiktoken, Llama's tokenizer.model), merges (GPT-2's
 * vocab.bpe), with the ids of a vocab.json that lies beside them, or a tokenizer.json; gzipped or
 * not. `options` may be NULL; its texts are copied.
 * Errors: KERN_ERR_FILE, KERN_ERR_MEMORY; KERN_ERR_USAGE where an option is wrong or needed;
 * KERN_ERR_DATA where the file is damaged or asks for what is not supported, which the message
 * names. *vocabulary is then NULL. */
kern_status data_bpe_open(data_vocabulary **vocabulary, const char *path,
                          const data_bpe_options *options);

/* The same from the file's bytes, which are copied; `called` names it in errors. */
kern_status data_bpe_parse(data_vocabulary **vocabulary, const char *file, size_t bytes,
                           const char *called, const data_bpe_options *options);

/* The vocab.json that belongs to a file of merges, by its name: "x-vocab.json" to "x-merges.txt",
 * GPT-2's "encoder.json" to "vocab.bpe", else "vocab.json" beside it; NULL where none is there.
 * free() it. */
char *data_bpe_find_beside(const char *path);

#endif
