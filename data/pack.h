/* Text files -> shards: each file is a document, each line where it has lines of JSON
 * (data/documents.h). Reads, encodes and writes as it goes; memory grows with the threads and the
 * names of the documents alone. All functions are local, and one thread at a time (HDF5). */
#ifndef DATA_PACK_H
#define DATA_PACK_H

#include "data/documents.h"
#include "data/shard.h"

/* What became of a file. */
typedef struct {
    const char *name;
    bool lines;                        /* each line is a document */
    int64_t documents, tokens;         /* read */
    int64_t left_out, left_out_tokens; /* of these, shorter than the minimum */
} data_pack_row;

typedef struct {
    const char *out;           /* path of the shard, "train.h5" */
    const char *const *inputs; /* [input_count] files as data/documents.h reads them, and globs */
    int64_t input_count;
    data_documents_options how; /* they are read */
    const data_vocabulary *vocabulary;
    int64_t threads;    /* that encode; 0: as many as processors. The shards do not depend on it */
    const char *split;  /* stored in the shard */
    const char *source; /* stored in the shard: what this text is */
    int64_t min_tokens; /* documents with fewer (begin-of-document included) are left out */
    int64_t shard_tokens; /* 0: one shard. Else several, OUT-00000.h5 and on, each of at most so
                             many tokens unless one document is longer; documents are not cut */
    /* Called after each file that has a document, unless NULL; not always by the same thread. */
    void (*seen)(void *context, const data_pack_row *row);
    /* Called after each part that is written, unless NULL: `done` of `all` bytes of the files. */
    void (*progress)(void *context, int64_t done, int64_t all);
    /* Called once at the end, also after an error, where lines were left out, unless NULL; path
     * [file] is as the user wrote it. */
    void (*bad)(void *context, const data_bad_lines *lines, char *const *path);
    void *context;
} data_pack_options;

typedef struct {
    int64_t shards, documents, tokens; /* written */
    int64_t bytes;                     /* of text read */
    int64_t left_out, left_out_tokens; /* documents shorter than the minimum */
} data_pack_report;

/* Packs the inputs in their order (those of a glob by name). A document is called like its file
 * without folder and extension (.txt, .gz); where two would be called alike, like the path given; a
 * line like its file, a colon and its number. The shards take their names together, after all are
 * on the disk: a pack that is killed or fails before leaves none. Several shards get an index,
 * OUT-index.json, last of all: where it stands the set is whole (data_files_add reads it), and
 * whoever is killed between the names leaves some shards without it. Lines that were left out are
 * told in the shard that has what comes before them. Errors: KERN_ERR_USAGE (no or equal inputs,
 * numbered shards of an earlier pack in the way), KERN_ERR_FILE (cannot be read or written),
 * KERN_ERR_DATA (no document is long enough; those of data_documents_read); *report is then
 * undefined. */
kern_status data_pack(data_pack_report *report, const data_pack_options *options);

/* The path of shard i of several, OUT-00000.h5; of their index, OUT-index.json, for i = -1. free()
 * it. */
kern_status data_pack_shard_path(char **path, const char *out, int64_t i);

typedef struct {
    int64_t shortest, longest; /* documents, in tokens */
    int64_t distinct;          /* ids that occur */
} data_pack_statistics;

/* Reads every token of an open shard: checksums, vocabulary, that documents and nothing else begin
 * with the begin-of-document token. Errors: those of data_shard_read, KERN_ERR_DATA. */
kern_status data_pack_check(data_pack_statistics *statistics, data_shard *shard);

#endif
