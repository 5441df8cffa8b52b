/* What the pieces of one graph share: sizes, element types, weights, rotary tables; and the few
 * functions that all of them build with. All local. */
#ifndef INFER_CONTEXT_H
#define INFER_CONTEXT_H

#include "autodiff/composites.h"
#include "infer/parameters.h"

/* Element types of a configuration's numbers: of the residual stream, and of products' operands. */
kern_dtype infer_real(const ttt_conf *conf);
kern_dtype infer_product(const ttt_conf *conf);

/* Kinds of attention, by what a token sees: conf_block_is_full() as an index. */
enum { INFER_WINDOWED, INFER_FULL, INFER_KINDS };

/* R = B * C rows of `batch` items. */
typedef struct {
    ad_graph *graph;
    const ttt_conf *conf;
    kern_dtype real;    /* residual stream, norms, softmax, loss: f32, or f64 in f64 runs */
    kern_dtype product; /* operands of matrix products and attention: bf16, or `real` */
    int64_t batch, rows;
    int64_t slice_elements; /* of logits, that the head computes at a time; 0: all */
    /* Tensor-parallel ranks that share the work; 1: nothing in the graph is of ranks. */
    int ranks;
    const infer_parameters *parameters;
    const ad_value *weight; /* [parameters] those of this graph; AD_NONE where it has not got one */
    /* By kind of attention; AD_NONE where there is none of that kind. */
    ad_value cosine[INFER_KINDS], sine[INFER_KINDS]; /* [C, K] in `real`: rows of the tables; used
                                                        with what varies */
    ad_value past_rows[INFER_KINDS];                 /* i32 scalar */
    int64_t past_capacity[INFER_KINDS];              /* P: rows of the past that a chunk can see */
    /* [1, V] in `real`, where the vocabulary does not divide by the ranks: 0; for the columns
     * behind its end INFER_MISSING. Else AD_NONE. */
    ad_value missing;
    bool within;    /* the rows do not begin a chunk of a mixer's own (infer_mixer.chunk) */
    ad_value valid; /* [R, 1] in `real`; AD_NONE: all rows are tokens; see infer_valid() */
} infer_context;

/* A score below any of a token that there is. */
#define INFER_MISSING (-1e30)

/* Tokens of rows: i32 [R] or [R, 1]. With several ranks each has some rows of the vocabulary: their
 * numbers count from its first one, and `here` [R, 1] is 1 where the rank has it, 0 (and then any
 * number of its own) where not; AD_NONE with one rank. See infer_own_tokens(). */
typedef struct {
    ad_value id, here;
} infer_tokens;

/* Creates the inputs cosine, sine and past_rows that the blocks first .. last - 1 need; `tokens` is
 * the length of the sequence. */
void infer_context_inputs(infer_context *context, int first, int last, int64_t tokens);

/* Fills rows [rows, K] of the rotary tables for positions first, first + 1, ... of a kind of
 * attention: each angle stands at both places of its pair. Angles in double, rounded once. */
void infer_rope_table(void *cosine, void *sine, const ttt_conf *conf, int kind, int64_t first,
                      int64_t rows);

/* The weight of this role in this block (-1: of the model), AD_NONE where the model has none:
 * operands of products in `product`, others in `real`, shaped as in files; fast ones in `real`,
 * [B, in, out], where each item has its own. */
ad_value infer_weight(const infer_context *context, int block, const infer_role *role);
/* The ranges of it that every rank has, where the others are divided and so make another weight,
 * which infer_weight() then is; else AD_NONE. */
ad_value infer_weight_shared(const infer_context *context, int block, const infer_role *role);

/* [R, 1] in `real`: 1 for rows that are tokens, 0 for those behind them that fill up a piece of
 * fixed width. The latter must leave a state that is handed on as it was. */
ad_value infer_valid(const infer_context *context);

/* For what ranks do in parts. Into it: x, which is the same on all ranks, as an operand of what
 * varies. Out of it: the sum over the ranks. With one rank: x. */
ad_value infer_vary(const infer_context *context, ad_value x);
ad_value infer_sum(const infer_context *context, ad_value x);

/* The type, varying over several ranks, if there are such and `placing` is not INFER_SAME. */
ad_type infer_placed(const infer_context *context, ad_type type, infer_placing placing);

/* RMS norm over the last axis; x itself where `weight` is AD_NONE. */
ad_value infer_norm(const infer_context *context, ad_value x, ad_value weight);

/* x [R, in] times a weight [in, out], or [B, in, out] by item -> [R, out] in `real`. */
ad_value infer_linear(const infer_context *context, ad_value x, ad_value weight);

#endif
