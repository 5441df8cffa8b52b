#include "autodiff/op.h"

/* a as a value of which each rank may have its own. */
ad_value ad_vary(ad_graph *graph, ad_value a) {
    return ad_build_op(graph, AD_OP_vary, 1, &a, NULL);
}

static const char *type(const ad_graph *graph, ad_node *node) {
    node->outputs = 1;
    node->type[0] = ad_type_at(graph, node->input[0]);
    return NULL;
}

static ad_value fold(ad_graph *graph, const ad_node *node) {
    (void)graph;
    return node->constant ? node->input[0] : AD_NONE;
}

/* Every rank's copy moves when a does. */
static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    (void)node, (void)wanted;
    ct_in[0] = ad_reduce(graph, ct[0]);
}

const ad_op_def ad_op_vary = {.orders = AD_SMOOTH,
                              .type = type,
                              .fold = fold,
                              .vjp = vjp,
                              .varies = true,
                              .view = ad_view_whole};
