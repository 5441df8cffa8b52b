/* Memory of a model, and reading with it. */
#include <stdlib.h>
#include <string.h>

#include "infer/model_state.h"

static void destroy_part(model_part *part) {
    ad_scan_destroy(part->scan);
    infer_part_clear(&part->body);
    free(part->carry);
}

void infer_model_destroy(infer_model *model) {
    if (!model) return;
    destroy_part(&model->prefix);
    destroy_part(&model->suffix);
    infer_parameters_destroy(model->parameters);
    free(model->first_carry);
    free(model->last_carry);
    free(model->fast_parameter);
    free(model->exact);
    for (int b = 0; b < MODEL_BUFFERS; b++) kern_buffer_destroy(&model->memory[b]);
    kern_free(model->staging);
    free(model);
}

/* ---- bytes ---- */

static const char *const buffer_name[MODEL_BUFFERS] = {[MODEL_ARENA] = "workspace",
                                                       [MODEL_ROWS] = "prefix output",
                                                       [MODEL_CT_ROWS] =
                                                           "cotangent of the prefix output",
                                                       [MODEL_REPLICAS] = "fast weights",
                                                       [MODEL_ROUNDED] = "rounded weights",
                                                       [MODEL_INPUT] = "tokens",
                                                       [MODEL_TARGET] = "targets",
                                                       [MODEL_WEIGHT] = "loss weights",
                                                       [MODEL_INPUT_HERE] = "tokens",
                                                       [MODEL_TARGET_HERE] = "targets",
                                                       [MODEL_MISSING] = "missing columns",
                                                       [MODEL_NLL] = "token losses",
                                                       [MODEL_CHUNK_LOSS] = "chunk losses",
                                                       [MODEL_NORM] = "inner gradient norms"};

static int64_t fast_elements(const infer_model *model) {
    int64_t elements = 0;
    for (int f = 0; f < model->suffix.body.fast; f++)
        elements += model->parameters->item[model->fast_parameter[f]].elements;
    return elements;
}

/* Whether carries begin as copies of the parameters and not as those themselves. */
static bool replicates(const infer_model *model) {
    return model->spec.batch > 1 || (model->spec.values && !model->spec.device->host);
}

static int64_t chunks(const infer_model *model) {
    return model->spec.tokens / model->suffix.body.context.rows;
}

static bool has_table(const infer_model *model, int kind) {
    return model->prefix.cosine_slice[kind] >= 0 || model->suffix.cosine_slice[kind] >= 0;
}

static size_t missing_columns(const infer_model *model) {
    if (ad_is_none(model->suffix.body.context.missing)) return 0;
    return (size_t)kern_divide_up(model->spec.conf->model.vocab, model->spec.tensor->ranks);
}

/* 0: the model has no such memory. */
static size_t bytes_of(const infer_model *model, int buffer) {
    size_t real = kern_dtype_bytes(model->real), batch = (size_t)model->spec.batch;
    size_t rows = batch * (size_t)model->spec.tokens;
    size_t results = batch * (size_t)chunks(model) * real;
    switch (buffer) {
    case MODEL_ARENA: return model->arena_bytes;
    case MODEL_ROWS: return infer_model_rows_bytes(model);
    case MODEL_CT_ROWS: return model->spec.backward ? infer_model_rows_bytes(model) : 0;
    case MODEL_REPLICAS: return replicates(model) ? batch * (size_t)fast_elements(model) * real : 0;
    case MODEL_ROUNDED:
        return model->product == KERN_BF16 && !model->spec.values
                   ? (size_t)model->parameters->elements * kern_dtype_bytes(KERN_BF16)
                   : 0;
    case MODEL_INPUT:
    case MODEL_TARGET: return rows * sizeof(int32_t);
    case MODEL_WEIGHT:
    case MODEL_NLL: return rows * real;
    case MODEL_INPUT_HERE:
    case MODEL_TARGET_HERE: return model->spec.tensor ? rows * real : 0;
    case MODEL_MISSING: return missing_columns(model) * real;
    case MODEL_CHUNK_LOSS: return results;
    case MODEL_NORM: return model->suffix.body.fast ? results : 0;
    default:
        return has_table(model, (buffer - MODEL_TABLES) / 2)
                   ? (size_t)(model->spec.tokens * conf_head_size(model->spec.conf)) * real
                   : 0;
    }
}

/* Inputs, targets and the rest, one after the other. */
static size_t staging_bytes(const infer_model *model) {
    size_t bytes = 0;
    for (int b = MODEL_INPUT; b <= MODEL_TARGET_HERE; b++) bytes += bytes_of(model, b);
    return bytes;
}

infer_model_memory infer_model_plan(const infer_model *model) {
    ad_scan_memory prefix = ad_scan_plan(model->prefix.scan);
    ad_scan_memory suffix = ad_scan_plan(model->suffix.scan);
    infer_model_memory memory = {.carries = prefix.carries + suffix.carries,
                                 .slots = prefix.slots + suffix.slots,
                                 .history = prefix.history + suffix.history,
                                 .activations = staging_bytes(model),
                                 .prefix_flops = prefix.flops,
                                 .body_flops = suffix.flops,
                                 .body_vjp_flops = suffix.vjp_flops,
                                 .prefix_vjp_flops = prefix.vjp_flops,
                                 .every = suffix.every};
    for (int b = 0; b < MODEL_BUFFERS; b++)
        *(b == MODEL_ARENA      ? &memory.workspace
          : b == MODEL_REPLICAS ? &memory.carries
          : b == MODEL_ROUNDED  ? &memory.product_weights
                                : &memory.activations) += bytes_of(model, b);
    return memory;
}

/* ---- binding ---- */

static void *at(const infer_model *model, int buffer) {
    return model->memory[buffer].data;
}

static void bind_part(infer_model *model, model_part *part) {
    for (int kind = 0; kind < INFER_KINDS; kind++) {
        if (part->cosine_slice[kind] < 0) continue;
        void *cosine = at(model, MODEL_TABLES + 2 * kind);
        void *sine = at(model, MODEL_TABLES + 2 * kind + 1);
        ad_scan_bind_slice(part->scan, part->cosine_slice[kind], cosine, NULL);
        ad_scan_bind_slice(part->scan, part->sine_slice[kind], sine, NULL);
    }
}

static void bind_tokens(infer_model *model, ad_scan *scan, int slice, int id, int here) {
    ad_scan_bind_slice(scan, slice, at(model, id), NULL);
    if (at(model, here)) ad_scan_bind_slice(scan, slice + 1, at(model, here), NULL);
}

/* Parameter i: among spec.values, or where it was said to be. */
static const void *weight_at(const infer_model *model, int i, kern_dtype dtype) {
    if (model->spec.values) return infer_values_at(model->spec.values, i, dtype);
    if (dtype == KERN_BF16)
        return (const uint16_t *)at(model, MODEL_ROUNDED) + model->parameters->item[i].offset;
    ASSERT(model->exact[i]);
    return model->exact[i];
}

static void bind_constants(infer_model *model, model_part *part) {
    for (int i = 0; i < model->parameters->count; i++) {
        if (part->body.constant_of[i] < 0) continue;
        const void *memory = weight_at(model, i, part->body.dtype_of[i]);
        ad_scan_bind(part->scan, part->body.constant[part->body.constant_of[i]], memory);
    }
}

/* The first carry of each item: the parameters themselves, or copies of them. */
static void bind_carries(infer_model *model) {
    const kern_device *device = model->spec.device;
    char *replica = at(model, MODEL_REPLICAS);
    for (int f = 0; f < model->suffix.body.fast; f++) {
        int i = model->fast_parameter[f];
        size_t bytes = (size_t)model->parameters->item[i].elements * kern_dtype_bytes(model->real);
        if (!replicates(model)) {
            model->first_carry[f] = weight_at(model, i, model->real);
            continue;
        }
        model->first_carry[f] = replica;
        for (int64_t b = 0; b < model->spec.batch; b++, replica += bytes)
            if (model->spec.values)
                infer_values_copy(model->spec.values, replica, i);
            else
                device->copy(device->stream, replica, bytes, weight_at(model, i, model->real),
                             bytes, bytes, 1);
        if (model->spec.values) infer_values_release(model->spec.values, i);
    }
}

static void bind_parameters(infer_model *model) {
    bind_constants(model, &model->prefix);
    bind_constants(model, &model->suffix);
    bind_carries(model);
}

void infer_model_set_places(infer_model *model, const void *const *exact) {
    ASSERT(!model->spec.values);
    for (int i = 0; i < model->parameters->count; i++) model->exact[i] = exact[i];
    bind_parameters(model);
}

void *infer_model_rounded(const infer_model *model) {
    return at(model, MODEL_ROUNDED);
}

void infer_model_set_parameters(infer_model *model, const void *parameters) {
    kern_stream *stream = model->spec.device->stream;
    ASSERT(!model->spec.values);
    if (at(model, MODEL_ROUNDED))
        stream->device->move->round(stream, at(model, MODEL_ROUNDED), parameters,
                                    model->parameters->elements);
    size_t real = kern_dtype_bytes(model->real);
    for (int i = 0; i < model->parameters->count; i++)
        model->exact[i] =
            (const char *)parameters + (size_t)model->parameters->item[i].offset * real;
    bind_parameters(model);
}

/* Rotary tables of all positions, by way of the host. */
static kern_status fill_tables(infer_model *model, int kind) {
    kern_status status = KERN_OK;
    size_t bytes = bytes_of(model, MODEL_TABLES + 2 * kind);
    void *table[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++) TRY(kern_alloc(&table[i], bytes, "rotary table"));
    infer_rope_table(table[0], table[1], model->spec.conf, kind, 0, model->spec.tokens);
    for (int i = 0; i < 2; i++)
        kern_upload(model->spec.device, at(model, MODEL_TABLES + 2 * kind + i), table[i], bytes);
done:
    for (int i = 0; i < 2; i++) kern_free(table[i]);
    return status;
}

static kern_status fill_missing(infer_model *model) {
    size_t bytes = bytes_of(model, MODEL_MISSING);
    void *missing;
    if (!bytes) return KERN_OK;
    kern_status status = kern_alloc(&missing, bytes, buffer_name[MODEL_MISSING]);
    if (status != KERN_OK) return status;
    infer_missing_columns(missing, model->spec.conf, model->spec.tensor);
    kern_upload(model->spec.device, at(model, MODEL_MISSING), missing, bytes);
    ad_scan_bind(model->suffix.scan, model->suffix.body.context.missing, at(model, MODEL_MISSING));
    kern_free(missing);
    return KERN_OK;
}

/* Ranks whose plans do not meet would wait for each other for ever. */
static kern_status compare_plans(const infer_model *model) {
    uint64_t hash = 0;
    for (int which = 0; which < 2 * AD_SCAN_PLANS && model->spec.tensor; which++) {
        const ad_scan *scan = which % 2 ? model->suffix.scan : model->prefix.scan;
        const ad_plan *plan = ad_scan_plan_of(scan, which / 2);
        hash = hash * 31 + (uint64_t)ad_scan_plan(scan).every;
        if (plan) hash = hash * 31 + ad_plan_collectives(plan, NULL, NULL);
    }
    return infer_agree_plans(model->spec.tensor, hash);
}

kern_status infer_model_allocate(infer_model *model) {
    kern_status status = KERN_OK;
    TRY(compare_plans(model));
    ad_scan *prefix = model->prefix.scan, *suffix = model->suffix.scan;
    for (int b = 0; b < MODEL_BUFFERS; b++)
        if (bytes_of(model, b))
            TRY(kern_buffer_create(&model->memory[b], model->spec.device, bytes_of(model, b),
                                   b < MODEL_TABLES ? buffer_name[b] : "rotary table"));
    if (at(model, MODEL_NORM)) /* of the last chunk, which takes no step, nothing is written */
        model->spec.device->zero(model->spec.device->stream, at(model, MODEL_NORM),
                                 bytes_of(model, MODEL_NORM), bytes_of(model, MODEL_NORM), 1);
    TRY(kern_alloc(&model->staging, staging_bytes(model), "tokens"));
    for (int kind = 0; kind < INFER_KINDS; kind++)
        if (has_table(model, kind)) TRY(fill_tables(model, kind));
    TRY(ad_scan_allocate(prefix));
    TRY(ad_scan_allocate(suffix));
    bind_part(model, &model->prefix);
    bind_part(model, &model->suffix);
    bind_tokens(model, prefix, model->tokens_slice, MODEL_INPUT, MODEL_INPUT_HERE);
    bind_tokens(model, suffix, model->target_slice, MODEL_TARGET, MODEL_TARGET_HERE);
    TRY(fill_missing(model));
    ad_scan_bind_output(prefix, 0, at(model, MODEL_ROWS), at(model, MODEL_CT_ROWS));
    ad_scan_bind_slice(suffix, model->rows_slice, at(model, MODEL_ROWS), at(model, MODEL_CT_ROWS));
    ad_scan_bind_slice(suffix, model->weight_slice, at(model, MODEL_WEIGHT), NULL);
    ad_scan_bind_output(suffix, 0, at(model, MODEL_NLL), NULL);
    ad_scan_bind_output(suffix, 1, at(model, MODEL_CHUNK_LOSS), NULL);
    if (model->suffix.body.fast) ad_scan_bind_output(suffix, 2, at(model, MODEL_NORM), NULL);
    if (model->spec.values) bind_parameters(model);
done:
    return status;
}

/* ---- running ---- */

/* Inputs, targets, and what each target weighs in its chunk's loss. */
kern_status infer_model_put(infer_model *model, const int32_t *tokens) {
    const kern_device *device = model->spec.device;
    int64_t T = model->spec.tokens, C = model->suffix.body.context.rows,
            vocab = model->spec.conf->model.vocab;
    size_t real = kern_dtype_bytes(model->real), ids = bytes_of(model, MODEL_INPUT);
    int32_t *input = model->staging, *target = input + model->spec.batch * T;
    const kern_comm *tensor = model->spec.tensor;
    char *weight = (char *)model->staging + 2 * ids;
    for (int64_t b = 0; b < model->spec.batch; b++, tokens += T + 1) {
        for (int64_t t = 0; t <= T; t++)
            if (tokens[t] < 0 || tokens[t] >= vocab)
                return kern_fail(KERN_ERR_DATA,
                                 "token %d at position %d is outside the model's vocabulary of %d",
                                 (int)tokens[t], (int)t, (int)vocab);
        memcpy(input + b * T, tokens, (size_t)T * sizeof *tokens);
        memcpy(target + b * T, tokens + 1, (size_t)T * sizeof *tokens);
        for (int64_t first = 0; first < T; first += C)
            infer_chunk_weights(weight + (size_t)(b * T + first) * real, model->spec.conf,
                                tokens + first + 1, C);
    }
    if (tensor) {
        char *here = weight + bytes_of(model, MODEL_WEIGHT);
        size_t bytes = bytes_of(model, MODEL_INPUT_HERE);
        int64_t rows = model->spec.batch * T;
        infer_own_tokens(input, here, model->spec.conf, tensor, input, rows);
        infer_own_tokens(target, here + bytes, model->spec.conf, tensor, target, rows);
        kern_upload(device, at(model, MODEL_INPUT_HERE), here, bytes);
        kern_upload(device, at(model, MODEL_TARGET_HERE), here + bytes, bytes);
    }
    kern_upload(device, at(model, MODEL_INPUT), input, ids);
    kern_upload(device, at(model, MODEL_TARGET), target, ids);
    kern_upload(device, at(model, MODEL_WEIGHT), weight, bytes_of(model, MODEL_WEIGHT));
    return KERN_OK;
}

static void fetch(const infer_model *model, void *to, int buffer) {
    kern_stream *stream = model->spec.device->stream;
    if (to && bytes_of(model, buffer))
        stream->device->download(stream, to, at(model, buffer), bytes_of(model, buffer));
}

kern_status infer_model_forward(infer_model *model, infer_batch *batch) {
    kern_status status = KERN_OK;
    kern_stream *stream = model->spec.device->stream;
    if (batch->tokens) TRY(infer_model_put(model, batch->tokens));
    ad_scan_set(model->suffix.scan, model->rate, batch->rate);
    stream->device->lap(stream, -1);
    TRY(ad_scan_forward(model->prefix.scan, NULL, NULL, at(model, MODEL_ARENA)));
    stream->device->lap(stream, INFER_LAP_PREFIX);
    for (int f = 0; batch->fast && f < model->suffix.body.fast; f++)
        model->last_carry[f] = batch->fast[f];
    TRY(ad_scan_forward(model->suffix.scan, model->first_carry,
                        batch->fast ? model->last_carry : NULL, at(model, MODEL_ARENA)));
    stream->device->lap(stream, INFER_LAP_SUFFIX);
    fetch(model, batch->token_nll, MODEL_NLL);
    fetch(model, batch->chunk_loss, MODEL_CHUNK_LOSS);
    fetch(model, batch->gradient_norm, MODEL_NORM);
done:
    return status;
}

infer_model_parts infer_model_internals(const infer_model *model) {
    return (infer_model_parts){.prefix = model->prefix.scan,
                               .suffix = model->suffix.scan,
                               .arena = at(model, MODEL_ARENA),
                               .prefix_constant = model->prefix.body.constant_of,
                               .suffix_constant = model->suffix.body.constant_of,
                               .fast = model->suffix.body.fast,
                               .fast_parameter = model->fast_parameter,
                               .batch = model->spec.batch,
                               .device = model->spec.device,
                               .threads = model->spec.threads};
}
