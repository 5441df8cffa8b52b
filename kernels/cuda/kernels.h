/* The kernels and their arguments, for their sources and for those who launch them. */
#ifndef KERNELS_CUDA_KERNELS_H
#define KERNELS_CUDA_KERNELS_H

#include "kernels/cuda/device.h"

/* ---- move.cu ---- */

enum { MOVE_THREADS = 256, MOVE_AXES = 5, MOVE_SIDE = 32, MOVE_LAYERS = 256 };

/* to[i . to_stride] = from[i . from_stride] for i in `shape`, in units of `unit` bytes (1, 2, 4, 8
 * or 16, to which all addresses are aligned); from NULL: zeros. Lanes go along the last axis:
 * `across` threads, a power of two, of each row. The grid counts groups of rows. */
typedef struct {
    char *to;
    const char *from;
    int64_t rows, shape[MOVE_AXES], to_stride[MOVE_AXES], from_stride[MOVE_AXES];
    int axes, unit, across;
} move_runs_args;
KERNEL_DECLARE(move_runs)

/* The same where `to` runs along the last axis and `from` along the one before: square tiles go
 * through shared memory. Grid: tiles of the last axis, of the one before, other rows, at most
 * MOVE_LAYERS at a time. */
typedef struct {
    char *to;
    const char *from;
    int64_t rows, shape[MOVE_AXES], to_stride[MOVE_AXES], from_stride[MOVE_AXES];
    int axes, unit;
} move_tiles_args;
KERNEL_DECLARE(move_tiles)

/* to[i] = from[index[i]], rows of `units` units; a row outside 0 .. vocab-1 is `outside` over and
 * over. A block for each i. */
typedef struct {
    char *to;
    const char *from;
    const int32_t *index;
    int64_t vocab, units;
    int unit;
    pack_16 outside;
} gather_rows_args;
KERNEL_DECLARE(gather_rows)

/* table[index[i]] += row[i], i ascending: the block of the first i with an index adds all of them.
 */
typedef struct {
    void *table;
    const void *row;
    const int32_t *index;
    int64_t rows, vocab, width;
} scatter_rows_args;
KERNEL_DECLARE(scatter_rows_f32)
KERNEL_DECLARE(scatter_rows_f64)

/* to = from in bf16; four elements a thread where both are aligned. */
typedef struct {
    uint16_t *to;
    const float *from;
    int64_t count;
    int aligned;
} round_args;
KERNEL_DECLARE(round_to_bf16)

/* to = from, of bf16: four elements a thread, whole fours; both begin at 16 bytes. */
typedef struct {
    float *to;
    const uint16_t *from;
    int64_t count;
} widen_args;
KERNEL_DECLARE(widen_bf16)

/* ---- matmul_few.cu ---- */

enum {
    MATMUL_FEW_ROWS = 8,   /* at most */
    MATMUL_FEW_PART = 512, /* of k, at most, in a block */
    MATMUL_FEW_THREADS = 128,
    MATMUL_FEW_COLUMNS = 8 /* of c, in a block of _dots */
};

/* Of _lines: sums of a row, by warp, with runs of so many columns. */
#define MATMUL_FEW_SUMS(run) (MATMUL_FEW_THREADS / 32 * (run) * (32 + 32 / (run)))

/* As kern_matmul_shape, c = a b (+ c if `add`), a [rows, k] as it lies. _lines: b as it lies, k in
 * `parts` of `depth`, whose sums _join adds where there are several; grid: runs of columns, parts,
 * items. _dots: b transposed. `packed`: all rows of b, and for _dots those of a, begin at 16 bytes.
 * _1: for one row. */
typedef struct {
    const void *a, *b;
    void *c, *part; /* part [batch, parts, rows, n] */
    int64_t n, k, stride_a, stride_b, stride_c;
    int rows, parts, depth, add, packed;
} matmul_few_args;

#define MATMUL_DECLARE(suffix)                                                                     \
    KERNEL_DECLARE(matmul_lines_1_##suffix)                                                        \
    KERNEL_DECLARE(matmul_lines_8_##suffix)                                                        \
    KERNEL_DECLARE(matmul_dots_1_##suffix)                                                         \
    KERNEL_DECLARE(matmul_dots_8_##suffix)                                                         \
    KERNEL_DECLARE(matmul_join_##suffix)
MATMUL_DECLARE(f32)
MATMUL_DECLARE(f64)
MATMUL_DECLARE(bf16)
#undef MATMUL_DECLARE

#endif
