#include "autodiff/copy.h"

/* Elements attrs.i[1] .. i[1]+i[2]-1 of axis i[0]. A view where they lie together. */
ad_value ad_slice(ad_graph *graph, ad_value a, int axis, int64_t start, int64_t count) {
    return ad_build_op(graph, AD_OP_slice, 1, &a, &(ad_attrs){.i = {axis, start, count}});
}

static const char *type(const ad_graph *graph, ad_node *node) {
    ad_type operand = ad_type_at(graph, node->input[0]);
    int64_t axis = node->attrs.i[0], start = node->attrs.i[1], count = node->attrs.i[2];
    node->outputs = 1;
    node->type[0] = operand;
    if (axis < 0 || axis >= operand.rank) return "no such axis";
    if (start < 0 || count < 1 || start + count > operand.dim[axis]) return "outside the axis";
    node->type[0].dim[axis] = count;
    return NULL;
}

static ad_value fold(ad_graph *graph, const ad_node *node) {
    double constant;
    if (ad_type_same(node->type[0], ad_type_at(graph, node->input[0]))) return node->input[0];
    if (ad_is_fill(graph, node->input[0], &constant))
        return ad_fill(graph, node->type[0], constant);
    return AD_NONE;
}

static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    (void)wanted;
    ad_attrs attrs = ad_node_at(graph, node)->attrs;
    ad_type operand = ad_type_at(graph, ad_node_input(graph, node, 0));
    int axis = (int)attrs.i[0];
    ct_in[0] = ad_pad(graph, ct[0], axis, attrs.i[1], operand.dim[axis]);
}

static int64_t first_element(ad_type operand, const ad_node *node) {
    int64_t stride[AD_AXES];
    ad_dense_strides(stride, operand);
    return node->attrs.i[1] * stride[node->attrs.i[0]];
}

static bool view(const ad_graph *graph, const ad_node *node, int64_t *offset) {
    ad_type operand = ad_type_at(graph, node->input[0]);
    for (int64_t axis = 0; axis < node->attrs.i[0]; axis++)
        if (operand.dim[axis] != 1) return false;
    *offset = first_element(operand, node);
    return true;
}

static kern_status create(void **state, const kern_device *device, const ad_graph *graph,
                          const ad_node *node, bool accumulate, int threads, size_t *workspace) {
    (void)device, (void)accumulate, (void)threads, (void)workspace;
    ad_type from = ad_type_at(graph, node->input[0]), to = node->type[0];
    int64_t source[AD_AXES], stride[AD_AXES];
    ad_dense_strides(source, from);
    ad_dense_strides(stride, to);
    return ad_copy_create(state, to, stride, 0, source, first_element(from, node), 0);
}

static double bytes(const ad_graph *graph, const ad_node *node, bool accumulate) {
    (void)graph, (void)accumulate;
    return 2 * (double)ad_bytes(node->type[0]);
}

static const ad_kernel kernel = {
    .create = create, .run = ad_copy_run, .destroy = ad_free_state, .bytes = bytes};

const ad_op_def ad_op_slice = {
    .orders = AD_SMOOTH, .type = type, .fold = fold, .vjp = vjp, .view = view, .kernel = &kernel};
