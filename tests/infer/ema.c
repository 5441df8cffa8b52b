/* Each feature's exponential moving average over the tokens, with a decay that is learned.
 *
 *     v = x w_in;   a = sigmoid(decay);   s_t = a s_{t-1} + (1 - a) v_t;   y = s w_out  */
#include "infer/mixer.h"

enum { W_IN, W_OUT, DECAY, ROLES };

static const infer_role role[ROLES] = {
    [W_IN] = {.name = "ema.w_in", .begin = infer_draw_normal, .product = true},   /* [D, D] */
    [W_OUT] = {.name = "ema.w_out", .begin = infer_draw_normal, .product = true}, /* [D, D] */
    [DECAY] = {.name = "ema.decay", .begin = infer_draw_zero, .no_decay = true},  /* [D] */
};

static void parameters(infer_parameters *to, const ttt_conf *conf, int block) {
    int64_t D = conf->model.dim;
    infer_cut(INFER_ADD(to, &role[W_IN], block, D, D), 1, D, "model.dim");
    infer_cut(INFER_ADD(to, &role[W_OUT], block, D, D), 0, D, "model.dim");
    infer_cut(INFER_ADD(to, &role[DECAY], block, D), 0, D, "model.dim");
}

static int states(infer_mixer_state state[INFER_STATES], const ttt_conf *conf, int block) {
    (void)block;
    int64_t D = conf->model.dim;
    state[0] = (infer_mixer_state){
        .name = "average", .placing = INFER_PARTED, .rank = 1, .dim = {D, 1, 1}};
    infer_split_add(&state[0].split, 0, D, D, "model.dim");
    return 1;
}

/* Row t - by of each item at row t; zeros before. */
static ad_value shift(ad_graph *g, ad_value x, int64_t by) {
    int64_t rows = ad_type_at(g, x).dim[1];
    return ad_pad(g, ad_slice(g, x, 1, 0, rows - by), 1, by, rows);
}

/* s_t = keep_t s_{t-1} + gain_t for rows [B, C, D] by doubling: after a step of k, row t holds what
 * the last 2 k rows made of it. */
static ad_value scan(ad_graph *g, ad_value keep, ad_value gain) {
    int64_t rows = ad_type_at(g, gain).dim[1];
    for (int64_t k = 1; k < rows; k *= 2) {
        gain = ad_add(g, gain, ad_mul(g, keep, shift(g, gain, k)));
        keep = ad_mul(g, keep, shift(g, keep, k));
    }
    return gain;
}

static ad_value build(const infer_context *c, int block, infer_memory *memory, ad_value x) {
    ad_graph *g = c->graph;
    int64_t B = c->batch, C = c->rows, D = c->conf->model.dim / c->ranks;
    ad_type rows = AD_TYPE(c->real, B, C, D), one = AD_TYPE(c->real, 1, 1, D);
    ad_value v = infer_linear(c, infer_vary(c, x), infer_weight(c, block, &role[W_IN]));
    ad_value fresh = ad_sigmoid(g, ad_neg(g, infer_weight(c, block, &role[DECAY]))); /* 1 - a */
    ad_value valid = ad_reshape(g, infer_vary(c, infer_valid(c)), AD_TYPE(c->real, B, C, 1));
    /* 0 in rows that are no tokens, which keep all and add nothing. */
    ad_value share =
        ad_mul(g, ad_broadcast(g, valid, rows), ad_broadcast(g, ad_reshape(g, fresh, one), rows));
    ad_value keep = ad_sub(g, ad_fill(g, rows, 1), share);
    ad_value before = ad_reshape(g, memory->before[0], AD_TYPE(c->real, B, 1, D));
    ad_value kept = ad_mul(g, ad_slice(g, keep, 1, 0, 1), before);
    ad_value gain = ad_add(g, ad_mul(g, share, ad_reshape(g, v, rows)), ad_pad(g, kept, 1, 0, C));
    ad_value s = scan(g, keep, gain);
    memory->after[0] = ad_reshape(g, ad_slice(g, s, 1, C - 1, 1), AD_TYPE(c->real, B, D));
    s = ad_reshape(g, s, AD_TYPE(c->real, B * C, D));
    return infer_sum(c, infer_linear(c, s, infer_weight(c, block, &role[W_OUT])));
}

/* A product for what is kept, one for what comes, and their sum. */
static double flops(const ttt_conf *conf, int block, int64_t chunk, bool above) {
    (void)block, (void)chunk;
    return (above ? 9 : 3) * 3 * (double)conf->model.dim * (double)conf->train.context;
}

const infer_mixer infer_mixer_ema = {.letters = "e",
                                     .name = "ema",
                                     .parameters = parameters,
                                     .states = states,
                                     .build = build,
                                     .flops = flops};
