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

ad_value infer_conv(const infer_context *c, ad_value u, ad_value weight, ad_value tail,
                    ad_value *next) {
    ad_graph *g = c->graph;
    if (!ad_is_value(u) || !ad_is_value(weight)) return *next = AD_POISON;
    ad_type taps = ad_type_at(g, weight);
    int64_t before = taps.dim[0] - 1, width = taps.dim[1];
    ad_type rows = AD_TYPE(c->real, c->batch, c->rows, width), one = AD_TYPE(c->real, 1, 1, width);
    ad_value all = ad_concat(g, 2, (ad_value[]){tail, ad_reshape(g, u, rows)}, 1), y = AD_NONE;
    *next = ad_is_value(c->valid) ? ad_matmul(g, last_rows(c, before), all, false, false)
                                  : ad_slice(g, all, 1, c->rows, before);
    for (int64_t j = 0; j <= before; j++) {
        ad_value tap = ad_reshape(g, ad_slice(g, weight, 0, j, 1), one);
        ad_value term = ad_mul(g, ad_slice(g, all, 1, j, c->rows), ad_broadcast(g, tap, rows));
        y = j ? ad_add(g, y, term) : term;
    }
    return ad_reshape(g, y, AD_TYPE(c->real, c->batch * c->rows, width));
}

ad_value infer_mask(const infer_context *c, ad_value x) {
    return ad_is_value(c->valid) ? ad_mul_repeat(c->graph, x, infer_vary(c, c->valid)) : x;
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
