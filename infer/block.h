/* One Transformer block as a graph, and the head: the forward pass of docs/model.md, written once
 * for prefix and suffix, every variant and every precision. All local. */
#ifndef INFER_BLOCK_H
#define INFER_BLOCK_H

#include "autodiff/composites.h"
#include "infer/parameters.h"

/* Element types of a configuration's numbers: of the residual stream, and of products' operands. */
kern_dtype infer_real(const ttt_conf *conf);
kern_dtype infer_product(const ttt_conf *conf);

/* Kinds of block, by what they attend to: conf_block_is_full() as an index. */
enum { INFER_WINDOWED, INFER_FULL, INFER_KINDS };

/* What blocks of one graph share. R = B * C rows of `batch` items. */
typedef struct {
    ad_graph *graph;
    const ttt_conf *conf;
    kern_dtype real;    /* residual stream, norms, softmax, loss: f32, or f64 in f64 runs */
    kern_dtype product; /* operands of matrix products and attention: bf16, or `real` */
    int64_t batch, rows;
    int64_t slice_elements; /* of logits, that the head computes at a time; 0: all */
    /* By kind of block; AD_NONE where there is none of that kind. */
    ad_value cosine[INFER_KINDS], sine[INFER_KINDS]; /* [C, K] in `real`: rows of the tables */
    ad_value past_rows[INFER_KINDS];                 /* i32 scalar */
    int64_t past_capacity[INFER_KINDS];              /* P: rows of the past that a chunk can see */
} infer_context;

/* Creates the inputs cosine, sine and past_rows that the blocks first .. last - 1 need; `tokens` is
 * the length of the sequence. */
void infer_context_inputs(infer_context *context, int first, int last, int64_t tokens);

/* Fills rows [rows, K] of the rotary tables for positions first, first + 1, ... of a kind of block:
 * each angle stands at both places of its pair. Angles in double, rounded once. */
void infer_rope_table(void *cosine, void *sine, const ttt_conf *conf, int kind, int64_t first,
                      int64_t rows);

/* Weights of a block by role: matrices in `product` and norms in `real` as [in, out] and [n]; fast
 * ones in `real`, [B, in, out], where each item has its own. AD_NONE where the model has none. */
typedef struct {
    ad_value of[INFER_ROLES];
} infer_weights;

/* Keys and values of the past (inputs, AD_NONE without one), and those of the new rows. */
typedef struct {
    ad_value past_k, past_v, fresh_k, fresh_v;
} infer_cache;

/* h [R, D] -> [R, D] after block `block`; fills the cache's fresh rows. */
ad_value infer_block(const infer_context *context, int block, const infer_weights *weights,
                     infer_cache *cache, ad_value h);

/* Loss of the rows: h [R, D] after the last block, targets i32 [R, 1], weights [R, 1] of their
 * losses. norm [D]; head [V, D] (tied) or [D, V], in `product`.
 * The gradient of sum(weight * nll) by h is built together with the loss, over slices of rows, so
 * that logits of one slice need to exist at a time. */
typedef struct {
    ad_value nll;  /* [R, 1] */
    ad_value ct_h; /* [R, D] */
} infer_head_result;
infer_head_result infer_head(const infer_context *context, ad_value norm, ad_value head, ad_value h,
                             ad_value target, ad_value weight);

/* Scores of the next token: h [R, D] -> [R, V]. */
ad_value infer_head_logits(const infer_context *context, ad_value norm, ad_value head, ad_value h);

#endif
