/* Gated DeltaNet (arXiv 2412.06464), letter g: heads with a state [N, P] that decays by a scalar
 * and forgets what it says of a key before it learns the key's value.
 *
 *     q | k | v = silu(conv(u wq | u wk | u wv)), q and k of length 1;   beta = sigmoid(u wb)
 *     S' = e^g S_{t-1};   S_t = S' + k_t^T beta_t (v_t - k_t S');   o_t = q_t S_t / sqrt(N)
 *     g = -e^A_log softplus(u wa + dt_bias);   out = (RMS(o) silu(u wg)) wo
 *
 * Rows are computed by chunks of Q. Those of a chunk depend on each other by a system of equations
 * with a unit lower triangle, whose inverse gives them all at once (docs/recurrent-mixers.md). */
#include <math.h>
#include <stdlib.h>

#include "autodiff/triangle.h"
#include "infer/recurrence.h"

enum { WQ, WK, WV, WG, WA, WB, CONV, A_LOG, DT_BIAS, NORM, WO, ROLES };

/* ln of uniform from 0 to 16, but no less than 0.001 */
static double draw_a_log(const infer_parameter *p, const ttt_conf *conf, uint64_t *random) {
    (void)p, (void)conf;
    return log(fmax(16 * infer_random_uniform(random), 1e-3));
}

static const infer_role role[ROLES] = {
    [WQ] = {.name = "gdn.wq", .begin = infer_draw_normal, .product = true}, /* [D, M N] */
    [WK] = {.name = "gdn.wk", .begin = infer_draw_normal, .product = true}, /* [D, M N] */
    [WV] = {.name = "gdn.wv", .begin = infer_draw_normal, .product = true}, /* [D, M P] */
    [WG] = {.name = "gdn.wg", .begin = infer_draw_normal, .product = true}, /* [D, M P] */
    [WA] = {.name = "gdn.wa", .begin = infer_draw_normal, .product = true}, /* [D, M] */
    [WB] = {.name = "gdn.wb", .begin = infer_draw_normal, .product = true}, /* [D, M] */
    [CONV] = {.name = "gdn.conv", .begin = infer_draw_normal},              /* [X, 2 M N + M P] */
    [A_LOG] = {.name = "gdn.A_log", .begin = draw_a_log, .no_decay = true}, /* [M] */
    [DT_BIAS] = {.name = "gdn.dt_bias", .begin = infer_draw_dt_bias, .no_decay = true}, /* [M] */
    [NORM] = {.name = "gdn.norm.weight", .begin = infer_draw_one},                      /* [P] */
    [WO] = {.name = "gdn.wo", .begin = infer_draw_normal, .product = true}, /* [M P, D] */
};

typedef struct {
    int64_t M, N, P, X;
} sizes;

/* With the heads of one of so many ranks. */
static sizes sizes_of(const ttt_conf *conf, int ranks) {
    const conf_gdn *g = &conf->gdn;
    return (sizes){conf_gdn_heads(conf) / ranks, g->key_size, g->value_size, g->conv};
}

static kern_status check(const ttt_conf *conf) {
    long long dim = (long long)conf->model.dim;
    if (conf->gdn.heads || dim % 256 == 0) return KERN_OK;
    return kern_fail(KERN_ERR_CONFIG,
                     "model.dim %lld is not a multiple of 256, of which a head of Gated DeltaNet "
                     "would be one; give gdn.heads, and gdn.key_size and gdn.value_size for them",
                     dim);
}

/* Columns q | k | v: ranks share the heads of each. */
static void cut_channels(infer_split *split, const sizes *s) {
    const int64_t width[] = {s->M * s->N, s->M * s->N, s->M * s->P};
    for (int i = 0; i < 3; i++) infer_split_add(split, 1, width[i], s->M, "gdn.heads");
}

static void parameters(infer_parameters *to, const ttt_conf *conf, int block) {
    sizes s = sizes_of(conf, 1);
    int64_t D = conf->model.dim, keys = s.M * s.N, values = s.M * s.P;
    infer_cut(INFER_ADD(to, &role[WQ], block, D, keys), 1, s.M, "gdn.heads");
    infer_cut(INFER_ADD(to, &role[WK], block, D, keys), 1, s.M, "gdn.heads");
    infer_cut(INFER_ADD(to, &role[WV], block, D, values), 1, s.M, "gdn.heads");
    if (conf->gdn.gate) infer_cut(INFER_ADD(to, &role[WG], block, D, values), 1, s.M, "gdn.heads");
    infer_cut(INFER_ADD(to, &role[WA], block, D, s.M), 1, s.M, "gdn.heads");
    infer_cut(INFER_ADD(to, &role[WB], block, D, s.M), 1, s.M, "gdn.heads");
    infer_parameter *conv = INFER_ADD(to, &role[CONV], block, s.X, 2 * keys + values);
    cut_channels(&conv->split, &s);
    conv->placing = INFER_PARTED;
    infer_cut(INFER_ADD(to, &role[A_LOG], block, s.M), 0, s.M, "gdn.heads");
    infer_cut(INFER_ADD(to, &role[DT_BIAS], block, s.M), 0, s.M, "gdn.heads");
    INFER_ADD(to, &role[NORM], block, s.P)->placing = INFER_SUMMED;
    infer_cut(INFER_ADD(to, &role[WO], block, values, D), 0, s.M, "gdn.heads");
}

enum { TAIL, STATE, STATES };

static int states(infer_mixer_state state[INFER_STATES], const ttt_conf *conf, int block) {
    (void)block;
    sizes s = sizes_of(conf, 1);
    state[TAIL] = (infer_mixer_state){.name = "gdn.conv",
                                      .placing = INFER_PARTED,
                                      .rank = 2,
                                      .dim = {s.X - 1, s.M * (2 * s.N + s.P), 1}};
    cut_channels(&state[TAIL].split, &s);
    state[STATE] = (infer_mixer_state){
        .name = "gdn.S", .placing = INFER_PARTED, .rank = 3, .dim = {s.M, s.N, s.P}};
    infer_split_add(&state[STATE].split, 0, s.M, s.M, "gdn.heads");
    return STATES;
}

/* What one block's functions share. Values by head are [B, n, M, Q, .]. */
typedef struct {
    const infer_context *c;
    ad_graph *g;
    sizes s;
    infer_chunks k;
    int64_t heads; /* B n M */
    ad_value w[ROLES];
} work;

static ad_type by_head(const work *w, int64_t width) {
    return AD_TYPE(w->c->real, w->k.items, w->k.chunks, w->s.M, w->k.chunk, width);
}

/* [B n M, a, b] */
static ad_value flat(const work *w, ad_value x, int64_t a, int64_t b) {
    return ad_reshape(w->g, x, AD_TYPE(w->c->real, w->heads, a, b));
}

static ad_value matmul(const work *w, ad_value a, ad_value b, bool ta, bool tb) {
    return infer_matmul(w->c, a, b, ta, tb);
}

/* x [B R, M width] by head */
static ad_value split(const work *w, ad_value x) {
    return infer_swap(w->c, infer_to_chunks(w->c, w->k, x, w->s.M));
}

/* q, k, v [B R, .]: the rows of u through their matrices and the convolution, that of a single row
 * all at once. */
static void convolved(const work *w, ad_value u, infer_memory *memory, ad_value to[3]) {
    const infer_context *c = w->c;
    ad_value before = memory->before[TAIL], *after = &memory->after[TAIL], tail[3];
    int64_t width[] = {w->s.M * w->s.N, w->s.M * w->s.N, w->s.M * w->s.P};
    for (int i = 0; i < 3; i++) to[i] = infer_linear(c, u, w->w[WQ + i]);
    ad_value all = ad_concat(w->g, 3, to, 1);
    if (c->rows == 1) all = infer_conv(c, all, w->w[CONV], AD_NONE, before, after);
    for (int64_t i = 0, first = 0; i < 3; first += width[i++])
        to[i] = c->rows == 1
                    ? ad_slice(w->g, all, 1, first, width[i])
                    : infer_conv(c, to[i], ad_slice(w->g, w->w[CONV], 1, first, width[i]), AD_NONE,
                                 ad_slice(w->g, before, 2, first, width[i]), &tail[i]);
    if (c->rows > 1) *after = ad_concat(w->g, 3, tail, 2);
}

/* x / sqrt(sum x^2 + 1e-6) over the last axis, where rows are tokens; else 0. */
static ad_value unit(const work *w, ad_value x) {
    ad_value squares = ad_row_sum(w->g, ad_mul(w->g, x, x));
    ad_value length = ad_sqrt(w->g, ad_shift(w->g, squares, 1e-6));
    return ad_is_value(length) ? ad_div(w->g, x, ad_broadcast(w->g, length, ad_type_at(w->g, x)))
                               : AD_POISON;
}

/* [B R, M, 1, 1] of u through a narrow matrix. */
static ad_value by_row(const work *w, ad_value u, int which) {
    ad_type all = AD_TYPE(w->c->real, w->c->batch * w->c->rows, w->s.M, 1, 1);
    return ad_reshape(w->g, infer_linear(w->c, u, w->w[which]), all);
}

/* g [B R, M, 1, 1]: ln of what a token leaves of the state; 0 in rows that are no tokens. */
static ad_value log_decay(const work *w, ad_value u) {
    ad_type row = AD_TYPE(w->c->real, 1, w->s.M, 1, 1);
    ad_value x = by_row(w, u, WA);
    if (!ad_is_value(x)) return AD_POISON;
    ad_value bias = ad_broadcast(w->g, ad_reshape(w->g, w->w[DT_BIAS], row), ad_type_at(w->g, x));
    ad_value rate = ad_neg(w->g, ad_exp(w->g, ad_reshape(w->g, w->w[A_LOG], row)));
    ad_value g = ad_mul_repeat(w->g, ad_softplus(w->g, ad_add(w->g, x, bias)), rate);
    return infer_mask(w->c, g);
}

/* beta [B R, M, 1, 1] */
static ad_value step_size(const work *w, ad_value u) {
    ad_value beta = ad_sigmoid(w->g, by_row(w, u, WB));
    if (w->c->conf->gdn.neg_eigval) beta = ad_scale(w->g, beta, 2);
    return infer_mask(w->c, beta);
}

/* Chunk i of [B, n, M, a, b] as [B M, a, b]. */
static ad_value chunk_of(const work *w, ad_value x, int64_t i, int64_t a, int64_t b) {
    int64_t items = w->k.items, M = w->s.M;
    x = ad_reshape(w->g, x, AD_TYPE(w->c->real, items, w->k.chunks, M, a * b));
    return ad_reshape(w->g, ad_slice(w->g, x, 1, i, 1), AD_TYPE(w->c->real, items * M, a, b));
}

/* What the chunks' own rows come to, ready for the state that each chunk begins with. */
typedef struct {
    ad_value w, u;      /* v' = u - w h: [., Q, N], [., Q, P] */
    ad_value q, scores; /* o = q h + scores v' */
    ad_value k, whole;  /* h' = whole h + k^T v' */
} prepared;

static prepared prepare(const work *w, ad_value q, ad_value k, ad_value v, ad_value beta,
                        ad_value g) {
    ad_graph *graph = w->g;
    int64_t Q = w->k.chunk, N = w->s.N, P = w->s.P;
    double scale = 1 / sqrt((double)N);
    ad_value sums = ad_cumsum(graph, ad_reshape(graph, g, AD_TYPE(w->c->real, w->heads, Q)));
    ad_value decay = infer_decay(w->c, sums), grown = ad_exp(graph, sums); /* e^c */
    sums = ad_reshape(graph, sums, AD_TYPE(w->c->real, w->heads, Q, 1));
    grown = ad_reshape(graph, grown, AD_TYPE(w->c->real, w->heads, Q, 1));
    ad_value last = ad_slice(graph, sums, 1, Q - 1, 1);
    ad_value to_end = ad_exp(
        graph, ad_sub(graph, ad_broadcast(graph, last, AD_TYPE(w->c->real, w->heads, Q, 1)), sums));
    q = ad_scale(graph, flat(w, q, Q, N), scale);
    k = flat(w, k, Q, N);
    v = flat(w, v, Q, P);
    beta = flat(w, beta, Q, 1);
    ad_value below =
        ad_reshape(graph, ad_lower_ones(graph, w->c->real, Q, true), AD_TYPE(w->c->real, 1, Q, Q));
    ad_value learned = ad_mul_repeat(graph, k, beta);
    ad_value alike = ad_mul(graph, matmul(w, learned, k, false, true), decay);
    ad_value inverse = ad_unit_lower_inverse(graph, ad_mul_repeat(graph, alike, below));
    return (prepared){.w = matmul(w, inverse, ad_mul_repeat(graph, learned, grown), false, false),
                      .u = matmul(w, inverse, ad_mul_repeat(graph, v, beta), false, false),
                      .q = ad_mul_repeat(graph, q, grown),
                      .scores = ad_mul(graph, matmul(w, q, k, false, true), decay),
                      .k = ad_mul_repeat(graph, k, to_end),
                      .whole = ad_exp(graph, last)};
}

/* o [B, n, M, Q, P], chunk after chunk; and the state after the rows. */
static ad_value chain(const work *w, const prepared *p, ad_value *state) {
    ad_graph *g = w->g;
    int64_t items = w->k.items, M = w->s.M, Q = w->k.chunk, N = w->s.N, P = w->s.P;
    ad_type row = AD_TYPE(w->c->real, items, 1, M * Q * P);
    ad_value h = ad_reshape(g, *state, AD_TYPE(w->c->real, items * M, N, P));
    ad_value *o = kern_array(w->k.chunks, sizeof *o);
    for (int64_t i = 0; i < w->k.chunks; i++) {
        ad_value v = ad_sub(g, chunk_of(w, p->u, i, Q, P),
                            matmul(w, chunk_of(w, p->w, i, Q, N), h, false, false));
        o[i] = ad_add(g, matmul(w, chunk_of(w, p->q, i, Q, N), h, false, false),
                      matmul(w, chunk_of(w, p->scores, i, Q, Q), v, false, false));
        o[i] = ad_reshape(g, o[i], row);
        h = ad_add(g, ad_mul_repeat(g, h, chunk_of(w, p->whole, i, 1, 1)),
                   infer_outer(w->c, chunk_of(w, p->k, i, Q, N), v));
    }
    *state = ad_reshape(g, h, AD_TYPE(w->c->real, items, M, N, P));
    ad_value all = ad_reshape(g, ad_concat(g, w->k.chunks, o, 1), by_head(w, P));
    free(o);
    return all;
}

/* o [B, n, Q, M, P] of rows of any number, and the state after them. */
static ad_value scan(const work *w, const ad_value qkv[3], ad_value beta, ad_value g,
                     ad_value *state) {
    ad_type by_token = AD_TYPE(w->c->real, w->c->batch * w->c->rows, w->s.M);
    prepared p = prepare(w, unit(w, split(w, qkv[0])), unit(w, split(w, qkv[1])), split(w, qkv[2]),
                         split(w, ad_reshape(w->g, beta, by_token)),
                         split(w, ad_reshape(w->g, g, by_token)));
    return infer_swap(w->c, chain(w, &p, state));
}

/* The recurrence itself, for one row an item, o [B, M, 1, P]: k and q go through the state
 * together, for q S_t = e^g q S_{t-1} + (q k) v', and what is learnt through it once more. */
static ad_value step(const work *w, const ad_value qkv[3], ad_value beta, ad_value g,
                     ad_value *state) {
    ad_graph *graph = w->g;
    int64_t items = w->k.items, M = w->s.M, N = w->s.N, P = w->s.P;
    ad_type key = AD_TYPE(w->c->real, items, M, 1, N), value = AD_TYPE(w->c->real, items, M, 1, P);
    ad_value q = unit(w, ad_reshape(graph, qkv[0], key));
    ad_value k = unit(w, ad_reshape(graph, qkv[1], key));
    ad_value alike = ad_row_sum(graph, ad_mul(graph, q, k)), keep = ad_exp(graph, g);
    ad_value h = ad_reshape(graph, *state, AD_TYPE(w->c->real, w->heads, N, P));
    ad_value both = ad_concat(graph, 2, (ad_value[]){k, q}, 2);
    ad_value seen = matmul(w, flat(w, both, 2, N), h, false, false);
    ad_value said = ad_reshape(graph, ad_slice(graph, seen, 1, 0, 1), value);
    ad_value v = ad_sub(graph, ad_reshape(graph, qkv[2], value), ad_mul_repeat(graph, said, keep));
    v = ad_mul_repeat(graph, v, beta);
    ad_value o = ad_reshape(graph, ad_slice(graph, seen, 1, 1, 1), value);
    o = ad_add(graph, ad_mul_repeat(graph, o, keep), ad_mul_repeat(graph, v, alike));
    ad_value learnt = infer_outer(w->c, flat(w, k, 1, N), flat(w, v, 1, P));
    h = ad_add(graph, ad_mul_repeat(graph, h, flat(w, keep, 1, 1)), learnt);
    *state = ad_reshape(graph, h, AD_TYPE(w->c->real, items, M, N, P));
    return ad_scale(graph, o, 1 / sqrt((double)N));
}

static ad_value build(const infer_context *c, int block, infer_memory *memory, ad_value x) {
    ad_graph *g = c->graph;
    work w = {.c = c, .g = g, .s = sizes_of(c->conf, c->ranks)};
    x = infer_vary(c, x);
    w.k = infer_chunks_of(c, c->conf->gdn.chunk);
    w.heads = w.k.items * w.k.chunks * w.s.M;
    for (int i = 0; i < ROLES; i++) w.w[i] = infer_weight(c, block, &role[i]);
    ad_value qkv[3];
    convolved(&w, x, memory, qkv);
    memory->after[STATE] = memory->before[STATE];
    bool alone = c->rows == 1;
    ad_value o =
        (alone ? step : scan)(&w, qkv, step_size(&w, x), log_decay(&w, x), &memory->after[STATE]);
    o = ad_rms_norm(g, o, w.w[NORM], INFER_MIXER_EPS);
    if (!alone) o = infer_from_chunks(c, w.k, o);
    if (!ad_is_value(o)) return AD_POISON;
    if (ad_is_value(w.w[WG])) {
        ad_value gate = ad_reshape(g, infer_linear(c, x, w.w[WG]), ad_type_at(g, o));
        o = ad_mul(g, o, ad_silu(g, gate));
    }
    o = ad_reshape(g, o, AD_TYPE(c->real, c->batch * c->rows, w.s.M * w.s.P));
    return infer_sum(c, infer_linear(c, o, w.w[WO]));
}

/* By the recurrence, whatever Q: 6 N P M a token. */
static double flops(const ttt_conf *conf, int block, int64_t chunk, bool above) {
    (void)block, (void)chunk;
    sizes s = sizes_of(conf, 1);
    return (above ? 9 : 3) * 6 * (double)(s.N * s.P * s.M) * (double)conf->train.context;
}

const infer_mixer infer_mixer_gated_delta = {.letters = "g",
                                             .name = "gated_delta",
                                             .parameters = parameters,
                                             .states = states,
                                             .build = build,
                                             .check = check,
                                             .flops = flops};
