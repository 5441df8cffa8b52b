/* Matrix products on the CPU: oneDNN on tiles of a partition that depends on the shape alone (one
 * thread a tile), a blocked loop for f64; so bits do not depend on the number of threads. */
#ifndef KERNELS_MATMUL_H
#define KERNELS_MATMUL_H

#include "kernels/base.h"

/* c[i] = op(a[i]) op(b[i]) (+ c[i] if accumulate), i < batch; op(a) is [m, k], op(b) [k, n], c [m,
 * n]. Stored row-major and dense: a is [m, k], or [k, m] if transpose_a; b is [k, n], or [n, k] if
 * transpose_b. stride_*: elements between consecutive matrices (0 repeats one; never for c).
 * dtype is that of a and b: f32 (c f32), f64 (c f64), bf16 (c f32, accumulated in f32). */
typedef struct {
    kern_dtype dtype;
    bool transpose_a, transpose_b, accumulate;
    int64_t batch, m, n, k;
    int64_t stride_a, stride_b, stride_c;
} kern_matmul_shape;

typedef struct kern_matmul kern_matmul; /* prepared; immutable, shareable */

/* `error` names what the library refused. m, n, k >= 1; batch >= 1. */
kern_status kern_matmul_create(kern_matmul **matmul, const kern_matmul_shape *shape);
void kern_matmul_destroy(kern_matmul *matmul);
size_t kern_matmul_workspace(const kern_matmul *matmul, int threads); /* bytes */
/* Parts that a run is cut into, a function of the shape: so many threads have work. */
int64_t kern_matmul_parts(const kern_matmul *matmul);
void kern_matmul_run(const kern_matmul *matmul, void *c, const void *a, const void *b,
                     void *workspace);

/* The machine's matrix-product peak with `threads` threads and this dtype: the best of a few square
 * products that fit the cache, FLOP/s. Takes about 0.3 s; measured anew at each call.
 * Where it is to be brief, a rough number in a hundredth. */
double kern_matmul_peak(kern_dtype dtype, int threads);

/* TTT_BRIEF_PEAK=1, for tests that start many short runs: what measures speed does so once. */
bool kern_is_brief(void);

/* True where the processor multiplies bf16 natively (AVX512-BF16 or AMX). */
bool kern_matmul_native_bf16(void);

#endif
