/* Attention by cuDNN where one derivative is enough (docs/attention.md). Internal to kernels/cuda.
 */
#ifndef KERNELS_CUDA_ATTENTION_CUDNN_H
#define KERNELS_CUDA_ATTENTION_CUDNN_H

#include "kernels/cuda/attention_cudnn_scratch.h"
#include "kernels/cuda/cudnn_graph.h"

/* Numbers of the tensors whose addresses are given. The statistic [B, H, C] is lse; SCALE and what
 * follows are numbers of the host's. */
enum {
    CUDNN_Q = 1,
    CUDNN_K,
    CUDNN_V,
    CUDNN_O,
    CUDNN_STATISTIC,
    CUDNN_CT_O,
    CUDNN_CT_Q,
    CUDNN_CT_K,
    CUDNN_CT_V,
    CUDNN_DELTA,
    CUDNN_SCALE,
    CUDNN_HIDDEN,        /* the score of a key that comes later */
    CUDNN_HIDDEN_BEHIND, /* and of one that is behind the window */
    CUDNN_WINDOW,
    CUDNN_ONE
};

/* Adds the operations of stage 0 or 1 to an empty graph. */
void kern_cudnn_attention_graph(kern_cudnn_graph *graph, const kern_attention_shape *shape,
                                int stage);

#endif
