#include "autodiff/op.h"

/* op(a) op(b); attrs.i[0], i[1]: transpose_a, transpose_b. */
ad_value ad_matmul(ad_graph *graph, ad_value a, ad_value b, bool transpose_a, bool transpose_b) {
    return ad_build_op(graph, AD_OP_matmul, 2, (ad_value[]){a, b},
                       &(ad_attrs){.i = {transpose_a, transpose_b}});
}

static kern_matmul_shape shape_of(ad_type a, ad_type b, const ad_node *node) {
    int row = a.rank - 2;
    kern_matmul_shape shape = {.dtype = a.dtype,
                               .transpose_a = node->attrs.i[0] != 0,
                               .transpose_b = node->attrs.i[1] != 0,
                               .batch = row ? a.dim[0] : 1};
    shape.m = a.dim[row + shape.transpose_a];
    shape.k = a.dim[row + !shape.transpose_a];
    shape.n = b.dim[row + !shape.transpose_b];
    shape.stride_a = shape.m * shape.k;
    shape.stride_b = shape.k * shape.n;
    shape.stride_c = shape.m * shape.n;
    return shape;
}

static const char *type(const ad_graph *graph, ad_node *node) {
    ad_type a = ad_type_at(graph, node->input[0]), b = ad_type_at(graph, node->input[1]);
    if (a.rank != b.rank || a.rank < 2 || a.rank > 3) return "operands must both have rank 2 or 3";
    if (a.dtype != b.dtype || a.dtype == KERN_I32) return "operands must have one floating dtype";
    if (a.rank == 3 && a.dim[0] != b.dim[0]) return "the batch differs";
    kern_matmul_shape shape = shape_of(a, b, node);
    if (b.dim[a.rank - 2 + shape.transpose_b] != shape.k) return "the inner axes differ";
    kern_dtype dtype = a.dtype == KERN_BF16 ? KERN_F32 : a.dtype;
    node->outputs = 1;
    node->type[0] = a.rank == 2 ? AD_TYPE(dtype, shape.m, shape.n)
                                : AD_TYPE(dtype, shape.batch, shape.m, shape.n);
    return NULL;
}

static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    ad_value a = ad_node_input(graph, node, 0), b = ad_node_input(graph, node, 1);
    ad_attrs attrs = ad_node_at(graph, node)->attrs;
    bool ta = attrs.i[0] != 0, tb = attrs.i[1] != 0;
    ad_value ct_c = ad_cast(graph, ct[0], ad_type_at(graph, a).dtype);
    if (wanted[0])
        ct_in[0] = ta ? ad_matmul(graph, b, ct_c, tb, true) : ad_matmul(graph, ct_c, b, false, !tb);
    if (wanted[1])
        ct_in[1] = tb ? ad_matmul(graph, ct_c, a, true, ta) : ad_matmul(graph, a, ct_c, !ta, false);
}

static kern_status create(void **state, const kern_device *device, const ad_graph *graph,
                          const ad_node *node, bool accumulate, int threads, size_t *workspace) {
    kern_matmul_shape shape =
        shape_of(ad_type_at(graph, node->input[0]), ad_type_at(graph, node->input[1]), node);
    shape.accumulate = accumulate;
    return device->matmul->create(state, &shape, threads, workspace);
}

static void run(const void *state, kern_stream *stream, const ad_buffer *output,
                const ad_buffer *input, void *workspace) {
    stream->device->matmul->run(stream, state, output[0].data, input[0].data, input[1].data,
                                workspace);
}

static void destroy(const kern_device *device, void *state) {
    device->matmul->destroy(state);
}

static double flops(const ad_graph *graph, const ad_node *node, unsigned wanted_outputs,
                    int64_t before) {
    (void)wanted_outputs, (void)before;
    kern_matmul_shape shape =
        shape_of(ad_type_at(graph, node->input[0]), ad_type_at(graph, node->input[1]), node);
    return 2.0 * (double)shape.batch * (double)shape.m * (double)shape.n * (double)shape.k;
}

static const ad_kernel kernel = {.create = create,
                                 .run = run,
                                 .destroy = destroy,
                                 .flops = flops,
                                 .kind = AD_CALL_PRODUCT,
                                 .accumulates = true};

const ad_op_def ad_op_matmul = {.orders = AD_SMOOTH, .type = type, .vjp = vjp, .kernel = &kernel};
