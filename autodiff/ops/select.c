#include "autodiff/op.h"

/* condition != 0 ? a : b */
ad_value ad_select(ad_graph *graph, ad_value condition, ad_value a, ad_value b) {
    return ad_build_op(graph, AD_OP_select, 3, (ad_value[]){condition, a, b}, NULL);
}

static ad_value fold(ad_graph *graph, const ad_node *node) {
    (void)graph;
    return ad_same(node->input[1], node->input[2]) ? node->input[1] : AD_NONE;
}

static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    ad_value condition = ad_node_input(graph, node, 0);
    ad_value zero = ad_fill(graph, ad_type_at(graph, condition), 0);
    if (wanted[1]) ct_in[1] = ad_select(graph, condition, ct[0], zero);
    if (wanted[2]) ct_in[2] = ad_select(graph, condition, zero, ct[0]);
}

static int emit(ad_emitter *emitter, const ad_graph *graph, const ad_node *node, const int *reg) {
    (void)graph, (void)node;
    return ad_emit(emitter, KERN_ROW_SELECT, reg[0], reg[1], reg[2]);
}

const ad_op_def ad_op_select = {.orders = AD_SMOOTH,
                                .type = ad_type_like_input,
                                .fold = fold,
                                .vjp = vjp,
                                .rows = AD_ROWS_ELEMENTWISE,
                                .emit = emit};
