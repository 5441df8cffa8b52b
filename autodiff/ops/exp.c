#include "autodiff/op.h"

/* e^a */
static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    (void)wanted;
    ct_in[0] = ad_mul(graph, ct[0], (ad_value){node, 0});
}

static int emit(ad_emitter *emitter, const ad_graph *graph, const ad_node *node, const int *reg) {
    (void)graph, (void)node;
    return ad_emit(emitter, KERN_ROW_EXP, reg[0], -1, -1);
}

const ad_op_def ad_op_exp = {.orders = AD_SMOOTH,
                             .type = ad_type_like_input,
                             .vjp = vjp,
                             .rows = AD_ROWS_ELEMENTWISE,
                             .emit = emit};
