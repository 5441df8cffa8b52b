/* TTT-KVB (LaCT: arXiv 2505.23884), letter k: windowed attention, and beside it a memory, an MLP by
 * head that learns to give a token's value for its key.
 *
 *     f(z; w) = (silu(z w1) * (z w3)) w2;   o_t = f(fq_t; w^c) for the tokens t of chunk c
 *     w^{c+1} = the columns of w^c + d, each with the length that it has in w^0 (infer/kvb_step.c)
 *     out = (attention + RMS(o) * scale) wo
 *
 * q, k, v are shared. The sums that an update consists of are kept as they grow, and the update is
 * taken when the token behind its chunk is there: so a sequence can be cut anywhere, but rows that
 * are read together must not begin within a chunk and end in another one. */
#include "infer/kvb.h"

#include <math.h>

#include "infer/attention.h"
#include "infer/recurrence.h"

enum {
    WQ,
    WK,
    WV,
    WO,
    Q_NORM,
    K_NORM,
    Q_SCALE,
    Q_OFFSET,
    K_SCALE,
    K_OFFSET,
    W1_A,
    W1_B,
    W3_A,
    W3_B,
    W1,
    W3,
    W2,
    WLR,
    LR_BIAS,
    WMU,
    MU_BIAS,
    WSCALE,
    SCALE_BIAS,
    NORM,
    ROLES
};

/* Normal; the deviation is 1, or 0.5, over the root of the columns. */
static double draw_full(const infer_parameter *p, const ttt_conf *conf, uint64_t *random) {
    (void)conf;
    return infer_random_normal(random) / sqrt((double)p->dim[1]);
}
static double draw_factor(const infer_parameter *p, const ttt_conf *conf, uint64_t *random) {
    return 0.5 * draw_full(p, conf, random);
}

static const infer_role role[ROLES] = {
    [WQ] = {.name = "kvb.wq", .begin = infer_draw_normal, .product = true},   /* [D, D] */
    [WK] = {.name = "kvb.wk", .begin = infer_draw_normal, .product = true},   /* [D, D] */
    [WV] = {.name = "kvb.wv", .begin = infer_draw_normal, .product = true},   /* [D, D] */
    [WO] = {.name = "kvb.wo", .begin = infer_draw_normal, .product = true},   /* [D, D] */
    [Q_NORM] = {.name = "kvb.q_norm.weight", .begin = infer_draw_one},        /* [K] or [D] */
    [K_NORM] = {.name = "kvb.k_norm.weight", .begin = infer_draw_one},        /* [K] or [D] */
    [Q_SCALE] = {.name = "kvb.q_scale", .begin = infer_draw_one},             /* [D] */
    [Q_OFFSET] = {.name = "kvb.q_offset", .begin = infer_draw_zero},          /* [D] */
    [K_SCALE] = {.name = "kvb.k_scale", .begin = infer_draw_one},             /* [D] */
    [K_OFFSET] = {.name = "kvb.k_offset", .begin = infer_draw_zero},          /* [D] */
    [W1_A] = {.name = "kvb.w1_a", .begin = draw_factor},                      /* [M, Z, r] */
    [W1_B] = {.name = "kvb.w1_b", .begin = draw_factor},                      /* [M, r, Y] */
    [W3_A] = {.name = "kvb.w3_a", .begin = draw_factor},                      /* [M, Z, r] */
    [W3_B] = {.name = "kvb.w3_b", .begin = draw_factor},                      /* [M, r, Y] */
    [W1] = {.name = "kvb.w1", .begin = draw_full},                            /* [M, Z, Y] */
    [W3] = {.name = "kvb.w3", .begin = draw_full},                            /* [M, Z, Y] */
    [W2] = {.name = "kvb.w2", .begin = draw_full},                            /* [M, Y, Z] */
    [WLR] = {.name = "kvb.wlr", .begin = infer_draw_normal, .product = true}, /* [D, 3 M] */
    [LR_BIAS] = {.name = "kvb.lr_bias", .begin = infer_draw_zero, .no_decay = true},
    [WMU] = {.name = "kvb.wmu", .begin = infer_draw_normal, .product = true}, /* [D, M] */
    [MU_BIAS] = {.name = "kvb.mu_bias", .begin = infer_draw_zero, .no_decay = true},
    [WSCALE] = {.name = "kvb.wscale", .begin = infer_draw_normal, .product = true}, /* [D, M] */
    [SCALE_BIAS] = {.name = "kvb.scale_bias", .begin = infer_draw_zero, .no_decay = true},
    [NORM] = {.name = "kvb.norm.weight", .begin = infer_draw_one}, /* [Z] */
};

static kern_status check(const ttt_conf *conf) {
    const conf_model *m = &conf->model;
    long long D = (long long)m->dim, heads = (long long)conf->kvb.heads,
              chunk = (long long)conf->kvb.chunk, inner = (long long)conf->inner.chunk;
    if (D % heads)
        return kern_fail(KERN_ERR_CONFIG,
                         "kvb.heads %lld does not divide model.dim %lld; choose a divisor of it",
                         heads, D);
    if (conf_kv_heads(conf) != m->heads || conf_head_size(conf) * m->heads != m->dim)
        return kern_fail(KERN_ERR_CONFIG,
                         "TTT-KVB shares keys and values of model.dim features between its "
                         "attention and its memory; leave model.kv_heads and model.head_size at 0");
    if (conf_kvb_inner(conf) < 1)
        return kern_fail(KERN_ERR_CONFIG,
                         "model.dim %lld is too small for kvb.inner to be a quarter of it; give "
                         "kvb.inner",
                         D);
    if (conf->inner.mode != CONF_INNER_OFF && inner % chunk) {
        long long fits = chunk < inner ? chunk : inner;
        while (inner % fits) fits--;
        return kern_fail(
            KERN_ERR_CONFIG,
            "inner.chunk %lld is not a multiple of kvb.chunk %lld, but a step's tokens "
            "must be whole chunks of the memory; kvb.chunk=%lld would do",
            inner, chunk, fits);
    }
    return KERN_OK;
}

static int64_t own_chunk(const ttt_conf *conf) {
    return conf->kvb.chunk;
}

static void add_norms(infer_parameters *to, const ttt_conf *conf, int block) {
    if (conf->kvb.qk_norm == CONF_NORM_OFF) return;
    bool by_head = conf->kvb.qk_norm == CONF_NORM_HEAD;
    int64_t width = by_head ? conf_head_size(conf) : conf->model.dim;
    for (int i = Q_NORM; i <= K_NORM; i++) {
        infer_parameter *p = INFER_ADD(to, &role[i], block, width);
        p->placing = INFER_SUMMED;
        if (!by_head) infer_cut(p, 0, conf->kvb.heads, "kvb.heads");
    }
}

/* Ranks share the heads of both, attention and memory. */
static void parameters(infer_parameters *to, const ttt_conf *conf, int block) {
    const conf_kvb *k = &conf->kvb;
    int64_t D = conf->model.dim, M = k->heads, Z = D / M, Y = conf_kvb_inner(conf), r = k->rank;
    for (int i = WQ; i <= WO; i++)
        infer_cut(INFER_ADD(to, &role[i], block, D, D), i != WO, conf->model.heads, "model.heads");
    add_norms(to, conf, block);
    for (int i = k->output == CONF_KVB_NORMAL ? Q_SCALE : K_SCALE; i <= K_OFFSET; i++)
        infer_cut(INFER_ADD(to, &role[i], block, D), 0, M, "kvb.heads");
    for (int i = W1_A; i <= W3_B && r; i += 2) {
        infer_cut(INFER_ADD(to, &role[i], block, M, Z, r), 0, M, "kvb.heads");
        infer_cut(INFER_ADD(to, &role[i + 1], block, M, r, Y), 0, M, "kvb.heads");
    }
    for (int i = W1; i <= W3 && !r; i++)
        infer_cut(INFER_ADD(to, &role[i], block, M, Z, Y), 0, M, "kvb.heads");
    infer_cut(INFER_ADD(to, &role[W2], block, M, Y, Z), 0, M, "kvb.heads");
    for (int i = WLR; i <= WSCALE; i += 2) {
        if ((i == WMU && !k->momentum) || (i == WSCALE && !k->scale)) continue;
        int64_t columns = i == WLR ? 3 * M : M;
        infer_cut(INFER_ADD(to, &role[i], block, D, columns), 1, M, "kvb.heads");
        infer_cut(INFER_ADD(to, &role[i + 1], block, columns), 0, M, "kvb.heads");
    }
    INFER_ADD(to, &role[NORM], block, Z)->placing = INFER_SUMMED;
}

static int states(infer_mixer_state state[INFER_STATES], const ttt_conf *conf, int block) {
    int count = infer_attention_states(state, conf, block);
    return infer_kvb_states(state, count, conf);
}

/* What one block's functions share. */
typedef struct {
    const infer_context *c;
    ad_graph *g;
    int block;
    int64_t M, Z; /* D = M Z of the rank's heads */
    ad_value w[ROLES];
} work;

/* A vector as the last axis of rows like x, times it or added to it. */
static ad_value along(const work *w, ad_value x, int which) {
    if (!ad_is_value(x)) return AD_POISON;
    ad_type type = ad_type_at(w->g, x);
    ad_value row = ad_reshape(w->g, w->w[which], AD_TYPE(w->c->real, 1, ad_last(type)));
    return ad_broadcast(w->g, row, type);
}

/* u through a narrow matrix, and its bias. */
static ad_value affine(const work *w, ad_value u, int which) {
    ad_value x = infer_linear(w->c, u, w->w[which]);
    return ad_add(w->g, x, along(w, x, which + 1));
}

/* [B R, D], normalised by head or over D or not at all. */
static ad_value normed(const work *w, ad_value x, int which) {
    const infer_context *c = w->c;
    ad_type flat = AD_TYPE(c->real, c->batch * c->rows, w->M * w->Z);
    switch (c->conf->kvb.qk_norm) {
    case CONF_NORM_HEAD: return ad_reshape(w->g, infer_heads(c, x, w->w[which]), flat);
    case CONF_NORM_WIDTH:
        return ad_rms_norm_split(w->g, x, w->w[which], c->ranks, c->conf->model.norm_eps);
    default: return x;
    }
}

/* x [B R, M width] by the memory's heads: [B M, R, width]. */
static ad_value split(const work *w, ad_value x, int64_t width) {
    const infer_context *c = w->c;
    x = ad_reshape(w->g, x, AD_TYPE(c->real, c->batch, c->rows, w->M, width));
    x = ad_transpose(w->g, x, (int[]){0, 2, 1, 3});
    return ad_reshape(w->g, x, AD_TYPE(c->real, c->batch * w->M, c->rows, width));
}

/* Keys or queries of the memory: rope(l2(silu(x scale + offset))). */
static ad_value address(const work *w, ad_value x, int scale) {
    const infer_context *c = w->c;
    int64_t rows = c->batch * c->rows;
    x = ad_silu(w->g, ad_add(w->g, ad_mul(w->g, x, along(w, x, scale)), along(w, x, scale + 1)));
    x = ad_reshape(w->g, x, AD_TYPE(c->real, rows, w->M, w->Z));
    x = infer_kvb_unit(w->g, x, 2);
    x = infer_heads(c, ad_reshape(w->g, x, AD_TYPE(c->real, rows, w->M * w->Z)), AD_NONE);
    return split(w, infer_turn(c, w->block, x), w->Z);
}

/* w^0 of one of the three matrices: [M, ., .] */
static ad_value initial(const work *w, int factor, int full) {
    if (ad_is_value(w->w[full])) return w->w[full];
    ad_value product = ad_matmul(w->g, w->w[factor], w->w[factor + 1], false, false);
    return infer_kvb_add_half(w->g, product);
}

/* RMS(o) * scale for o [B M, R, Z]: [B R, D] */
static ad_value output(const work *w, ad_value o, ad_value u) {
    const infer_context *c = w->c;
    o = ad_reshape(w->g, o, AD_TYPE(c->real, c->batch, w->M, c->rows, w->Z));
    o = ad_transpose(w->g, o, (int[]){0, 2, 1, 3});
    o = ad_rms_norm(w->g, o, w->w[NORM], INFER_MIXER_EPS);
    if (ad_is_value(w->w[WSCALE])) {
        ad_value scale = ad_silu(w->g, affine(w, u, WSCALE));
        scale = ad_reshape(w->g, scale, AD_TYPE(c->real, c->batch, c->rows, w->M, 1));
        o = ad_mul_repeat(w->g, o, scale);
    }
    return ad_reshape(w->g, o, AD_TYPE(c->real, c->batch * c->rows, w->M * w->Z));
}

static ad_value build(const infer_context *c, int block, infer_memory *memory, ad_value u) {
    ad_graph *g = c->graph;
    const conf_kvb *conf = &c->conf->kvb;
    work w = {.c = c, .g = g, .block = block, .M = conf->heads / c->ranks};
    w.Z = c->conf->model.dim / conf->heads;
    u = infer_vary(c, u);
    for (int i = 0; i < ROLES; i++) w.w[i] = infer_weight(c, block, &role[i]);
    ad_value q = normed(&w, infer_linear(c, u, w.w[WQ]), Q_NORM);
    ad_value k = normed(&w, infer_linear(c, u, w.w[WK]), K_NORM);
    ad_value v = infer_linear(c, u, w.w[WV]);
    ad_value attention = infer_attend(c, block, memory, infer_heads(c, q, AD_NONE),
                                      infer_heads(c, k, AD_NONE), infer_heads(c, v, AD_NONE));
    infer_kvb rows = {.key = address(&w, k, K_SCALE), .value = split(&w, ad_silu(g, v), w.Z)};
    rows.query = conf->output == CONF_KVB_NORMAL ? address(&w, q, Q_SCALE) : rows.key;
    ad_value rate = ad_softplus(g, ad_shift(g, affine(&w, u, WLR), log(expm1(0.001))));
    rows.rate = split(&w, infer_mask(c, rate), 3);
    if (conf->momentum)
        rows.momentum = split(&w, infer_mask(c, ad_sigmoid(g, affine(&w, u, WMU))), 1);
    rows.initial[0] = initial(&w, W1_A, W1);
    rows.initial[1] = w.w[W2];
    rows.initial[2] = initial(&w, W3_A, W3);
    ad_value o = infer_kvb_read(c, &rows, memory, INFER_KVB_FIRST_STATE);
    return infer_sum(c, infer_linear(c, ad_add(g, attention, output(&w, o, u)), w.w[WO]));
}

/* 18 D Y a token: 6 to read, 12 to update; and Newton-Schulz steps. */
static double flops(const ttt_conf *conf, int block, int64_t chunk, bool above) {
    double D = (double)conf->model.dim, Y = (double)conf_kvb_inner(conf);
    double Z = D / (double)conf->kvb.heads, a = fmin(Z, Y), b = fmax(Z, Y);
    double tokens = (double)conf->train.context, forward = 18 * D * Y * tokens;
    if (conf->kvb.muon)
        forward += 5 * (4 * a * a * b + 2 * a * a * a) * 3 * (double)conf->kvb.heads * tokens /
                   (double)conf->kvb.chunk;
    return infer_attention_flops(conf, block, chunk, above) + (above ? 9 : 3) * forward;
}

const infer_mixer infer_mixer_kvb = {.letters = "k",
                                     .name = "kvb",
                                     .attends = true,
                                     .parameters = parameters,
                                     .states = states,
                                     .build = build,
                                     .chunk = own_chunk,
                                     .check = check,
                                     .flops = flops};
