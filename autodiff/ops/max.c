#include "autodiff/op.h"

/* The larger of a and b; where they are equal the gradient goes to b. */
static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    ad_value a = ad_node_input(graph, node, 0), b = ad_node_input(graph, node, 1);
    ad_value first = ad_greater(graph, a, b);
    ad_value zero = ad_fill(graph, ad_type_at(graph, a), 0);
    if (wanted[0]) ct_in[0] = ad_select(graph, first, ct[0], zero);
    if (wanted[1]) ct_in[1] = ad_select(graph, first, zero, ct[0]);
}

static int emit(ad_emitter *emitter, const ad_graph *graph, const ad_node *node, const int *reg) {
    (void)graph, (void)node;
    return ad_emit(emitter, KERN_ROW_MAX, reg[0], reg[1], -1);
}

const ad_op_def ad_op_max = {.orders = AD_SMOOTH,
                             .type = ad_type_like_input,
                             .vjp = vjp,
                             .rows = AD_ROWS_ELEMENTWISE,
                             .emit = emit};
