/* The bytes of a text file, which may be compressed: gzip and zstd are recognised by how they begin
 * and inflated, several members or frames one behind the other as one. What is known to be no text
 * is refused by name. All functions are local; one thread at a time. */
#ifndef DATA_STREAM_H
#define DATA_STREAM_H

#include "kernels/base.h"

typedef struct data_stream data_stream;

typedef struct {
    const char *path;  /* "-": the standard input; must outlive the stream */
    bool any_kind;     /* what is no text is not refused */
    int (*stop)(void); /* asked while waiting for bytes, unless NULL: not 0 stops */
} data_stream_options;

/* Opens, and waits for the first bytes. Errors: KERN_ERR_FILE; KERN_ERR_USAGE (a folder);
 * KERN_ERR_DATA where it is no text, with its kind and what to do; those of data_stream_read.
 * *stream is then NULL. */
kern_status data_stream_open(data_stream **stream, const data_stream_options *options);
void data_stream_destroy(data_stream *stream); /* NULL is fine */

/* Up to `most` bytes, most > 0, as soon as there are some; *got is 0 at the end alone. Errors:
 * KERN_ERR_FILE; KERN_ERR_DATA where compressed data are damaged or end too early;
 * KERN_ERR_INTERRUPTED after `stop`. */
kern_status data_stream_read(data_stream *stream, char *memory, int64_t most, int64_t *got);

/* The same, but fewer than `most` at the end alone. */
kern_status data_stream_fill(data_stream *stream, char *memory, int64_t most, int64_t *got);

/* The next bytes, which stay unread: `wanted` of them or more, fewer where the file ends before.
 * They lie in the stream until it is read. Errors as above. */
kern_status data_stream_peek(data_stream *stream, char **head, int64_t *bytes, int64_t wanted);

/* Bytes of the file, as it is on the disk, that were read so far. */
int64_t data_stream_consumed(const data_stream *stream);
bool data_stream_is_compressed(const data_stream *stream);

/* What to call the file in messages: the path, or "the standard input". */
const char *data_stream_name(const char *path);

/* The size of a file as it is on the disk; 0 where nobody knows it, as of a pipe. */
int64_t data_stream_size(const char *path);

#endif
