#include "autodiff/copy.h"

/* The operands one behind the other along axis attrs.i[0]. More than a node can have are joined in
 * groups, and these. */
ad_value ad_concat(ad_graph *graph, int64_t count, const ad_value *part, int axis) {
    if (count == 1) return part[0];
    if (count <= AD_INPUTS)
        return ad_build_op(graph, AD_OP_concat, (int)count, part, &(ad_attrs){.i = {axis}});
    ad_value group[AD_INPUTS];
    int64_t each = (count + AD_INPUTS - 1) / AD_INPUTS, groups = 0;
    for (int64_t first = 0; first < count; first += each)
        group[groups++] = ad_concat(graph, kern_min(each, count - first), part + first, axis);
    return ad_concat(graph, groups, group, axis);
}

static const char *type(const ad_graph *graph, ad_node *node) {
    int64_t axis = node->attrs.i[0];
    ad_type first = ad_type_at(graph, node->input[0]);
    node->outputs = 1;
    node->type[0] = first;
    if (axis < 0 || axis >= first.rank) return "no such axis";
    for (int i = 1; i < node->inputs; i++) {
        ad_type part = ad_type_at(graph, node->input[i]);
        node->type[0].dim[axis] += part.dim[axis];
        part.dim[axis] = first.dim[axis];
        if (!ad_type_same(part, first)) return "operands must agree but for that axis";
    }
    return NULL;
}

static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    ad_node copy = *ad_node_at(graph, node);
    int axis = (int)copy.attrs.i[0];
    for (int64_t i = 0, start = 0; i < copy.inputs; i++) {
        int64_t count = ad_type_at(graph, copy.input[i]).dim[axis];
        if (wanted[i]) ct_in[i] = ad_slice(graph, ct[0], axis, start, count);
        start += count;
    }
}

typedef struct {
    int parts;
    void *copy[AD_INPUTS];
} concat_state;

static void destroy(const kern_device *device, void *state) {
    concat_state *concat = state;
    if (!concat) return;
    for (int i = 0; i < concat->parts; i++) ad_free_state(device, concat->copy[i]);
    ad_free_state(device, state);
}

static kern_status create(void **state, const kern_device *device, const ad_graph *graph,
                          const ad_node *node, bool accumulate, int threads, size_t *workspace) {
    (void)accumulate, (void)threads, (void)workspace;
    int64_t to[AD_AXES], from[AD_AXES], first = 0;
    int axis = (int)node->attrs.i[0];
    kern_status status = kern_alloc_zero(state, sizeof(concat_state), "strided copies");
    if (status != KERN_OK) return status;
    concat_state *concat = *state;
    ad_dense_strides(to, node->type[0]);
    for (int i = 0; i < node->inputs; i++) {
        ad_type part = ad_type_at(graph, node->input[i]);
        ad_dense_strides(from, part);
        TRY(ad_copy_create(&concat->copy[i], part, to, first * to[axis], from, 0, 0));
        concat->parts++;
        first += part.dim[axis];
    }
done:
    if (status == KERN_OK) return status;
    destroy(device, concat);
    *state = NULL;
    return status;
}

static void run(const void *state, kern_stream *stream, const ad_buffer *output,
                const ad_buffer *input, void *workspace) {
    const concat_state *concat = state;
    for (int i = 0; i < concat->parts; i++)
        ad_copy_run(concat->copy[i], stream, output, &input[i], workspace);
}

static const ad_kernel kernel = {.create = create, .run = run, .destroy = destroy};

const ad_op_def ad_op_concat = {.orders = AD_SMOOTH, .type = type, .vjp = vjp, .kernel = &kernel};
