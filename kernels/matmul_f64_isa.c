#define KERN_REAL_IS_DOUBLE
#include "kernels/matmul_f64.h"

#include "kernels/isa.h"
#include "kernels/tile_isa.h"

/* packed [rows, columns] = matrix, zeros beyond rows_valid and columns_valid. */
static void pack(real *packed, int64_t rows, int64_t columns, kern_f64_matrix matrix,
                 int64_t rows_valid, int64_t columns_valid) {
    for (int64_t i = 0; i < rows; i++) {
        real *row = packed + i * columns;
        int64_t valid = i < rows_valid ? columns_valid : 0;
        const real *source = matrix.data + i * matrix.row;
        if (matrix.column == 1)
            for (int64_t j = 0; j < valid; j++) row[j] = source[j];
        else
            for (int64_t j = 0; j < valid; j++) row[j] = source[j * matrix.column];
        for (int64_t j = valid; j < columns; j++) row[j] = 0;
    }
}

static kern_f64_matrix transposed(kern_f64_matrix a) {
    return (kern_f64_matrix){a.data, a.column, a.row};
}

void KERN_ISA(kern_f64_tile)(double *c, int64_t c_row, kern_f64_matrix a, kern_f64_matrix b,
                             int64_t m, int64_t n, int64_t k, bool accumulate, double *workspace) {
    int64_t m_pad = kern_round_up(m, TILE_M), n_pad = kern_round_up(n, LANES);
    real *sum = workspace, *left = sum + KERN_F64_TILE * KERN_F64_TILE;
    real *right = left + KERN_F64_TILE * KERN_F64_DEPTH;
    for (int64_t p = 0; p < k; p += KERN_F64_DEPTH) {
        int64_t depth = k - p < KERN_F64_DEPTH ? k - p : KERN_F64_DEPTH;
        kern_f64_matrix a_run = {a.data + p * a.column, a.row, a.column};
        kern_f64_matrix b_run = {b.data + p * b.row, b.row, b.column};
        strided packed;
        if (a.column == 1) {
            pack(left, m_pad, depth, a_run, m, depth);
            packed = (strided){left, depth, 1};
        } else { /* packed as it lies; the product reads it by columns */
            pack(left, depth, m_pad, transposed(a_run), depth, m);
            packed = (strided){left, 1, m_pad};
        }
        pack(right, depth, n_pad, b_run, depth, n);
        tile_product(sum, n_pad, packed, right, n_pad, m_pad, n_pad, depth, p > 0);
    }
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            c[i * c_row + j] =
                accumulate ? c[i * c_row + j] + sum[i * n_pad + j] : sum[i * n_pad + j];
}
