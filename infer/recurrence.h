/* What mixers with a recurrence share (docs/recurrent-mixers.md): a causal convolution with a tail,
 * rows as chunks, decays between the rows of a chunk, and how such parameters begin. All local. */
#ifndef INFER_RECURRENCE_H
#define INFER_RECURRENCE_H

#include "infer/mixer.h"

#define INFER_MIXER_EPS 1e-5 /* of the norms inside mixers */

/* R rows of an item as n chunks of Q rows, the last filled up with zeros. */
typedef struct {
    int64_t items, rows, chunk, chunks;
} infer_chunks;
infer_chunks infer_chunks_of(const infer_context *context, int64_t most);

/* x [B R, .] -> [B, n, Q, heads, width], 0 behind the rows; and [B n Q, width] back to [B R,
 * width]. */
ad_value infer_to_chunks(const infer_context *context, infer_chunks chunks, ad_value x,
                         int64_t heads);
ad_value infer_from_chunks(const infer_context *context, infer_chunks chunks, ad_value x);
/* Axes 2 and 3 of [B, n, a, b, .] change places. */
ad_value infer_swap(const infer_context *context, ad_value x);

/* op(a) op(b) by item, operands rounded as those of products are. */
ad_value infer_matmul(const infer_context *context, ad_value a, ad_value b, bool transpose_a,
                      bool transpose_b);

/* a^T b by item: a [I, R, m], b [I, R, n] -> [I, m, n]. Of a single row no product: what it is
 * added to is then gone through once. */
ad_value infer_outer(const infer_context *context, ad_value a, ad_value b);

/* y_t = silu(bias + sum of weight[j] u_{t-X+1+j} over j < X), rows before the first from the tail.
 * u [B R, W], weight [X, W], bias [W] or AD_NONE, tail [B, X-1, W] -> [B R, W]; *next: the tail
 * after the rows that are tokens. */
ad_value infer_conv(const infer_context *context, ad_value u, ad_value weight, ad_value bias,
                    ad_value tail, ad_value *next);

/* x [B R, ...], 0 in rows that are no tokens. Like the convolution for what ranks have in parts. */
ad_value infer_mask(const infer_context *context, ad_value x);

/* e^(c_t - c_s) for s <= t, else 0: c [I, Q] -> [I, Q, Q]. */
ad_value infer_decay(const infer_context *context, ad_value c);

/* How parameters begin: uniform from +-1 / sqrt(rows), for convolutions; such that softplus is
 * e^u for u uniform from ln 0.001 to ln 0.1, for dt_bias. */
double infer_draw_conv(const infer_parameter *p, const ttt_conf *conf, uint64_t *random);
double infer_draw_dt_bias(const infer_parameter *p, const ttt_conf *conf, uint64_t *random);

#endif
