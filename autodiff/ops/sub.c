#include "autodiff/op.h"

/* a - b */
static ad_value fold(ad_graph *graph, const ad_node *node) {
    double constant;
    if (ad_is_fill(graph, node->input[1], &constant) && constant == 0) return node->input[0];
    if (ad_is_fill(graph, node->input[0], &constant) && constant == 0)
        return ad_neg(graph, node->input[1]);
    return AD_NONE;
}

static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    (void)node;
    ct_in[0] = ct[0];
    if (wanted[1]) ct_in[1] = ad_neg(graph, ct[0]);
}

static int emit(ad_emitter *emitter, const ad_graph *graph, const ad_node *node, const int *reg) {
    (void)graph, (void)node;
    return ad_emit(emitter, KERN_ROW_SUB, reg[0], reg[1], -1);
}

const ad_op_def ad_op_sub = {.orders = AD_SMOOTH,
                             .type = ad_type_like_input,
                             .fold = fold,
                             .vjp = vjp,
                             .rows = AD_ROWS_ELEMENTWISE,
                             .emit = emit};
