#include "autodiff/op.h"

/* Rows of a table [V, D] by index [R]. */
ad_value ad_gather(ad_graph *graph, ad_value table, ad_value index) {
    return ad_build_op(graph, AD_OP_gather, 2, (ad_value[]){table, index}, NULL);
}

static const char *type(const ad_graph *graph, ad_node *node) {
    ad_type table = ad_type_at(graph, node->input[0]), index = ad_type_at(graph, node->input[1]);
    if (table.rank != 2 || table.dtype == KERN_I32) return "the table must be [V, D]";
    if (index.rank != 1 || index.dtype != KERN_I32) return "the index must be i32 [R]";
    node->outputs = 1;
    node->type[0] = AD_TYPE(table.dtype, index.dim[0], table.dim[1]);
    return NULL;
}

static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    ad_type table = ad_type_at(graph, ad_node_input(graph, node, 0));
    if (wanted[0])
        ct_in[0] = ad_scatter_add(graph, ct[0], ad_node_input(graph, node, 1), table.dim[0]);
}

typedef struct {
    kern_dtype dtype;
    int64_t rows, vocabulary, width;
} gather_state;

static kern_status create(void **state, const kern_device *device, const ad_graph *graph,
                          const ad_node *node, bool accumulate, int threads, size_t *workspace) {
    (void)device, (void)accumulate, (void)threads, (void)workspace;
    kern_status status = kern_alloc(state, sizeof(gather_state), "gather");
    if (status != KERN_OK) return status;
    ad_type table = ad_type_at(graph, node->input[0]);
    *(gather_state *)*state =
        (gather_state){table.dtype, node->type[0].dim[0], table.dim[0], table.dim[1]};
    return KERN_OK;
}

static void run(const void *state, kern_stream *stream, const ad_buffer *output,
                const ad_buffer *input, void *workspace) {
    (void)workspace;
    const gather_state *call = state;
    stream->device->move->gather(stream, call->dtype, output[0].data, input[0].data, input[1].data,
                                 call->rows, call->vocabulary, call->width);
}

/* Of the table the rows that are there. */
static double bytes(const ad_graph *graph, const ad_node *node, bool accumulate) {
    (void)graph, (void)accumulate;
    return 2 * (double)ad_bytes(node->type[0]);
}

static const ad_kernel kernel = {
    .create = create, .run = run, .destroy = ad_free_state, .bytes = bytes};

const ad_op_def ad_op_gather = {.orders = AD_SMOOTH, .type = type, .vjp = vjp, .kernel = &kernel};
