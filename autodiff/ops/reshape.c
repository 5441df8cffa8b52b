#include "autodiff/op.h"

/* The same elements in row-major order in another shape; attrs.i[0..4]: the shape, i[5]: the rank.
 */
ad_value ad_reshape(ad_graph *graph, ad_value a, ad_type shape) {
    ad_attrs attrs = {.i[AD_AXES] = shape.rank};
    for (int axis = 0; axis < AD_AXES; axis++) attrs.i[axis] = shape.dim[axis];
    return ad_build_op(graph, AD_OP_reshape, 1, &a, &attrs);
}

static const char *type(const ad_graph *graph, ad_node *node) {
    ad_type operand = ad_type_at(graph, node->input[0]);
    node->outputs = 1;
    node->type[0] = ad_type_of(operand.dtype, (int)node->attrs.i[AD_AXES], node->attrs.i);
    return ad_elements(operand) == ad_elements(node->type[0]) ? NULL
                                                              : "the number of elements differs";
}

static ad_value fold(ad_graph *graph, const ad_node *node) {
    const ad_node *a = ad_node_at(graph, node->input[0].node);
    if (ad_type_same(node->type[0], ad_type_at(graph, node->input[0]))) return node->input[0];
    if (a->op == AD_OP_reshape) return ad_reshape(graph, a->input[0], node->type[0]);
    if (a->op == AD_OP_fill) return ad_fill(graph, node->type[0], a->attrs.f);
    return AD_NONE;
}

static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    (void)wanted;
    ct_in[0] = ad_reshape(graph, ct[0], ad_type_at(graph, ad_node_input(graph, node, 0)));
}

const ad_op_def ad_op_reshape = {
    .orders = AD_SMOOTH, .type = type, .fold = fold, .vjp = vjp, .view = ad_view_whole};
