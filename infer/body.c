/* The two bodies: what a chunk of the prefix and what a chunk of the suffix computes, as graphs.
 * The suffix's is the method: it reads a chunk, and takes a step along the gradient of its loss. */
#include <stdlib.h>

#include "autodiff/vjp.h"
#include "infer/model_state.h"

static void *array(int64_t count, size_t item) {
    void *memory = calloc((size_t)count + 1, item);
    ASSERT(memory);
    return memory;
}

/* A parameter as a differentiable input that all chunks share; AD_NONE if the model has none. */
static ad_value constant(infer_model *model, model_part *part, infer_role role, int block,
                         kern_dtype dtype) {
    const infer_parameter *p = infer_parameter_of(model->parameters, role, block);
    if (!p) return AD_NONE;
    int index = (int)(p - model->parameters->item);
    if (p->rank == 1) dtype = model->real;
    part->constant_of[index] = part->constants;
    part->dtype_of[index] = dtype;
    return part->constant[part->constants++] =
               ad_input(part->graph, ad_type_of(dtype, p->rank, p->dim), "%s", p->name);
}

static bool is_carried(const infer_model *model, const infer_parameter *p) {
    return p && p->fast && model->spec.inner;
}

static infer_weights block_weights(infer_model *model, model_part *part, int block,
                                   ad_scan_carry *carry) {
    infer_weights weights;
    for (int role = 0; role < INFER_ROLES; role++) {
        weights.of[role] = AD_NONE;
        if (role < INFER_ATTN_NORM) continue; /* not of a block */
        const infer_parameter *p = infer_parameter_of(model->parameters, (infer_role)role, block);
        if (!is_carried(model, p)) {
            weights.of[role] = constant(model, part, (infer_role)role, block, model->product);
            continue;
        }
        ad_type type = AD_TYPE(model->real, model->spec.batch, p->dim[0], p->dim[1]);
        weights.of[role] = ad_input(part->graph, type, "theta.%s", p->name);
        model->fast_parameter[model->fast] = (int)(p - model->parameters->item);
        carry[model->fast++].in = weights.of[role];
    }
    return weights;
}

static ad_value build_block(infer_model *model, model_part *part, int block, ad_scan_carry *carry,
                            ad_value h) {
    const infer_context *c = &part->context;
    int kind = conf_block_is_full(c->conf, block);
    infer_weights weights = block_weights(model, part, block, carry);
    infer_cache cache = {AD_NONE, AD_NONE, AD_NONE, AD_NONE};
    bool attends = c->conf->model.attention != CONF_ATTN_NONE;
    bool past = attends && c->past_capacity[kind] > 0;
    if (past) {
        ad_type type = AD_TYPE(c->product, c->batch, c->past_capacity[kind], conf_kv_heads(c->conf),
                               conf_head_size(c->conf));
        cache.past_k = ad_input(c->graph, type, "past_k.%d", block);
        cache.past_v = ad_input(c->graph, type, "past_v.%d", block);
    }
    h = infer_block(c, block, &weights, &cache, h);
    if (past) {
        part->history[part->histories++] =
            (ad_scan_history){cache.fresh_k, cache.past_k, c->past_rows[kind]};
        part->history[part->histories++] =
            (ad_scan_history){cache.fresh_v, cache.past_v, c->past_rows[kind]};
    }
    return h;
}

/* theta - rate * c(g), with c the clip by the joint norm of the item's gradient. */
static ad_value inner_step(infer_model *model, ad_scan_carry *carry, ad_value h, ad_value ct_h) {
    ad_graph *g = model->suffix.graph;
    int fast = model->fast;
    ad_value *theta = array(fast, sizeof *theta), *gradient = array(fast, sizeof *gradient),
             norm = AD_POISON;
    for (int f = 0; f < fast; f++) theta[f] = carry[f].in;
    ad_vjp(g, 1, &h, &ct_h, fast, theta, gradient);
    ad_scope_push(g, "inner_step");
    for (int f = 0; f < fast && model->spec.first_order; f++)
        gradient[f] = ad_stop_gradient(g, gradient[f]);
    ad_value factor = ad_clip_factor(g, fast, gradient, model->spec.conf->inner.clip, &norm);
    if (ad_is_value(factor)) {
        ad_value one = ad_reshape(g, model->rate, AD_TYPE(model->real, 1, 1, 1));
        factor = ad_mul_repeat(g, factor, one);
    }
    for (int f = 0; f < fast; f++)
        carry[f].out = ad_sub(g, theta[f], ad_mul_repeat(g, gradient[f], factor));
    ad_scope_pop(g);
    free(theta);
    free(gradient);
    if (!ad_is_value(norm)) return AD_POISON;
    return ad_reshape(g, norm, AD_TYPE(model->real, model->spec.batch, 1));
}

ad_value infer_build_prefix(infer_model *model, int blocks, ad_value tokens) {
    model_part *part = &model->prefix;
    ad_scope_push(part->graph, "prefix");
    ad_value table = constant(model, part, INFER_EMBED, -1, model->real);
    ad_value h = ad_gather(part->graph, table, tokens);
    for (int block = 0; block < blocks; block++) h = build_block(model, part, block, NULL, h);
    ad_scope_pop(part->graph);
    return h;
}

infer_body infer_build_body(infer_model *model, int first, int blocks, ad_scan_carry *carry,
                            ad_value h, ad_value target, ad_value weight) {
    model_part *part = &model->suffix;
    const ttt_conf *conf = model->spec.conf;
    ad_graph *g = part->graph;
    bool tied = conf->model.tied;
    infer_body body = {.gradient_norm = AD_NONE};
    ad_scope_push(g, "suffix");
    for (int block = first; block < blocks; block++) h = build_block(model, part, block, carry, h);
    ad_value norm = constant(model, part, INFER_FINAL_NORM, -1, model->real);
    ad_value head = constant(model, part, tied ? INFER_EMBED : INFER_LM_HEAD, -1, model->product);
    infer_head_result result = infer_head(&part->context, norm, head, tied, h, target, weight);
    body.nll = result.nll;
    body.loss = ad_row_sum(g, ad_reshape(g, ad_mul(g, result.nll, weight),
                                         AD_TYPE(model->real, model->spec.batch, part->chunk)));
    if (model->fast) body.gradient_norm = inner_step(model, carry, h, result.ct_h);
    ad_scope_pop(g);
    return body;
}
