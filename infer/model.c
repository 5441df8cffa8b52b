/* A model out of its two bodies: their inputs, and the scans over them. */
#include "infer/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "infer/mixer.h"
#include "infer/model_state.h"

/* Whether pieces of so many rows are chunks of the mixers, or parts of one. */
static bool fits(int64_t own, int64_t rows) {
    return !own || rows % own == 0 || own % rows == 0;
}

/* Rows that the prefix reads at a time: enough for fast products, few enough for a cache. */
static int64_t prefix_chunk(const infer_model *model) {
    int64_t tokens = model->spec.tokens, own = infer_mixer_chunk(model->spec.conf);
    int64_t most =
        kern_max((int64_t)model->spec.device->machine->piece_rows / model->spec.batch, 128);
    if (own >= 64 && tokens % own == 0) return own; /* one update each */
    for (int64_t rows = most < tokens ? most : tokens; rows >= 64; rows--)
        if (tokens % rows == 0 && fits(own, rows)) return rows;
    return tokens;
}

int64_t infer_chunk(const ttt_conf *conf, int64_t tokens) {
    int64_t chunk = conf->inner.chunk;
    return tokens % chunk || !fits(infer_mixer_chunk(conf), chunk) ? tokens : chunk;
}

static void begin_part(infer_model *model, model_part *part, int64_t chunk, int first, int last) {
    infer_part_begin(&part->body, model->spec.conf, model->parameters, model->spec.batch, chunk,
                     first, last, model->spec.tokens);
    part->body.inner = model->spec.inner;
    part->body.first_order = model->spec.first_order;
    part->body.context.slice_elements = (int64_t)model->spec.device->machine->slice_elements;
}

static int add_slice(model_part *part, ad_value value, bool batched, bool differentiable) {
    ASSERT(part->slices < MODEL_SLICES);
    part->slice[part->slices] = (ad_scan_slice){value, batched, differentiable};
    return part->slices++;
}

/* The tokens and, in the slice behind theirs, which of them the rank has. */
static int add_tokens(model_part *part, infer_tokens tokens) {
    int slice = add_slice(part, tokens.id, true, false);
    if (ad_is_value(tokens.here)) add_slice(part, tokens.here, true, false);
    return slice;
}

static void add_tables(model_part *part) {
    for (int kind = 0; kind < INFER_KINDS; kind++) {
        part->cosine_slice[kind] = part->sine_slice[kind] = -1;
        if (ad_is_none(part->body.context.cosine[kind])) continue;
        part->cosine_slice[kind] = add_slice(part, part->body.context.cosine[kind], false, false);
        part->sine_slice[kind] = add_slice(part, part->body.context.sine[kind], false, false);
    }
}

static ad_scan_spec scan_spec(const infer_model *model, model_part *part) {
    part->carry = kern_array(part->body.carries, sizeof *part->carry);
    for (int c = 0; c < part->body.carries; c++) {
        const infer_carry *from = &part->body.carry[c];
        part->carry[c] = (ad_scan_carry){from->in, from->out, .zero = from->parameter < 0};
    }
    return (ad_scan_spec){.graph = part->body.graph,
                          .batch = model->spec.batch,
                          .chunk = part->body.context.rows,
                          .chunks = model->spec.tokens / part->body.context.rows,
                          .carries = part->body.carries,
                          .carry = part->carry,
                          .constants = part->body.constants,
                          .constant = part->body.constant,
                          .slices = part->slices,
                          .slice = part->slice,
                          .histories = part->body.histories,
                          .history = part->body.history,
                          .loss = AD_NONE,
                          .backward = model->spec.backward,
                          .device = model->spec.device,
                          .comm = model->spec.tensor,
                          .threads = model->spec.threads,
                          .debug = model->spec.debug};
}

/* tokens [B, T] -> rows [B, T, D] */
static kern_status create_prefix(infer_model *model, int blocks) {
    model_part *part = &model->prefix;
    int64_t chunk = prefix_chunk(model);
    begin_part(model, part, chunk, 0, blocks);
    infer_tokens tokens = infer_add_tokens(&part->body, false, "tokens");
    model->tokens_slice = add_tokens(part, tokens);
    add_tables(part);
    ad_value rows = infer_build_prefix(&part->body, blocks, tokens);
    ad_scan_output output = {.value = rows, .by_row = true, .differentiable = true};
    ad_scan_spec spec = scan_spec(model, part);
    spec.outputs = 1;
    spec.output = &output;
    return ad_scan_create(&part->scan, &spec);
}

/* rows [B, T, D] -> losses, and theta_0 -> theta_n */
static kern_status create_suffix(infer_model *model, int first, int blocks) {
    model_part *part = &model->suffix;
    const ttt_conf *conf = model->spec.conf;
    int64_t chunk = infer_chunk(conf, model->spec.tokens);
    int64_t rows = model->spec.batch * chunk;
    begin_part(model, part, chunk, first, blocks);
    ad_graph *g = part->body.graph;
    ad_value h = ad_input(g, AD_TYPE(model->real, rows, conf->model.dim), "h");
    infer_tokens target = infer_add_tokens(&part->body, true, "targets");
    ad_value weight = ad_input(g, AD_TYPE(model->real, rows, 1), "loss_weights");
    model->rate = ad_scalar(g, model->real, "rate");
    model->rows_slice = add_slice(part, h, true, true);
    model->target_slice = add_tokens(part, target);
    model->weight_slice = add_slice(part, weight, true, false);
    add_tables(part);
    infer_body body = infer_build_body(&part->body, first, blocks, h, target, weight, model->rate);
    ad_scan_output output[] = {{.value = body.nll, .by_row = true},
                               {.value = body.loss},
                               {.value = body.gradient_norm, .stepped = true}};
    ad_scan_spec spec = scan_spec(model, part);
    spec.outputs = part->body.fast ? 3 : 2;
    spec.output = output;
    spec.loss = body.loss;
    spec.loss_scale = model->spec.loss_scale;
    return ad_scan_create(&part->scan, &spec);
}

/* Both scans get the shares of the budget that leave the least to compute again. A byte buys more
 * FLOPs in one scan than in the other, and the prefix keeps nothing but products, so neither is
 * simply first. */
void infer_model_choose(infer_model *model, double budget) {
    enum { SHARES = 128 };
    ad_scan *prefix = model->prefix.scan, *suffix = model->suffix.scan;
    model->spec.budget = budget;
    budget = fmin(budget, ad_scan_offered(prefix, HUGE_VAL).bytes +
                              ad_scan_offered(suffix, HUGE_VAL).bytes);
    double for_suffix = budget, least = HUGE_VAL;
    for (int share = SHARES; share >= 0; share--) {
        double mine = budget * share / SHARES;
        ad_scan_offer s = ad_scan_offered(suffix, mine);
        double repeated = s.repeated + ad_scan_offered(prefix, budget - s.bytes).repeated;
        if (s.bytes > mine && share < SHARES) break; /* less than the suffix can do with */
        if (repeated >= least) continue;
        least = repeated;
        for_suffix = mine;
    }
    double used = ad_scan_offered(suffix, for_suffix).bytes;
    ad_scan_choose(suffix, for_suffix);
    ad_scan_choose(prefix, fmax(budget - used, 0));
    model->arena_bytes = 0;
}

kern_status infer_model_compile(infer_model *model) {
    kern_status status = KERN_OK;
    TRY(ad_scan_compile(model->suffix.scan));
    TRY(ad_scan_compile(model->prefix.scan));
    model->arena_bytes = kern_max_bytes(ad_scan_plan(model->prefix.scan).arena,
                                        ad_scan_plan(model->suffix.scan).arena);
done:
    return status;
}

kern_status infer_model_create(infer_model **model, const infer_model_spec *spec) {
    kern_status status = infer_model_build(model, spec);
    if (status == KERN_OK) status = infer_model_compile(*model);
    if (status == KERN_OK) return status;
    infer_model_destroy(*model);
    *model = NULL;
    return status;
}

kern_status infer_model_build(infer_model **result, const infer_model_spec *spec) {
    kern_status status = KERN_OK;
    const ttt_conf *conf = spec->conf;
    infer_model *model = kern_array(1, sizeof *model);
    *result = NULL;
    model->spec = *spec;
    if (!spec->device) model->spec.device = kern_device_cpu();
    model->real = infer_real(conf);
    model->product = infer_product(conf);
    if (spec->tensor && spec->tensor->ranks == 1) model->spec.tensor = NULL;
    if (model->spec.tensor) TRY(infer_check_ranks(conf, model->spec.tensor->ranks));
    ASSERT(!spec->values || infer_values_are_of(spec->values, model->spec.tensor));
    model->parameters = infer_parameters_of_rank(conf, model->spec.tensor);
    model->exact = kern_array(model->parameters->count, sizeof *model->exact);
    int blocks = (int)conf->model.blocks, prefix = blocks - (int)conf->inner.suffix;
    TRY(create_suffix(model, prefix, blocks));
    model->first_carry = kern_array(model->suffix.body.carries, sizeof *model->first_carry);
    model->last_carry = kern_array(model->suffix.body.carries, sizeof *model->last_carry);
    model->fast_parameter = kern_array(model->suffix.body.fast, sizeof *model->fast_parameter);
    for (int f = 0; f < model->suffix.body.fast; f++)
        model->fast_parameter[f] = model->suffix.body.carry[f].parameter;
    TRY(create_prefix(model, prefix));
    infer_model_choose(model, spec->budget);
    *result = model;
    model = NULL;
done:
    infer_model_destroy(model);
    return status;
}

kern_dtype infer_model_real(const infer_model *model) {
    return model->real;
}

const infer_parameters *infer_model_parameters(const infer_model *model) {
    return model->parameters;
}

const infer_model_spec *infer_model_spec_of(const infer_model *model) {
    return &model->spec;
}

size_t infer_model_rows_bytes(const infer_model *model) {
    return (size_t)(model->spec.batch * model->spec.tokens * model->spec.conf->model.dim) *
           kern_dtype_bytes(model->real);
}
