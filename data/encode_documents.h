/* Documents -> tokens, by several threads: an inside of data/pack.h. Which thread encodes what does
 * not change the tokens, and they come in the order of the documents. */
#ifndef DATA_ENCODE_DOCUMENTS_H
#define DATA_ENCODE_DOCUMENTS_H

#include "data/documents.h"
#include "data/vocabulary.h"

/* Receives the tokens of a part; those of the bytes at its end may come with the next part. Called
 * by one thread at a time, not always the same. */
typedef kern_status data_write_tokens(void *context, const data_document_part *part,
                                      const int32_t *ids, int64_t count);

/* Reads all documents. Each of `threads` threads, the caller one of them, reads, encodes or writes,
 * whatever is next; up to 2 MB of text a thread are in flight, and a document longer than all of
 * that is encoded by one thread at a time. Errors: the first in the order of the documents, of
 * reading, encoding (data_encode) or write. */
kern_status data_encode_documents(data_documents *documents, const data_vocabulary *vocabulary,
                                  int64_t threads, data_write_tokens *write, void *context);

#endif
