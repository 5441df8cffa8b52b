/* Documents, read from text files one after the other: a file, gzipped or not, is one document;
 * where its name ends in .jsonl (.jsonl.gz), each line is one, the text of one of its fields.
 * Memory grows with the longest line alone. All functions are local; one thread at a time. */
#ifndef DATA_DOCUMENTS_H
#define DATA_DOCUMENTS_H

#include "kernels/base.h"

/* A part of a document: its bytes follow those of the part before. */
typedef struct {
    int64_t file; /* which of the paths */
    const char *path;
    int64_t line; /* from 1 on; 0: the document is the whole file */
    bool begins, ends;
    int64_t bytes;
    int64_t read; /* of data_documents_size, up to here */
} data_document_part;

typedef struct data_documents data_documents;

/* `field` names the text of a line of .jsonl. Paths [count] and field must outlive the reader.
 * Errors: KERN_ERR_MEMORY; *documents is then NULL. */
kern_status data_documents_create(data_documents **documents, char *const *paths, int64_t count,
                                  const char *field);
void data_documents_destroy(data_documents *documents); /* NULL is fine */

/* Reads the next part, of at most `most` bytes, into text; part->file is -1 behind the last.
 * Errors: KERN_ERR_FILE, KERN_ERR_USAGE (a folder), KERN_ERR_DATA (damaged gzip; a line that is no
 * JSON object or has no such text), naming path and line; the reader can then only be destroyed. */
kern_status data_documents_read(data_document_part *part, char *text, data_documents *documents,
                                int64_t most);

/* Bytes of all files as they are on the disk, gzipped ones as they are; 0 for pipes. */
int64_t data_documents_size(const data_documents *documents);

bool data_documents_are_lines(const char *path); /* .jsonl or .jsonl.gz */

#endif
