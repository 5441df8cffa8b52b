/* Text into a session, as its bytes come: encoded, and read in the pieces in which that is fast.
 * All functions are local. */
#ifndef INFER_READER_H
#define INFER_READER_H

#include "data/vocabulary.h"
#include "infer/session.h"

/* Told of tokens [count] that were read, with their nll as infer_session_read gives it (NULL if not
 * wanted). Anything but KERN_OK ends the reading with this error. */
typedef kern_status (*infer_reader_seen)(void *context, const int32_t *token, const double *nll,
                                         int64_t count);

typedef struct {
    infer_session *session;
    const data_vocabulary *vocabulary; /* fits the model */
    bool losses;                       /* nll is wanted */
    infer_reader_seen seen;            /* or NULL */
    void *context;
} infer_reader_spec;

typedef struct infer_reader infer_reader;

/* *spec is copied, what it points to must outlive the reader. Errors: KERN_ERR_MEMORY; *reader is
 * then NULL. */
kern_status infer_reader_create(infer_reader **reader, const infer_reader_spec *spec);
void infer_reader_destroy(infer_reader *reader); /* NULL is fine */

/* Appends a text's next bytes; the begin-of-document token comes by itself before the first of a
 * text if the model has one. Names of special tokens are ordinary text. `last`: the text ends here,
 * and all of it is read when this returns; else some of it may wait. Errors: those of
 * data_encode, infer_session_read and `seen`; the tokens that were not read are then forgotten,
 * and infer_session_settle is due before the session is saved or reads another text. */
kern_status infer_reader_push(infer_reader *reader, const char *bytes, int64_t count, bool last);

#endif
