/* Memory of a model, and reading with it. */
#include <stdlib.h>
#include <string.h>

#include "infer/model_state.h"
#include "kernels/round.h"

static void destroy_part(model_part *part) {
    ad_scan_destroy(part->scan);
    infer_part_clear(&part->body);
}

void infer_model_destroy(infer_model *model) {
    if (!model) return;
    destroy_part(&model->prefix);
    destroy_part(&model->suffix);
    infer_parameters_destroy(model->parameters);
    free(model->first_carry);
    void *const memory[] = {model->arena,     model->rows,      model->ct_rows, model->replicas,
                            model->weight,    model->rounded,   model->input,   model->target,
                            model->cosine[0], model->cosine[1], model->sine[0], model->sine[1]};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++) kern_free(memory[i]);
    free(model);
}

static bool has_table(const infer_model *model, int kind) {
    return model->prefix.cosine_slice[kind] >= 0 || model->suffix.cosine_slice[kind] >= 0;
}

static size_t table_bytes(const infer_model *model) {
    return (size_t)(model->spec.tokens * conf_head_size(model->spec.conf)) *
           kern_dtype_bytes(model->real);
}

/* Whether it makes rounded copies of its own. */
static bool rounds(const infer_model *model) {
    return model->product == KERN_BF16 && !model->spec.values;
}

static int64_t fast_elements(const infer_model *model) {
    int64_t elements = 0;
    for (int f = 0; f < model->suffix.body.fast; f++)
        elements += model->parameters->item[model->suffix.body.fast_parameter[f]].elements;
    return elements;
}

static size_t replica_bytes(const infer_model *model) {
    if (model->spec.batch == 1) return 0;
    return (size_t)(model->spec.batch * fast_elements(model)) * kern_dtype_bytes(model->real);
}

infer_model_memory infer_model_plan(const infer_model *model) {
    ad_scan_memory prefix = ad_scan_plan(model->prefix.scan);
    ad_scan_memory suffix = ad_scan_plan(model->suffix.scan);
    size_t rows = (size_t)(model->spec.batch * model->spec.tokens);
    infer_model_memory memory = {
        .carries = prefix.carries + suffix.carries + replica_bytes(model),
        .slots = prefix.slots + suffix.slots,
        .history = prefix.history + suffix.history,
        .activations = infer_model_rows_bytes(model) * (model->spec.backward ? 2 : 1) +
                       rows * (2 * sizeof(int32_t) + kern_dtype_bytes(model->real)),
        .workspace = model->arena_bytes,
        .prefix_flops = prefix.flops,
        .body_flops = suffix.flops,
        .body_vjp_flops = suffix.vjp_flops,
        .prefix_vjp_flops = prefix.vjp_flops,
        .every = suffix.every};
    for (int kind = 0; kind < INFER_KINDS; kind++)
        if (has_table(model, kind)) memory.activations += 2 * table_bytes(model);
    if (rounds(model))
        memory.product_weights = (size_t)model->parameters->elements * sizeof *model->rounded;
    return memory;
}

static void bind_part(infer_model *model, model_part *part) {
    for (int kind = 0; kind < INFER_KINDS; kind++) {
        if (part->cosine_slice[kind] < 0) continue;
        ad_scan_bind_slice(part->scan, part->cosine_slice[kind], model->cosine[kind], NULL);
        ad_scan_bind_slice(part->scan, part->sine_slice[kind], model->sine[kind], NULL);
    }
}

/* Parameter i: among spec.values, or by the layout. */
static const void *weight_at(const infer_model *model, const char *parameters, int i,
                             kern_dtype dtype) {
    int64_t offset = model->parameters->item[i].offset;
    if (model->spec.values) return infer_values_at(model->spec.values, i, dtype);
    if (dtype == KERN_BF16) return model->rounded + offset;
    return parameters + (size_t)offset * kern_dtype_bytes(dtype);
}

static void bind_constants(infer_model *model, model_part *part, const char *parameters) {
    for (int i = 0; i < model->parameters->count; i++) {
        if (part->body.constant_of[i] < 0) continue;
        const void *memory = weight_at(model, parameters, i, part->body.dtype_of[i]);
        ad_scan_bind(part->scan, part->body.constant[part->body.constant_of[i]], memory);
    }
}

/* The first carry of each item: the parameters themselves, or copies of them. */
static void bind_carries(infer_model *model, const char *parameters) {
    char *replica = model->replicas;
    for (int f = 0; f < model->suffix.body.fast; f++) {
        int i = model->suffix.body.fast_parameter[f];
        const infer_parameter *p = &model->parameters->item[i];
        const void *memory = weight_at(model, parameters, i, model->real);
        size_t bytes = (size_t)p->elements * kern_dtype_bytes(model->real);
        model->first_carry[f] = model->spec.batch == 1 ? memory : replica;
        for (int64_t b = 0; b < model->spec.batch && model->spec.batch > 1; b++, replica += bytes)
            memcpy(replica, memory, bytes);
        if (model->spec.values && model->spec.batch > 1)
            infer_values_release(model->spec.values, i);
    }
}

static void bind_parameters(infer_model *model, const char *parameters) {
    bind_constants(model, &model->prefix, parameters);
    bind_constants(model, &model->suffix, parameters);
    bind_carries(model, parameters);
}

void infer_model_set_parameters(infer_model *model, const void *parameters) {
    ASSERT(!model->spec.values);
    if (model->rounded) kern_round(model->rounded, parameters, model->parameters->elements);
    bind_parameters(model, parameters);
}

kern_status infer_model_allocate(infer_model *model) {
    kern_status status = KERN_OK;
    size_t rows = (size_t)(model->spec.batch * model->spec.tokens);
    TRY(kern_alloc(&model->arena, model->arena_bytes, "workspace"));
    TRY(kern_alloc(&model->rows, infer_model_rows_bytes(model), "prefix output"));
    if (model->spec.backward)
        TRY(kern_alloc(&model->ct_rows, infer_model_rows_bytes(model),
                       "cotangent of the prefix output"));
    TRY(kern_alloc(&model->replicas, replica_bytes(model), "fast weights"));
    TRY(kern_alloc(&model->weight, rows * kern_dtype_bytes(model->real), "loss weights"));
    TRY(kern_alloc((void **)&model->input, rows * sizeof *model->input, "tokens"));
    TRY(kern_alloc((void **)&model->target, rows * sizeof *model->target, "targets"));
    if (rounds(model))
        TRY(kern_alloc((void **)&model->rounded,
                       (size_t)model->parameters->elements * sizeof *model->rounded,
                       "rounded weights"));
    for (int kind = 0; kind < INFER_KINDS; kind++) {
        if (!has_table(model, kind)) continue;
        TRY(kern_alloc(&model->cosine[kind], table_bytes(model), "rotary table"));
        TRY(kern_alloc(&model->sine[kind], table_bytes(model), "rotary table"));
        infer_rope_table(model->cosine[kind], model->sine[kind], model->spec.conf, kind, 0,
                         model->spec.tokens);
    }
    TRY(ad_scan_allocate(model->prefix.scan));
    TRY(ad_scan_allocate(model->suffix.scan));
    bind_part(model, &model->prefix);
    bind_part(model, &model->suffix);
    ad_scan_bind_slice(model->prefix.scan, model->tokens_slice, model->input, NULL);
    ad_scan_bind_output(model->prefix.scan, 0, model->rows, model->ct_rows);
    ad_scan_bind_slice(model->suffix.scan, model->rows_slice, model->rows, model->ct_rows);
    ad_scan_bind_slice(model->suffix.scan, model->target_slice, model->target, NULL);
    ad_scan_bind_slice(model->suffix.scan, model->weight_slice, model->weight, NULL);
    ad_scan_bind(model->suffix.scan, model->rate,
                 model->real == KERN_F64 ? (const void *)&model->rate_f64 : &model->rate_f32);
    if (model->spec.values) bind_parameters(model, NULL);
done:
    return status;
}

/* Inputs, targets, and what each target weighs in its chunk's loss. */
static kern_status set_tokens(infer_model *model, const int32_t *tokens) {
    int64_t T = model->spec.tokens, C = model->suffix.body.context.rows,
            vocab = model->spec.conf->model.vocab;
    size_t real = kern_dtype_bytes(model->real);
    for (int64_t b = 0; b < model->spec.batch; b++, tokens += T + 1) {
        for (int64_t t = 0; t <= T; t++)
            if (tokens[t] < 0 || tokens[t] >= vocab)
                return kern_fail(KERN_ERR_DATA,
                                 "token %d at position %d is outside the model's vocabulary of %d",
                                 (int)tokens[t], (int)t, (int)vocab);
        memcpy(model->input + b * T, tokens, (size_t)T * sizeof *tokens);
        memcpy(model->target + b * T, tokens + 1, (size_t)T * sizeof *tokens);
        for (int64_t first = 0; first < T; first += C)
            infer_chunk_weights((char *)model->weight + (size_t)(b * T + first) * real,
                                model->spec.conf, tokens + first + 1, C);
    }
    return KERN_OK;
}

kern_status infer_model_forward(infer_model *model, infer_batch *batch) {
    kern_status status = KERN_OK;
    TRY(set_tokens(model, batch->tokens));
    model->rate_f64 = batch->rate;
    model->rate_f32 = (float)batch->rate;
    ad_scan_bind_output(model->suffix.scan, 0, batch->token_nll, NULL);
    ad_scan_bind_output(model->suffix.scan, 1, batch->chunk_loss, NULL);
    if (model->suffix.body.fast)
        ad_scan_bind_output(model->suffix.scan, 2, batch->gradient_norm, NULL);
    double start = kern_seconds();
    TRY(ad_scan_forward(model->prefix.scan, NULL, NULL, model->arena));
    batch->seconds[0] = kern_seconds() - start;
    TRY(ad_scan_forward(model->suffix.scan, model->first_carry, batch->fast, model->arena));
    batch->seconds[1] = kern_seconds() - start - batch->seconds[0];
done:
    return status;
}

infer_model_parts infer_model_internals(const infer_model *model) {
    return (infer_model_parts){.prefix = model->prefix.scan,
                               .suffix = model->suffix.scan,
                               .arena = model->arena,
                               .prefix_constant = model->prefix.body.constant_of,
                               .suffix_constant = model->suffix.body.constant_of,
                               .fast = model->suffix.body.fast,
                               .fast_parameter = model->suffix.body.fast_parameter,
                               .batch = model->spec.batch,
                               .threads = model->spec.threads};
}
