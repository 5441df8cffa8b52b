/* Attention's forward and its vjp over the row tiles of an item (docs/attention.md). */
#ifndef KERNELS_ATTENTION_STAGES_ISA_H
#define KERNELS_ATTENTION_STAGES_ISA_H

#include "kernels/attention_tiles_isa.h"
#include "kernels/exp_isa.h"
#include "kernels/vector_math.h"

/* The largest score so far, the sum of exp(score - largest), and what both were rescaled by. */
typedef struct {
    real *largest, *sum, *factor;
} softmax_state;

static inline __attribute__((always_inline)) vec seen_or(vec otherwise, vec x, const key_tile *keys,
                                                         bool whole, int64_t key, int64_t row) {
    return whole ? x : vec_select(lanes_seen(keys, key, row), x, otherwise);
}

/* scores -> exp(scores - largest), and the state brought up to date. */
static inline __attribute__((always_inline)) void softmax_tile(real *scores, softmax_state state,
                                                               const row_tile *rows,
                                                               const key_tile *keys, bool whole) {
    for (int64_t r = 0; r < rows->padded; r += LANES) {
        range seen = keys_of_lanes(keys, r);
        vec before = vec_load(state.largest + r), largest = before;
        for (int64_t i = seen.begin; i < seen.end; i++) {
            vec x = vec_load(scores + i * ROWS + r);
            largest = vec_max(largest, seen_or(before, x, keys, whole, i, r));
        }
        vec factor = vec_exp(before - largest), sum = vec_load(state.sum + r) * factor;
        for (int64_t i = seen.begin; i < seen.end; i++) {
            vec p = vec_exp(vec_load(scores + i * ROWS + r) - largest);
            p = seen_or((vec){0}, p, keys, whole, i, r);
            sum += p;
            vec_store(scores + i * ROWS + r, p);
        }
        vec_store(state.largest + r, largest);
        vec_store(state.sum + r, sum);
        vec_store(state.factor + r, factor);
    }
}

/* Row r of packed times by[r]. */
static void scale_rows(real *packed, const real *by, const row_tile *rows) {
    for (int64_t i = 0; i < rows->padded; i++)
        for (int64_t j = 0; j < rows->width; j++) packed[i * rows->width + j] *= by[i];
}

static void finish_forward(real *out, softmax_state state, const row_tile *rows) {
    const kern_attention_call *call = rows->call;
    real *lse = (real *)call->out_lse + statistic_offset(rows);
    for (int64_t i = 0; i < rows->padded; i++) {
        state.factor[i] = 1 / state.sum[i];
        if (i < rows->count)
            lse[i * call->shape.heads] =
                (real)((double)state.largest[i] + kern_log_f64((double)state.sum[i]));
    }
    scale_rows(out, state.factor, rows);
    store_rows(call->out_o, out, rows, 1);
}

static void forward_tile(const row_tile *rows, scratch_areas areas) {
    const kern_attention_call *call = rows->call;
    real *q = next_rows(&areas), *q_transposed = next_rows(&areas), *out = next_rows(&areas);
    real *k = next_keys(&areas), *v = next_keys(&areas), *scores = next_scores(&areas);
    softmax_state state = {next_statistic(&areas), next_statistic(&areas), next_statistic(&areas)};
    load_rows(q, call->q, call->shape.dtype, rows, call->shape.scale);
    transpose_rows(q_transposed, q, rows);
    for (int64_t i = 0; i < rows->padded; i++) {
        state.largest[i] = (real)-3e38; /* finite: the difference of two must be a number */
        state.sum[i] = 0;
    }
    memset(out, 0, (size_t)(rows->padded * rows->width) * sizeof *out);
    key_tile keys;
    for (int64_t t = 0; key_tile_at(rows, t, &keys); t++) {
        load_keys(k, call->past.k, call->k, rows, &keys);
        load_keys(v, call->past.v, call->v, rows, &keys);
        product_scores(scores, k, q_transposed, rows, &keys, false);
        if (keys.whole)
            softmax_tile(scores, state, rows, &keys, true);
        else
            softmax_tile(scores, state, rows, &keys, false);
        if (t > 0) scale_rows(out, state.factor, rows);
        product_rows(out, scores, v, rows, &keys, true);
    }
    finish_forward(out, state, rows);
}

/* scores -> p = exp(scores - lse), and dp -> p (dp - delta) where dp is given. */
static inline __attribute__((always_inline)) void vjp_scores(real *scores, real *dp,
                                                             const real *lse, const real *delta,
                                                             const row_tile *rows,
                                                             const key_tile *keys, bool whole) {
    for (int64_t r = 0; r < rows->padded; r += LANES) {
        range seen = keys_of_lanes(keys, r);
        vec l = vec_load(lse + r), d = dp ? vec_load(delta + r) : l;
        for (int64_t i = seen.begin; i < seen.end; i++) {
            vec p = vec_exp(vec_load(scores + i * ROWS + r) - l);
            p = seen_or((vec){0}, p, keys, whole, i, r);
            vec_store(scores + i * ROWS + r, p);
            if (dp) {
                vec ds = p * (vec_load(dp + i * ROWS + r) - d);
                vec_store(dp + i * ROWS + r, seen_or((vec){0}, ds, keys, whole, i, r));
            }
        }
    }
}

/* Which cotangents a key tile gets. */
static bool wants_k(const kern_attention_call *call, const key_tile *keys) {
    return keys->past ? call->out_past.k != NULL : call->out_k != NULL;
}

static bool wants_v(const kern_attention_call *call, const key_tile *keys) {
    return keys->past ? call->out_past.v != NULL : call->out_v != NULL;
}

/* The row side of a vjp, loaded once per row tile. */
typedef struct {
    real *q, *q_transposed, *ct_o, *ct_o_transposed, *lse, *delta;
} vjp_rows;

static vjp_rows load_vjp_rows(const row_tile *rows, scratch_areas *areas, real *o) {
    const kern_attention_call *call = rows->call;
    kern_dtype dtype = call->shape.dtype;
    vjp_rows side = {next_rows(areas), next_rows(areas),      next_rows(areas),
                     next_rows(areas), next_statistic(areas), next_statistic(areas)};
    load_rows(side.q, call->q, dtype, rows, call->shape.scale);
    transpose_rows(side.q_transposed, side.q, rows);
    load_rows(side.ct_o, call->ct_o, dtype, rows, 1);
    transpose_rows(side.ct_o_transposed, side.ct_o, rows);
    load_rows(o, call->o, dtype == KERN_BF16 ? KERN_F32 : dtype, rows, 1);
    load_statistic(side.lse, call->lse, rows);
    row_dots(side.delta, side.ct_o, o, rows);
    return side;
}

static void vjp_tile(const row_tile *rows, scratch_areas areas) {
    const kern_attention_call *call = rows->call;
    real *ct_q = next_rows(&areas), *o = next_rows(&areas);
    key_tile keys;
    if (!key_tile_at(rows, 0, &keys)) return;
    vjp_rows side = load_vjp_rows(rows, &areas, o);
    real *k = next_keys(&areas), *v = next_keys(&areas), *sum = next_keys(&areas);
    real *scores = next_scores(&areas), *dp = next_scores(&areas);
    for (int64_t t = 0; key_tile_at(rows, t, &keys); t++) {
        bool want_k = wants_k(call, &keys), want_v = wants_v(call, &keys);
        bool want_ds = want_k || call->out_q;
        if (!want_ds && !want_v) continue;
        load_keys(k, call->past.k, call->k, rows, &keys);
        product_scores(scores, k, side.q_transposed, rows, &keys, false);
        if (want_ds) {
            load_keys(v, call->past.v, call->v, rows, &keys);
            product_scores(dp, v, side.ct_o_transposed, rows, &keys, false);
        }
        if (keys.whole)
            vjp_scores(scores, want_ds ? dp : NULL, side.lse, side.delta, rows, &keys, true);
        else
            vjp_scores(scores, want_ds ? dp : NULL, side.lse, side.delta, rows, &keys, false);
        if (want_v) {
            product_keys(sum, scores, side.ct_o, rows, &keys, false);
            add_keys(call->out_past.v, call->out_v, sum, rows, &keys);
        }
        if (want_k) {
            product_keys(sum, dp, side.q, rows, &keys, false);
            add_keys(call->out_past.k, call->out_k, sum, rows, &keys);
        }
        if (call->out_q) product_rows(ct_q, dp, k, rows, &keys, t > 0);
    }
    if (call->out_q) store_rows(call->out_q, ct_q, rows, call->shape.scale);
}

#endif
