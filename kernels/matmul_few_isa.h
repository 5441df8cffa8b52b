/* One task of a product of few rows (kernels/matmul_few.h). Each element of c is one chain of fused
 * products (b as it lies: over k in order; b transposed: one chain a lane, then the lanes in a
 * tree), so its bits depend neither on m nor on how rows are grouped here. */
#ifndef KERNELS_MATMUL_FEW_ISA_H
#define KERNELS_MATMUL_FEW_ISA_H

#include "kernels/lanes_isa.h"
#include "kernels/matmul_few.h"

#define INLINE static inline __attribute__((always_inline))

enum {
    GROUP = 4,                       /* rows of a at a time */
    HELD = VEC_BYTES == 64 ? 16 : 8, /* vectors that a block may hold beside those in use */
    ROWS_OF_B = 8,                   /* at most, at a time */
};

INLINE real element(const void *data, int64_t at, bool bf16) {
    if (!bf16) return ((const real *)data)[at];
    uint32_t bits = (uint32_t)((const uint16_t *)data)[at] << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return (real)value;
}

INLINE void fetch(const void *data, int64_t at, bool bf16) {
    __builtin_prefetch((const char *)data + at * (bf16 ? 2 : (int64_t)sizeof(real)), 0, 3);
}

/* Where rows p, p + 1, .. of b begin. */
INLINE void rows_of_b(const void *row[ROWS_OF_B], const kern_few_task *t, bool bf16, int count,
                      int64_t p) {
    int64_t bytes = t->b_row * (bf16 ? 2 : (int64_t)sizeof(real));
#pragma GCC unroll 8
    for (int r = 0; r < count; r++) row[r] = (const char *)t->b + (p + r) * bytes;
}

/* `count` columns from j on, at most a vector, of c[i] += a[i][p + r] row[r]; x: a[i][p + r]. */
INLINE void add_columns(const kern_few_task *t, bool bf16, int m, int depth, real *c,
                        const void *const row[ROWS_OF_B], vec x[GROUP][ROWS_OF_B], int64_t j,
                        int64_t count) {
    vec sum[GROUP];
#pragma GCC unroll 4
    for (int g = 0; g < m; g++) sum[g] = vec_load_some(c + g * t->c_row, j, count, false);
#pragma GCC unroll 8
    for (int r = 0; r < depth; r++) {
        vec w = vec_load_some(row[r], j, count, bf16);
        fetch(row[r], j + depth * t->b_row, bf16);
#pragma GCC unroll 4
        for (int g = 0; g < m; g++) sum[g] = vec_fused(x[g][r], w, sum[g]);
    }
#pragma GCC unroll 4
    for (int g = 0; g < m; g++) vec_store_some(c + g * t->c_row + j, sum[g], count);
}

/* c[i] += a[i][p + r] b[p + r], r < depth: rows i, i + 1, .. of a, all columns. */
INLINE void add_block(const kern_few_task *t, bool bf16, int m, int depth, int64_t i, int64_t p) {
    const void *row[ROWS_OF_B];
    vec x[GROUP][ROWS_OF_B];
    real *c = (real *)t->c + i * t->c_row;
    int64_t j = 0;
    rows_of_b(row, t, bf16, depth, p);
#pragma GCC unroll 4
    for (int g = 0; g < m; g++)
#pragma GCC unroll 8
        for (int r = 0; r < depth; r++)
            x[g][r] = vec_splat(element(t->a, (i + g) * t->a_row + p + r, bf16));
    for (; j + LANES <= t->n; j += LANES) add_columns(t, bf16, m, depth, c, row, x, j, LANES);
    if (j < t->n) add_columns(t, bf16, m, depth, c, row, x, j, t->n - j);
}

/* All rows of a with `depth` rows of b, which the nearest cache holds from the second group on. */
INLINE void add_groups(const kern_few_task *t, bool bf16, int depth, int64_t p) {
    for (int64_t i = 0; i < t->m; i += GROUP) switch (t->m - i) {
        case 1: add_block(t, bf16, 1, depth, i, p); break;
        case 2: add_block(t, bf16, 2, depth, i, p); break;
        case 3: add_block(t, bf16, 3, depth, i, p); break;
        default: add_block(t, bf16, GROUP, depth, i, p);
        }
}

INLINE void add_rows(const kern_few_task *t, bool bf16) {
    real *c = t->c;
    int64_t p = 0;
    for (int64_t i = 0; !t->accumulate && i < t->m; i++)
        memset(c + i * t->c_row, 0, (size_t)t->n * sizeof *c);
    if (t->m == 1)
        for (; p + 8 <= t->k; p += 8) add_block(t, bf16, 1, 8, 0, p);
    else if (t->m == 2)
        for (; p + HELD / 2 <= t->k; p += HELD / 2) add_block(t, bf16, 2, HELD / 2, 0, p);
    for (; p + HELD / 4 <= t->k; p += HELD / 4) add_groups(t, bf16, HELD / 4, p);
    for (; p < t->k; p++) add_groups(t, bf16, 1, p);
}

/* `count` elements from p on, at most a vector, of sum[i] += a[i] . row[r]. */
INLINE void dot_columns(const kern_few_task *t, bool bf16, int m, int rows, int64_t i,
                        const void *const row[ROWS_OF_B], vec sum[GROUP][ROWS_OF_B], int64_t p,
                        int64_t count) {
    vec x[GROUP];
#pragma GCC unroll 4
    for (int g = 0; g < m; g++) x[g] = vec_load_some(t->a, (i + g) * t->a_row + p, count, bf16);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        vec w = vec_load_some(row[r], p, count, bf16);
        fetch(row[r], p + rows * t->b_row, bf16);
#pragma GCC unroll 4
        for (int g = 0; g < m; g++) sum[g][r] = vec_fused(x[g], w, sum[g][r]);
    }
}

/* c[i][j] (+)= a[i] . b[j] for m rows from i on and `rows` rows of b from j on. */
INLINE void dot_block(const kern_few_task *t, bool bf16, int m, int rows, int64_t i, int64_t j) {
    const void *row[ROWS_OF_B];
    vec sum[GROUP][ROWS_OF_B];
    int64_t p = 0;
    rows_of_b(row, t, bf16, rows, j);
#pragma GCC unroll 4
    for (int g = 0; g < m; g++)
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) sum[g][r] = (vec){0};
    for (; p + LANES <= t->k; p += LANES) dot_columns(t, bf16, m, rows, i, row, sum, p, LANES);
    if (p < t->k) dot_columns(t, bf16, m, rows, i, row, sum, p, t->k - p);
#pragma GCC unroll 4
    for (int g = 0; g < m; g++)
#pragma GCC unroll 8
        for (int r = 0; r < rows; r += LANES) {
            int count = rows - r < (int)LANES ? rows - r : (int)LANES;
            real *c = (real *)t->c + (i + g) * t->c_row + j + r;
            vec total = sums_of_lanes(sum[g] + r, count);
            if (t->accumulate) total = vec_load_some(c, 0, count, false) + total;
            vec_store_some(c, total, count);
        }
}

INLINE void dot_groups(const kern_few_task *t, bool bf16, int rows, int64_t j) {
    for (int64_t i = 0; i < t->m; i += GROUP) switch (t->m - i) {
        case 1: dot_block(t, bf16, 1, rows, i, j); break;
        case 2: dot_block(t, bf16, 2, rows, i, j); break;
        case 3: dot_block(t, bf16, 3, rows, i, j); break;
        default: dot_block(t, bf16, GROUP, rows, i, j);
        }
}

INLINE void dot_rows(const kern_few_task *t, bool bf16) {
    int64_t j = 0;
    if (t->m == 1)
        for (; j + 8 <= t->n; j += 8) dot_block(t, bf16, 1, 8, 0, j);
    else if (t->m == 2)
        for (; j + HELD / 2 <= t->n; j += HELD / 2) dot_block(t, bf16, 2, HELD / 2, 0, j);
    for (; j + HELD / 4 <= t->n; j += HELD / 4) dot_groups(t, bf16, HELD / 4, j);
    for (; j < t->n; j++) dot_groups(t, bf16, 1, j);
}

static void run_task(const kern_few_task *task) {
#ifndef KERN_REAL_IS_DOUBLE
    if (task->bf16) {
        if (task->transpose_b)
            dot_rows(task, true);
        else
            add_rows(task, true);
        return;
    }
#endif
    if (task->transpose_b)
        dot_rows(task, false);
    else
        add_rows(task, false);
}

#endif
