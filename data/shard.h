/* Shards: token files that training reads. An HDF5 file with the tokens of whole documents, where
 * the documents begin, what they are called, and checksums; docs/shards.md has the format.
 * All functions are local. Opening and finishing go through HDF5, which is not thread-safe: one
 * thread at a time. Reading tokens of an open shard does not, and may be done by many threads. */
#ifndef DATA_SHARD_H
#define DATA_SHARD_H

#include "data/vocabulary.h"

enum { DATA_SHARD_BLOCK = 1 << 16 }; /* tokens under one checksum */

typedef struct data_shard data_shard;

/* What a shard says of itself. Texts belong to the shard. */
typedef struct {
    const char *path;
    const char *tokenizer, *tokenizer_hash; /* data/vocabulary.h */
    int64_t vocabulary;
    int32_t bos;
    const char *split;  /* "train", "validation", "test" or a name of the user's */
    const char *source; /* what was packed, in the words of who packed it */
    int64_t tokens, documents;
    int64_t bad_lines;          /* that were left out when it was packed */
    const char *bad_lines_told; /* a line about each of the first; NULL: there are none */
} data_shard_about;

/* Opens a shard and verifies everything but the tokens' own checksums. Errors: KERN_ERR_FILE, and
 * KERN_ERR_DATA with the reason where it is truncated, foreign, damaged or contradicts itself;
 * *shard is then NULL. */
kern_status data_shard_open(data_shard **shard, const char *path);
void data_shard_destroy(data_shard *shard); /* NULL is fine */

const data_shard_about *data_shard_describe(const data_shard *shard);

/* Document i, 0 <= i < documents, is tokens [begin(i), begin(i+1)); begin(documents) = tokens. */
int64_t data_shard_document_begin(const data_shard *shard, int64_t i);
const char *data_shard_document_name(const data_shard *shard, int64_t i);

/* A number that names the contents: two shards with the same one hold the same tokens. */
uint32_t data_shard_fingerprint(const data_shard *shard);

/* Tokens [begin, begin + count) of the shard, which must have them, to tokens [count]. The checksum
 * of each block of DATA_SHARD_BLOCK tokens is verified when the block is first touched, and every
 * token against the vocabulary. Errors: KERN_ERR_DATA (damaged, out of the vocabulary, cut since it
 * was opened), KERN_ERR_FILE, naming path and place; tokens is then undefined. Thread-safe. */
kern_status data_shard_read(int32_t *tokens, data_shard *shard, int64_t begin, int64_t count);

typedef struct data_shard_writer data_shard_writer;

/* Begins a shard at `path` (data/aside.h: it exists only when committed). Its memory use does not
 * grow with the tokens, which wait in a nameless file beside it. Texts are copied; the vocabulary
 * must outlive the writer. Errors: KERN_ERR_FILE; *writer is then NULL. */
kern_status data_shard_create(data_shard_writer **writer, const char *path,
                              const data_vocabulary *vocabulary, const char *split,
                              const char *source);

/* A document: begun (this writes its begin-of-document token), filled, then kept or dropped. Tokens
 * must be of the vocabulary. Errors: KERN_ERR_FILE; the writer can then only be destroyed. */
kern_status data_shard_begin_document(data_shard_writer *writer, const char *name);
kern_status data_shard_append(data_shard_writer *writer, const int32_t *tokens, int64_t count);
void data_shard_keep_document(data_shard_writer *writer);
void data_shard_drop_document(data_shard_writer *writer);

/* Moves the document that was begun and not yet kept or dropped to another writer of the same
 * vocabulary, which has none begun. Errors as for data_shard_append, for either writer. */
kern_status data_shard_move_document(data_shard_writer *to, data_shard_writer *from);

/* Notes that so many lines of the texts were left out, and what is to be said of the first: whole
 * lines, copied. Where there are none the shard says nothing of it. */
kern_status data_shard_note_bad_lines(data_shard_writer *writer, int64_t count, const char *told);

/* Tokens and documents kept so far; tokens of the begun document so far. */
int64_t data_shard_kept_tokens(const data_shard_writer *writer);
int64_t data_shard_kept_documents(const data_shard_writer *writer);
int64_t data_shard_begun_tokens(const data_shard_writer *writer);

/* Writes the whole shard under its partial name and flushes it; at least one document was kept.
 * Then commit gives it its name. Errors: KERN_ERR_FILE (disk full, ...); what stood there before is
 * untouched. */
kern_status data_shard_complete(data_shard_writer *writer);
kern_status data_shard_commit(data_shard_writer *writer);

/* In between, for one of many: it takes no descriptor then, and no lock (data/aside.h). */
kern_status data_shard_release(data_shard_writer *writer);

/* Frees; what was not committed disappears. NULL is fine. */
void data_shard_writer_destroy(data_shard_writer *writer);

#endif
