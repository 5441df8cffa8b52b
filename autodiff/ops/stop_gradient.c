#include "autodiff/op.h"

/* a, whose derivative counts as zero. */
static const char *type(const ad_graph *graph, ad_node *node) {
    node->outputs = 1;
    node->type[0] = ad_type_at(graph, node->input[0]);
    return NULL;
}

const ad_op_def ad_op_stop_gradient = {.orders = AD_SMOOTH, .type = type, .view = ad_view_whole};
