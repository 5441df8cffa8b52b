#include "autodiff/op.h"

/* a b */
static ad_value fold(ad_graph *graph, const ad_node *node) {
    for (int i = 0; i < 2; i++) {
        double constant;
        if (!ad_is_fill(graph, node->input[i], &constant)) continue;
        if (constant == 1) return node->input[1 - i];
        if (constant == 0)
            return node->input[i]; /* 0 * inf counts as 0: a cotangent that is zero */
    }
    return AD_NONE;
}

static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    ad_value a = ad_node_input(graph, node, 0), b = ad_node_input(graph, node, 1);
    if (wanted[0]) ct_in[0] = ad_mul(graph, ct[0], b);
    if (wanted[1]) ct_in[1] = ad_mul(graph, ct[0], a);
}

static int emit(ad_emitter *emitter, const ad_graph *graph, const ad_node *node, const int *reg) {
    (void)graph, (void)node;
    return ad_emit(emitter, KERN_ROW_MUL, reg[0], reg[1], -1);
}

const ad_op_def ad_op_mul = {.orders = AD_SMOOTH,
                             .type = ad_type_like_input,
                             .fold = fold,
                             .vjp = vjp,
                             .rows = AD_ROWS_ELEMENTWISE,
                             .emit = emit};
