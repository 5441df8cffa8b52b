/* One bf16 product of fixed shape through oneDNN's matmul primitive, whose C interface differs
 * between its majors 2 and 3; only kern_matmul uses this. */
#ifndef KERNELS_MATMUL_BF16_H
#define KERNELS_MATMUL_BF16_H

#include "kernels/matmul.h"

/* Elements between rows of a, b, c as they are stored. */
typedef struct {
    int64_t a, b, c;
} kern_bf16_rows;

typedef struct kern_bf16_product kern_bf16_product; /* immutable, shareable */

/* m, n, k, the transpose flags and accumulate of `shape`; its batch and strides are not read.
 * The result never depends on the number of threads: the product is made for one. KERN_ERR_GRAPH
 * where oneDNN has no such product, as for axes of 2^31 and more; KERN_ERR_MEMORY. */
kern_status kern_bf16_create(kern_bf16_product **product, const kern_matmul_shape *shape,
                             kern_bf16_rows rows);
void kern_bf16_destroy(kern_bf16_product *product);
size_t kern_bf16_workspace(const kern_bf16_product *product);

/* Runs the product in the calling thread, alone. */
void kern_bf16_run(const kern_bf16_product *product, float *c, const uint16_t *a, const uint16_t *b,
                   void *workspace);

#endif
