#include "autodiff/triangle.h"

/* Constants are made by shapes: rows of equal elements, read with another width, move by one
 * element from row to row. */

/* The first n x width elements as n rows. */
static ad_value rows_of(ad_graph *g, ad_value a, int64_t n, int64_t width) {
    ad_type type = ad_type_at(g, a);
    ad_value flat = ad_reshape(g, a, AD_TYPE(type.dtype, ad_elements(type)));
    return ad_reshape(g, ad_slice(g, flat, 0, 0, n * width), AD_TYPE(type.dtype, n, width));
}

ad_value ad_lower_ones(ad_graph *g, kern_dtype dtype, int64_t n, bool strict) {
    if (n == 1) return ad_fill(g, AD_TYPE(dtype, 1, 1), !strict);
    ad_value ones = ad_fill(g, AD_TYPE(dtype, n, n - strict), 1);
    ad_value upper = rows_of(g, ad_pad(g, ones, 1, strict, 2 * n), n, 2 * n - 1);
    return ad_transpose(g, ad_slice(g, upper, 1, 0, n), (int[]){1, 0});
}

ad_value ad_identity(ad_graph *g, kern_dtype dtype, int64_t rows, int64_t columns) {
    int64_t n = kern_min(rows, columns);
    ad_value first = ad_pad(g, ad_fill(g, AD_TYPE(dtype, n, 1), 1), 1, 0, n + 1);
    return ad_pad(g, ad_pad(g, rows_of(g, first, n, n), 0, 0, rows), 1, 0, columns);
}

ad_value ad_cumsum(ad_graph *g, ad_value x) {
    if (!ad_is_value(x)) return AD_POISON;
    ad_type type = ad_type_at(g, x);
    int64_t n = ad_last(type);
    ad_value rows = ad_reshape(g, x, AD_TYPE(type.dtype, ad_elements(type) / n, n));
    ad_value sums = ad_matmul(g, rows, ad_lower_ones(g, type.dtype, n, false), false, true);
    return ad_reshape(g, sums, type);
}

/* [n, n]: 1 where row and column are in the same block of `size`, a power of 2; else 0. */
static ad_value same_block(ad_graph *g, kern_dtype dtype, int64_t n, int64_t size) {
    int64_t blocks = (n + size - 1) / size, all = blocks * size;
    ad_value unit =
        ad_reshape(g, ad_identity(g, dtype, blocks, blocks), AD_TYPE(dtype, blocks, 1, blocks, 1));
    ad_value wide = ad_broadcast(g, unit, AD_TYPE(dtype, blocks, size, blocks, size));
    wide = ad_reshape(g, wide, AD_TYPE(dtype, all, all));
    return ad_slice(g, ad_slice(g, wide, 0, 0, n), 1, 0, n);
}

/* [n, n] for each of `items` */
static ad_value repeat(ad_graph *g, ad_value matrix, ad_type type) {
    ad_type one = type;
    one.dim[0] = 1;
    one.varies = false;
    return ad_broadcast(g, ad_reshape(g, matrix, one), type);
}

ad_value ad_unit_lower_inverse(ad_graph *g, ad_value a) {
    if (!ad_is_value(a)) return AD_POISON;
    ad_type type = ad_type_at(g, a);
    int64_t n = type.dim[1];
    ad_value inner = same_block(g, type.dtype, n, 1), inverse = repeat(g, inner, type);
    for (int64_t size = 1; size < n; size *= 2) {
        ad_value outer = same_block(g, type.dtype, n, 2 * size);
        ad_value joint = ad_mul(g, a, repeat(g, ad_sub(g, outer, inner), type));
        if (size > 1)
            joint = ad_matmul(g, ad_matmul(g, inverse, joint, false, false), inverse, false, false);
        inverse = ad_sub(g, inverse, joint);
        inner = outer;
    }
    return inverse;
}
