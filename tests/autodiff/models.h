/* Graphs to test plans on: a small model of the kind that the engine is for, with an inner gradient
 * and update and the derivative of both. */
#ifndef TESTS_AUTODIFF_MODELS_H
#define TESTS_AUTODIFF_MODELS_H

#include "tests/autodiff/world.h"

/* B items, C rows, D features, H heads and G key heads of size K, F hidden, V tokens, P past. */
typedef struct {
    int64_t b, c, d, h, g, k, f, v, p;
    int layers;
    kern_dtype product; /* operands of products */
} model_size;

enum { MODEL_LAYERS = 4, MODEL_PHI = 64 };

typedef struct {
    world *w;
    model_size size;
    ad_value x, target, cosine, sine, eta, past_rows;
    ad_value past[2 * MODEL_LAYERS], theta[2 * MODEL_LAYERS], phi[MODEL_PHI];
    int phis, thetas;
    /* of the body */
    ad_value loss, nll, norm, next[2 * MODEL_LAYERS], fresh[2 * MODEL_LAYERS];
    int first_vjp_node;
    /* of its vjp */
    ad_value ct_x, ct_theta[2 * MODEL_LAYERS], ct_phi[MODEL_PHI], ct_past[2 * MODEL_LAYERS];
} model;

static inline ad_value model_phi(model *m, ad_type type) {
    assert_true(m->phis < MODEL_PHI);
    return m->phi[m->phis++] = world_tensor(m->w, type, -0.5, 0.5);
}

static inline ad_value model_feed(model *m, ad_value a) {
    return ad_cast(m->w->graph, a, m->size.product);
}

static inline ad_value model_linear(model *m, ad_value x, int64_t in, int64_t out) {
    ad_value weight = model_phi(m, AD_TYPE(m->w->real, in, out));
    return ad_linear(m->w->graph, model_feed(m, x), model_feed(m, weight));
}

static inline ad_value model_norm(model *m, ad_value x) {
    return ad_rms_norm(m->w->graph, x, model_phi(m, AD_TYPE(m->w->real, m->size.d)), 1e-5);
}

/* Keys or values, or queries with `heads` heads. */
static inline ad_value model_heads(model *m, ad_value x, int64_t heads, bool rope) {
    model_size s = m->size;
    ad_graph *graph = m->w->graph;
    ad_value y = model_linear(m, x, s.d, heads * s.k);
    y = ad_reshape(graph, y, AD_TYPE(m->w->real, s.b, s.c, heads, s.k));
    return model_feed(m, rope ? ad_rope(graph, y, m->cosine, m->sine) : y);
}

static inline ad_value model_attention(model *m, ad_value x, int layer) {
    model_size s = m->size;
    ad_graph *graph = m->w->graph;
    ad_type past = AD_TYPE(s.product, s.b, s.p, s.g, s.k);
    ad_scope_push(graph, "attention");
    ad_attention_args args = {.q = model_heads(m, x, s.h, true),
                              .k = model_heads(m, x, s.g, true),
                              .v = model_heads(m, x, s.g, false),
                              .past_k = world_tensor(m->w, past, -1, 1),
                              .past_v = world_tensor(m->w, past, -1, 1),
                              .past_rows = m->past_rows,
                              .window = s.p,
                              .scale = 0.5};
    m->past[2 * layer] = args.past_k;
    m->past[2 * layer + 1] = args.past_v;
    m->fresh[2 * layer] = args.k;
    m->fresh[2 * layer + 1] = args.v;
    ad_value o = ad_attention(graph, &args, NULL);
    o = ad_reshape(graph, o, AD_TYPE(m->w->real, s.b * s.c, s.h * s.k));
    o = model_linear(m, o, s.h * s.k, s.d);
    ad_scope_pop(graph);
    return o;
}

/* The fast weights: one matrix for each item. */
static inline ad_value model_fast(model *m, ad_value x) {
    model_size s = m->size;
    ad_graph *graph = m->w->graph;
    ad_scope_push(graph, "fast");
    ad_value *theta = &m->theta[m->thetas];
    m->thetas += 2;
    theta[0] = world_tensor(m->w, AD_TYPE(m->w->real, s.b, s.d, s.f), -0.5, 0.5);
    theta[1] = world_tensor(m->w, AD_TYPE(m->w->real, s.b, s.f, s.d), -0.5, 0.5);
    ad_value y = ad_reshape(graph, x, AD_TYPE(m->w->real, s.b, s.c, s.d));
    y = ad_matmul(graph, model_feed(m, y), model_feed(m, theta[0]), false, false);
    y = ad_silu(graph, y);
    y = ad_matmul(graph, model_feed(m, y), model_feed(m, theta[1]), false, false);
    ad_scope_pop(graph);
    return ad_reshape(graph, y, AD_TYPE(m->w->real, s.b * s.c, s.d));
}

static inline ad_value model_block(model *m, ad_value x, int layer) {
    ad_graph *graph = m->w->graph;
    ad_scope_push(graph, "block.%d", layer);
    x = ad_add(graph, x, model_attention(m, model_norm(m, x), layer));
    ad_value y = model_norm(m, x);
    ad_value gate = ad_silu(graph, model_linear(m, y, m->size.d, m->size.f));
    ad_value hidden = ad_mul(graph, gate, model_linear(m, y, m->size.d, m->size.f));
    x = ad_add(graph, x, model_linear(m, hidden, m->size.f, m->size.d));
    x = ad_add(graph, x, model_fast(m, model_norm(m, x)));
    ad_scope_pop(graph);
    return x;
}

static inline void model_head(model *m, ad_value x) {
    model_size s = m->size;
    ad_graph *graph = m->w->graph;
    ad_value logits = model_linear(m, model_norm(m, x), s.d, s.v);
    m->nll = ad_cross_entropy(graph, logits, m->target);
    ad_value by_item = ad_reshape(graph, m->nll, AD_TYPE(m->w->real, s.b, s.c, 1));
    m->loss = ad_scale(graph, ad_sum(graph, by_item, 2), 1.0 / (double)s.c);
}

/* theta' = theta - eta clip(gradient) */
static inline void model_update(model *m) {
    ad_graph *graph = m->w->graph;
    ad_value gradient[2 * MODEL_LAYERS];
    ad_scope_push(graph, "update");
    ad_value one = ad_fill(graph, ad_type_at(graph, m->loss), 1);
    ad_vjp(graph, 1, &m->loss, &one, m->thetas, m->theta, gradient);
    ad_value factor = ad_clip_factor(graph, m->thetas, gradient, 0.5, &m->norm);
    factor = ad_mul_repeat(graph, factor, ad_reshape(graph, m->eta, AD_TYPE(m->w->real, 1, 1, 1)));
    for (int i = 0; i < m->thetas; i++)
        m->next[i] = ad_sub(graph, m->theta[i], ad_mul_repeat(graph, gradient[i], factor));
    ad_scope_pop(graph);
}

static inline void model_body(model *m, world *w, model_size size) {
    memset(m, 0, sizeof *m);
    m->w = w;
    m->size = size;
    m->x = world_tensor(w, AD_TYPE(w->real, size.b * size.c, size.d), -1, 1);
    m->target = world_tensor(w, AD_TYPE(KERN_I32, size.b * size.c, 1), 0, (double)size.v);
    m->cosine = world_tensor(w, AD_TYPE(w->real, size.c, size.k), -1, 1);
    m->sine = world_tensor(w, AD_TYPE(w->real, size.c, size.k), -1, 1);
    m->eta = world_tensor(w, AD_TYPE(w->real, 1), 0.1, 0.2);
    double used = (double)size.p - 1;
    m->past_rows = world_tensor(w, AD_TYPE(KERN_I32, 1), used, used + 0.5);
    ad_value x = m->x;
    for (int layer = 0; layer < size.layers; layer++) x = model_block(m, x, layer);
    model_head(m, x);
    model_update(m);
}

/* The vjp of the body, from cotangents of theta' and of the loss. */
static inline void model_vjp(model *m) {
    world *w = m->w;
    ad_value output[2 * MODEL_LAYERS + 1], ct[2 * MODEL_LAYERS + 1];
    ad_value wrt[WORLD_INPUTS], result[WORLD_INPUTS];
    int outputs = 0, wrts = 0;
    m->first_vjp_node = ad_nodes(w->graph);
    for (int i = 0; i < m->thetas; i++) output[outputs++] = m->next[i];
    output[outputs++] = m->loss;
    for (int i = 0; i < outputs; i++)
        ct[i] = world_tensor(w, ad_type_at(w->graph, output[i]), -0.1, 0.1);
    wrt[wrts++] = m->x;
    for (int i = 0; i < m->thetas; i++) wrt[wrts++] = m->theta[i];
    for (int i = 0; i < m->phis; i++) wrt[wrts++] = m->phi[i];
    for (int i = 0; i < 2 * m->size.layers; i++) wrt[wrts++] = m->past[i];
    ad_vjp(w->graph, outputs, output, ct, wrts, wrt, result);
    if (ad_graph_status(w->graph) != KERN_OK) fail_msg("%s", kern_error());
    const ad_value *at = result;
    m->ct_x = *at++;
    for (int i = 0; i < m->thetas; i++) m->ct_theta[i] = *at++;
    for (int i = 0; i < m->phis; i++) m->ct_phi[i] = *at++;
    for (int i = 0; i < 2 * m->size.layers; i++) m->ct_past[i] = *at++;
}

/* What a scan would ask of the two plans. Returns the number of outputs. */
static inline int model_outputs(const model *m, bool body, bool vjp, ad_plan_output *output) {
    int n = 0;
    for (int i = 0; i < m->thetas && body; i++)
        output[n++] = (ad_plan_output){m->next[i], AD_WRITE};
    for (int i = 0; i < 2 * m->size.layers && body; i++)
        output[n++] = (ad_plan_output){m->fresh[i], AD_WRITE};
    if (body) {
        output[n++] = (ad_plan_output){m->loss, AD_WRITE};
        output[n++] = (ad_plan_output){m->nll, AD_WRITE};
        output[n++] = (ad_plan_output){m->norm, AD_WRITE};
    }
    if (!vjp) return n;
    output[n++] = (ad_plan_output){m->ct_x, AD_WRITE};
    for (int i = 0; i < m->thetas; i++) output[n++] = (ad_plan_output){m->ct_theta[i], AD_WRITE};
    for (int i = 0; i < m->phis; i++) output[n++] = (ad_plan_output){m->ct_phi[i], AD_ADD};
    for (int i = 0; i < 2 * m->size.layers; i++)
        output[n++] = (ad_plan_output){m->ct_past[i], AD_ADD};
    return n;
}

static const model_size model_tiny = {2, 3, 6, 4, 2, 2, 7, 11, 5, 2, KERN_F64};
static const model_size model_small = {2, 33, 64, 4, 2, 16, 96, 257, 50, 2, KERN_F32};

#endif
