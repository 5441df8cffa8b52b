/* Reading and generating: a model whose fast weights learn from what it reads, a token or a book at
 * a time (docs/model.md, Reading in pieces). The numbers do not depend on how a text is cut into
 * calls. Chunks are counted from the first token of the text; the token after a chunk is known
 * before the step on that chunk is taken, and is read with the new weights. One text at a time.
 * Tensor-parallel ranks read it together, with the same calls: functions are then collective unless
 * they say that they are local, and all ranks get the same results. Memory does not grow with the
 * text: keys and values of windowed blocks slide through buffers of W + max(C, 512) + 64 rows; only
 * full attention needs a row for each position.
 */
#ifndef INFER_SESSION_H
#define INFER_SESSION_H

#include "autodiff/plan.h"
#include "infer/values.h"

typedef struct {
    const ttt_conf *conf; /* checked; must outlive the session */
    bool inner;           /* take inner steps; false: the plain model, also of a run with an inner
                             loop */
    int64_t limit; /* most positions, where some block attends to everything; else not looked at */
    double memory; /* bytes that the session and its weights may take; 0: not looked at */
    const kern_device *device; /* NULL: the CPU */
    const kern_comm *tensor;   /* as in infer_model_spec */
    int threads;
    bool debug; /* checks every value, slow */
} infer_session_spec;

typedef struct infer_session infer_session;

/* Compiles and allocates. Errors: those of ad_plan_compile; KERN_ERR_USAGE where some block attends
 * to everything and spec.limit is beyond INT32_MAX / 2; KERN_ERR_MEMORY where it takes more
 * than spec.memory, with what it takes by kind, or more than there is; *session is then NULL. */
kern_status infer_session_create(infer_session **session, const infer_session_spec *spec);
void infer_session_destroy(infer_session *session); /* NULL is fine */

/* The weights: for a reader as this session is, borrowed. Then begins an empty text. */
void infer_session_set_values(infer_session *session, const infer_values *values);
/* An empty text and the parameters' own fast weights. */
void infer_session_reset(infer_session *session);

/* Reads tokens [count]. nll: NULL, or [count]: -log p(token | all before it) in nats, NAN for the
 * first of a text. Errors: KERN_ERR_DATA for a token outside the vocabulary, KERN_ERR_USAGE beyond
 * spec.limit; nothing has then been read. KERN_ERR_NUMERIC in debug sessions; the session can then
 * only be reset. */
kern_status infer_session_read(infer_session *session, const int32_t *token, int64_t count,
                               double *nll);

/* The same in steps, for who shows progress or gets tokens bit by bit: reads a first part of the
 * tokens, *consumed of them; the next call must begin with the rest. Reads something whenever
 * `last`; else perhaps nothing until infer_session_stride + 1 tokens are there, so that whole
 * chunks go together. nll as above, for the consumed ones. After an error: as above. */
kern_status infer_session_read_some(int64_t *consumed, infer_session *session, const int32_t *token,
                                    int64_t count, bool last, double *nll);

/* Where infer_session_read_some was not given the rest of a text: reads the token behind the last
 * chunk if that chunk's step knew it already. Then the session can be saved, and any other text can
 * follow. Else does nothing. Errors: KERN_ERR_NUMERIC, as above. */
kern_status infer_session_settle(infer_session *session);

/* Scores of the token that comes next [V], the session's own; after at least one token. */
const float *infer_session_logits(const infer_session *session);

int64_t infer_session_position(const infer_session *session); /* tokens read */

int32_t infer_session_bos(const infer_session *session); /* begin of document; -1: none */

/* Tokens that are read at once where there are as many: a multiple of C. */
int64_t infer_session_stride(const infer_session *session);

/* Bytes of memory by kind: weights as infer_values_open would hold them for this session alone; the
 * others all allocated at creation. History: keys, values, and what else mixers hand on. Program:
 * graphs and plans, about what libraries take; 0: not on this device. */
typedef struct {
    size_t weights, history, fast, workspace, rows, program;
    /* What generating one token must read: every weight once; and keys and values once. */
    double weights_read, history_read;
} infer_session_memory;
infer_session_memory infer_session_plan(const infer_session *session); /* local, of the rank */

/* The plans that read one token, for profiles: of the prefix, of the suffix. */
ad_plan *infer_session_token_plan(const infer_session *session, bool suffix);

/* What reading did so far. Losses are nats per token that counts, before the step on its chunk. */
typedef struct {
    int64_t steps;                /* inner steps taken */
    double first_loss, last_loss; /* of the first chunk and of the newest one; NAN without steps */
    double first_norm, last_norm; /* of their gradients */
    double nll;                   /* sum over the tokens that were scored and count */
    int64_t counted;
} infer_session_progress;
infer_session_progress infer_session_seen(const infer_session *session);

/* How far the fast weights have moved: by fast parameter, in their order, the Frobenius norms of
 * theta - theta_0 and of theta_0. move [infer_session_fast] */
typedef struct {
    double moved, size;
} infer_session_move;
int infer_session_fast(const infer_session *session);
kern_status infer_session_moves(const infer_session *session, infer_session_move *move);

/* The state as a file (docs/reading.md): fast weights, keys and values in reach, position, tokens
 * that wait for their chunk's end. `identity` names the weights that it belongs to; loading refuses
 * another one, and another layout, and anything damaged. Where infer_session_read_some was not
 * given the rest, infer_session_settle comes before saving. Errors of loading leave the session as
 * it was: KERN_ERR_FILE, KERN_ERR_DATA (damaged), KERN_ERR_CONFIG (of other weights or options). */
kern_status infer_session_save(const infer_session *session, const char *path,
                               const char *identity);
kern_status infer_session_load(infer_session *session, const char *path, const char *identity);

/* What a state's file says of itself, without a session. */
typedef struct {
    char name[96]; /* of the fast weight */
    double moved, size;
} infer_state_move;
typedef struct {
    char weights[256], *options;
    int64_t position, pending; /* tokens read, and of them those that wait for their chunk's end */
    infer_session_progress seen;
    int moves;
    infer_state_move *move; /* [moves] by name */
} infer_state;
/* Errors: KERN_ERR_FILE, KERN_ERR_DATA (damaged, or no state). infer_state_clear is due in any
 * case. */
kern_status infer_state_read(infer_state *state, const char *path);
void infer_state_clear(infer_state *state);

#endif
