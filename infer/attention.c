/* Row 0 of the mixers: softmax attention of a window (s) or of everything before (f). */
#include <math.h>

#include "infer/attention.h"

enum { WQ, WK, WV, WO, Q_NORM, K_NORM, ROLES };

static const infer_role role[ROLES] = {
    [WQ] = {.name = "attn.wq", .begin = infer_draw_normal, .product = true}, /* [D, HK] */
    [WK] = {.name = "attn.wk", .begin = infer_draw_normal, .product = true}, /* [D, GK] */
    [WV] = {.name = "attn.wv", .begin = infer_draw_normal, .product = true}, /* [D, GK] */
    [WO] = {.name = "attn.wo", .begin = infer_draw_normal, .product = true}, /* [HK, D] */
    [Q_NORM] = {.name = "attn.q_norm.weight", .begin = infer_draw_one},      /* [K] */
    [K_NORM] = {.name = "attn.k_norm.weight", .begin = infer_draw_one},      /* [K] */
};

/* One key head is every rank's, several are divided. */
static infer_placing placing_of_keys(const ttt_conf *conf) {
    return conf_kv_heads(conf) == 1 ? INFER_SUMMED : INFER_PARTED;
}

static void cut_keys(infer_parameter *p, const ttt_conf *conf) {
    p->placing = placing_of_keys(conf);
    if (p->placing == INFER_PARTED) infer_cut(p, 1, conf_kv_heads(conf), "model.kv_heads");
}

static void parameters(infer_parameters *p, const ttt_conf *conf, int block) {
    const conf_model *m = &conf->model;
    int64_t size = conf_head_size(conf), queries = m->heads * size,
            keys = conf_kv_heads(conf) * size;
    infer_cut(INFER_ADD(p, &role[WQ], block, m->dim, queries), 1, m->heads, "model.heads");
    cut_keys(INFER_ADD(p, &role[WK], block, m->dim, keys), conf);
    cut_keys(INFER_ADD(p, &role[WV], block, m->dim, keys), conf);
    infer_cut(INFER_ADD(p, &role[WO], block, queries, m->dim), 0, m->heads, "model.heads");
    if (!m->qk_norm) return;
    INFER_ADD(p, &role[Q_NORM], block, size)->placing = INFER_SUMMED;
    INFER_ADD(p, &role[K_NORM], block, size)->placing = INFER_SUMMED;
}

enum { KEYS, VALUES, STATES };

int infer_attention_states(infer_mixer_state state[INFER_STATES], const ttt_conf *conf, int block) {
    (void)block;
    static const char *const name[STATES] = {[KEYS] = "past_k", [VALUES] = "past_v"};
    for (int i = 0; i < STATES; i++) {
        state[i] = (infer_mixer_state){.name = name[i],
                                       .history = true,
                                       .placing = placing_of_keys(conf),
                                       .rank = 2,
                                       .dim = {conf_kv_heads(conf), conf_head_size(conf), 1}};
        infer_split_add(&state[i].split, 0, conf_kv_heads(conf), conf_kv_heads(conf),
                        "model.kv_heads");
    }
    return STATES;
}

ad_value infer_heads(const infer_context *c, ad_value x, ad_value weight) {
    if (!ad_is_value(x)) return AD_POISON;
    int64_t size = conf_head_size(c->conf), count = ad_last(ad_type_at(c->graph, x)) / size;
    ad_type type = AD_TYPE(c->real, c->batch, c->rows, count, size);
    return infer_norm(c, ad_reshape(c->graph, x, type), weight);
}

ad_value infer_turn(const infer_context *c, int block, ad_value x) {
    int kind = conf_block_is_full(c->conf, block);
    return ad_rope(c->graph, x, c->cosine[kind], c->sine[kind]);
}

ad_value infer_attend(const infer_context *c, int block, infer_memory *memory, ad_value q,
                      ad_value k, ad_value v) {
    int kind = conf_block_is_full(c->conf, block);
    bool past = !ad_is_none(memory->before[KEYS]);
    ad_attention_args args = {.q = ad_cast(c->graph, infer_turn(c, block, q), c->product),
                              .k = ad_cast(c->graph, infer_turn(c, block, k), c->product),
                              .v = ad_cast(c->graph, v, c->product),
                              .past_k = memory->before[KEYS],
                              .past_v = memory->before[VALUES],
                              .past_rows = past ? infer_vary(c, c->past_rows[kind]) : AD_NONE,
                              .window = kind == INFER_FULL ? c->past_capacity[kind] + c->rows
                                                           : conf_block_window(c->conf, block),
                              .scale = 1 / sqrt((double)conf_head_size(c->conf))};
    memory->after[KEYS] = args.k;
    memory->after[VALUES] = args.v;
    ad_value o = ad_attention(c->graph, &args, NULL);
    if (!ad_is_value(o)) return AD_POISON;
    int64_t rows = c->batch * c->rows;
    return ad_reshape(c->graph, o,
                      AD_TYPE(c->real, rows, ad_elements(ad_type_at(c->graph, o)) / rows));
}

static ad_value build(const infer_context *c, int block, infer_memory *memory, ad_value x) {
    ad_value w[ROLES];
    for (int i = 0; i < ROLES; i++) w[i] = infer_weight(c, block, &role[i]);
    x = infer_vary(c, x);
    ad_value q = infer_heads(c, infer_linear(c, x, w[WQ]), w[Q_NORM]);
    ad_value k = infer_heads(c, infer_linear(c, x, w[WK]), w[K_NORM]);
    ad_value v = infer_heads(c, infer_linear(c, x, w[WV]), AD_NONE);
    return infer_sum(c, infer_linear(c, infer_attend(c, block, memory, q, k, v), w[WO]));
}

/* Pairs of tokens (t, s), s <= t, t - s < window, of a sequence: within chunks, across chunks. */
static void visible_pairs(int64_t tokens, int64_t chunk, int64_t window, double *own,
                          double *past) {
    *own = *past = 0;
    for (int64_t t = 0; t < tokens; t++) {
        int64_t all = t + 1 < window ? t + 1 : window, in_chunk = t % chunk + 1;
        int64_t mine = all < in_chunk ? all : in_chunk;
        *own += (double)mine;
        *past += (double)(all - mine);
    }
}

/* Scores and values, 2 FLOPs each. */
double infer_attention_flops(const ttt_conf *conf, int block, int64_t chunk, bool above) {
    double own, past, pair = 4 * (double)(conf->model.heads * conf_head_size(conf));
    visible_pairs(conf->train.context, chunk, conf_block_window(conf, block), &own, &past);
    return pair * (above ? 12 * own + 8.5 * past : 3.5 * (own + past));
}

const infer_mixer infer_mixer_attention = {.letters = "sf",
                                           .name = "attention",
                                           .attends = true,
                                           .parameters = parameters,
                                           .states = infer_attention_states,
                                           .build = build,
                                           .flops = infer_attention_flops};
