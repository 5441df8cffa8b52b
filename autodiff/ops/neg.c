#include "autodiff/op.h"

/* -a */
static ad_value fold(ad_graph *graph, const ad_node *node) {
    const ad_node *a = ad_node_at(graph, node->input[0].node);
    if (a->op == AD_OP_neg) return a->input[0];
    if (a->op == AD_OP_fill) return ad_fill(graph, a->type[0], 0 - a->attrs.f);
    return AD_NONE;
}

static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    (void)wanted;
    (void)node;
    ct_in[0] = ad_neg(graph, ct[0]);
}

static int emit(ad_emitter *emitter, const ad_graph *graph, const ad_node *node, const int *reg) {
    (void)graph, (void)node;
    return ad_emit(emitter, KERN_ROW_NEG, reg[0], -1, -1);
}

const ad_op_def ad_op_neg = {.orders = AD_SMOOTH,
                             .type = ad_type_like_input,
                             .fold = fold,
                             .vjp = vjp,
                             .rows = AD_ROWS_ELEMENTWISE,
                             .emit = emit};
