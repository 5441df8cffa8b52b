/* Answers to needles (data/needle.h), and what they score. Who answers is behind two functions, so
 * that a test can put something in a model's place. All functions are local. */
#ifndef INFER_NEEDLE_H
#define INFER_NEEDLE_H

#include "data/needle.h"
#include "infer/session.h"

/* Continues a text greedily. */
typedef struct {
    void *context;
    /* Forgets what was read before and reads the prompt [count], count > 0. */
    kern_status (*begin)(void *context, const int32_t *prompt, int64_t count);
    /* The next token of the answer. KERN_ERR_NUMERIC where its scores are not finite. */
    kern_status (*next)(void *context, int32_t *token);
} infer_answerer;

/* A model that answers through a session. `asked_to_stop` may be NULL; where it returns other than
 * 0, between pieces of a prompt and between tokens, the answer ends with KERN_ERR_INTERRUPTED. The
 * struct must outlive the answerer; the session is borrowed. */
typedef struct {
    infer_session *session;
    int64_t vocabulary; /* scores of a session */
    int (*asked_to_stop)(void);
    int32_t last; /* a token that was given and not read yet; -1: none */
} infer_needle_model;
infer_answerer infer_needle_answerer(infer_needle_model *model);

/* How samples are asked. */
typedef struct {
    const data_vocabulary *vocabulary;
    data_encoder *encoder;
    bool begin;            /* a begin-of-document token stands before each prompt */
    int64_t answer_tokens; /* of an answer, at most */
} infer_needle_spec;

/* Begin with zeros; free(answer). */
typedef struct {
    char *answer; /* [bytes] and a zero behind it */
    int64_t bytes, capacity;
    int64_t prompt_tokens, answer_tokens;
    double score;
} infer_needle_result;

/* The tokens of a sample's prompt; free(prompt->ids). Errors: those of data_encode. */
kern_status infer_needle_prompt(data_tokens *prompt, const data_needle *sample,
                                const infer_needle_spec *spec);

/* Asks and scores one sample; the memory of *result is used again. An answer ends after so many
 * tokens, before a special token, and as soon as it holds all references, because nothing that
 * follows would change the score. Errors: those of the answerer and of data_encode. */
kern_status infer_needle_ask(infer_needle_result *result, const data_needle *sample,
                             const infer_answerer *answerer, const infer_needle_spec *spec);

#endif
