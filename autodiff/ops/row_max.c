#include "autodiff/op.h"

/* Largest element of the last axis. For shifting before exp, where its derivative cancels. */
ad_value ad_row_max(ad_graph *graph, ad_value a) {
    return ad_build_op(graph, AD_OP_row_max, 1, &a, NULL);
}

static const char *type(const ad_graph *graph, ad_node *node) {
    const char *reason = ad_type_like_input(graph, node);
    node->type[0].dim[node->type[0].rank - 1] = 1;
    return reason;
}

static int emit(ad_emitter *emitter, const ad_graph *graph, const ad_node *node, const int *reg) {
    (void)graph, (void)node;
    return ad_emit_narrow(emitter, KERN_ROW_ROW_MAX, reg[0]);
}

const ad_op_def ad_op_row_max = {.orders = 0, .type = type, .rows = AD_ROWS_REDUCE, .emit = emit};
