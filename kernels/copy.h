/* Copies that move elements: permutations, slices, padding. Parallel. */
#ifndef KERNELS_COPY_H
#define KERNELS_COPY_H

#include "kernels/base.h"

enum { KERN_COPY_AXES = 5 };

/* dst[i . dst_stride] = src[i . src_stride] for all i in shape[0 .. rank), rank 0 .. 5; `bytes` of
 * an element are 2, 4 or 8, strides count elements. A permutation gives src the permuted strides; a
 * slice moves src's base and keeps its strides; a src stride of 0 repeats. No two elements of dst
 * coincide; dst and src do not overlap. A shape with a 0 copies nothing. */
void kern_copy_strided(void *dst, const int64_t *dst_stride, const void *src,
                       const int64_t *src_stride, const int64_t *shape, int rank, size_t bytes);

#endif
