#include "autodiff/op.h"

/* a / b */
static ad_value fold(ad_graph *graph, const ad_node *node) {
    double constant;
    return ad_is_fill(graph, node->input[1], &constant) && constant == 1 ? node->input[0] : AD_NONE;
}

static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    ad_value quotient = {node, 0}, b = ad_node_input(graph, node, 1);
    ad_value over_b = ad_div(graph, ct[0], b);
    ct_in[0] = over_b;
    if (wanted[1]) ct_in[1] = ad_neg(graph, ad_mul(graph, over_b, quotient));
}

static int emit(ad_emitter *emitter, const ad_graph *graph, const ad_node *node, const int *reg) {
    (void)graph, (void)node;
    return ad_emit(emitter, KERN_ROW_DIV, reg[0], reg[1], -1);
}

const ad_op_def ad_op_div = {.orders = AD_SMOOTH,
                             .type = ad_type_like_input,
                             .fold = fold,
                             .vjp = vjp,
                             .rows = AD_ROWS_ELEMENTWISE,
                             .emit = emit,
                             .low = 0.5,
                             .high = 2};
