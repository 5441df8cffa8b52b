/* Products of small dense tiles, as the f64 matrix product and attention use them: outer products
 * into registers, b read along its rows, a element by element with any two strides (so that a
 * transposed a costs nothing). The caller pads: no tails here, so no second code path. */
#ifndef KERNELS_TILE_ISA_H
#define KERNELS_TILE_ISA_H

#include "kernels/real_isa.h"

#include <stdbool.h>

/* A matrix of reals: element (i, j) at data[i * row + j * column]. */
typedef struct {
    const real *data;
    int64_t row, column;
} strided;

/* One block of TILE_M rows and `vectors` (1 or 2) vectors of columns of c = a b (+ c). */
static inline __attribute__((always_inline)) void tile_block(int vectors, real *c, int64_t c_row,
                                                             strided a, const real *b,
                                                             int64_t b_row, int64_t k,
                                                             bool accumulate) {
    vec sum[TILE_M][2];
#pragma GCC unroll 8
    for (int i = 0; i < TILE_M; i++)
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++)
            sum[i][j] = accumulate ? vec_load(c + i * c_row + j * LANES) : (vec){0};
    for (int64_t p = 0; p < k; p++) {
        const real *row = b + p * b_row, *column = a.data + p * a.column;
        vec b0 = vec_load(row), b1 = vectors == 2 ? vec_load(row + LANES) : b0;
#pragma GCC unroll 8
        for (int i = 0; i < TILE_M; i++) {
            vec x = vec_splat(column[i * a.row]);
            sum[i][0] = vec_fused(x, b0, sum[i][0]);
            if (vectors == 2) sum[i][1] = vec_fused(x, b1, sum[i][1]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < TILE_M; i++)
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++) vec_store(c + i * c_row + j * LANES, sum[i][j]);
}

/* c = a b (+ c if accumulate) with c [m, n], a [m, k], b [k, n]; m a multiple of TILE_M, n one of
 * LANES; rows of b and c are dense. */
static inline void tile_product(real *c, int64_t c_row, strided a, const real *b, int64_t b_row,
                                int64_t m, int64_t n, int64_t k, bool accumulate) {
    for (int64_t j = 0; j < n; j += 2 * LANES)
        for (int64_t i = 0; i < m; i += TILE_M) {
            strided rows = {a.data + i * a.row, a.row, a.column};
            real *block = c + i * c_row + j;
            if (n - j >= 2 * LANES)
                tile_block(2, block, c_row, rows, b + j, b_row, k, accumulate);
            else
                tile_block(1, block, c_row, rows, b + j, b_row, k, accumulate);
        }
}

#endif
