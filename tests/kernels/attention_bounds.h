/* How far results of attention may lie from the exact ones: rounding errors carried through the
 * formulas of docs/attention.md, element by element, from the full score matrix in f64. */
#ifndef TESTS_KERNELS_ATTENTION_BOUNDS_H
#define TESTS_KERNELS_ATTENTION_BOUNDS_H

#include "tests/kernels/attention_problem.h"

/* Of one precision: a sum or product is off by `sum` times the sum of the terms' sizes; weights
 * are rounded, relatively, by `weight` before they are multiplied with; o and cotangents, and each
 * query head's share of them, by `result`. */
typedef struct {
    double sum, weight, result;
} attention_errors;

/* A number, how far it may be off, and its size where it is a difference. */
typedef struct {
    double value, off, size;
} inexact;

static inline int64_t row_index(const problem *p, int64_t b, int64_t t, int64_t h) {
    return ((b * p->shape.rows + t) * p->shape.heads + h) * p->shape.head_size;
}

/* Where key j of past ++ new begins: in the past's tensors or in the new ones'. */
static inline int64_t key_index(const problem *p, int64_t b, int64_t j, int64_t h) {
    const kern_attention_shape *s = &p->shape;
    int64_t row = j < p->past ? b * (p->past + p->lead) + p->lead + j : b * s->rows + j - p->past;
    return (row * s->groups + h / (s->heads / s->groups)) * s->head_size;
}

/* sum of x[i + d] y[j + d], off by `sum` times its size */
static inline inexact dot(const problem *p, int x, int64_t i, int y, int64_t j, double scale,
                          attention_errors e) {
    inexact sum = {0, 0, 0};
    for (int64_t d = 0; d < p->shape.head_size; d++) {
        double term = scale * get(p, x, i + d) * get(p, y, j + d);
        sum.value += term;
        sum.size += fabs(term);
    }
    sum.off = e.sum * sum.size;
    return sum;
}

static inline inexact plus(inexact a, inexact b) {
    return (inexact){a.value + b.value, a.off + b.off, a.size + b.size};
}

static inline inexact minus(inexact a, inexact b) {
    return (inexact){a.value - b.value, a.off + b.off, a.size + b.size};
}

static inline inexact times(inexact a, inexact b, attention_errors e) {
    return (inexact){a.value * b.value,
                     fabs(a.value) * b.off + fabs(b.value) * a.off + a.off * b.off +
                         e.sum * fabs(a.value * b.value),
                     a.size * b.size};
}

/* As it goes into a product. */
static inline double weight_off(inexact w, attention_errors e) {
    return w.off + (e.weight + e.sum) * (fabs(w.value) + w.off);
}

typedef struct {
    int64_t b, t, h, row;
    inexact delta, tau, hh;
} bound_row;

typedef struct {
    inexact p, t, dp, u;
} bound_pair;

static inline bound_pair pair_at(const problem *p, const bound_row *r, int64_t j, unsigned given,
                                 attention_errors e) {
    bool fresh = j >= p->past;
    int64_t key = key_index(p, r->b, j, r->h);
    int k = fresh ? K : PAST_K, v = fresh ? V : PAST_V;
    double scale = p->shape.scale, lse = get(p, LSE, r->row / p->shape.head_size);
    inexact s = dot(p, Q, r->row, k, key, scale, e);
    bound_pair x = {.t = {0, 0, 0}, .u = {0, 0, 0}};
    x.p.value = x.p.size = exp(s.value - lse);
    x.p.off = x.p.value * (2 * s.off + e.sum * (fabs(lse) + fabs(s.value) + 4));
    x.dp = dot(p, CT_O, r->row, v, key, 1, e);
    if (given >> A & 1) x.t = dot(p, A, r->row, k, key, scale, e);
    if (given >> B & 1 && fresh) x.t = plus(x.t, dot(p, Q, r->row, B, key, scale, e));
    if (given >> C & 1 && fresh) x.u = dot(p, CT_O, r->row, C, key, 1, e);
    return x;
}

static inline bool is_visible(const problem *p, int64_t t, int64_t j) {
    return j <= p->past + t && p->past + t - j < p->shape.window;
}

/* Stage 0: o and lse. The largest score's error is every probability's. */
static inline void bound_forward(const problem *p, bound_row *r, double *bound[TENSORS],
                                 attention_errors e) {
    double off = 0;
    for (int64_t j = 0; j < p->past + p->shape.rows; j++)
        if (is_visible(p, r->t, j)) {
            inexact s = dot(p, Q, r->row, j < p->past ? PAST_K : K, key_index(p, r->b, j, r->h),
                            p->shape.scale, e);
            off = fmax(off, s.off + e.sum * fabs(s.value));
        }
    double lse = get(p, LSE, r->row / p->shape.head_size);
    bound[LSE][r->row / p->shape.head_size] = off + e.sum * (4 + fabs(lse));
    for (int64_t j = 0; j < p->past + p->shape.rows; j++) {
        if (!is_visible(p, r->t, j)) continue;
        bound_pair x = pair_at(p, r, j, 0, e);
        double share = x.p.value * (4 * off + 4 * e.sum + e.weight + e.result * (1 + e.weight));
        for (int64_t d = 0; d < p->shape.head_size; d++)
            bound[O][r->row + d] +=
                share * fabs(get(p, j < p->past ? PAST_V : V, key_index(p, r->b, j, r->h) + d));
    }
}

/* Stage 2's first pass: ct_ct_o, tau and h of the row. */
static inline void bound_first(const problem *p, bound_row *r, double *bound[TENSORS],
                               unsigned given, attention_errors e) {
    int64_t size = p->shape.head_size;
    double *value = calloc((size_t)size, sizeof *value), extra = 0;
    double *off = calloc((size_t)size, sizeof *off);
    ASSERT(value && off);
    for (int64_t j = 0; j < p->past + p->shape.rows; j++) {
        if (!is_visible(p, r->t, j)) continue;
        bool fresh = j >= p->past;
        bound_pair x = pair_at(p, r, j, given, e);
        inexact w = times(x.p, x.t, e);
        r->tau = plus(r->tau, w);
        r->tau.off += e.sum * fabs(w.value);
        extra += x.p.value * (fabs(x.t.value) * x.dp.size + x.u.size);
        for (int64_t d = 0; d < size; d++) {
            int64_t key = key_index(p, r->b, j, r->h) + d;
            double v = get(p, fresh ? V : PAST_V, key);
            double c = given >> C & 1 && fresh ? get(p, C, key) : 0;
            value[d] += w.value * v + x.p.value * c;
            off[d] += weight_off(w, e) * fabs(v) + weight_off(x.p, e) * fabs(c);
        }
    }
    for (int64_t d = 0; d < size; d++) {
        double o = get(p, O, r->row + d), ct_o = get(p, CT_O, r->row + d);
        value[d] -= r->tau.value * o;
        off[d] += (r->tau.off + e.sum * fabs(r->tau.value)) * fabs(o) + e.sum * fabs(value[d]);
        bound[OUT_CT_O][r->row + d] = off[d];
        r->hh.value += ct_o * value[d];
        r->hh.off += fabs(ct_o) * (off[d] + e.sum * fabs(value[d]));
        extra += fabs(r->tau.value * ct_o * o);
    }
    r->hh.off += 2 * e.sum * extra; /* it may also be computed from scores */
    free(value), free(off);
}

/* Cotangents of q, k, v and the past. */
static inline void bound_second(const problem *p, const bound_row *r, double *bound[TENSORS],
                                int stage, unsigned given, attention_errors e) {
    double scale = p->shape.scale;
    for (int64_t j = 0; j < p->past + p->shape.rows; j++) {
        if (!is_visible(p, r->t, j)) continue;
        bool fresh = j >= p->past;
        int64_t key = key_index(p, r->b, j, r->h);
        bound_pair x = pair_at(p, r, j, given, e);
        inexact y = minus(x.dp, r->delta), ds = times(x.p, y, e), z = ds, pt = x.p;
        if (stage == 2) {
            inexact t = minus(x.t, r->tau), u = minus(x.u, r->hh);
            z = times(x.p, plus(times(t, y, e), u), e);
            pt = times(x.p, t, e);
        }
        double z_off = weight_off(z, e), ds_off = weight_off(ds, e), pt_off = weight_off(pt, e);
        for (int64_t d = 0; d < p->shape.head_size; d++) {
            double k = fabs(get(p, fresh ? K : PAST_K, key + d));
            double q = fabs(get(p, Q, r->row + d)), ct_o = fabs(get(p, CT_O, r->row + d));
            double a = given >> A & 1 ? fabs(get(p, A, r->row + d)) : 0;
            double b = given >> B & 1 && fresh ? fabs(get(p, B, key + d)) : 0;
            double z_end = z_off + 2 * e.result * (fabs(z.value) + z_off);
            double pt_end = pt_off + 2 * e.result * (fabs(pt.value) + pt_off);
            bound[OUT_Q][r->row + d] += scale * (z_end * k + ds_off * b);
            bound[fresh ? OUT_K : OUT_PAST_K][key + d] += scale * (z_end * q + ds_off * a);
            bound[fresh ? OUT_V : OUT_PAST_V][key + d] += pt_end * ct_o;
        }
    }
}

/* Adds the errors of a stage of the exact problem, whose o and lse are there, to bound[tensor][i].
 */
static inline void attention_bounds(const problem *p, double *bound[TENSORS], int stage,
                                    unsigned given, attention_errors e) {
    const kern_attention_shape *s = &p->shape;
    for (int64_t i = 0; i < s->batch * s->rows * s->heads; i++) {
        bound_row r = {.b = i / s->heads / s->rows, .t = i / s->heads % s->rows, .h = i % s->heads};
        r.row = row_index(p, r.b, r.t, r.h);
        r.delta = dot(p, CT_O, r.row, O, r.row, 1, e);
        r.delta.off += e.result * r.delta.size;
        if (stage == 0) bound_forward(p, &r, bound, e);
        if (stage == 2) bound_first(p, &r, bound, given, e);
        if (stage > 0) bound_second(p, &r, bound, stage, stage == 2 ? given : 0, e);
    }
}

#endif
