#include "autodiff/copy.h"

/* Axis i of the result is axis attrs.i[i] of the operand. */
ad_value ad_transpose(ad_graph *graph, ad_value a, const int *order) {
    if (!ad_is_value(a)) return AD_POISON;
    ad_attrs attrs = {.i = {0}};
    for (int axis = 0; axis < ad_type_at(graph, a).rank; axis++) attrs.i[axis] = order[axis];
    return ad_build_op(graph, AD_OP_transpose, 1, &a, &attrs);
}

static const char *type(const ad_graph *graph, ad_node *node) {
    ad_type operand = ad_type_at(graph, node->input[0]);
    node->outputs = 1;
    node->type[0] = operand;
    unsigned seen = 0;
    for (int axis = 0; axis < operand.rank; axis++) {
        int64_t from = node->attrs.i[axis];
        if (from < 0 || from >= operand.rank || seen >> from & 1) return "not an order of the axes";
        seen |= 1u << from;
        node->type[0].dim[axis] = operand.dim[from];
    }
    return NULL;
}

static ad_value fold(ad_graph *graph, const ad_node *node) {
    ad_type operand = ad_type_at(graph, node->input[0]);
    double constant;
    if (ad_is_fill(graph, node->input[0], &constant))
        return ad_fill(graph, node->type[0], constant);
    int64_t last = -1; /* axes of size 1 may move without moving an element */
    for (int axis = 0; axis < operand.rank; axis++) {
        int64_t from = node->attrs.i[axis];
        if (operand.dim[from] == 1) continue;
        if (from < last) return AD_NONE;
        last = from;
    }
    return ad_reshape(graph, node->input[0], node->type[0]);
}

static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    (void)wanted;
    ad_attrs attrs = ad_node_at(graph, node)->attrs;
    int inverse[AD_AXES];
    for (int axis = 0; axis < ad_type_at(graph, ct[0]).rank; axis++) inverse[attrs.i[axis]] = axis;
    ct_in[0] = ad_transpose(graph, ct[0], inverse);
}

static kern_status create(void **state, const kern_device *device, const ad_graph *graph,
                          const ad_node *node, bool accumulate, int threads, size_t *workspace) {
    (void)device, (void)accumulate, (void)threads, (void)workspace;
    ad_type from = ad_type_at(graph, node->input[0]), to = node->type[0];
    int64_t source[AD_AXES], stride[AD_AXES];
    ad_dense_strides(stride, from);
    for (int axis = 0; axis < to.rank; axis++) source[axis] = stride[node->attrs.i[axis]];
    ad_dense_strides(stride, to);
    return ad_copy_create(state, to, stride, 0, source, 0, 0);
}

static const ad_kernel kernel = {.create = create, .run = ad_copy_run, .destroy = ad_free_state};

const ad_op_def ad_op_transpose = {
    .orders = AD_SMOOTH, .type = type, .fold = fold, .vjp = vjp, .kernel = &kernel};
