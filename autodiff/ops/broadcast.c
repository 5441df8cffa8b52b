#include "autodiff/op.h"

/* Axes of size 1 repeated; attrs.i[axis]: the result's shape. In a row program the last axis costs
 * nothing (a narrow register) and leading axes are strides of 0. */
ad_value ad_broadcast(ad_graph *graph, ad_value a, ad_type shape) {
    ad_attrs attrs = {.i = {0}};
    for (int axis = 0; axis < shape.rank; axis++) attrs.i[axis] = shape.dim[axis];
    return ad_build_op(graph, AD_OP_broadcast, 1, &a, &attrs);
}

static const char *type(const ad_graph *graph, ad_node *node) {
    ad_type operand = ad_type_at(graph, node->input[0]);
    node->outputs = 1;
    node->type[0] = operand;
    for (int axis = 0; axis < operand.rank; axis++) {
        if (operand.dim[axis] != 1 && operand.dim[axis] != node->attrs.i[axis])
            return "only axes of size 1 can be repeated";
        node->type[0].dim[axis] = node->attrs.i[axis];
    }
    return operand.dtype == KERN_F32 || operand.dtype == KERN_F64 ? NULL : "f32 or f64 only";
}

static ad_value fold(ad_graph *graph, const ad_node *node) {
    double constant;
    if (ad_type_same(node->type[0], ad_type_at(graph, node->input[0]))) return node->input[0];
    if (ad_is_fill(graph, node->input[0], &constant))
        return ad_fill(graph, node->type[0], constant);
    const ad_node *a = ad_node_at(graph, node->input[0].node);
    return a->op == AD_OP_broadcast ? ad_broadcast(graph, a->input[0], node->type[0]) : AD_NONE;
}

static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    (void)wanted;
    ad_type from = ad_type_at(graph, ad_node_input(graph, node, 0));
    ad_type to = ad_type_at(graph, ct[0]);
    unsigned repeated = 0;
    for (int axis = 0; axis < to.rank; axis++)
        if (from.dim[axis] != to.dim[axis]) repeated |= 1u << axis;
    ct_in[0] = ad_sum(graph, ct[0], repeated);
}

static int emit(ad_emitter *emitter, const ad_graph *graph, const ad_node *node, const int *reg) {
    (void)emitter, (void)graph, (void)node;
    return reg[0];
}

const ad_op_def ad_op_broadcast = {.orders = AD_SMOOTH,
                                   .type = type,
                                   .fold = fold,
                                   .vjp = vjp,
                                   .rows = AD_ROWS_SPREAD,
                                   .emit = emit};
