/* Token mixers: what of a block lets tokens see others. A mixer is a row of a table and a file
 * (docs/add-a-mixer.md); attention is row 0. All local. */
#ifndef INFER_MIXER_H
#define INFER_MIXER_H

#include "infer/context.h"

/* What a mixer hands from one chunk of a sequence to the next. */
enum { INFER_STATES = 16 };
typedef struct {
    const char *name; /* of its tensor in a session's file, behind "blocks.{l}." */
    /* Rows of the tokens before, in `product`, that are appended to and never copied: as many as
     * the block's attention sees (docs/architecture.md, Scan); only of a mixer that attends. Else a
     * carry: of each item one in `real`, zero at a sequence's beginning. */
    bool history;
    infer_placing placing; /* what tensor-parallel ranks have of it */
    infer_split split;     /* INFER_PARTED: of an axis of dim */
    int rank;
    int64_t dim[INFER_AXES]; /* of a row, or of an item's carry */
} infer_mixer_state;

/* By state: what there was before the rows (a carry [B, dim]; past rows [B, P, dim], AD_NONE
 * without any), and what there is after them, which build sets (the carry; fresh rows [B, C, dim]).
 */
typedef struct {
    ad_value before[INFER_STATES], after[INFER_STATES];
} infer_memory;

typedef struct {
    const char *letters; /* in model.pattern: one, or one for each kind of the mixer */
    const char *name;    /* also what ttt plan calls its parameters */
    bool attends;        /* has rotary angles, and attention of the window (full: of everything) */
    void (*parameters)(infer_parameters *to, const ttt_conf *conf, int block);
    /* NULL: it has none. Else how many; fills the list. The same for every call. */
    int (*states)(infer_mixer_state state[INFER_STATES], const ttt_conf *conf, int block);
    /* x [R, D] -> [R, D]. Differentiable twice. With several ranks both are the same on all, and
     * weights and states are the rank's (infer_vary, infer_sum). Rows that infer_valid() says are
     * none must leave carries as they were. Any C gives the same numbers. */
    ad_value (*build)(const infer_context *context, int block, infer_memory *memory, ad_value x);
    /* NULL: none. Else the tokens of its own chunks, which are part of the model: rows that are
     * read together are chunks of it from the beginning of one on, or lie in one. */
    int64_t (*chunk)(const ttt_conf *conf);
    /* NULL: nothing more is asked of a configuration. Else refuses what the mixer cannot be, with
     * what would work. */
    kern_status (*check)(const ttt_conf *conf);
    /* What training counts for it beside matrices, of one sequence (docs/costs.md): FLOPs; `above`:
     * an inner gradient flows through it. `chunk`: tokens of an inner step. */
    double (*flops)(const ttt_conf *conf, int block, int64_t chunk, bool above);
} infer_mixer;

/* The table of mixers: ROW(NAME) is infer/NAME.c. */
#define INFER_MIXERS(ROW) ROW(attention) ROW(mamba2) ROW(gated_delta) ROW(kvb)

/* It as an array, which ends with NULL; in a file of its own (infer/mixers.c), so that a program
 * that links another one has that. */
extern const infer_mixer *const infer_mixers[];

/* The mixer of a block of a checked configuration; NULL: it has none (letter n). */
const infer_mixer *infer_mixer_of(const ttt_conf *conf, int64_t block);

/* The mixers' own chunk, 0 where none of the model's has one: all that have agree. */
int64_t infer_mixer_chunk(const ttt_conf *conf);

/* The states of a block's mixer, as one of so many ranks has them; how many. */
int infer_states_of(infer_mixer_state state[INFER_STATES], const ttt_conf *conf, int64_t block,
                    int ranks);

/* conf_load, and that the letters of model.pattern are those of mixers: else KERN_ERR_CONFIG with
 * those that there are; and what the mixers themselves ask; *conf is then NULL. */
kern_status infer_load(ttt_conf **conf, const char *source, int overrides,
                       const char *const *override);
/* The second part of it. */
kern_status infer_check(const ttt_conf *conf);

#endif
