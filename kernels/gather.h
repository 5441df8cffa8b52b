/* Rows of a table by index, and its adjoint. Parallel; the bits do not depend on the threads. */
#ifndef KERNELS_GATHER_H
#define KERNELS_GATHER_H

#include "kernels/base.h"

/* out[i] = table[index[i]]; table [vocab, width], index [rows], out [rows, width], all dense and of
 * `dtype` f32, f64 or bf16. An index outside 0 .. vocab-1 gives a row of NaN. out aliases nothing.
 */
void kern_gather(kern_dtype dtype, void *out, const void *table, const int32_t *index, int64_t rows,
                 int64_t vocab, int64_t width);

/* table[index[i]] += row[i] for i = 0, 1, ... in this order; shapes as above, f32 or f64. Indices
 * outside the table are left out. The table is not cleared before. */
void kern_scatter_add(kern_dtype dtype, void *table, const void *row, const int32_t *index,
                      int64_t rows, int64_t vocab, int64_t width);

#endif
