#include "infer/recurrence.h"

#include <math.h>

#include "autodiff/triangle.h"

infer_chunks infer_chunks_of(const infer_context *c, int64_t most) {
    int64_t chunk = kern_min(c->rows, most);
    return (infer_chunks){c->batch, c->rows, chunk, (c->rows + chunk - 1) / chunk};
}

ad_value infer_to_chunks(const infer_context *c, infer_chunks k, ad_value x, int64_t heads) {
    if (!ad_is_value(x)) return AD_POISON;
    int64_t width = ad_last(ad_type_at(c->graph, x));
    ad_value rows = ad_reshape(c->graph, x, AD_TYPE(c->real, k.items, k.rows, width));
    rows = ad_pad(c->graph, rows, 1, 0, k.chunks * k.chunk);
    return ad_reshape(c->graph, rows,
                      AD_TYPE(c->real, k.items, k.chunks, k.chunk, heads, width / heads));
}

ad_value infer_from_chunks(const infer_context *c, infer_chunks k, ad_value x) {
    if (!ad_is_value(x)) return AD_POISON;
    int64_t all = k.chunks * k.chunk;
    int64_t width = ad_elements(ad_type_at(c->graph, x)) / (k.items * all);
    ad_value rows = ad_reshape(c->graph, x, AD_TYPE(c->real, k.items, all, width));
    rows = ad_slice(c->graph, rows, 1, 0, k.rows);
    return ad_reshape(c->graph, rows, AD_TYPE(c->real, k.items * k.rows, width));
}

ad_value infer_swap(const infer_context *c, ad_value x) {
    return ad_transpose(c->graph, x, (int[]){0, 1, 3, 2, 4});
}

ad_value infer_matmul(const infer_context *c, ad_value a, ad_value b, bool ta, bool tb) {
    return ad_matmul(c->graph, ad_cast(c->graph, a, c->product), ad_cast(c->graph, b, c->product),
                     ta, tb);
}

/* [B, X-1, X-1+R]: row k has a 1 at the k-th of the last X-1 rows that are tokens. */
static ad_value last_rows(const infer_context *c, int64_t before) {
    ad_graph *g = c->graph;
    int64_t rows = c->rows;
    ad_value valid = ad_reshape(g, infer_vary(c, c->valid), AD_TYPE(c->real, c->batch, 1, rows));
    ad_value next = rows > 1 ? ad_pad(g, ad_slice(g, valid, 2, 1, rows - 1), 2, 0, rows)
                             : ad_fill(g, AD_TYPE(c->real, c->batch, 1, 1), 0);
    ad_value last = ad_sub(g, valid, next), chosen = AD_NONE;
    for (int64_t k = 0; k < before; k++) {
        ad_value row = ad_pad(g, last, 2, k + 1, before + rows);
        chosen = k ? ad_concat(g, 2, (ad_value[]){chosen, row}, 1) : row;
    }
    return chosen;
}

/* The last X-1 rows that are tokens of tail and u, which `all` has behind one another. */
static ad_value next_tail(const infer_context *c, ad_value tail, ad_value u, ad_value all) {
    int64_t before = ad_type_at(c->graph, tail).dim[1];
    if (ad_is_value(c->valid)) return ad_matmul(c->graph, last_rows(c, before), all, false, false);
    if (c->rows > 1) return ad_slice(c->graph, all, 1, c->rows, before);
    if (before == 1) return u;
    tail = ad_slice(c->graph, tail, 1, 1, before - 1);
    return ad_concat(c->graph, 2, (ad_value[]){tail, u}, 1);
}

ad_value infer_conv(const infer_context *c, ad_value u, ad_value weight, ad_value bias,
                    ad_value tail, ad_value *next) {
    ad_graph *g = c->graph;
    if (!ad_is_value(u) || !ad_is_value(weight)) return *next = AD_POISON;
    ad_type taps = ad_type_at(g, weight);
    int64_t before = taps.dim[0] - 1, width = taps.dim[1];
    ad_type rows = AD_TYPE(c->real, c->batch, c->rows, width), one = AD_TYPE(c->real, 1, 1, width);
    u = ad_reshape(g, u, rows);
    ad_value all = ad_concat(g, 2, (ad_value[]){tail, u}, 1), y = AD_NONE;
    *next = next_tail(c, tail, u, all);
    for (int64_t j = 0; j <= before; j++) {
        /* of a single row each tap sees a row that lies somewhere already */
        ad_value seen = c->rows > 1  ? ad_slice(g, all, 1, j, c->rows)
                        : j < before ? ad_slice(g, tail, 1, j, 1)
                                     : u;
        ad_value tap = ad_reshape(g, ad_slice(g, weight, 0, j, 1), one);
        ad_value term = ad_mul(g, seen, ad_broadcast(g, tap, rows));
        y = j ? ad_add(g, y, term) : term;
    }
    if (ad_is_value(bias)) y = ad_add(g, y, ad_broadcast(g, ad_reshape(g, bias, one), rows));
    return ad_reshape(g, ad_silu(g, y), AD_TYPE(c->real, c->batch * c->rows, width));
}

ad_value infer_mask(const infer_context *c, ad_value x) {
    if (!ad_is_value(c->valid) || !ad_is_value(x)) return x;
    ad_type row = ad_type_at(c->graph, x);
    for (int axis = 1; axis < row.rank; axis++) row.dim[axis] = 1;
    return ad_mul_repeat(c->graph, x, ad_reshape(c->graph, infer_vary(c, c->valid), row));
}

ad_value infer_outer(const infer_context *c, ad_value a, ad_value b) {
    if (!ad_is_value(a) || !ad_is_value(b)) return AD_POISON;
    ad_type left = ad_type_at(c->graph, a), right = ad_type_at(c->graph, b);
    if (left.dim[1] > 1) return infer_matmul(c, a, b, true, false);
    ad_type all = AD_TYPE(c->real, left.dim[0], left.dim[2], right.dim[2]);
    a = ad_reshape(c->graph, a, AD_TYPE(c->real, left.dim[0], left.dim[2], 1));
    return ad_mul(c->graph, ad_broadcast(c->graph, a, all), ad_broadcast(c->graph, b, all));
}

ad_value infer_decay(const infer_context *c, ad_value sums) {
    ad_graph *g = c->graph;
    if (!ad_is_value(sums)) return AD_POISON;
    int64_t items = ad_type_at(g, sums).dim[0], rows = ad_type_at(g, sums).dim[1];
    ad_type all = AD_TYPE(c->real, items, rows, rows);
    ad_value to = ad_broadcast(g, ad_reshape(g, sums, AD_TYPE(c->real, items, rows, 1)), all);
    ad_value from = ad_broadcast(g, ad_reshape(g, sums, AD_TYPE(c->real, items, 1, rows)), all);
    ad_value seen =
        ad_reshape(g, ad_lower_ones(g, c->real, rows, false), AD_TYPE(c->real, 1, rows, rows));
    /* Chosen before the exponential: what is not seen may be too large for it. */
    return ad_exp(
        g, ad_select(g, ad_broadcast(g, seen, all), ad_sub(g, to, from), ad_fill(g, all, -1e30)));
}

double infer_draw_conv(const infer_parameter *p, const ttt_conf *conf, uint64_t *random) {
    (void)conf;
    double taps = (double)(p->rank == 1 ? conf->mamba.conv : p->dim[0]);
    return (2 * infer_random_uniform(random) - 1) / sqrt(taps);
}

double infer_draw_dt_bias(const infer_parameter *p, const ttt_conf *conf, uint64_t *random) {
    (void)p, (void)conf;
    double d = fmax(exp(infer_random_uniform(random) * log(100) + log(0.001)), 1e-4);
    return d + log(-expm1(-d));
}
