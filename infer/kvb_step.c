#include "infer/kvb.h"

#include <stdlib.h>

#include "autodiff/triangle.h"
#include "infer/recurrence.h"

static const char *const state_name[] = {"kvb.w1", "kvb.w2", "kvb.w3", "kvb.m1", "kvb.m2",
                                         "kvb.m3", "kvb.g1", "kvb.g2", "kvb.g3"};

int infer_kvb_states(infer_mixer_state state[INFER_STATES], int count, const ttt_conf *conf) {
    int64_t M = conf->kvb.heads, Z = conf->model.dim / M, Y = conf_kvb_inner(conf);
    int first = count;
    for (int i = 0; i < 3 * INFER_KVB_MATRICES; i++) {
        bool second = i % INFER_KVB_MATRICES == 1;
        if (i / INFER_KVB_MATRICES == 1 && !conf->kvb.momentum) continue;
        state[count++] = (infer_mixer_state){.name = state_name[i],
                                             .placing = INFER_PARTED,
                                             .rank = 3,
                                             .dim = {M, second ? Y : Z, second ? Z : Y}};
    }
    if (conf->kvb.momentum)
        state[count++] = (infer_mixer_state){
            .name = "kvb.mu", .placing = INFER_PARTED, .rank = 1, .dim = {M, 1, 1}};
    for (int i = first; i < count; i++) infer_split_add(&state[i].split, 0, M, M, "kvb.heads");
    state[count++] = (infer_mixer_state){
        .name = "kvb.count", .placing = INFER_SUMMED, .rank = 1, .dim = {1, 1, 1}};
    return count;
}

/* The memory as it stands: matrices [BM, ., .], momenta, the sums of the chunk so far, the sum of
 * its mu [BM, 1, 1], and how many tokens of it there were [BM, 1, 1]. */
typedef struct {
    ad_value w[INFER_KVB_MATRICES], m[INFER_KVB_MATRICES], g[INFER_KVB_MATRICES], mu, count;
} standing;

typedef struct {
    const infer_context *c;
    ad_graph *g;
    const conf_kvb *conf;
    int64_t items;                       /* BM */
    ad_value length[INFER_KVB_MATRICES]; /* r: [BM, 1, .] */
} work;

/* ---- norms ---- */

/* sqrt(max(sum of squares, 1e-30)) over one axis, which stays with size 1. */
static ad_value norm(ad_graph *g, ad_value x, int axis) {
    ad_value squares = ad_sum(g, ad_mul(g, x, x), 1u << axis);
    if (!ad_is_value(squares)) return AD_POISON;
    return ad_sqrt(g, ad_max(g, squares, ad_fill(g, ad_type_at(g, squares), 1e-30)));
}

ad_value infer_kvb_unit(ad_graph *g, ad_value x, int axis) {
    ad_value length = ad_shift(g, norm(g, x, axis), 1e-5);
    if (!ad_is_value(length)) return AD_POISON;
    return ad_div(g, x, ad_broadcast(g, length, ad_type_at(g, x)));
}

ad_value infer_kvb_add_half(ad_graph *g, ad_value a) {
    if (!ad_is_value(a)) return AD_POISON;
    ad_type type = ad_type_at(g, a), one = type;
    one.dim[0] = 1;
    one.varies = false;
    ad_value unit = ad_reshape(g, ad_identity(g, type.dtype, type.dim[1], type.dim[2]), one);
    return ad_add(g, a, ad_scale(g, ad_broadcast(g, unit, type), 0.5));
}

/* ---- an update ---- */

/* The nearest orthogonal matrix, about: five Newton-Schulz steps, on the shorter side. */
static ad_value newton_schulz(const work *w, ad_value x) {
    static const double steps[][3] = {{4.0848, -6.8946, 2.9270},
                                      {3.9505, -6.3029, 2.6377},
                                      {3.7418, -5.5913, 2.3037},
                                      {2.8769, -3.1427, 1.2046},
                                      {2.8366, -3.0525, 1.2012}};
    ad_graph *g = w->g;
    ad_type type = ad_type_at(g, x);
    bool wide = type.dim[1] <= type.dim[2];
    ad_value squares = ad_sum(g, ad_mul(g, x, x), 1u << 1 | 1u << 2);
    if (!ad_is_value(squares)) return AD_POISON;
    ad_value size = ad_sqrt(g, ad_max(g, squares, ad_fill(g, ad_type_at(g, squares), 1e-30)));
    x = ad_div(g, x, ad_broadcast(g, ad_shift(g, size, 1e-7), type));
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        ad_value a = ad_matmul(g, x, x, !wide, wide);
        ad_value b = ad_add(g, ad_scale(g, a, steps[i][1]),
                            ad_scale(g, ad_matmul(g, a, a, false, false), steps[i][2]));
        ad_value moved = wide ? ad_matmul(g, b, x, false, false) : ad_matmul(g, x, b, false, false);
        x = ad_add(g, ad_scale(g, x, steps[i][0]), moved);
    }
    return x;
}

/* The memory after the update on its chunk. */
static standing updated(const work *w, const standing *from) {
    ad_graph *g = w->g;
    standing to = *from;
    for (int i = 0; i < INFER_KVB_MATRICES; i++) {
        ad_type type = ad_type_at(g, from->w[i]);
        ad_value step = from->g[i];
        if (w->conf->momentum) {
            ad_value mean = ad_scale(g, from->mu, 1 / (double)w->conf->chunk);
            step = to.m[i] = ad_add(g, step, ad_mul_repeat(g, from->m[i], mean));
        }
        if (w->conf->muon) step = newton_schulz(w, step);
        to.w[i] = ad_mul_repeat(g, infer_kvb_unit(g, ad_add(g, from->w[i], step), 1), w->length[i]);
        to.g[i] = ad_fill(g, type, 0);
    }
    to.mu = to.count = ad_fill(g, AD_TYPE(w->c->real, w->items, 1, 1), 0);
    return to;
}

static ad_value choose(const work *w, ad_value condition, ad_value a, ad_value b) {
    if (!ad_is_value(b)) return AD_POISON;
    return ad_select(w->g, ad_broadcast(w->g, condition, ad_type_at(w->g, b)), a, b);
}

/* The update before row `row`, which begins a chunk: of the first row's, where that is full; of a
 * later one's, the rows before are the whole chunk, since pieces with rows that are no tokens are
 * no longer than one. */
static standing turned(const work *w, const standing *from, int64_t row) {
    if (row == 0 && w->c->within) return *from;
    standing to = updated(w, from);
    ASSERT(row == 0 || !ad_is_value(w->c->valid));
    if (row > 0) return to;
    ad_type one = AD_TYPE(w->c->real, w->items, 1, 1);
    ad_value full = ad_greater(w->g, from->count, ad_fill(w->g, one, (double)w->conf->chunk - 0.5));
    for (int i = 0; i < INFER_KVB_MATRICES; i++) {
        to.w[i] = choose(w, full, to.w[i], from->w[i]);
        if (w->conf->momentum) to.m[i] = choose(w, full, to.m[i], from->m[i]);
        to.g[i] = choose(w, full, to.g[i], from->g[i]);
    }
    if (w->conf->momentum) to.mu = choose(w, full, to.mu, from->mu);
    to.count = choose(w, full, to.count, from->count);
    return to;
}

/* ---- the rows of one chunk ---- */

static ad_value matmul(const work *w, ad_value a, ad_value b, bool ta, bool tb) {
    return infer_matmul(w->c, a, b, ta, tb);
}

/* Rows x [BM, n, Z]: f(x; w). */
static ad_value apply(const work *w, const standing *now, ad_value x) {
    ad_value gate = ad_silu(w->g, matmul(w, x, now->w[0], false, false));
    ad_value up = matmul(w, x, now->w[2], false, false);
    return matmul(w, ad_mul(w->g, gate, up), now->w[1], false, false);
}

/* silu'(x) */
static ad_value silu_slope(ad_graph *g, ad_value x) {
    ad_value s = ad_sigmoid(g, x),
             more = ad_mul(g, x, ad_sub(g, ad_fill(g, ad_type_at(g, x), 1), s));
    return ad_mul(g, s, ad_shift(g, more, 1));
}

/* Adds these rows' parts of the chunk's sums: minus the gradient of the sum of rate * loss. */
static void learn(const work *w, standing *now, const infer_kvb *rows) {
    ad_graph *g = w->g;
    ad_value in = matmul(w, rows->key, now->w[0], false, false);
    ad_value up = matmul(w, rows->key, now->w[2], false, false);
    ad_value gate = ad_silu(g, in), hidden = ad_mul(g, gate, up), error = rows->value, rate[3];
    if (w->conf->loss == CONF_KVB_L2)
        error = ad_sub(g, error, matmul(w, hidden, now->w[1], false, false));
    ad_value back = matmul(w, error, now->w[1], false, true);
    for (int i = 0; i < 3; i++) rate[i] = ad_slice(g, rows->rate, 2, i, 1);
    ad_value slope = ad_mul(g, ad_mul(g, back, up), silu_slope(g, in));
    ad_value sum[INFER_KVB_MATRICES] = {
        infer_outer(w->c, ad_mul_repeat(g, rows->key, rate[0]), slope),
        infer_outer(w->c, ad_mul_repeat(g, hidden, rate[1]), error),
        infer_outer(w->c, ad_mul_repeat(g, rows->key, rate[2]), ad_mul(g, back, gate))};
    for (int i = 0; i < INFER_KVB_MATRICES; i++) now->g[i] = ad_add(g, now->g[i], sum[i]);
    if (w->conf->momentum) now->mu = ad_add(g, now->mu, ad_sum(g, rows->momentum, 1u << 1));
}

/* Rows first .. first + count - 1. */
static infer_kvb piece_of(const work *w, const infer_kvb *rows, int64_t first, int64_t count) {
    infer_kvb piece = *rows;
    ad_value *const each[] = {&piece.query, &piece.key, &piece.value, &piece.rate, &piece.momentum};
    for (size_t i = 0; i < sizeof each / sizeof *each; i++)
        if (i < 4 || w->conf->momentum) *each[i] = ad_slice(w->g, *each[i], 1, first, count);
    return piece;
}

/* [BM, 1, 1]: how many of rows first .. first + count - 1 are tokens. */
static ad_value tokens_in(const work *w, int64_t first, int64_t count) {
    const infer_context *c = w->c;
    ad_type one = AD_TYPE(c->real, c->batch, 1, 1);
    ad_value valid =
        ad_reshape(w->g, infer_vary(c, infer_valid(c)), AD_TYPE(c->real, c->batch, 1, c->rows));
    ad_value sum = ad_reshape(w->g, ad_row_sum(w->g, ad_slice(w->g, valid, 2, first, count)), one);
    sum = ad_broadcast(w->g, sum, AD_TYPE(c->real, c->batch, w->items / c->batch, 1));
    return ad_reshape(w->g, sum, AD_TYPE(c->real, w->items, 1, 1));
}

/* ---- all rows ---- */

/* x [M, ...] for every item: [BM, ...] */
static ad_value for_items(const work *w, ad_value x) {
    if (!ad_is_value(x)) return AD_POISON;
    ad_type type = ad_type_at(w->g, x);
    x = ad_reshape(w->g, x, AD_TYPE(w->c->real, 1, type.dim[0], type.dim[1], type.dim[2]));
    x = ad_broadcast(w->g, x,
                     AD_TYPE(w->c->real, w->c->batch, type.dim[0], type.dim[1], type.dim[2]));
    return ad_reshape(w->g, x, AD_TYPE(w->c->real, w->items, type.dim[1], type.dim[2]));
}

/* The states before the rows; before a sequence's first token the matrices are w^0. */
static standing begin(work *w, const infer_kvb *rows, const infer_memory *memory, int first) {
    ad_graph *g = w->g;
    standing now = {.mu = AD_NONE};
    ad_type one = AD_TYPE(w->c->real, w->items, 1, 1);
    int at = first;
    ad_value *const part[] = {now.w, now.m, now.g};
    for (int p = 0; p < 3; p++)
        for (int i = 0; i < INFER_KVB_MATRICES && (p != 1 || w->conf->momentum); i++) {
            ad_value state = memory->before[at++];
            ad_type type = ad_type_at(g, state);
            part[p][i] =
                ad_reshape(g, state, AD_TYPE(w->c->real, w->items, type.dim[2], type.dim[3]));
        }
    if (w->conf->momentum) now.mu = ad_reshape(g, memory->before[at++], one);
    int64_t heads = w->items / w->c->batch;
    ad_value count = ad_reshape(g, memory->before[at], AD_TYPE(w->c->real, w->c->batch, 1, 1));
    count = ad_broadcast(g, count, AD_TYPE(w->c->real, w->c->batch, heads, 1));
    now.count = ad_reshape(g, count, one);
    ad_value begun = ad_greater(g, now.count, ad_fill(g, one, 0));
    for (int i = 0; i < INFER_KVB_MATRICES && !w->c->within; i++) {
        ad_value initial = for_items(w, rows->initial[i]);
        w->length[i] = norm(g, initial, 1);
        now.w[i] = choose(w, begun, now.w[i], initial);
    }
    return now;
}

static void hand_on(const work *w, const standing *now, infer_memory *memory, int first) {
    ad_graph *g = w->g;
    int at = first;
    const ad_value *const part[] = {now->w, now->m, now->g};
    for (int p = 0; p < 3; p++)
        for (int i = 0; i < INFER_KVB_MATRICES && (p != 1 || w->conf->momentum); i++, at++)
            memory->after[at] = ad_reshape(g, part[p][i], ad_type_at(g, memory->before[at]));
    if (w->conf->momentum) {
        memory->after[at] = ad_reshape(g, now->mu, ad_type_at(g, memory->before[at]));
        at++;
    }
    int64_t heads = w->items / w->c->batch;
    ad_value count = ad_reshape(g, now->count, AD_TYPE(w->c->real, w->c->batch, heads));
    memory->after[at] = ad_slice(g, count, 1, 0, 1);
}

ad_value infer_kvb_read(const infer_context *c, const infer_kvb *rows, infer_memory *memory,
                        int first) {
    work w = {.c = c, .g = c->graph, .conf = &c->conf->kvb};
    w.items = c->batch * (w.conf->heads / c->ranks);
    if (ad_failed(c->graph)) return AD_POISON;
    standing now = begin(&w, rows, memory, first);
    int64_t chunks = 0;
    ad_value *o = kern_array((c->rows - 1) / w.conf->chunk + 1, sizeof *o);
    for (int64_t row = 0; row < c->rows; row += w.conf->chunk) {
        int64_t count = kern_min(w.conf->chunk, c->rows - row);
        infer_kvb piece = piece_of(&w, rows, row, count);
        now = turned(&w, &now, row);
        o[chunks++] = apply(&w, &now, piece.query);
        learn(&w, &now, &piece);
        now.count = ad_add(w.g, now.count, tokens_in(&w, row, count));
    }
    hand_on(&w, &now, memory, first);
    ad_value all = ad_concat(w.g, chunks, o, 1);
    free(o);
    return all;
}
