/* What the three stages of attention share: operand positions, shapes, one prepared call. */
#ifndef AUTODIFF_ATTENTION_ARGS_H
#define AUTODIFF_ATTENTION_ARGS_H

#include "autodiff/op.h"
#include "kernels/attention.h"

/* Operands of all stages, then of the vjp, then of the vjp of the vjp. attrs.i[0]: window; f:
 * scale. */
enum {
    ATTN_Q,
    ATTN_K,
    ATTN_V,
    ATTN_PAST_K,
    ATTN_PAST_V,
    ATTN_PAST_ROWS,
    ATTN_FORWARD_INPUTS,
    ATTN_O = ATTN_FORWARD_INPUTS,
    ATTN_LSE,
    ATTN_CT_O,
    ATTN_VJP_INPUTS,
    ATTN_A = ATTN_VJP_INPUTS,
    ATTN_B,
    ATTN_C,
    ATTN_VJP2_INPUTS,
    /* bits of operands that may be views, whose cotangents are added to; then */
    ATTN_VIEWS = 1 << ATTN_PAST_K | 1 << ATTN_PAST_V,
    /* of those that may be absent */
    ATTN_OPTIONAL = ATTN_VIEWS | 1 << ATTN_PAST_ROWS,
    ATTN_VJP2_OPTIONAL = ATTN_OPTIONAL | 1 << ATTN_A | 1 << ATTN_B | 1 << ATTN_C,
};

/* NULL, or what is wrong with the first `inputs` operands. */
const char *ad_attention_check(const ad_graph *graph, const ad_node *node, int inputs);
/* Types of the cotangents of q, k, v, past_k, past_v into type[0..4]. */
void ad_attention_cotangents(const ad_graph *graph, const ad_node *node, ad_type *type);
/* ct rounded to the dtype of the operands, for feeding the products. */
ad_value ad_attention_round(ad_graph *graph, const ad_node *node, ad_value ct);

kern_status ad_attention_create(void **state, const kern_device *device, const ad_graph *graph,
                                const ad_node *node, int stage, int threads, size_t *workspace);
void ad_attention_run(const void *state, kern_stream *stream, const ad_buffer *output,
                      const ad_buffer *input, void *workspace);
void ad_attention_destroy(const kern_device *device, void *state);
/* FLOPs with so many rows before the new ones, as far as the past has room for them: per visible
 * pair 2 K `own` among the new rows, 2 K `past` with the others. */
double ad_attention_flops(const ad_graph *graph, const ad_node *node, int64_t before, double own,
                          double past);

#endif
