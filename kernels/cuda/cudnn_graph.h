/* Graphs of operations as cuDNN takes them, and the plan that it makes for one. A graph keeps its
 * first error, after which nothing more is called. Internal to kernels/cuda. */
#ifndef KERNELS_CUDA_CUDNN_GRAPH_H
#define KERNELS_CUDA_CUDNN_GRAPH_H

#include "kernels/cuda/cudnn.h"

extern kern_cudnn kern_cudnn_table; /* once it is open */

/* KERN_OK, or an error that names the call and says what the library says. */
kern_status kern_cudnn_check(int result, const char *call);

enum { KERN_CUDNN_DESCRIPTORS = 160, KERN_CUDNN_OPERATIONS = 32, KERN_CUDNN_GIVEN = 16 };

typedef struct {
    kern_status status;
    void *descriptor[KERN_CUDNN_DESCRIPTORS], *operation[KERN_CUDNN_OPERATIONS];
    int descriptors, operations, given;
    int64_t number[KERN_CUDNN_GIVEN]; /* of tensors whose addresses are given */
    int64_t next;                     /* number of a tensor that stays within */
    void *plan;
    size_t workspace; /* bytes that it needs, once there is a plan */
} kern_cudnn_graph;

/* Zero-initialised: an empty graph. */
void kern_cudnn_destroy(kern_cudnn_graph *graph);

typedef struct {
    int64_t dim[4], stride[4];
} kern_cudnn_shape;

/* Tensors of elements of `type`: in the device's memory, or one number of the host's, of which
 * kern_cudnn_run() is given address[number], 0 <= number < KERN_CUDNN_GIVEN; or one that stays
 * within. NULL after an error. */
void *kern_cudnn_memory(kern_cudnn_graph *graph, int number, int type, kern_cudnn_shape shape);
void *kern_cudnn_value(kern_cudnn_graph *graph, int number);
void *kern_cudnn_within(kern_cudnn_graph *graph, int type, kern_cudnn_shape shape);

/* y = mode(x, b), b broadcast; b NULL: of x alone. */
void kern_cudnn_pointwise(kern_cudnn_graph *graph, int mode, int precision, void *y, void *x,
                          void *b);
/* y[i] = i[axis], of the shape of x. */
void kern_cudnn_index(kern_cudnn_graph *graph, void *y, void *x, int axis);
/* y = mask ? x : b */
void kern_cudnn_select(kern_cudnn_graph *graph, void *y, void *mask, void *x, void *b);
/* Over the axes where y has 1 and x has more. */
void kern_cudnn_reduce(kern_cudnn_graph *graph, int mode, void *y, void *x);
/* c = a b over the last two axes; the others broadcast, b's heads by runs of a's. Sums in f32. */
void kern_cudnn_multiply(kern_cudnn_graph *graph, void *c, void *a, void *b);
/* y: the elements of x in another order of axes, as its shape says. */
void kern_cudnn_reshape(kern_cudnn_graph *graph, void *y, void *x);

/* The plan that cuDNN's heuristic puts first, for the GPU of `handle`; handle NULL: for one that a
 * text describes, to be looked at only. KERN_ERR_DEVICE: the graph's first error, or that cuDNN has
 * no plan. */
kern_status kern_cudnn_plan(kern_cudnn_graph *graph, void *handle, const char *device);

/* Runs the plan on the stream of `handle`. */
kern_status kern_cudnn_run(const kern_cudnn_graph *graph, void *handle, void *const *address,
                           void *workspace);

#endif
