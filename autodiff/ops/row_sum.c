#include "autodiff/op.h"

/* Sum over the last axis. */
ad_value ad_row_sum(ad_graph *graph, ad_value a) {
    return ad_build_op(graph, AD_OP_row_sum, 1, &a, NULL);
}

static const char *type(const ad_graph *graph, ad_node *node) {
    const char *reason = ad_type_like_input(graph, node);
    node->type[0].dim[node->type[0].rank - 1] = 1;
    return reason;
}

static ad_value fold(ad_graph *graph, const ad_node *node) {
    ad_type operand = ad_type_at(graph, node->input[0]);
    double constant;
    if (ad_last(operand) == 1) return node->input[0];
    if (ad_is_fill(graph, node->input[0], &constant))
        return ad_fill(graph, node->type[0], constant * (double)ad_last(operand));
    return AD_NONE;
}

static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    (void)wanted;
    ct_in[0] = ad_broadcast(graph, ct[0], ad_type_at(graph, ad_node_input(graph, node, 0)));
}

static int emit(ad_emitter *emitter, const ad_graph *graph, const ad_node *node, const int *reg) {
    (void)graph, (void)node;
    return ad_emit_narrow(emitter, KERN_ROW_ROW_SUM, reg[0]);
}

const ad_op_def ad_op_row_sum = {.orders = AD_SMOOTH,
                                 .type = type,
                                 .fold = fold,
                                 .vjp = vjp,
                                 .rows = AD_ROWS_REDUCE,
                                 .emit = emit};
