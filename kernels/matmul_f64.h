/* The blocked f64 product behind kern_matmul, one tile at a time. */
#ifndef KERNELS_MATMUL_F64_H
#define KERNELS_MATMUL_F64_H

#include "kernels/base.h"

enum {
    KERN_F64_TILE = 128,  /* largest m and n of a tile */
    KERN_F64_DEPTH = 256, /* k is summed in runs of this length, in order */
    KERN_F64_WORKSPACE =  /* doubles */
    KERN_F64_TILE * KERN_F64_TILE + 2 * KERN_F64_TILE * KERN_F64_DEPTH
};

/* Element (i, j) of a matrix lies at data[i * row + j * column]. */
typedef struct {
    const double *data;
    int64_t row, column;
} kern_f64_matrix;

/* c [m, n] = a [m, k] b [k, n] (+ c if accumulate); rows of c are c_row apart. */
typedef void kern_f64_tile(double *c, int64_t c_row, kern_f64_matrix a, kern_f64_matrix b,
                           int64_t m, int64_t n, int64_t k, bool accumulate, double *workspace);
kern_f64_tile kern_f64_tile_v2, kern_f64_tile_v3, kern_f64_tile_v4;

#endif
