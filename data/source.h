/* What training and evaluation read: windows of T+1 tokens from a set of shards.
 * All functions are local. Opening goes through HDF5: one thread at a time. Reading is thread-safe.
 */
#ifndef DATA_SOURCE_H
#define DATA_SOURCE_H

#include "kernels/base.h"

typedef struct data_source data_source;

typedef struct {
    const char *name;  /* of the document; owned by the source */
    const char *split; /* of its shard */
    const char *path;  /* of its shard */
    int64_t tokens;    /* with its begin-of-document token, the first one */
} data_document;

/* T+1 tokens of a document from token `begin` of it. */
typedef struct {
    int64_t document, begin;
} data_window;

/* Opens the shards that `paths` names: a list separated by commas, each a path or a glob (*, ?,
 * [...], sorted by name), for samples of T+1 = length+1 tokens. Samples lie at stride T, so that
 * each token but the first of a document is predicted once an epoch; what does not fill a sample at
 * the end is left out. `across` false: a sample lies inside one document. true: documents of a
 * shard follow each other, and samples cross their borders (not those of shards). Errors:
 * KERN_ERR_USAGE (length < 1, no file matches), KERN_ERR_DATA (a shard is refused, shards differ in
 * vocabulary, none holds a sample: names the longest document), KERN_ERR_FILE; *source is then
 * NULL. */
kern_status data_source_open(data_source **source, const char *paths, int64_t length, bool across);
void data_source_destroy(data_source *source); /* NULL is fine */

/* Samples of an epoch: N >= 1. */
int64_t data_source_samples(const data_source *source);

/* Sample `index` (>= 0) of an endless training to tokens [length + 1]: position index % N of epoch
 * index / N, a function of (seed, epoch, index) and the shards alone (data/order.h). Errors: those
 * of data_shard_read. */
kern_status data_source_read(int32_t *tokens, data_source *source, uint64_t seed, int64_t index);

/* The windows of an evaluation: of each document long enough `per_document` of them, evenly placed
 * from its beginning to its end (one: in the middle), or all at stride T where per_document is 0 or
 * more than there are; they never overlap in what they predict. *windows [*count] is in the order
 * of documents and places; free it with kern_free. Errors: KERN_ERR_MEMORY, KERN_ERR_DATA where no
 * document is long enough. */
kern_status data_source_windows(data_window **windows, int64_t *count, const data_source *source,
                                int64_t per_document);

/* Tokens [begin, begin + count) of a document, which must have them. Errors: those of
 * data_shard_read. */
kern_status data_source_read_document(int32_t *tokens, data_source *source, int64_t document,
                                      int64_t begin, int64_t count);

int64_t data_source_length(const data_source *source); /* T */
int64_t data_source_documents(const data_source *source);
data_document data_source_document(const data_source *source, int64_t i);

/* The vocabulary that all shards share. */
int64_t data_source_vocabulary(const data_source *source);
int32_t data_source_bos(const data_source *source);
const char *data_source_tokenizer(const data_source *source);
const char *data_source_tokenizer_hash(const data_source *source);

/* A number that names the data: CRC-32 over the shards' descriptions and checksums in their order.
 * Two ranks, or a run and its continuation, read the same samples where it, T and `across` agree.
 */
uint32_t data_source_fingerprint(const data_source *source);

#endif
