#include "autodiff/op.h"

/* ln a */
static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    (void)wanted;
    ct_in[0] = ad_div(graph, ct[0], ad_node_input(graph, node, 0));
}

static int emit(ad_emitter *emitter, const ad_graph *graph, const ad_node *node, const int *reg) {
    (void)graph, (void)node;
    return ad_emit(emitter, KERN_ROW_LOG, reg[0], -1, -1);
}

const ad_op_def ad_op_log = {.orders = AD_SMOOTH,
                             .type = ad_type_like_input,
                             .vjp = vjp,
                             .rows = AD_ROWS_ELEMENTWISE,
                             .emit = emit,
                             .low = 0.5,
                             .high = 2};
