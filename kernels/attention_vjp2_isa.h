/* The vjp of attention's vjp: two passes over the key tiles of a row tile (docs/attention.md). */
#ifndef KERNELS_ATTENTION_VJP2_ISA_H
#define KERNELS_ATTENTION_VJP2_ISA_H

#include "kernels/attention_stages_isa.h"

/* All that one row tile works on. p and t hold `slots` tiles each: slot i of key tile i, or one
 * slot whose contents pass 2 computes again. */
typedef struct {
    const row_tile *rows;
    vjp_rows side;
    real *o, *a, *a_transposed, *ct_ct_o, *ct_q, *tau, *h;
    real *k, *v, *b, *c, *sum;
    real *p, *t, *dp, *u;
    bool kept;
} second;

/* b and c are cotangents of the new keys' and values' cotangents alone. */
static bool has_t(const kern_attention_call *call, const key_tile *keys) {
    return call->a || (call->b && !keys->past);
}

static bool has_c(const kern_attention_call *call, const key_tile *keys) {
    return call->c && !keys->past;
}

static int64_t slot_of(const second *s, int64_t index) {
    return s->kept ? index * KEYS * ROWS : 0;
}

/* p = exp(scores - lse) and, where it is not zero, t. */
static void compute_p_and_t(const second *s, const key_tile *keys, real *p, real *t) {
    const kern_attention_call *call = s->rows->call;
    product_scores(p, s->k, s->side.q_transposed, s->rows, keys, false);
    if (keys->whole)
        vjp_scores(p, NULL, s->side.lse, NULL, s->rows, keys, true);
    else
        vjp_scores(p, NULL, s->side.lse, NULL, s->rows, keys, false);
    if (call->a) product_scores(t, s->k, s->a_transposed, s->rows, keys, false);
    if (call->b && !keys->past)
        product_scores(t, s->b, s->side.q_transposed, s->rows, keys, call->a != NULL);
}

/* out = p t, tau += its row sums. */
static inline __attribute__((always_inline)) void weigh_t(real *out, const real *p, const real *t,
                                                          real *tau, const row_tile *rows,
                                                          const key_tile *keys, bool whole) {
    for (int64_t r = 0; r < rows->padded; r += LANES) {
        range seen = keys_of_lanes(keys, r);
        vec sum = vec_load(tau + r);
        for (int64_t i = seen.begin; i < seen.end; i++) {
            vec w = vec_load(p + i * ROWS + r) * vec_load(t + i * ROWS + r);
            w = seen_or((vec){0}, w, keys, whole, i, r);
            sum += w;
            vec_store(out + i * ROWS + r, w);
        }
        vec_store(tau + r, sum);
    }
}

static void first_pass(second *s) {
    const kern_attention_call *call = s->rows->call;
    const row_tile *rows = s->rows;
    size_t area = (size_t)(rows->padded * rows->width) * sizeof(real);
    memset(s->ct_ct_o, 0, area);
    memset(s->tau, 0, ROWS * sizeof(real));
    key_tile keys;
    for (int64_t i = 0; key_tile_at(rows, i, &keys); i++) {
        real *p = s->p + slot_of(s, i), *t = s->t + slot_of(s, i);
        bool with_t = has_t(call, &keys), with_c = has_c(call, &keys);
        if (!with_t && !with_c && !s->kept) continue;
        load_keys(s->k, call->past.k, call->k, rows, &keys);
        if (call->b && !keys.past) load_keys(s->b, NULL, call->b, rows, &keys);
        compute_p_and_t(s, &keys, p, t);
        if (with_t) {
            load_keys(s->v, call->past.v, call->v, rows, &keys);
            if (keys.whole)
                weigh_t(s->u, p, t, s->tau, rows, &keys, true);
            else
                weigh_t(s->u, p, t, s->tau, rows, &keys, false);
            product_rows(s->ct_ct_o, s->u, s->v, rows, &keys, true);
        }
        if (with_c) {
            load_keys(s->c, NULL, call->c, rows, &keys);
            product_rows(s->ct_ct_o, p, s->c, rows, &keys, true);
        }
    }
    for (int64_t r = 0; r < rows->count; r++)
        for (int64_t j = r * rows->width; j < (r + 1) * rows->width; j++)
            s->ct_ct_o[j] -= s->tau[r] * s->o[j];
    row_dots(s->h, s->side.ct_o, s->ct_ct_o, rows);
}

/* p -> p (t - tau), dp -> ds = p (dp - delta), u -> z = p ((t - tau) (dp - delta) + u - h).
 * Without t it is p tau = 0 everywhere and p stays as it is; without u that is zero. */
static inline __attribute__((always_inline)) void second_scores(const second *s, real *p,
                                                                const real *t, bool with_u,
                                                                const key_tile *keys, bool whole) {
    for (int64_t r = 0; r < s->rows->padded; r += LANES) {
        range seen = keys_of_lanes(keys, r);
        vec tau = vec_load(s->tau + r), h = vec_load(s->h + r);
        vec delta = vec_load(s->side.delta + r);
        for (int64_t i = seen.begin; i < seen.end; i++) {
            int64_t at = i * ROWS + r;
            vec prob = vec_load(p + at), x = (t ? vec_load(t + at) : (vec){0}) - tau;
            vec y = vec_load(s->dp + at) - delta;
            vec z = prob * vec_fused(x, y, (with_u ? vec_load(s->u + at) : (vec){0}) - h);
            vec_store(s->u + at, seen_or((vec){0}, z, keys, whole, i, r));
            vec_store(s->dp + at, seen_or((vec){0}, prob * y, keys, whole, i, r));
            vec_store(p + at, seen_or((vec){0}, prob * x, keys, whole, i, r));
        }
    }
}

/* The key tile's share of the cotangents of q, k and v. */
static void second_products(const second *s, const real *p, const key_tile *keys, bool first) {
    const kern_attention_call *call = s->rows->call;
    const row_tile *rows = s->rows;
    if (wants_v(call, keys) && (call->a || call->b)) {
        product_keys(s->sum, p, s->side.ct_o, rows, keys, false);
        add_keys(call->out_past.v, call->out_v, s->sum, rows, keys);
    }
    if (wants_k(call, keys)) {
        product_keys(s->sum, s->u, s->side.q, rows, keys, false);
        if (call->a) product_keys(s->sum, s->dp, s->a, rows, keys, true);
        add_keys(call->out_past.k, call->out_k, s->sum, rows, keys);
    }
    if (!call->out_q) return;
    product_rows(s->ct_q, s->u, s->k, rows, keys, !first);
    if (call->b && !keys->past) product_rows(s->ct_q, s->dp, s->b, rows, keys, true);
}

static void second_pass(second *s) {
    const kern_attention_call *call = s->rows->call;
    const row_tile *rows = s->rows;
    key_tile keys;
    bool first = true;
    for (int64_t i = 0; key_tile_at(rows, i, &keys); i++) {
        if (!wants_k(call, &keys) && !wants_v(call, &keys) && !call->out_q) continue;
        real *p = s->p + slot_of(s, i), *t = s->t + slot_of(s, i);
        bool with_u = has_c(call, &keys);
        load_keys(s->k, call->past.k, call->k, rows, &keys);
        load_keys(s->v, call->past.v, call->v, rows, &keys);
        if (call->b && !keys.past) load_keys(s->b, NULL, call->b, rows, &keys);
        if (with_u) load_keys(s->c, NULL, call->c, rows, &keys);
        if (!s->kept) compute_p_and_t(s, &keys, p, t);
        product_scores(s->dp, s->v, s->side.ct_o_transposed, rows, &keys, false);
        if (with_u) product_scores(s->u, s->c, s->side.ct_o_transposed, rows, &keys, false);
        if (!has_t(call, &keys)) t = NULL;
        if (keys.whole)
            second_scores(s, p, t, with_u, &keys, true);
        else
            second_scores(s, p, t, with_u, &keys, false);
        second_products(s, p, &keys, first);
        first = false;
    }
}

static void vjp2_tile(const row_tile *rows, scratch_areas areas, kern_attention_pass pass) {
    const kern_attention_call *call = rows->call;
    key_tile keys;
    if (!key_tile_at(rows, 0, &keys)) return;
    second s = {.rows = rows, .o = next_rows(&areas)};
    s.side = load_vjp_rows(rows, &areas, s.o);
    s.a = next_rows(&areas), s.a_transposed = next_rows(&areas);
    s.ct_ct_o = next_rows(&areas), s.ct_q = next_rows(&areas);
    s.tau = next_statistic(&areas), s.h = next_statistic(&areas);
    s.k = next_keys(&areas), s.v = next_keys(&areas), s.sum = next_keys(&areas);
    s.b = next_keys(&areas), s.c = next_keys(&areas);
    s.dp = next_scores(&areas), s.u = next_scores(&areas);
    int64_t slots = (areas.layout.scores - 2) / 2;
    s.kept = pass == KERN_ATTENTION_WHOLE && !key_tile_at(rows, slots, &keys);
    s.p = areas.scores;
    s.t = areas.scores + slots * areas.layout.scores_area;
    if (call->a) {
        load_rows(s.a, call->a, call->shape.dtype, rows, call->shape.scale);
        transpose_rows(s.a_transposed, s.a, rows);
    }
    if (pass == KERN_ATTENTION_PART) {
        load_statistic(s.tau, call->tau, rows);
        load_statistic(s.h, call->h, rows);
    } else {
        first_pass(&s);
        if (call->out_ct_o) store_rows(call->out_ct_o, s.ct_ct_o, rows, 1);
    }
    if (pass == KERN_ATTENTION_FIRST_PASS) {
        store_statistic(call->tau, s.tau, rows);
        store_statistic(call->h, s.h, rows);
        return;
    }
    if (!kern_attention_has_second_pass(call)) return;
    second_pass(&s);
    if (call->out_q) store_rows(call->out_q, s.ct_q, rows, call->shape.scale);
}

static void run_tile(const kern_attention_call *call, const kern_attention_item *item, int64_t head,
                     int64_t first, scratch_areas areas) {
    row_tile rows = row_tile_of(call, item, head, first, areas.layout.width);
    if (call->stage == 0)
        forward_tile(&rows, areas);
    else if (call->stage == 1)
        vjp_tile(&rows, areas);
    else
        vjp2_tile(&rows, areas, item->pass);
}

/* One item, stage by stage of the call. */
static void run_item(const kern_attention_call *call, const kern_attention_item *item,
                     void *scratch) {
    scratch_areas areas = areas_of(call, scratch);
    int64_t tiles = (item->end - item->begin + ROWS - 1) / ROWS;
    for (int64_t i = item->tile_begin; i < item->tile_end; i++)
        run_tile(call, item, item->head + i / tiles, item->begin + i % tiles * ROWS, areas);
}

#endif
