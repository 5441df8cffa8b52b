/* Attention by cuDNN where one derivative is enough (docs/attention.md). Internal to kernels/cuda.
 */
#ifndef KERNELS_CUDA_ATTENTION_CUDNN_H
#define KERNELS_CUDA_ATTENTION_CUDNN_H

#include "kernels/attention.h"
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

/* Whether cuDNN computes stage 0 or 1 of this shape after at most `past` rows: in bf16, with a head
 * size that is a multiple of 8 up to 128, with no past, of more rows than those few that have
 * kernels of their own; stage 1 while its scratch, which is rows times keys, is within 4 GiB. */
bool kern_cudnn_attends(const kern_attention_shape *shape, int stage, int64_t past);

/* Adds the operations of stage 0 or 1 to an empty graph. */
void kern_cudnn_attention_graph(kern_cudnn_graph *graph, const kern_attention_shape *shape,
                                int stage);

#endif
