#include "autodiff/op.h"

/* s = 1 / (1 + e^-a); s' = s (1 - s) */
static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    (void)wanted;
    ad_value s = {node, 0}, one = ad_fill(graph, ad_type_at(graph, s), 1);
    ct_in[0] = ad_mul(graph, ct[0], ad_mul(graph, s, ad_sub(graph, one, s)));
}

static int emit(ad_emitter *emitter, const ad_graph *graph, const ad_node *node, const int *reg) {
    (void)graph, (void)node;
    return ad_emit(emitter, KERN_ROW_SIGMOID, reg[0], -1, -1);
}

const ad_op_def ad_op_sigmoid = {.orders = AD_SMOOTH,
                                 .type = ad_type_like_input,
                                 .vjp = vjp,
                                 .rows = AD_ROWS_ELEMENTWISE,
                                 .emit = emit};
