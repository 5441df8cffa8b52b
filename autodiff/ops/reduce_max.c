#include "autodiff/op.h"

/* The largest over the ranks. For shifting before exp, where its derivative cancels. */
ad_value ad_reduce_max(ad_graph *graph, ad_value a) {
    return ad_build_op(graph, AD_OP_reduce_max, 1, &a, NULL);
}

static void collect(const kern_comm *comm, kern_stream *stream, ad_type type, void *to,
                    const void *from) {
    comm->reduce(comm, stream, to, from, ad_elements(type), type.dtype, KERN_MAX);
}

const ad_op_def ad_op_reduce_max = {.orders = 0, .type = ad_type_like_input, .collect = collect};
