#include "autodiff/op.h"

/* The sum over the ranks. reduce(vary(x)) stays: it is x times a number that the graph does not
 * know. */
ad_value ad_reduce(ad_graph *graph, ad_value a) {
    return ad_build_op(graph, AD_OP_reduce, 1, &a, NULL);
}

static ad_value fold(ad_graph *graph, const ad_node *node) {
    double constant;
    bool zero = ad_is_fill(graph, node->input[0], &constant) && constant == 0;
    return zero ? node->input[0] : AD_NONE;
}

static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    (void)node, (void)wanted;
    ct_in[0] = ad_vary(graph, ct[0]);
}

static void collect(const kern_comm *comm, kern_stream *stream, ad_type type, void *to,
                    const void *from) {
    comm->reduce(comm, stream, to, from, ad_elements(type), type.dtype, KERN_SUM);
}

const ad_op_def ad_op_reduce = {
    .orders = AD_SMOOTH, .type = ad_type_like_input, .fold = fold, .vjp = vjp, .collect = collect};
