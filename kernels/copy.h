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

/* Dense dst[shape[permutation[0]], ...] = dense src[shape[0], ...] with its axes permuted: axis k
 * of dst is axis permutation[k] of src. */
void kern_permute(void *dst, const void *src, const int64_t *shape, const int *permutation,
                  int rank, size_t bytes);

/* Dense dst of dst_shape: zero but for src (dense, of src_shape) at offset before[] on each axis.
 */
void kern_pad(void *dst, const int64_t *dst_shape, const void *src, const int64_t *src_shape,
              const int64_t *before, int rank, size_t bytes);

/* dst[0 .. count) = value, rounded to dtype (to nearest even; for i32 it is a whole number). */
void kern_fill(void *dst, kern_dtype dtype, int64_t count, double value);

#endif
