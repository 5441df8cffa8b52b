#include "autodiff/op.h"

/* Pairs of the last axis turned by a right angle: (x, y) -> (-y, x). RoPE is
 * a cos + rotate(a) sin; the adjoint turns back. */
static const char *type(const ad_graph *graph, ad_node *node) {
    const char *reason = ad_type_like_input(graph, node);
    return reason ? reason : ad_last(node->type[0]) % 2 ? "the last axis must be even" : NULL;
}

static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    (void)node, (void)wanted;
    ct_in[0] = ad_neg(graph, ad_rotate(graph, ct[0]));
}

static int emit(ad_emitter *emitter, const ad_graph *graph, const ad_node *node, const int *reg) {
    (void)graph, (void)node;
    return ad_emit_wide(emitter, KERN_ROW_ROTATE, reg[0]);
}

const ad_op_def ad_op_rotate = {
    .orders = AD_SMOOTH, .type = type, .vjp = vjp, .rows = AD_ROWS_ELEMENTWISE, .emit = emit};
