/* The closed table of core operations. An operation is one file, autodiff/ops/NAME.c, and one row
 * below. A rule uses operations of this table alone, so what is built from them can be
 * differentiated as often as the rows state. Everything else is a composite (composites.h). */
#ifndef AUTODIFF_OPS_H
#define AUTODIFF_OPS_H

#include "autodiff/graph.h"

/* NAME, builder: UNARY and BINARY rows get the builder ad_NAME(graph, a[, b]), on equal shapes, by
 * themselves; OTHER rows declare theirs below. */
#define AD_OP_TABLE(UNARY, BINARY, OTHER)                                                          \
    OTHER(input)                                                                                   \
    OTHER(fill)                                                                                    \
    OTHER(vary)                                                                                    \
    OTHER(reduce)                                                                                  \
    OTHER(reduce_max)                                                                              \
    BINARY(add)                                                                                    \
    BINARY(sub)                                                                                    \
    BINARY(mul)                                                                                    \
    BINARY(div)                                                                                    \
    BINARY(max)                                                                                    \
    BINARY(greater)                                                                                \
    UNARY(neg)                                                                                     \
    UNARY(exp)                                                                                     \
    UNARY(log)                                                                                     \
    UNARY(sqrt)                                                                                    \
    UNARY(sigmoid)                                                                                 \
    UNARY(softplus)                                                                                \
    UNARY(rotate)                                                                                  \
    UNARY(stop_gradient)                                                                           \
    OTHER(select)                                                                                  \
    OTHER(cast)                                                                                    \
    OTHER(broadcast)                                                                               \
    OTHER(row_sum)                                                                                 \
    OTHER(lead_sum)                                                                                \
    OTHER(row_max)                                                                                 \
    OTHER(pick)                                                                                    \
    OTHER(unpick)                                                                                  \
    OTHER(reshape)                                                                                 \
    OTHER(transpose)                                                                               \
    OTHER(slice)                                                                                   \
    OTHER(pad)                                                                                     \
    OTHER(concat)                                                                                  \
    OTHER(gather)                                                                                  \
    OTHER(scatter_add)                                                                             \
    OTHER(matmul)                                                                                  \
    OTHER(attention)                                                                               \
    OTHER(attention_vjp)                                                                           \
    OTHER(attention_vjp2)

#define AD_OP_ENUM(name) AD_OP_##name,
typedef enum { AD_OP_TABLE(AD_OP_ENUM, AD_OP_ENUM, AD_OP_ENUM) AD_OP_COUNT } ad_op;
#undef AD_OP_ENUM

#define AD_OP_UNARY(name) ad_value ad_##name(ad_graph *graph, ad_value a);
#define AD_OP_BINARY(name) ad_value ad_##name(ad_graph *graph, ad_value a, ad_value b);
#define AD_OP_OTHER(name)
AD_OP_TABLE(AD_OP_UNARY, AD_OP_BINARY, AD_OP_OTHER)
#undef AD_OP_UNARY
#undef AD_OP_BINARY
#undef AD_OP_OTHER

const char *ad_op_name(int op);

/* A tensor full of `value`. */
ad_value ad_fill(ad_graph *graph, ad_type type, double value);
/* a, which is the same on all ranks, as a value that varies: one may then differ from the others'
 * in what is made of it. Costs nothing; its adjoint is reduce. */
ad_value ad_vary(ad_graph *graph, ad_value a);
/* The sum over the ranks of a, which varies; its adjoint is vary. Of vary(x) it is x times the
 * number of ranks. Collective: the ranks run plans that reduce together, at the same time. */
ad_value ad_reduce(ad_graph *graph, ad_value a);
/* The largest of the ranks' elements. Collective, not differentiable. */
ad_value ad_reduce_max(ad_graph *graph, ad_value a);
/* condition != 0 ? a : b, elementwise; no gradient to the condition. */
ad_value ad_select(ad_graph *graph, ad_value condition, ad_value a, ad_value b);
/* To another element type; bf16 rounds to nearest even. Its cotangent passes unrounded. */
ad_value ad_cast(ad_graph *graph, ad_value a, kern_dtype dtype);
/* Repeats axes of size 1 up to `shape` (equal rank, equal other axes). */
ad_value ad_broadcast(ad_graph *graph, ad_value a, ad_type shape);
/* Sum over the last axis, which stays with size 1. */
ad_value ad_row_sum(ad_graph *graph, ad_value a);
/* Sum over axes kept .. rank-2, which stay with size 1. */
ad_value ad_lead_sum(ad_graph *graph, ad_value a, int kept);
/* Sum over the axes of the bit mask, which stay with size 1: of both, and transposes where the axes
 * lie apart. */
ad_value ad_sum(ad_graph *graph, ad_value a, unsigned axes);
/* Largest element of the last axis, which stays with size 1. Not differentiable. */
ad_value ad_row_max(ad_graph *graph, ad_value a);
/* a[..., index[...]]: index i32 [..., 1] -> [..., 1]. An index out of range gives NaN. */
ad_value ad_pick(ad_graph *graph, ad_value a, ad_value index);
/* [..., 1] -> [..., n]: zero but for position index[...]. */
ad_value ad_unpick(ad_graph *graph, ad_value a, ad_value index, int64_t n);
/* The same elements in another shape; costs nothing. */
ad_value ad_reshape(ad_graph *graph, ad_value a, ad_type shape);
/* Axis i of the result is axis order[i] of a. */
ad_value ad_transpose(ad_graph *graph, ad_value a, const int *order);
/* Elements start .. start+count-1 of one axis. */
ad_value ad_slice(ad_graph *graph, ad_value a, int axis, int64_t start, int64_t count);
/* Zeros around a along one axis, which gets size `total`; a begins at `start`. */
ad_value ad_pad(ad_graph *graph, ad_value a, int axis, int64_t start, int64_t total);
/* The parts one behind the other along one axis; equal in the others. Sums of neighbouring pads
 * become this by themselves. */
ad_value ad_concat(ad_graph *graph, int64_t count, const ad_value *part, int axis);
/* Rows of table [V, D] by index i32 [R] -> [R, D]. */
ad_value ad_gather(ad_graph *graph, ad_value table, ad_value index);
/* [V, D]: row index[r] is the sum of a's rows r with that index. */
ad_value ad_scatter_add(ad_graph *graph, ad_value a, ad_value index, int64_t vocabulary);
/* op(a) op(b), both [m, k]-like of rank 2, or of rank 3 with equal first axes (batch). Operands of
 * one dtype; bf16 operands give an f32 result. */
ad_value ad_matmul(ad_graph *graph, ad_value a, ad_value b, bool transpose_a, bool transpose_b);

/* Softmax attention of new rows over past ++ new rows (kernels/attention.h). q [B, C, H, K],
 * k and v [B, C, G, K]. past_k, past_v [B, P, G, K] and past_rows i32 [1] may be AD_NONE; only the
 * first past_rows rows (at most P) are read, and they come right before the new ones. */
typedef struct {
    ad_value q, k, v, past_k, past_v, past_rows;
    int64_t window; /* >= 1 */
    double scale;
} ad_attention_args;
/* -> [B, C, H, K] and *lse [B, C, H] */
ad_value ad_attention(ad_graph *graph, const ad_attention_args *args, ad_value *lse);

#endif
