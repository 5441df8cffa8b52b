#include "autodiff/op.h"

/* The square root; its derivative at 0 is infinite. */
static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    (void)wanted;
    ad_value root = {node, 0}, half = ad_fill(graph, ad_type_at(graph, root), 0.5);
    ct_in[0] = ad_div(graph, ad_mul(graph, ct[0], half), root);
}

static int emit(ad_emitter *emitter, const ad_graph *graph, const ad_node *node, const int *reg) {
    (void)graph, (void)node;
    return ad_emit(emitter, KERN_ROW_SQRT, reg[0], -1, -1);
}

const ad_op_def ad_op_sqrt = {.orders = AD_SMOOTH,
                              .type = ad_type_like_input,
                              .vjp = vjp,
                              .rows = AD_ROWS_ELEMENTWISE,
                              .emit = emit,
                              .low = 0.5,
                              .high = 2};
