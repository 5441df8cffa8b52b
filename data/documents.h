/* Documents, read from text files one after the other: a file, compressed or not (data/stream.h),
 * is one document; where it has lines of JSON, each line is one, the text of one of its fields.
 * Memory grows with the longest line alone. All functions are local; one thread at a time. */
#ifndef DATA_DOCUMENTS_H
#define DATA_DOCUMENTS_H

#include "data/lines.h"

/* A part of a document: its bytes follow those of the part before. */
typedef struct {
    int64_t file; /* which of the paths */
    const char *path;
    int64_t line; /* from 1 on; 0: the document is the whole file */
    bool begins, ends;
    int64_t bytes;
    int64_t read; /* of data_documents_size, up to here */
    int64_t bad;  /* lines that were skipped before it, in all files */
} data_document_part;

typedef enum {
    DATA_INPUT_AUTO,  /* lines of JSON where the name (.jsonl, .ndjson) or the text says so */
    DATA_INPUT_TEXT,  /* a file is a document, whatever it looks like */
    DATA_INPUT_LINES, /* lines of JSON */
} data_input;

typedef struct {
    const char *field; /* the text of a line of JSON; NULL: "text" */
    data_input input;
    bool skip_bad;    /* lines without such a text are left out and counted, instead of an error */
    const char *hint; /* what that error is to say at its end; NULL: nothing */
} data_documents_options;

enum { DATA_BAD_LINES_KEPT = 10 };

/* Lines that were left out, and of the first few what is wrong with them. */
typedef struct {
    int64_t count;
    struct {
        int64_t file; /* which of the paths */
        int64_t line;
        data_line_fault fault;
    } first[DATA_BAD_LINES_KEPT];
} data_bad_lines;

typedef struct data_documents data_documents;

/* Paths [count] ("-": the standard input) and field must outlive the reader. Errors:
 * KERN_ERR_MEMORY; *documents is then NULL. */
kern_status data_documents_create(data_documents **documents, char *const *paths, int64_t count,
                                  const data_documents_options *options);
void data_documents_destroy(data_documents *documents); /* NULL is fine */

/* Reads the next part, of at most `most` bytes, into text; part->file is -1 behind the last.
 * Errors: those of data/stream.h; KERN_ERR_DATA where a line has no such text (with path, line and
 * byte), or a file is a JSON array of objects or no text; the reader can then only be destroyed. */
kern_status data_documents_read(data_document_part *part, char *text, data_documents *documents,
                                int64_t most);

/* The lines left out so far; those that were before a part stay as they are. */
const data_bad_lines *data_documents_bad(const data_documents *documents);

/* Bytes of all files as they are on the disk, compressed ones as they are; 0 for pipes. */
int64_t data_documents_size(const data_documents *documents);

#endif
