/* Which attention is cuDNN's (docs/attention.md), and the scratch that it takes: for the device,
 * and for a device on paper (kernels/device_paper.c). */
#ifndef KERNELS_CUDA_ATTENTION_CUDNN_SCRATCH_H
#define KERNELS_CUDA_ATTENTION_CUDNN_SCRATCH_H

#include "kernels/attention.h"
#include "kernels/cuda/attention.h"

/* Whether cuDNN computes stage 0 or 1 of this shape after at most `past` rows: in bf16, with a head
 * size that is a multiple of 8 up to 128, with no past, of more rows than those few that have
 * kernels of their own; stage 1 while its scratch, which is rows times keys, is within 4 GiB. */
static inline bool kern_cudnn_attends(const kern_attention_shape *shape, int stage, int64_t past) {
    const kern_attention_shape *s = shape;
    const int64_t most_pairs = (int64_t)2 << 30;
    return stage < 2 && !past && s->dtype == KERN_BF16 && s->head_size % 8 == 0 &&
           s->head_size <= 128 && s->rows > ATTENTION_FEW &&
           (!stage || s->batch * s->heads * s->rows <= most_pairs / s->rows);
}

/* Where pieces of it begin: o, the statistic, in stage 1 delta and the three cotangents; and behind
 * all of ours what cuDNN's plan wants. */
typedef struct {
    size_t o, statistic, delta, ct_q, ct_k, ct_v, theirs;
} kern_cudnn_scratch;

/* Bytes of [B, C, heads] elements of so many bytes. */
static inline size_t kern_cudnn_bytes(const kern_attention_shape *s, int64_t heads,
                                      int64_t element) {
    return kern_align((size_t)(s->batch * s->rows * heads * element));
}

static inline kern_cudnn_scratch kern_cudnn_scratch_of(const kern_attention_shape *s, int stage) {
    kern_cudnn_scratch at = {.o = 0};
    size_t rows = kern_cudnn_bytes(s, s->heads, 2 * s->head_size);
    size_t keys = kern_cudnn_bytes(s, s->groups, 2 * s->head_size);
    size_t numbers = kern_cudnn_bytes(s, s->heads, 4);
    at.statistic = at.o + rows;
    at.delta = at.theirs = at.statistic + numbers;
    if (stage) {
        at.ct_q = at.delta + numbers;
        at.ct_k = at.ct_q + rows;
        at.ct_v = at.ct_k + keys;
        at.theirs = at.ct_v + keys;
    }
    return at;
}

/* The most that cuDNN's plan wants, for where there is none to ask: of stage 1 bf16 weights of all
 * rows and keys, in whole tiles; of grouped heads two cotangents of each query head's keys; and a
 * little. By plans of cuDNN 9.19 for an A100, an H200 and a B200
 * (tests/kernels/test_cudnn_plans.c). */
static inline size_t kern_cudnn_most_workspace(const kern_attention_shape *s, int stage) {
    const int64_t tile = 128, little = 512;
    int64_t padded = kern_round_up(s->rows, tile), heads = s->batch * s->heads, bytes = little;
    if (stage) bytes += 2 * heads * padded * padded;
    if (stage && s->heads > s->groups) bytes += 2 * 2 * heads * s->rows * s->head_size;
    return (size_t)bytes;
}

#endif
