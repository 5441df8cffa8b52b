/* What infer/session.c (graphs), infer/session_memory.c, infer/session_run.c (reading) and
 * infer/session_file.c share. Internal. */
#ifndef INFER_SESSION_STATE_H
#define INFER_SESSION_STATE_H

#include "infer/body.h"
#include "infer/session.h"

/* What a part makes of a mixer's carry. */
typedef struct {
    int output; /* -1: it leaves it as it was */
    bool over;  /* may be written where it was read */
} session_carried;

/* A compiled piece of the model that reads `rows` rows. */
typedef struct {
    infer_part body;
    ad_plan *plan;
    bool suffix;
    /* One token: where it reads and writes is the same for each, so that devices can record it;
     * what it makes is copied from there to where it belongs. */
    bool token;
    int first, last; /* blocks */
    int64_t rows;
    infer_tokens tokens, target; /* its inputs; AD_NONE where it has none */
    ad_value h, weight, rate;
    /* Its outputs: the main one (rows, logits or losses); with `nll` losses too; with fast weights
     * carried their gradient's norm and the next ones, and these rounded; then what mixers carry
     * (below) and the histories. */
    int nll, loss, norm, next, next_rounded, fresh;
    session_carried *carried; /* [body.carries - body.fast] */
} session_part;

/* What a mixer hands on. A history: `used` rows of `capacity`, the newest last. A carry: its place
 * in each copy of those of its part, and the copies that have it as it was at the chunk's beginning
 * and as it is; with the next one while a part runs. */
typedef struct {
    infer_mixer_state about;
    int block;
    size_t bytes; /* of a row, or of the carry */
    int64_t past; /* rows before a token that it can see; 0: nothing is kept */
    int64_t capacity, used;
    void *rows;
    size_t at;
    int begin, now, next;
} session_state;

/* Copies of the carries of the prefix or the suffix. The step on a chunk reads it again, so they
 * stay as they were at its beginning until it has been taken; a piece of a chunk goes on from where
 * the last one ended. What is written is neither of both, or lies over what nobody reads again. In
 * the prefix both are the same. */
enum { COPIES = 3 };
typedef struct {
    size_t bytes;
    char *copy[COPIES];
} session_carries;

enum {
    PREFIX_UNIT,   /* several chunks */
    PREFIX_CHUNK,  /* one */
    PREFIX_NARROW, /* a piece of a chunk */
    PREFIX_TOKEN,
    PREFIX_NARROW_WITHIN, /* the same within a chunk of the mixers' own, where they have one */
    PREFIX_TOKEN_WITHIN,
    SUFFIX_CHUNK, /* losses and the step */
    SUFFIX_NARROW,
    SUFFIX_TOKEN,
    SUFFIX_NARROW_WITHIN,
    SUFFIX_TOKEN_WITHIN,
    SESSION_PARTS
};
enum { WITHIN = PREFIX_TOKEN_WITHIN - PREFIX_TOKEN };

enum { SESSION_BUFFERS = 18 + 2 * COPIES + 2 * INFER_KINDS };

typedef enum { SCORE_NONE, SCORE_KNOWN, SCORE_LOGITS } infer_score;

struct infer_session {
    infer_session_spec spec;
    kern_dtype real, product;
    infer_parameters *parameters;
    session_part part[SESSION_PARTS]; /* plan NULL: as another one */
    int64_t unit, chunk, narrow;      /* rows of the parts */
    int64_t own;                      /* the mixers' own chunk, within which pieces stay */
    bool full;                        /* some block attends to everything */
    size_t arena_bytes, history_bytes, fast_bytes /* of one copy */;
    size_t program; /* bytes of graphs and plans */
    /* of the device */
    kern_buffer memory[SESSION_BUFFERS];
    int buffers;
    void *arena;
    session_state *state; /* [states] block by block */
    int states;
    session_carries carries[2]; /* of the prefix, of the suffix */
    char *theta[2];             /* the fast weights, and the next ones: by place below */
    uint16_t *theta_rounded;    /* bf16 copies of theta[0], where products are in bf16 */
    size_t *fast_at;            /* [fast] elements into theta */
    /* [unit + narrow, D] rows of the prefix; of the chunk, from 0; the last: of one token */
    void *h;
    char *fresh;       /* [histories] keys and values of one token */
    void *logits;      /* [narrow, V], with several ranks the columns of each */
    void *nll;         /* [max(chunk, narrow)] */
    void *loss, *norm; /* [1] */
    void *weight;      /* [chunk] */
    void *valid;       /* [narrow] */
    void *cosine[INFER_KINDS], *sine[INFER_KINDS];
    int32_t *input, *target; /* [unit + narrow] */
    /* With several ranks: which of those are here; columns that nobody has; the last row of logits,
     * [ranks, columns]. */
    void *input_here, *target_here, *missing, *gathered;
    int64_t columns; /* of the rank's vocabulary */
    /* of the host */
    bool has_table[INFER_KINDS];     /* some block is of this kind */
    int64_t table_first, table_rows; /* positions that the tables hold */
    infer_session_move *moved;       /* [fast] as infer_session_save last found it */
    const infer_values *values;      /* borrowed */
    int32_t *ids;                    /* [unit + narrow] on their way to the device */
    void *reals;                     /* [unit + narrow, K] on their way to or from it */
    void *scores;      /* [ranks * columns], of them [V]: logits of the token that comes next */
    float *scores_f32; /* the same; NULL: those are f32 */
    /* the text */
    int64_t position;  /* tokens read */
    int64_t pending;   /* of them in the chunk that is not complete */
    int32_t *waiting;  /* [chunk] those */
    infer_score score; /* of the token that comes next */
    double next_nll;   /* SCORE_KNOWN: as the last target of a whole chunk, which was `next` */
    int32_t next;
    infer_session_progress seen;
};

/* Finds out what mixers hand on, and how much of it there is room for. */
void infer_session_plan_states(infer_session *session);
/* Finds out what memory is needed, and allocates it. Errors: KERN_ERR_MEMORY where that is more
 * than spec.memory, or than there is; infer_session_free is due in any case. */
kern_status infer_session_allocate(infer_session *session);
void infer_session_free(infer_session *session);

/* The rows of the history of a block of this kind. */
int64_t infer_session_capacity(const infer_session *session, int64_t past);

/* Points the parts that read fast weights or parameters to where they are. */
void infer_session_bind(infer_session *session);
/* Makes theta_rounded of theta[0], where products are in bf16. */
void infer_session_round(infer_session *session);
/* The carries that the state is among. */
session_carries *infer_session_carries(infer_session *session, const session_state *state);
const infer_parameter *infer_session_fast_parameter(const infer_session *session, int fast);

/* What reading depends on besides weights, a word an option: those of model.*, inner.* and
 * train.precision that are not at their fallback, but for those of training alone. So a state knows
 * nothing of options that came after it. The caller frees the text with free(). */
char *infer_session_options(const infer_session *session);
/* That the session reads as the state `path` was read, whose text of options is `theirs`; `first`:
 * as the format ttt-state-1 had it. KERN_ERR_CONFIG naming what differs. */
kern_status infer_session_check_options(const infer_session *session, const char *path,
                                        const char *theirs, bool first);

#endif
