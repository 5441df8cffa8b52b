/* Products of few rows, as reading and writing text token by token needs them: bound by reading b,
 * which is streamed once, in long runs; only kern_matmul uses this. */
#ifndef KERNELS_MATMUL_FEW_H
#define KERNELS_MATMUL_FEW_H

#include "kernels/matmul.h"

/* How one product is cut into tasks, a function of the shape alone. Columns are cut into parts of
 * tile_n; where that makes few tasks of a b that is not transposed, k is cut into parts of tile_k,
 * whose sums lie in the workspace and are added in order. */
typedef struct {
    int64_t tile_n, tile_k, parts_n, parts_k;
    bool parallel; /* enough to read that waking other threads pays */
} kern_few_cut;

/* Whether this shape is for here: few rows, and a as it lies; or k = 1, the product of a column and
 * a row, which is bound by writing c. */
bool kern_few_takes(const kern_matmul_shape *shape);
kern_few_cut kern_few_cut_of(const kern_matmul_shape *shape);
size_t kern_few_workspace(const kern_matmul_shape *shape, const kern_few_cut *cut); /* bytes */
void kern_few_run(const kern_matmul_shape *shape, const kern_few_cut *cut, void *c, const void *a,
                  const void *b, void *workspace);

/* c [m, n] = op(a) op(b) (+ c if accumulate), of part of a product: all pointers are to the part's
 * first elements; a_row and b_row: elements between rows as they are stored. */
typedef struct {
    bool bf16, transpose_b, accumulate;
    int64_t m, n, k, a_row, b_row, c_row;
    const void *a, *b;
    void *c;
} kern_few_task;

typedef void kern_few_tile(const kern_few_task *task);
kern_few_tile kern_few_f32_v2, kern_few_f32_v3, kern_few_f32_v4; /* f32 and bf16 */
kern_few_tile kern_few_f64_v2, kern_few_f64_v3, kern_few_f64_v4;

#endif
