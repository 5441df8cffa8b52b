/* The two bodies: what a chunk of the prefix and what a chunk of the suffix computes, as graphs.
 * The suffix's is the method: it reads a chunk, and takes a step along the gradient of its loss. */
#include "infer/body.h"

#include <stdlib.h>
#include <string.h>

#include "autodiff/vjp.h"

void infer_part_begin(infer_part *part, const ttt_conf *conf, const infer_parameters *parameters,
                      int64_t batch, int64_t rows, int first, int last, int64_t tokens) {
    int count = parameters->count;
    *part = (infer_part){.graph = ad_graph_create(), .parameters = parameters};
    part->constant = kern_array(count, sizeof *part->constant);
    part->constant_of = kern_array(count, sizeof *part->constant_of);
    part->dtype_of = kern_array(count, sizeof *part->dtype_of);
    part->fast_parameter = kern_array(count, sizeof *part->fast_parameter);
    part->carry = kern_array(count, sizeof *part->carry);
    part->history = kern_array(2 * (int64_t)(last - first), sizeof *part->history);
    memset(part->constant_of, -1, (size_t)count * sizeof *part->constant_of);
    part->context = (infer_context){.graph = part->graph,
                                    .conf = conf,
                                    .real = infer_real(conf),
                                    .product = infer_product(conf),
                                    .batch = batch,
                                    .rows = rows};
    infer_context_inputs(&part->context, first, last, tokens);
}

void infer_part_clear(infer_part *part) {
    ad_graph_destroy(part->graph);
    free(part->constant);
    free(part->constant_of);
    free(part->dtype_of);
    free(part->fast_parameter);
    free(part->carry);
    free(part->history);
}

/* A parameter as a differentiable input that all chunks share; AD_NONE if the model has none. */
static ad_value constant(infer_part *part, infer_role role, int block, kern_dtype dtype) {
    const infer_parameter *p = infer_parameter_of(part->parameters, role, block);
    if (!p) return AD_NONE;
    int index = (int)(p - part->parameters->item);
    if (p->rank == 1) dtype = part->context.real;
    part->constant_of[index] = part->constants;
    part->dtype_of[index] = dtype;
    return part->constant[part->constants++] =
               ad_input(part->graph, ad_type_of(dtype, p->rank, p->dim), "%s", p->name);
}

static infer_weights block_weights(infer_part *part, int block) {
    infer_weights weights;
    for (int role = 0; role < INFER_ROLES; role++) {
        weights.of[role] = AD_NONE;
        if (role < INFER_ATTN_NORM) continue; /* not of a block */
        const infer_parameter *p = infer_parameter_of(part->parameters, (infer_role)role, block);
        if (!p || !p->fast || !part->inner) {
            weights.of[role] = constant(part, (infer_role)role, block, part->context.product);
            continue;
        }
        ad_type type = AD_TYPE(part->context.real, part->context.batch, p->dim[0], p->dim[1]);
        weights.of[role] = ad_input(part->graph, type, "theta.%s", p->name);
        part->fast_parameter[part->fast] = (int)(p - part->parameters->item);
        part->carry[part->fast++].in = weights.of[role];
    }
    return weights;
}

static ad_value build_block(infer_part *part, int block, ad_value h) {
    const infer_context *c = &part->context;
    int kind = conf_block_is_full(c->conf, block);
    infer_weights weights = block_weights(part, block);
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
static ad_value inner_step(infer_part *part, ad_value h, ad_value ct_h, ad_value rate) {
    ad_graph *g = part->graph;
    kern_dtype real = part->context.real;
    int fast = part->fast;
    ad_value *theta = kern_array(fast, sizeof *theta),
             *gradient = kern_array(fast, sizeof *gradient), norm = AD_POISON;
    for (int f = 0; f < fast; f++) theta[f] = part->carry[f].in;
    ad_vjp(g, 1, &h, &ct_h, fast, theta, gradient);
    ad_scope_push(g, "inner_step");
    for (int f = 0; f < fast && part->first_order; f++)
        gradient[f] = ad_stop_gradient(g, gradient[f]);
    ad_value factor = ad_clip_factor(g, fast, gradient, part->context.conf->inner.clip, &norm);
    if (ad_is_value(factor)) {
        ad_value one = ad_reshape(g, rate, AD_TYPE(real, 1, 1, 1));
        factor = ad_neg(g, ad_mul_repeat(g, factor, one)); /* so that no cotangent is negated */
    }
    for (int f = 0; f < fast; f++)
        part->carry[f].out = ad_add(g, theta[f], ad_mul_repeat(g, gradient[f], factor));
    ad_scope_pop(g);
    free(theta);
    free(gradient);
    if (!ad_is_value(norm)) return AD_POISON;
    return ad_reshape(g, norm, AD_TYPE(real, part->context.batch, 1));
}

ad_value infer_build_prefix(infer_part *part, int blocks, ad_value tokens) {
    ad_scope_push(part->graph, "prefix");
    ad_value table = constant(part, INFER_EMBED, -1, part->context.real);
    ad_value h = ad_gather(part->graph, table, tokens);
    for (int block = 0; block < blocks; block++) h = build_block(part, block, h);
    ad_scope_pop(part->graph);
    return h;
}

static ad_value head_matrix(infer_part *part) {
    infer_role role = part->context.conf->model.tied ? INFER_EMBED : INFER_LM_HEAD;
    return constant(part, role, -1, part->context.product);
}

infer_body infer_build_body(infer_part *part, int first, int blocks, ad_value h, ad_value target,
                            ad_value weight, ad_value rate) {
    const infer_context *c = &part->context;
    ad_graph *g = part->graph;
    infer_body body = {.gradient_norm = AD_NONE};
    ad_scope_push(g, "suffix");
    for (int block = first; block < blocks; block++) h = build_block(part, block, h);
    ad_value norm = constant(part, INFER_FINAL_NORM, -1, c->real);
    infer_head_result result = infer_head(c, norm, head_matrix(part), h, target, weight);
    body.nll = result.nll;
    body.loss = ad_row_sum(
        g, ad_reshape(g, ad_mul(g, result.nll, weight), AD_TYPE(c->real, c->batch, c->rows)));
    if (part->fast) body.gradient_norm = inner_step(part, h, result.ct_h, rate);
    ad_scope_pop(g);
    return body;
}

void infer_chunk_weights(void *weight, const ttt_conf *conf, const int32_t *target, int64_t count) {
    kern_dtype real = infer_real(conf);
    int32_t bos = (int32_t)conf->model.bos;
    int64_t counted = 0;
    for (int64_t t = 0; t < count; t++) counted += target[t] != bos;
    for (int64_t t = 0; t < count; t++)
        kern_real_put(weight, real, t, target[t] == bos ? 0 : 1 / (double)counted);
}

ad_value infer_build_logits(infer_part *part, int first, int blocks, ad_value h) {
    ad_scope_push(part->graph, "suffix");
    for (int block = first; block < blocks; block++) h = build_block(part, block, h);
    ad_value norm = constant(part, INFER_FINAL_NORM, -1, part->context.real);
    ad_value logits = infer_head_logits(&part->context, norm, head_matrix(part), h);
    ad_scope_pop(part->graph);
    return logits;
}
