/* Mamba 2 (arXiv 2405.21060), letter m: heads with a state [N, P] that decays by a scalar.
 *
 *     z | xBC | dt = u w_in
 *     x | B | C = silu(conv(xBC) + conv_bias);   dt = softplus(dt + dt_bias)
 *     S_t = e^(-e^A_log dt_t) S_{t-1} + B_t^T (dt_t x_t);   y_t = C_t S_t + D x_t
 *     out = RMS(y silu(z)) w_out
 *
 * Rows are computed by chunks of Q: within one by products with the decays between its rows, across
 * them by the states at their ends (docs/recurrent-mixers.md). Heads of a group share B and C,
 * whose products with the states of all its heads are one. A row alone is the recurrence itself. */
#include <math.h>
#include <stdlib.h>

#include "autodiff/triangle.h"
#include "infer/recurrence.h"

enum { W_IN, CONV, CONV_BIAS, A_LOG, DT_BIAS, SKIP, NORM, W_OUT, ROLES };

/* ln of uniform from 1 to 16 */
static double draw_a_log(const infer_parameter *p, const ttt_conf *conf, uint64_t *random) {
    (void)p, (void)conf;
    return log(1 + 15 * infer_random_uniform(random));
}

static const infer_role role[ROLES] = {
    [W_IN] = {.name = "mamba.w_in", .begin = infer_draw_normal, .product = true},
    [CONV] = {.name = "mamba.conv", .begin = infer_draw_conv},
    [CONV_BIAS] = {.name = "mamba.conv_bias", .begin = infer_draw_conv, .no_decay = true},
    [A_LOG] = {.name = "mamba.A_log", .begin = draw_a_log, .no_decay = true},
    [DT_BIAS] = {.name = "mamba.dt_bias", .begin = infer_draw_dt_bias, .no_decay = true},
    [SKIP] = {.name = "mamba.D", .begin = infer_draw_one, .no_decay = true},
    [NORM] = {.name = "mamba.norm.weight", .begin = infer_draw_one},
    [W_OUT] = {.name = "mamba.w_out", .begin = infer_draw_normal, .product = true},
};

typedef struct {
    int64_t D, E, M, N, P, J, X;
} sizes;

/* With the heads and groups of one of so many ranks; a single group is every rank's. */
static sizes sizes_of(const ttt_conf *conf, int ranks) {
    const conf_mamba *m = &conf->mamba;
    int64_t D = conf->model.dim, E = m->expand * D / ranks;
    int64_t groups = m->groups > 1 ? m->groups / ranks : 1;
    return (sizes){D, E, E / m->head_size, m->state, m->head_size, groups, m->conv};
}

static kern_status check(const ttt_conf *conf) {
    long long E = (long long)(conf->mamba.expand * conf->model.dim),
              size = (long long)conf->mamba.head_size, groups = (long long)conf->mamba.groups;
    if (E % size)
        return kern_fail(KERN_ERR_CONFIG,
                         "mamba.head_size %lld does not divide the inner width %lld "
                         "(mamba.expand times model.dim); choose a divisor of it",
                         size, E);
    if (E / size % groups)
        return kern_fail(KERN_ERR_CONFIG,
                         "mamba.groups %lld does not divide the %lld heads (mamba.expand times "
                         "model.dim over mamba.head_size); choose a divisor of them",
                         groups, E / size);
    return KERN_OK;
}

static const char HEADS[] = "mamba.expand * model.dim / mamba.head_size";

/* Columns x | B | C: ranks share the heads, and the groups where there are several. */
static void cut_channels(infer_split *split, int axis, const sizes *s) {
    infer_split_add(split, axis, s->E, s->M, HEADS);
    for (int i = 0; i < 2; i++)
        infer_split_add(split, axis, s->J * s->N, s->J > 1 ? s->J : 0, "mamba.groups");
}

static void parameters(infer_parameters *to, const ttt_conf *conf, int block) {
    sizes s = sizes_of(conf, 1);
    int64_t channels = s.E + 2 * s.J * s.N;
    infer_parameter *p = INFER_ADD(to, &role[W_IN], block, s.D, s.E + channels + s.M);
    infer_add_range(p, 1, s.E, s.M, HEADS); /* z */
    cut_channels(&p->split, 1, &s);
    infer_add_range(p, 1, s.M, s.M, HEADS); /* dt */
    p = INFER_ADD(to, &role[CONV], block, s.X, channels);
    p->placing = INFER_PARTED;
    cut_channels(&p->split, 1, &s);
    p = INFER_ADD(to, &role[CONV_BIAS], block, channels);
    p->placing = INFER_PARTED;
    cut_channels(&p->split, 0, &s);
    infer_cut(INFER_ADD(to, &role[A_LOG], block, s.M), 0, s.M, HEADS);
    infer_cut(INFER_ADD(to, &role[DT_BIAS], block, s.M), 0, s.M, HEADS);
    infer_cut(INFER_ADD(to, &role[SKIP], block, s.M), 0, s.M, HEADS);
    infer_cut(INFER_ADD(to, &role[NORM], block, s.E), 0, s.M, HEADS);
    infer_cut(INFER_ADD(to, &role[W_OUT], block, s.E, s.D), 0, s.M, HEADS);
}

enum { TAIL, STATE, STATES };

static int states(infer_mixer_state state[INFER_STATES], const ttt_conf *conf, int block) {
    (void)block;
    sizes s = sizes_of(conf, 1);
    state[TAIL] = (infer_mixer_state){.name = "mamba.conv",
                                      .placing = INFER_PARTED,
                                      .rank = 2,
                                      .dim = {s.X - 1, s.E + 2 * s.J * s.N, 1}};
    cut_channels(&state[TAIL].split, 1, &s);
    state[STATE] = (infer_mixer_state){
        .name = "mamba.S", .placing = INFER_PARTED, .rank = 3, .dim = {s.M, s.N, s.P}};
    infer_split_add(&state[STATE].split, 0, s.M, s.M, HEADS);
    return STATES;
}

/* What one block's functions share. */
typedef struct {
    const infer_context *c;
    ad_graph *g;
    sizes s;
    infer_chunks k;
    ad_value w[ROLES];
    ad_value shared; /* columns B | C of w_in, where they are every rank's; else AD_NONE */
} work;

/* Columns first .. first + count - 1. */
static ad_value columns(const work *w, ad_value x, int64_t first, int64_t count) {
    return ad_slice(w->g, x, 1, first, count);
}

/* A vector [W] along the last axis of rows. */
static ad_value in_rows(const work *w, int which) {
    if (!ad_is_value(w->w[which])) return AD_POISON;
    int64_t width = ad_elements(ad_type_at(w->g, w->w[which]));
    return ad_reshape(w->g, w->w[which], AD_TYPE(w->c->real, 1, width));
}

static ad_value add_row(const work *w, ad_value x, ad_value row) {
    return ad_is_value(x) ? ad_add(w->g, x, ad_broadcast(w->g, row, ad_type_at(w->g, x)))
                          : AD_POISON;
}

/* Sums c [B, n, Q, M, 1] of ln a within chunks, and the same by head [B, n, M, Q]. */
static ad_value sum_decays(const work *w, ad_value dt, ad_value *by_head) {
    ad_value rate = ad_neg(w->g, ad_exp(w->g, in_rows(w, A_LOG)));
    ad_value la = infer_to_chunks(w->c, w->k, ad_mul_repeat(w->g, dt, rate), w->s.M);
    la = ad_transpose(w->g, la, (int[]){0, 1, 3, 2, 4});
    *by_head = ad_cumsum(
        w->g,
        ad_reshape(w->g, la, AD_TYPE(w->c->real, w->k.items, w->k.chunks, w->s.M, w->k.chunk)));
    ad_value sums = ad_reshape(w->g, *by_head,
                               AD_TYPE(w->c->real, w->k.items, w->k.chunks, w->s.M, w->k.chunk, 1));
    return infer_swap(w->c, sums);
}

/* B or C [B R, J N] by chunk and group: [B n J, Q, N]. */
static ad_value by_group(const work *w, ad_value x) {
    ad_value chunks = infer_swap(w->c, infer_to_chunks(w->c, w->k, x, w->s.J));
    return ad_reshape(w->g, chunks,
                      AD_TYPE(w->c->real, w->k.items * w->k.chunks * w->s.J, w->k.chunk, w->s.N));
}

/* [B, n, Q, M, P] by group: [B n J, Q, E / J]; and back. */
static ad_value to_groups(const work *w, ad_value x) {
    int64_t rows = w->k.items * w->k.chunks, J = w->s.J, width = w->s.E / J;
    x = ad_reshape(w->g, x, AD_TYPE(w->c->real, rows, w->k.chunk, J, width));
    x = ad_transpose(w->g, x, (int[]){0, 2, 1, 3});
    return ad_reshape(w->g, x, AD_TYPE(w->c->real, rows * J, w->k.chunk, width));
}
static ad_value from_groups(const work *w, ad_value x) {
    int64_t rows = w->k.items * w->k.chunks, J = w->s.J, width = w->s.E / J;
    x = ad_reshape(w->g, x, AD_TYPE(w->c->real, rows, J, w->k.chunk, width));
    x = ad_transpose(w->g, x, (int[]){0, 2, 1, 3});
    return ad_reshape(w->g, x,
                      AD_TYPE(w->c->real, w->k.items, w->k.chunks, w->k.chunk, w->s.M, w->s.P));
}

/* Of each chunk's own rows: (L * C B^T) v, [B, n, Q, M, P]. */
static ad_value own_rows(const work *w, ad_value v, ad_value B, ad_value C, ad_value sums) {
    const sizes *s = &w->s;
    int64_t chunks = w->k.items * w->k.chunks, Q = w->k.chunk, heads = chunks * s->M;
    ad_type each = AD_TYPE(w->c->real, chunks * s->J, s->M / s->J, Q, Q);
    ad_value scores = infer_matmul(w->c, C, B, false, true);
    scores = ad_reshape(w->g, scores, AD_TYPE(w->c->real, chunks * s->J, 1, Q, Q));
    ad_value decay = infer_decay(w->c, ad_reshape(w->g, sums, AD_TYPE(w->c->real, heads, Q)));
    ad_value weight = ad_mul(w->g, ad_reshape(w->g, decay, each), ad_broadcast(w->g, scores, each));
    weight = ad_reshape(w->g, weight, AD_TYPE(w->c->real, heads, Q, Q));
    v = ad_reshape(w->g, infer_swap(w->c, v), AD_TYPE(w->c->real, heads, Q, s->P));
    ad_value y = infer_matmul(w->c, weight, v, false, false);
    return infer_swap(
        w->c, ad_reshape(w->g, y, AD_TYPE(w->c->real, w->k.items, w->k.chunks, s->M, Q, s->P)));
}

/* [B, M, N, P] as [B, J, N, M / J, P], and back. */
static ad_value turn_state(const work *w, ad_value state, int64_t first, int64_t second) {
    return ad_transpose(
        w->g,
        ad_reshape(w->g, state, AD_TYPE(w->c->real, w->k.items, w->s.J, first, second, w->s.P)),
        (int[]){0, 1, 3, 2, 4});
}

/* States at the beginnings of chunks, [B n J, N, E / J]: h' = e^{c_Q} h + (what a chunk adds). */
static ad_value chain(const work *w, ad_value added, ad_value whole, ad_value *state) {
    const sizes *s = &w->s;
    int64_t items = w->k.items, n = w->k.chunks;
    ad_type one = AD_TYPE(w->c->real, items, s->J, s->N, s->M / s->J, s->P);
    ad_type row = AD_TYPE(w->c->real, items, 1, s->N * s->E);
    ad_value h = turn_state(w, *state, s->M / s->J, s->N);
    ad_value *before = kern_array(n, sizeof *before);
    added = ad_reshape(w->g, added, AD_TYPE(w->c->real, items, n, s->N * s->E));
    for (int64_t i = 0; i < n; i++) {
        before[i] = ad_reshape(w->g, h, row);
        ad_value keep = ad_reshape(w->g, ad_slice(w->g, whole, 1, i, 1),
                                   AD_TYPE(w->c->real, items, s->J, 1, s->M / s->J, 1));
        ad_value gain = ad_reshape(w->g, ad_slice(w->g, added, 1, i, 1), one);
        h = ad_add(w->g, ad_mul_repeat(w->g, h, keep), gain);
    }
    ad_value all = ad_concat(w->g, n, before, 1);
    free(before);
    *state = ad_reshape(w->g, turn_state(w, h, s->N, s->M / s->J),
                        AD_TYPE(w->c->real, items, s->M, s->N, s->P));
    return ad_reshape(w->g, all, AD_TYPE(w->c->real, items * n * s->J, s->N, s->E / s->J));
}

/* The recurrence itself, for one row an item: the state is gone through twice, and stays as it
 * lies. */
static ad_value step(const work *w, ad_value x, ad_value B, ad_value C, ad_value dt,
                     ad_value *state) {
    ad_graph *g = w->g;
    int64_t items = w->k.items, J = w->s.J, each = w->s.M / J, N = w->s.N, P = w->s.P;
    int64_t heads = items * w->s.M;
    ad_type all = AD_TYPE(w->c->real, items, J, each, N, P);
    ad_type row = AD_TYPE(w->c->real, items, J, each, 1, P);
    ad_type one = AD_TYPE(w->c->real, items, J, each, 1, 1);
    ad_value rate = ad_neg(g, ad_exp(g, in_rows(w, A_LOG)));
    ad_value keep = ad_reshape(g, ad_exp(g, ad_mul_repeat(g, dt, rate)), one);
    x = ad_reshape(g, x, row);
    ad_value v = ad_mul_repeat(g, x, ad_reshape(g, dt, one));
    B = ad_reshape(g, B, AD_TYPE(w->c->real, items, J, 1, N, 1));
    C = ad_reshape(g, C, AD_TYPE(w->c->real, items, J, 1, 1, N));
    C = ad_broadcast(g, C, AD_TYPE(w->c->real, items, J, each, 1, N));
    ad_value gain = ad_mul(g, ad_broadcast(g, B, all), ad_broadcast(g, v, all));
    ad_value h = ad_add(g, ad_mul_repeat(g, ad_reshape(g, *state, all), keep), gain);
    *state = ad_reshape(g, h, AD_TYPE(w->c->real, items, w->s.M, N, P));
    ad_value y = infer_matmul(w->c, ad_reshape(g, C, AD_TYPE(w->c->real, heads, 1, N)),
                              ad_reshape(g, h, AD_TYPE(w->c->real, heads, N, P)), false, false);
    ad_value skip = ad_reshape(g, w->w[SKIP], AD_TYPE(w->c->real, 1, J, each, 1, 1));
    y = ad_add(g, ad_reshape(g, y, row), ad_mul_repeat(g, x, skip));
    return ad_reshape(g, y, AD_TYPE(w->c->real, items, w->s.E));
}

/* y of x, B, C, dt: [B R, E]; and the state after the rows. */
static ad_value scan(const work *w, ad_value x, ad_value B, ad_value C, ad_value dt,
                     ad_value *state) {
    ad_graph *g = w->g;
    int64_t n = w->k.chunks, Q = w->k.chunk, items = w->k.items, M = w->s.M;
    ad_value by_head, sums = sum_decays(w, dt, &by_head); /* [B, n, Q, M, 1], [B, n, M, Q] */
    x = infer_to_chunks(w->c, w->k, x, M);
    ad_value v = ad_mul_repeat(g, x, infer_to_chunks(w->c, w->k, dt, M));
    B = by_group(w, B);
    C = by_group(w, C);
    ad_value y = own_rows(w, v, B, C, by_head);
    ad_value last = ad_slice(g, sums, 2, Q - 1, 1);
    ad_type each = AD_TYPE(w->c->real, items, n, Q, M, 1);
    ad_value to_end = ad_exp(g, ad_sub(g, ad_broadcast(g, last, each), sums));
    ad_value added = infer_matmul(w->c, B, to_groups(w, ad_mul_repeat(g, v, to_end)), true, false);
    ad_value whole = ad_reshape(g, ad_exp(g, last), AD_TYPE(w->c->real, items, n, M));
    ad_value h = chain(w, added, whole, state);
    ad_value before = from_groups(w, infer_matmul(w->c, C, h, false, false));
    y = ad_add(g, y, ad_mul_repeat(g, before, ad_exp(g, sums)));
    ad_value skip = ad_reshape(g, w->w[SKIP], AD_TYPE(w->c->real, 1, 1, 1, M, 1));
    return infer_from_chunks(w->c, w->k, ad_add(g, y, ad_mul_repeat(g, x, skip)));
}

/* a | b along their last axis, of `axes`. */
static ad_value beside(const work *w, int axes, ad_value a, ad_value b) {
    return ad_concat(w->g, 2, (ad_value[]){a, b}, axes - 1);
}

static void find_weights(work *w, int block) {
    for (int i = 0; i < ROLES; i++) w->w[i] = infer_weight(w->c, block, &role[i]);
    w->shared = infer_weight_shared(w->c, block, &role[W_IN]);
    for (int i = CONV; i <= CONV_BIAS && ad_is_value(w->shared); i++)
        w->w[i] = beside(w, i == CONV ? 2 : 1, w->w[i], infer_weight_shared(w->c, block, &role[i]));
}

static ad_value build(const infer_context *c, int block, infer_memory *memory, ad_value u) {
    ad_graph *g = c->graph;
    work w = {.c = c, .g = g, .s = sizes_of(c->conf, c->ranks)};
    w.k = infer_chunks_of(c, c->conf->mamba.chunk);
    find_weights(&w, block);
    int64_t E = w.s.E, JN = w.s.J * w.s.N, R = c->batch * c->rows;
    bool shared = ad_is_value(w.shared);
    u = infer_vary(c, u);
    ad_value all = infer_linear(c, u, w.w[W_IN]); /* z | x | B | C | dt, or z | x | dt */
    ad_value xBC = columns(&w, all, E, E + (shared ? 0 : 2 * JN));
    if (shared) xBC = beside(&w, 2, xBC, infer_linear(c, u, w.shared));
    xBC = infer_conv(c, xBC, w.w[CONV], w.w[CONV_BIAS], memory->before[TAIL], &memory->after[TAIL]);
    ad_value dt = columns(&w, all, 2 * E + (shared ? 0 : 2 * JN), w.s.M);
    dt = infer_mask(c, ad_softplus(g, add_row(&w, dt, in_rows(&w, DT_BIAS))));
    memory->after[STATE] = memory->before[STATE];
    ad_value y =
        (c->rows == 1 ? step : scan)(&w, columns(&w, xBC, 0, E), columns(&w, xBC, E, JN),
                                     columns(&w, xBC, E + JN, JN), dt, &memory->after[STATE]);
    ad_type by_group = AD_TYPE(c->real, R, w.s.J, E / w.s.J);
    y = ad_mul(g, ad_reshape(g, y, by_group),
               ad_silu(g, ad_reshape(g, columns(&w, all, 0, E), by_group)));
    y = ad_rms_norm_split(g, y, AD_NONE, shared ? c->ranks : 1, INFER_MIXER_EPS);
    by_group.dim[0] = 1;
    y = ad_mul_repeat(g, y, ad_reshape(g, w.w[NORM], by_group));
    y = ad_reshape(g, y, AD_TYPE(c->real, R, E));
    return infer_sum(c, infer_linear(c, y, w.w[W_OUT]));
}

/* By the recurrence, whatever Q: 4 N E a token. */
static double flops(const ttt_conf *conf, int block, int64_t chunk, bool above) {
    (void)block, (void)chunk;
    sizes s = sizes_of(conf, 1);
    return (above ? 9 : 3) * 4 * (double)(s.N * s.E) * (double)conf->train.context;
}

const infer_mixer infer_mixer_mamba2 = {.letters = "m",
                                        .name = "mamba2",
                                        .parameters = parameters,
                                        .states = states,
                                        .build = build,
                                        .check = check,
                                        .flops = flops};
