/* Composites of triangular matrices. All local. */
#ifndef AUTODIFF_TRIANGLE_H
#define AUTODIFF_TRIANGLE_H

#include "autodiff/ops.h"

/* [n, n]: 1 on and below the diagonal, else 0; `strict`: 0 on it too. */
ad_value ad_lower_ones(ad_graph *graph, kern_dtype dtype, int64_t n, bool strict);
/* [rows, columns]: 1 on the diagonal, else 0. */
ad_value ad_identity(ad_graph *graph, kern_dtype dtype, int64_t rows, int64_t columns);
/* y[..., t] = sum of x[..., s] over s <= t */
ad_value ad_cumsum(ad_graph *graph, ad_value x);
/* (I + a)^-1 by item, for a [B, n, n] that is 0 on and above the diagonal. Inverses of neighbouring
 * blocks join into that of the block of twice their size, as forward substitution does: no powers
 * of a, which can be large where the inverse is not. What comes out for the elements above as a
 * derivative means nothing. */
ad_value ad_unit_lower_inverse(ad_graph *graph, ad_value a);

#endif
