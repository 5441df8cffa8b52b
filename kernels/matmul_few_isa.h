/* One task of a product of few rows (kernels/matmul_few.h). b is read as it lies, from its first
 * element to its last, a few rows beside one another at most: processors fetch one long stream
 * better than many short ones.
 * Each element of c is one chain of fused products (b as it lies: over k in order; b transposed:
 * two chains a lane, which are added, then the lanes in a tree), so its bits depend neither on m
 * nor on how rows are grouped here. */
#ifndef KERNELS_MATMUL_FEW_ISA_H
#define KERNELS_MATMUL_FEW_ISA_H

#include "kernels/lanes_isa.h"
#include "kernels/matmul_few.h"

#define INLINE static inline __attribute__((always_inline))

enum {
    GROUP = 4,                    /* rows of a at a time */
    ROWS_OF_B = 4,                /* that are added at a time, at most */
    DOTS = LANES < 8 ? LANES : 8, /* rows of b whose lanes are summed together */
    /* elements of b, fetched while these are computed with; by measurement */
    AHEAD = 512,
    AHEAD_BF16 = 2048,
};

INLINE real element(const void *data, int64_t at, bool bf16) {
    if (!bf16) return ((const real *)data)[at];
    uint32_t bits = (uint32_t)((const uint16_t *)data)[at] << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return (real)value;
}

/* Two vectors of each row, from element `at` on, into the nearest cache or the one behind it. */
INLINE void fetch(const void *const row[], int rows, int64_t at, bool bf16, bool nearest) {
    int64_t bytes = bf16 ? 2 : (int64_t)sizeof(real);
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int64_t line = 0; line < 2 * LANES * bytes; line += 64) {
            const char *from = (const char *)row[r] + at * bytes + line;
            if (nearest)
                __builtin_prefetch(from, 0, 3);
            else
                __builtin_prefetch(from, 0, 2);
        }
}

/* Where rows p, p + 1, .. of b begin. */
INLINE void rows_of_b(const void *row[], const kern_few_task *t, bool bf16, int count, int64_t p) {
    int64_t bytes = t->b_row * (bf16 ? 2 : (int64_t)sizeof(real));
#pragma GCC unroll 8
    for (int r = 0; r < count; r++) row[r] = (const char *)t->b + (p + r) * bytes;
}

/* `count` columns from j on, at most a vector, of c[i] += a[i][p + r] row[r]; x: a[i][p + r]. */
INLINE void add_columns(const kern_few_task *t, bool bf16, int m, int depth, real *c,
                        const void *const row[], vec x[GROUP][ROWS_OF_B], int64_t j,
                        int64_t count) {
    vec sum[GROUP];
#pragma GCC unroll 4
    for (int g = 0; g < m; g++) sum[g] = vec_load_some(c + g * t->c_row, j, count, false);
#pragma GCC unroll 4
    for (int r = 0; r < depth; r++) {
        vec w = vec_load_some(row[r], j, count, bf16);
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
    int64_t j = 0, next = p + 2 * depth <= t->k ? depth * t->b_row : 0; /* where to fetch */
    rows_of_b(row, t, bf16, depth, p);
#pragma GCC unroll 4
    for (int g = 0; g < m; g++)
#pragma GCC unroll 4
        for (int r = 0; r < depth; r++)
            x[g][r] = vec_splat(element(t->a, (i + g) * t->a_row + p + r, bf16));
    for (; j + 2 * LANES <= t->n; j += 2 * LANES) {
        fetch(row, depth, j + next, bf16, false);
        add_columns(t, bf16, m, depth, c, row, x, j, LANES);
        add_columns(t, bf16, m, depth, c, row, x, j + LANES, LANES);
    }
    for (; j < t->n; j += LANES) add_columns(t, bf16, m, depth, c, row, x, j, t->n - j);
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

/* At most a vector of columns from j on, of rows i, i + 1, .. of a: the sums stay in registers
 * while all of b goes by. Lanes beyond the columns take what lies there. */
INLINE void add_narrow(const kern_few_task *t, bool bf16, int m, int64_t i, int64_t j) {
    int64_t count = t->n - j < LANES ? t->n - j : LANES, end = (t->k - 1) * t->b_row + t->n;
    real *c = (real *)t->c + i * t->c_row + j;
    vec sum[GROUP];
#pragma GCC unroll 4
    for (int g = 0; g < m; g++)
        sum[g] = t->accumulate ? vec_load_some(c + g * t->c_row, 0, count, false) : (vec){0};
    for (int64_t p = 0, at = j; p < t->k; p++, at += t->b_row) {
        vec w = vec_load_some(t->b, at, at + LANES <= end ? LANES : count, bf16);
#pragma GCC unroll 4
        for (int g = 0; g < m; g++)
            sum[g] = vec_fused(vec_splat(element(t->a, (i + g) * t->a_row + p, bf16)), w, sum[g]);
    }
#pragma GCC unroll 4
    for (int g = 0; g < m; g++) vec_store_some(c + g * t->c_row, sum[g], count);
}

INLINE void add_narrow_groups(const kern_few_task *t, bool bf16, int64_t j) {
    for (int64_t i = 0; i < t->m; i += GROUP) switch (t->m - i) {
        case 1: add_narrow(t, bf16, 1, i, j); break;
        case 2: add_narrow(t, bf16, 2, i, j); break;
        case 3: add_narrow(t, bf16, 3, i, j); break;
        default: add_narrow(t, bf16, GROUP, i, j);
        }
}

INLINE void add_rows(const kern_few_task *t, bool bf16) {
    real *c = t->c;
    int64_t p = 0;
    if (t->n < 2 * LANES) {
        for (int64_t j = 0; j < t->n; j += LANES) add_narrow_groups(t, bf16, j);
        return;
    }
    for (int64_t i = 0; !t->accumulate && i < t->m; i++)
        memset(c + i * t->c_row, 0, (size_t)t->n * sizeof *c);
    if (t->m <= 2 || VEC_BYTES == 64) /* or registers do not hold as much of a */
        for (; p + ROWS_OF_B <= t->k; p += ROWS_OF_B) add_groups(t, bf16, ROWS_OF_B, p);
    for (; p + 2 <= t->k; p += 2) add_groups(t, bf16, 2, p);
    for (; p < t->k; p++) add_groups(t, bf16, 1, p);
}

/* `count` elements from p on, at most a vector, of sum[g] += a[i + g] . row. */
INLINE void dot_columns(const kern_few_task *t, bool bf16, int m, int64_t i, const void *row,
                        vec sum[GROUP], int64_t p, int64_t count) {
    vec w = vec_load_some(row, p, count, bf16);
#pragma GCC unroll 4
    for (int g = 0; g < m; g++)
        sum[g] = vec_fused(vec_load_some(t->a, (i + g) * t->a_row + p, count, bf16), w, sum[g]);
}

/* The lanes of a[i + g] . b[j] into lanes[g][r]. */
INLINE void dot_row(const kern_few_task *t, bool bf16, int m, int64_t i, int64_t j,
                    vec lanes[GROUP][DOTS], int r) {
    const void *row;
    vec even[GROUP], odd[GROUP];
    int64_t p = 0;
    rows_of_b(&row, t, bf16, 1, j);
#pragma GCC unroll 4
    for (int g = 0; g < m; g++) even[g] = odd[g] = (vec){0};
    for (; p + 2 * LANES <= t->k; p += 2 * LANES) {
        fetch(&row, 1, p + (bf16 ? AHEAD_BF16 : AHEAD), bf16, !bf16);
        dot_columns(t, bf16, m, i, row, even, p, LANES);
        dot_columns(t, bf16, m, i, row, odd, p + LANES, LANES);
    }
    for (; p < t->k; p += LANES) dot_columns(t, bf16, m, i, row, even, p, t->k - p);
#pragma GCC unroll 4
    for (int g = 0; g < m; g++) lanes[g][r] = even[g] + odd[g];
}

/* c[i][j] (+)= a[i] . b[j] for m rows from i on and `count` rows of b from j on, at most DOTS. */
INLINE void dots(const kern_few_task *t, bool bf16, int m, int64_t i, int64_t j, int count) {
    vec lanes[GROUP][DOTS] = {0};
    for (int r = 0; r < count; r++) dot_row(t, bf16, m, i, j + r, lanes, r);
    for (int g = 0; g < m; g++) {
        real *c = (real *)t->c + (i + g) * t->c_row + j;
        vec total = sums_of_lanes(lanes[g], DOTS);
        if (t->accumulate) total = vec_load_some(c, 0, count, false) + total;
        vec_store_some(c, total, count);
    }
}

INLINE void dot_groups(const kern_few_task *t, bool bf16, int64_t j, int count) {
    for (int64_t i = 0; i < t->m; i += GROUP) switch (t->m - i) {
        case 1: dots(t, bf16, 1, i, j, count); break;
        case 2: dots(t, bf16, 2, i, j, count); break;
        case 3: dots(t, bf16, 3, i, j, count); break;
        default: dots(t, bf16, GROUP, i, j, count);
        }
}

INLINE void dot_rows(const kern_few_task *t, bool bf16) {
    for (int64_t j = 0; j < t->n; j += DOTS)
        dot_groups(t, bf16, j, t->n - j < DOTS ? (int)(t->n - j) : DOTS);
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
