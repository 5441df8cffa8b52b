#include "infer/block.h"

#include <math.h>
#include <stdlib.h>

#include "autodiff/vjp.h"

kern_dtype infer_real(const ttt_conf *conf) {
    return conf->train.precision == CONF_F64 ? KERN_F64 : KERN_F32;
}

kern_dtype infer_product(const ttt_conf *conf) {
    return conf->train.precision == CONF_BF16 ? KERN_BF16 : infer_real(conf);
}

static double rope_theta(const ttt_conf *conf, int kind) {
    for (int64_t block = 0; block < conf->model.blocks; block++)
        if (conf_block_is_full(conf, block) == (kind == INFER_FULL))
            return conf_block_rope_theta(conf, block);
    return 1;
}

void infer_rope_table(void *cosine, void *sine, const ttt_conf *conf, int kind, int64_t first,
                      int64_t rows) {
    int64_t size = conf_head_size(conf);
    double theta = rope_theta(conf, kind), *frequency = kern_array(size, sizeof *frequency);
    kern_dtype real = infer_real(conf);
    for (int64_t i = 0; i < size; i += 2) frequency[i] = pow(theta, -(double)i / (double)size);
#pragma omp parallel for schedule(static) if (rows >= 64)
    for (int64_t t = 0; t < rows; t++)
        for (int64_t i = 0; i < size; i += 2) {
            double angle = (double)(first + t) * frequency[i], c = cos(angle), s = sin(angle);
            for (int64_t at = t * size + i; at < t * size + i + 2; at++) {
                kern_real_put(cosine, real, at, c);
                kern_real_put(sine, real, at, s);
            }
        }
    free(frequency);
}

void infer_context_inputs(infer_context *c, int first, int last, int64_t tokens) {
    int64_t size = conf_head_size(c->conf);
    for (int kind = 0; kind < INFER_KINDS; kind++)
        c->cosine[kind] = c->sine[kind] = c->past_rows[kind] = AD_NONE;
    for (int block = first; block < last; block++) {
        int kind = conf_block_is_full(c->conf, block);
        if (c->conf->model.attention == CONF_ATTN_NONE || ad_is_value(c->cosine[kind])) continue;
        const char *name = kind == INFER_FULL ? "full" : "window";
        int64_t window = kind == INFER_FULL ? tokens : conf_block_window(c->conf, block);
        c->cosine[kind] = ad_input(c->graph, AD_TYPE(c->real, c->rows, size), "rope.cos.%s", name);
        c->sine[kind] = ad_input(c->graph, AD_TYPE(c->real, c->rows, size), "rope.sin.%s", name);
        c->past_capacity[kind] = kern_min(window - 1, tokens - c->rows);
        if (c->past_capacity[kind] > 0)
            c->past_rows[kind] = ad_scalar(c->graph, KERN_I32, "past_rows.%s", name);
    }
}

static ad_value norm(const infer_context *c, ad_value x, ad_value weight) {
    return ad_is_none(weight) ? x : ad_rms_norm(c->graph, x, weight, c->conf->model.norm_eps);
}

/* x [R, in] times a weight [in, out], or [B, in, out] by item. */
static ad_value linear(const infer_context *c, ad_value x, ad_value w) {
    ad_value rounded = ad_cast(c->graph, x, c->product);
    if (!ad_is_value(rounded) || !ad_is_value(w)) return AD_POISON;
    ad_type weight = ad_type_at(c->graph, w);
    if (weight.rank == 2) return ad_linear(c->graph, rounded, w);
    ad_type items = AD_TYPE(c->product, c->batch, c->rows, weight.dim[1]);
    ad_value y = ad_matmul(c->graph, ad_reshape(c->graph, rounded, items),
                           ad_cast(c->graph, w, c->product), false, false);
    return ad_reshape(c->graph, y, AD_TYPE(c->real, c->batch * c->rows, weight.dim[2]));
}

/* Rows x split into heads, normalised and turned to their positions: [B, C, heads, K]. */
static ad_value heads(const infer_context *c, ad_value x, int64_t count, ad_value weight, int kind,
                      bool turn) {
    ad_type type = AD_TYPE(c->real, c->batch, c->rows, count, conf_head_size(c->conf));
    ad_value split = norm(c, ad_reshape(c->graph, x, type), weight);
    if (turn) split = ad_rope(c->graph, split, c->cosine[kind], c->sine[kind]);
    return ad_cast(c->graph, split, c->product);
}

static ad_value attend(const infer_context *c, int block, const infer_weights *w,
                       infer_cache *cache, ad_value x) {
    ad_graph *g = c->graph;
    const conf_model *m = &c->conf->model;
    int64_t size = conf_head_size(c->conf), groups = conf_kv_heads(c->conf);
    int kind = conf_block_is_full(c->conf, block);
    ad_attention_args args = {
        .q = heads(c, linear(c, x, w->of[INFER_WQ]), m->heads, w->of[INFER_Q_NORM], kind, true),
        .k = heads(c, linear(c, x, w->of[INFER_WK]), groups, w->of[INFER_K_NORM], kind, true),
        .v = heads(c, linear(c, x, w->of[INFER_WV]), groups, AD_NONE, kind, false),
        .past_k = cache->past_k,
        .past_v = cache->past_v,
        .past_rows = ad_is_none(cache->past_k) ? AD_NONE : c->past_rows[kind],
        .window = kind == INFER_FULL ? c->past_capacity[kind] + c->rows
                                     : conf_block_window(c->conf, block),
        .scale = 1 / sqrt((double)size)};
    cache->fresh_k = args.k;
    cache->fresh_v = args.v;
    ad_value o = ad_attention(g, &args, NULL);
    o = ad_reshape(g, o, AD_TYPE(c->real, c->batch * c->rows, m->heads * size));
    return linear(c, o, w->of[INFER_WO]);
}

static ad_value swiglu(const infer_context *c, ad_value x, ad_value w1, ad_value w2, ad_value w3) {
    ad_value gate = ad_silu(c->graph, linear(c, x, w1));
    return linear(c, ad_mul(c->graph, gate, linear(c, x, w3)), w2);
}

/* h + post(mlp(pre(h))) with the MLP whose first role is `role`. */
static ad_value mlp(const infer_context *c, const infer_weights *w, infer_role role, ad_value h) {
    ad_value x = norm(c, h, w->of[role]);
    ad_value y = swiglu(c, x, w->of[role + 1], w->of[role + 2], w->of[role + 3]);
    return ad_add(c->graph, h, norm(c, y, w->of[role + 4]));
}

ad_value infer_block(const infer_context *c, int block, const infer_weights *w, infer_cache *cache,
                     ad_value h) {
    ad_graph *g = c->graph;
    ad_scope_push(g, "block.%d", block);
    if (c->conf->model.attention != CONF_ATTN_NONE) {
        ad_scope_push(g, "attn");
        ad_value x = norm(c, h, w->of[INFER_ATTN_NORM]);
        h = ad_add(g, h, norm(c, attend(c, block, w, cache, x), w->of[INFER_ATTN_POST_NORM]));
        ad_scope_pop(g);
    }
    if (!ad_is_none(w->of[INFER_FAST_W1])) {
        ad_scope_push(g, "fast");
        h = mlp(c, w, INFER_FAST_NORM, h);
        ad_scope_pop(g);
    }
    ad_scope_push(g, "mlp");
    h = mlp(c, w, INFER_MLP_NORM, h);
    ad_scope_pop(g);
    ad_scope_pop(g);
    return h;
}

ad_value infer_head_logits(const infer_context *c, ad_value weight, ad_value head, ad_value h) {
    ad_value x = ad_cast(c->graph, norm(c, h, weight), c->product);
    return ad_matmul(c->graph, x, head, false, c->conf->model.tied);
}

infer_head_result infer_head(const infer_context *c, ad_value weight, ad_value head, ad_value h,
                             ad_value target, ad_value factor) {
    ad_graph *g = c->graph;
    int64_t rows = c->batch * c->rows, vocabulary = c->conf->model.vocab;
    int64_t most = c->slice_elements ? c->slice_elements : rows * vocabulary;
    int64_t slices = kern_min(kern_divide_up(rows * vocabulary, most), rows);
    infer_head_result result = {AD_NONE, AD_NONE};
    ad_scope_push(g, "head");
    for (int64_t s = 0; s < slices; s++) {
        int64_t first = rows * s / slices, count = rows * (s + 1) / slices - first;
        ad_value part = ad_slice(g, h, 0, first, count);
        ad_value logits = infer_head_logits(c, weight, head, part);
        ad_value nll = ad_cross_entropy(g, logits, ad_slice(g, target, 0, first, count));
        ad_value ct = ad_slice(g, factor, 0, first, count), ct_part = AD_NONE;
        ad_vjp(g, 1, &nll, &ct, 1, &part, &ct_part);
        nll = ad_pad(g, nll, 0, first, rows);
        ct_part = ad_pad(g, ct_part, 0, first, rows);
        result.nll = s ? ad_add(g, result.nll, nll) : nll;
        result.ct_h = s ? ad_add(g, result.ct_h, ct_part) : ct_part;
    }
    ad_scope_pop(g);
    return result;
}
