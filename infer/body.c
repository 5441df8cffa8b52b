/* The two bodies: what a chunk of the prefix and what a chunk of the suffix computes, as graphs.
 * The suffix's is the method: it reads a chunk, and takes a step along the gradient of its loss. */
#include "infer/body.h"

#include <stdlib.h>

#include "autodiff/vjp.h"

void infer_part_begin(infer_part *part, const ttt_conf *conf, const infer_parameters *parameters,
                      int64_t batch, int64_t rows, int first, int last, int64_t tokens) {
    int count = parameters->count, states = INFER_STATES * (last - first);
    *part = (infer_part){.graph = ad_graph_create(), .parameters = parameters};
    part->weight = kern_array(count, sizeof *part->weight);
    part->constant = kern_array(count, sizeof *part->constant);
    part->constant_of = kern_array(count, sizeof *part->constant_of);
    part->dtype_of = kern_array(count, sizeof *part->dtype_of);
    part->carry = kern_array(count + states, sizeof *part->carry);
    part->history = kern_array(states, sizeof *part->history);
    for (int i = 0; i < count; i++) {
        part->weight[i] = AD_NONE;
        part->constant_of[i] = -1;
    }
    part->context = (infer_context){.graph = part->graph,
                                    .conf = conf,
                                    .real = infer_real(conf),
                                    .product = infer_product(conf),
                                    .batch = batch,
                                    .rows = rows,
                                    .ranks = parameters->ranks,
                                    .parameters = parameters,
                                    .weight = part->weight,
                                    .missing = AD_NONE,
                                    .valid = AD_NONE};
    infer_context_inputs(&part->context, first, last, tokens);
}

void infer_part_pad(infer_part *part) {
    infer_context *c = &part->context;
    c->valid = ad_input(part->graph, AD_TYPE(c->real, c->batch * c->rows, 1), "valid");
}

void infer_part_clear(infer_part *part) {
    ad_graph_destroy(part->graph);
    free(part->weight);
    free(part->constant);
    free(part->constant_of);
    free(part->dtype_of);
    free(part->carry);
    free(part->history);
}

/* ---- weights ---- */

/* A parameter as a differentiable input that all chunks share, in `dtype` if products read it. */
static ad_value constant(infer_part *part, const infer_parameter *p, kern_dtype dtype) {
    int index = (int)(p - part->parameters->item);
    if (!p->role->product) dtype = part->context.real;
    part->constant_of[index] = part->constants;
    part->dtype_of[index] = dtype;
    ad_type type = infer_placed(&part->context, ad_type_of(dtype, p->rank, p->dim), p->placing);
    return part->constant[part->constants++] = ad_input(part->graph, type, "%s", p->name);
}

/* A carry; those that begin as parameters come first. */
static infer_carry *add_carry(infer_part *part, ad_value in, int parameter) {
    int at = part->carries++;
    for (; parameter >= 0 && at > part->fast; at--) part->carry[at] = part->carry[at - 1];
    part->fast += parameter >= 0;
    part->carry[at] = (infer_carry){.in = in, .out = AD_NONE, .parameter = parameter};
    return &part->carry[at];
}

static ad_value fast_weight(infer_part *part, const infer_parameter *p) {
    int64_t dim[1 + INFER_AXES] = {part->context.batch};
    for (int axis = 0; axis < p->rank; axis++) dim[1 + axis] = p->dim[axis];
    ad_type type = ad_type_of(part->context.real, 1 + p->rank, dim);
    type = infer_placed(&part->context, type, p->placing);
    ad_value in = ad_input(part->graph, type, "theta.%s", p->name);
    return add_carry(part, in, (int)(p - part->parameters->item))->in;
}

static void add_weights(infer_part *part, int block) {
    const infer_parameters *all = part->parameters;
    for (int i = all->first[block]; i < all->first[block + 1]; i++) {
        const infer_parameter *p = &all->item[i];
        part->weight[i] = p->fast && part->inner ? fast_weight(part, p)
                                                 : constant(part, p, part->context.product);
    }
}

/* ---- blocks, and what their mixers hand on ---- */

/* A carry of each item; or the past rows that a chunk can see, AD_NONE where there are none. */
static ad_value state_before(infer_part *part, int block, const infer_mixer_state *state) {
    const infer_context *c = &part->context;
    int lead = state->history ? 2 : 1;
    int64_t dim[2 + INFER_AXES] = {c->batch, c->past_capacity[conf_block_is_full(c->conf, block)]};
    if (state->history && dim[1] <= 0) return AD_NONE;
    for (int axis = 0; axis < state->rank; axis++) dim[lead + axis] = state->dim[axis];
    ad_type type = ad_type_of(state->history ? c->product : c->real, lead + state->rank, dim);
    type = infer_placed(c, type, state->placing);
    return ad_input(part->graph, type, "%s.%d", state->name, block);
}

/* Whether the mixer set what is there after the rows, in the shape of what was there before. */
static bool is_handed_on(const ad_graph *g, const infer_memory *memory, int i) {
    return ad_is_value(memory->after[i]) &&
           ad_type_same(ad_type_at(g, memory->after[i]), ad_type_at(g, memory->before[i]));
}

static ad_value build_block(infer_part *part, int block, ad_value h) {
    const infer_context *c = &part->context;
    infer_mixer_state state[INFER_STATES];
    infer_memory memory;
    int states = infer_states_of(state, c->conf, block, c->ranks),
        kind = conf_block_is_full(c->conf, block);
    add_weights(part, block);
    for (int i = 0; i < states; i++) {
        memory.before[i] = state_before(part, block, &state[i]);
        memory.after[i] = AD_POISON;
    }
    h = infer_block(c, block, &memory, h);
    for (int i = 0; i < states; i++)
        if (!state[i].history) {
            ASSERT(ad_failed(part->graph) || is_handed_on(part->graph, &memory, i));
            add_carry(part, memory.before[i], -1)->out = memory.after[i];
        } else if (ad_is_value(memory.before[i]))
            part->history[part->histories++] =
                (ad_scan_history){memory.after[i], memory.before[i], c->past_rows[kind]};
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
    for (int f = 0; f < fast; f++) {
        bool varies = ad_type_at(g, theta[f]).varies;
        ad_value own = varies ? infer_vary(&part->context, factor) : factor;
        part->carry[f].out = ad_add(g, theta[f], ad_mul_repeat(g, gradient[f], own));
    }
    ad_scope_pop(g);
    free(theta);
    free(gradient);
    if (!ad_is_value(norm)) return AD_POISON;
    return ad_reshape(g, norm, AD_TYPE(real, part->context.batch, 1));
}

infer_tokens infer_add_tokens(infer_part *part, bool column, const char *name) {
    const infer_context *c = &part->context;
    int64_t rows = c->batch * c->rows;
    ad_type id = ad_type_of(KERN_I32, column ? 2 : 1, (int64_t[]){rows, 1});
    infer_tokens tokens = {.here = AD_NONE};
    tokens.id = ad_input(c->graph, infer_placed(c, id, INFER_PARTED), "%s", name);
    if (c->ranks > 1)
        tokens.here =
            ad_input(c->graph, ad_varying(AD_TYPE(c->real, rows, 1)), "%s that are here", name);
    return tokens;
}

ad_value infer_build_prefix(infer_part *part, int blocks, infer_tokens tokens) {
    ad_scope_push(part->graph, "prefix");
    ad_value table = constant(part, infer_parameter_of(part->parameters, &infer_embedding, -1),
                              part->context.real);
    ad_value h = ad_gather(part->graph, table, tokens.id);
    if (part->context.ranks > 1)
        h = infer_sum(&part->context, ad_mul_repeat(part->graph, h, tokens.here));
    for (int block = 0; block < blocks; block++) h = build_block(part, block, h);
    ad_scope_pop(part->graph);
    return h;
}

static ad_value head_weight(infer_part *part, const infer_role *role) {
    return constant(part, infer_parameter_of(part->parameters, role, -1), part->context.product);
}

static ad_value head_matrix(infer_part *part) {
    infer_context *c = &part->context;
    int64_t vocabulary = c->conf->model.vocab, own = kern_divide_up(vocabulary, c->ranks);
    if (vocabulary % c->ranks)
        c->missing = ad_input(c->graph, ad_varying(AD_TYPE(c->real, 1, own)), "missing columns");
    return head_weight(part, part->context.conf->model.tied ? &infer_embedding : &infer_lm_head);
}

infer_body infer_build_body(infer_part *part, int first, int blocks, ad_value h,
                            infer_tokens target, ad_value weight, ad_value rate) {
    const infer_context *c = &part->context;
    ad_graph *g = part->graph;
    infer_body body = {.gradient_norm = AD_NONE};
    ad_scope_push(g, "suffix");
    for (int block = first; block < blocks; block++) h = build_block(part, block, h);
    ad_value norm = head_weight(part, &infer_final_norm);
    ad_value head = head_matrix(part);
    infer_head_result result = infer_head(c, norm, head, h, target, weight);
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

kern_status infer_agree_plans(const kern_comm *tensor, uint64_t hash) {
    int64_t both[2] = {(int64_t)(hash >> 1), -(int64_t)(hash >> 1)};
    kern_status status = tensor ? tensor->agree_i64(tensor, both, 2, KERN_MIN) : KERN_OK;
    if (status != KERN_OK || both[0] == -both[1]) return status;
    return kern_fail(KERN_ERR_GRAPH,
                     "what the tensor-parallel ranks would do together differs from rank to rank; "
                     "configuration, program and threads must be the same on all");
}

void infer_own_tokens(int32_t *id, void *here, const ttt_conf *conf, const kern_comm *tensor,
                      const int32_t *token, int64_t count) {
    int64_t rows = kern_divide_up(conf->model.vocab, tensor->ranks);
    for (int64_t t = 0; t < count; t++) {
        int64_t own = token[t] - tensor->rank * rows;
        bool has = own >= 0 && own < rows;
        id[t] = has ? (int32_t)own : 0;
        kern_real_put(here, infer_real(conf), t, has);
    }
}

void infer_missing_columns(void *missing, const ttt_conf *conf, const kern_comm *tensor) {
    int64_t rows = kern_divide_up(conf->model.vocab, tensor->ranks);
    for (int64_t i = 0; i < rows; i++)
        kern_real_put(missing, infer_real(conf), i,
                      tensor->rank * rows + i < conf->model.vocab ? 0 : INFER_MISSING);
}

ad_value infer_build_logits(infer_part *part, int first, int blocks, ad_value h) {
    ad_scope_push(part->graph, "suffix");
    for (int block = first; block < blocks; block++) h = build_block(part, block, h);
    ad_value norm = head_weight(part, &infer_final_norm);
    ad_value head = head_matrix(part);
    ad_value logits = infer_head_logits(&part->context, norm, head, h);
    ad_scope_pop(part->graph);
    return logits;
}
