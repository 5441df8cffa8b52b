/* Softmax attention, twice differentiable in O(T) memory (docs/attention.md has the formulas).
 * Three stages: forward, its vjp, the vjp of its vjp. Nothing of size rows x keys is stored for
 * more than a tile of rows of one head. */
#ifndef KERNELS_ATTENTION_H
#define KERNELS_ATTENTION_H

#include "kernels/base.h"

/* Axes: B batch, C new rows, H query heads, G key heads (G divides H; query head h reads key head
 * floor(h G / H)), K head size.
 *   q, o, ct_q, ct_o ... [B, C, H, K]; k, v, ... [B, C, G, K]; lse [B, C, H] (f64 for f64, else
 * f32) past_k, past_v: item b at element b * past_stride, then [past, G, K]: the `past` rows that
 * come right before the new rows. New row t sees key s of past ++ new iff s <= past + t and past +
 * t - s < window. scores = scale * q.k. dtype is that of q, k, v, their past, ct_o and the
 * cotangents a, b, c fed to the products: f32, f64 or bf16; with bf16 all results are f32 (o
 * included) and sums run in f32. */
typedef struct {
    kern_dtype dtype;
    int64_t batch, rows, heads, groups, head_size;
    int64_t window; /* >= 1; full attention: any value >= past + rows */
    double scale;
} kern_attention_shape;

/* Rows of keys and values before the new ones; past = 0 for none (pointers may then be NULL). */
typedef struct {
    const void *k, *v;
    int64_t past, stride;
} kern_attention_past;

/* Where cotangents of past keys and values are ADDED (f32; f64 for f64): item b at b * stride, then
 * [past, G, K]. NULL pointers: not wanted. */
typedef struct {
    void *k, *v;
    int64_t stride;
} kern_attention_past_ct;

/* Bytes of scratch for stage 0, 1 or 2 with up to `threads` threads and at most `past` past rows.
 */
size_t kern_attention_workspace(const kern_attention_shape *shape, int stage, int64_t past,
                                int threads);

/* o = softmax(scores) v and lse = row log-sum-exp of the scores. All three stages are local to the
 * rank, run on OpenMP's threads, give the same bits whatever their number, need past = NULL or
 * past->past = 0 where nothing came before, and have no way to fail. NaN in what a row sees comes
 * out of that row (and may come out of the rows near it). */
void kern_attention(const kern_attention_shape *shape, void *o, void *lse, const void *q,
                    const void *k, const void *v, const kern_attention_past *past, void *workspace);

/* Given ct_o: ct_q, ct_k, ct_v (written; NULL where not wanted) and the past's (added). o and lse
 * are the forward's results. */
void kern_attention_vjp(const kern_attention_shape *shape, void *ct_q, void *ct_k, void *ct_v,
                        const kern_attention_past_ct *ct_past, const void *q, const void *k,
                        const void *v, const kern_attention_past *past, const void *o,
                        const void *lse, const void *ct_o, void *workspace);

/* Given cotangents a, b, c of the vjp's results ct_q, ct_k, ct_v (NULL: zero; those of the past's
 * results are always zero): cotangents of q, k, v and ct_o (written; NULL where not wanted) and of
 * the past (added), with o and lse differentiated through as functions of q, k, v. */
void kern_attention_vjp2(const kern_attention_shape *shape, void *ct_q, void *ct_k, void *ct_v,
                         void *ct_ct_o, const kern_attention_past_ct *ct_past, const void *q,
                         const void *k, const void *v, const kern_attention_past *past,
                         const void *o, const void *lse, const void *ct_o, const void *a,
                         const void *b, const void *c, void *workspace);

/* Parts that run side by side, in each pass of the stage after `past` rows: a function of the
 * shape, never of the number of threads. */
int64_t kern_attention_parts(const kern_attention_shape *shape, int stage, int64_t past);

/* Visible (row, key) pairs, over batch and query heads: with keys of the past, or with new ones. A
 * stage's exact FLOPs are 2 head_size pairs products, with per pair 2 products in stage 0; in stage
 * 1 5, or 3 where cotangents of keys and values are not wanted; in stage 2 15 on new pairs, 10 on
 * past ones. */
double kern_attention_pairs(const kern_attention_shape *shape, int64_t past, bool of_past);

#endif
