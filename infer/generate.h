/* Writing on: sampling tokens from a session and reading each of them (docs/model.md, Reading in
 * pieces), so that generated text is learned from like any other. All functions are local. */
#ifndef INFER_GENERATE_H
#define INFER_GENERATE_H

#include "data/vocabulary.h"
#include "infer/sample.h"
#include "infer/session.h"
#include "infer/stream.h"

/* Text to be shown, a few bytes at a time, perhaps none; false ends the generation. */
typedef bool (*infer_say)(void *context, const char *text, int64_t bytes);

typedef struct {
    infer_session *session; /* has read something */
    const data_vocabulary *vocabulary;
    infer_sampler *sampler;
    infer_stream *stream;
    int64_t tokens; /* at most */
    infer_say say;
    void *context;
} infer_generation;

typedef enum {
    INFER_END_TOKENS, /* as many as asked for */
    INFER_END_STOP,   /* a stop string */
    INFER_END_TEXT,   /* begin of document or another special token; it was not read */
    INFER_END_ASKED,  /* `say` returned false */
} infer_end;

/* *tokens: how many were read. Errors: those of infer_session_read; KERN_ERR_NUMERIC where
 * scores are not finite. */
kern_status infer_generate(infer_end *end, int64_t *tokens, const infer_generation *generation);

#endif
