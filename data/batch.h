/* Parts of documents that are encoded together, by several threads: an inside of data/pack.h. Which
 * thread encodes what does not change the tokens. */
#ifndef DATA_BATCH_H
#define DATA_BATCH_H

#include "data/documents.h"
#include "data/vocabulary.h"

enum { DATA_BATCH_BYTES = 2 << 20 }; /* of text for each thread */

typedef struct {
    data_document_part part;
    int64_t begin;    /* of its text in the batch */
    int64_t consumed; /* bytes that were encoded */
    kern_status status;
    char *error; /* where it is not KERN_OK */
} data_batch_item;

/* Begin with zeros. */
typedef struct {
    char *text;
    int64_t bytes, capacity;
    data_batch_item *items; /* [count] in the order of the documents */
    int64_t count, items_capacity;
    kern_status status; /* of reading */
    char *error;
} data_batch;

/* Reads what fits, at least a part unless there is none any more; status and error tell of faults.
 */
void data_batch_read(data_batch *batch, data_documents *documents, int64_t threads);

/* Puts text before that of the first item. */
void data_batch_prepend(data_batch *batch, const char *text, int64_t bytes);

void data_batch_clear(data_batch *batch);

/* Threads' encoders, and the tokens of each item of the batch that was encoded last. */
typedef struct data_crew data_crew;
kern_status data_crew_create(data_crew **crew, const data_vocabulary *vocabulary, int64_t threads);
void data_crew_destroy(data_crew *crew); /* NULL is fine */

/* Encodes `batch` while it reads `next`. Faults are with the items. */
void data_crew_encode(data_crew *crew, data_batch *batch, data_batch *next,
                      data_documents *documents);
const data_tokens *data_crew_tokens(const data_crew *crew, int64_t item);

#endif
