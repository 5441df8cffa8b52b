#include "autodiff/op.h"

/* [V, D]: row index[r] gets the sum of the operand's rows r with that index; V is attrs.i[0]. */
ad_value ad_scatter_add(ad_graph *graph, ad_value a, ad_value index, int64_t vocabulary) {
    return ad_build_op(graph, AD_OP_scatter_add, 2, (ad_value[]){a, index},
                       &(ad_attrs){.i[0] = vocabulary});
}

static const char *type(const ad_graph *graph, ad_node *node) {
    ad_type rows = ad_type_at(graph, node->input[0]), index = ad_type_at(graph, node->input[1]);
    if (rows.rank != 2 || (rows.dtype != KERN_F32 && rows.dtype != KERN_F64))
        return "the rows must be f32 or f64 [R, D]";
    if (index.rank != 1 || index.dtype != KERN_I32 || index.dim[0] != rows.dim[0])
        return "the index must be i32 [R]";
    node->outputs = 1;
    node->type[0] = AD_TYPE(rows.dtype, node->attrs.i[0], rows.dim[1]);
    return NULL;
}

static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    if (wanted[0]) ct_in[0] = ad_gather(graph, ct[0], ad_node_input(graph, node, 1));
}

typedef struct {
    ad_type rows;
    int64_t vocabulary;
    bool accumulate;
} scatter_state;

static kern_status create(void **state, const kern_device *device, const ad_graph *graph,
                          const ad_node *node, bool accumulate, int threads, size_t *workspace) {
    (void)device, (void)threads, (void)workspace;
    kern_status status = kern_alloc(state, sizeof(scatter_state), "scatter_add");
    if (status != KERN_OK) return status;
    *(scatter_state *)*state =
        (scatter_state){ad_type_at(graph, node->input[0]), node->attrs.i[0], accumulate};
    return KERN_OK;
}

static void run(const void *state, kern_stream *stream, const ad_buffer *output,
                const ad_buffer *input, void *workspace) {
    (void)workspace;
    const scatter_state *call = state;
    int64_t width = call->rows.dim[1];
    size_t table = (size_t)(call->vocabulary * width) * kern_dtype_bytes(call->rows.dtype);
    if (!call->accumulate) stream->device->zero(stream, output[0].data, table, table, 1);
    stream->device->move->scatter_add(stream, call->rows.dtype, output[0].data, input[0].data,
                                      input[1].data, call->rows.dim[0], call->vocabulary, width);
}

/* Of the table the rows that are there, after it was zeroed. */
static double bytes(const ad_graph *graph, const ad_node *node, bool accumulate) {
    double zeroed = accumulate ? 0 : (double)ad_bytes(node->type[0]);
    return zeroed + 3 * (double)ad_bytes(ad_type_at(graph, node->input[0]));
}

static const ad_kernel kernel = {
    .create = create, .run = run, .destroy = ad_free_state, .bytes = bytes, .accumulates = true};

const ad_op_def ad_op_scatter_add = {
    .orders = AD_SMOOTH, .type = type, .vjp = vjp, .kernel = &kernel};
