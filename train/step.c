#include "train/step.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "infer/context.h"
#include "kernels/program.h"
#include "train/gradient.h"
#include "train/optimizer.h"
#include "train/schedule.h"
#include "train/sums.h"

const char *const train_phase_name[TRAIN_PHASES] = {
    "prefix forward", "suffix forward", "suffix backward", "prefix backward", "optimizer"};

struct train_step {
    train_step_spec spec;
    infer_model *model;
    train_gradient *gradient;
    train_optimizer *optimizer;
    train_step_buffers buffers;
    train_shard shard;
    train_sums sums;
    train_weights *weights;
    kern_buffer memory[3]; /* gradient, moments */
    size_t graphs, plans;  /* bytes of what was built and compiled */
    void (*work)(void *context);
    void *context;
    bool put; /* the first tokens of the next run are with the model */
};

int64_t train_sequences(const ttt_conf *conf, const kern_ranks *ranks) {
    ASSERT(conf->train.batch % ranks->data->ranks == 0);
    return conf->train.batch / ranks->data->ranks;
}

kern_status train_step_create(train_step **step, const train_step_spec *spec) {
    kern_status status = train_step_build(step, spec);
    if (status == KERN_OK) status = train_step_compile(*step);
    if (status == KERN_OK) return status;
    train_step_destroy(*step);
    *step = NULL;
    return status;
}

void train_step_choose(train_step *step, double budget) {
    step->spec.budget = budget;
    step->plans = 0;
    infer_model_choose(step->model, budget);
}

kern_status train_step_compile(train_step *step) {
    size_t before = kern_heap_bytes();
    kern_status status = infer_model_compile(step->model);
    step->plans = kern_heap_since(before);
    return status;
}

/* 0: not on this device. */
static size_t program_bytes(const train_step *step) {
    if (step->spec.device->machine->memory > 0) return 0;
    return kern_program_bytes(step->graphs + step->plans);
}

kern_status train_step_build(train_step **result, const train_step_spec *spec) {
    kern_status status = KERN_OK;
    const ttt_conf *conf = spec->conf;
    size_t before = kern_heap_bytes();
    train_step *step = kern_array(1, sizeof *step);
    *result = NULL;
    step->spec = *spec;
    if (!spec->device) step->spec.device = kern_device_cpu();
    if (!spec->ranks) step->spec.ranks = kern_ranks_alone();
    const kern_ranks *ranks = step->spec.ranks;
    step->buffers.device = step->spec.device;
    step->buffers.sequences = train_sequences(conf, ranks);
    ASSERT(step->buffers.sequences % spec->micro_batch == 0);
    int64_t chunks = conf->train.context / infer_chunk(conf, conf->train.context);
    infer_model_spec model = {.conf = conf,
                              .batch = spec->micro_batch,
                              .tokens = conf->train.context,
                              .inner = conf->inner.mode == CONF_INNER_E2E ||
                                       conf->inner.mode == CONF_INNER_FIRST_ORDER,
                              .first_order = conf->inner.mode == CONF_INNER_FIRST_ORDER,
                              .backward = true,
                              .loss_scale = 1 / ((double)chunks * (double)conf->train.batch),
                              .budget = spec->budget,
                              .device = step->spec.device,
                              .tensor = ranks->tensor,
                              .threads = spec->threads,
                              .debug = spec->debug};
    TRY(infer_model_build(&step->model, &model));
    TRY(train_gradient_create(&step->gradient, step->model));
    step->buffers.dtype = infer_model_real(step->model);
    step->buffers.layout = infer_model_parameters(step->model);
    step->buffers.chunks = chunks;
    int suffix = (int)(conf->model.blocks - conf->inner.suffix);
    bool divided = conf->ranks.shard == CONF_SHARD_OPTIMIZER;
    step->shard =
        train_shard_of(step->buffers.layout, suffix, divided ? ranks->data->rank : 0,
                       divided ? ranks->data->ranks : 1, infer_product(conf) == KERN_BF16);
    step->buffers.spare = !divided && ranks->data->rank > 0;
    step->buffers.shard = &step->shard;
    step->sums = (train_sums){step->spec.device, ranks->data, &step->shard, step->buffers.dtype};
    step->weights = train_weights_create(step->model, &step->shard, ranks->data);
    step->buffers.weights = step->weights;
    TRY(train_optimizer_create(&step->optimizer, &conf->train, step->spec.device,
                               divided ? ranks->job : ranks->tensor, step->buffers.dtype,
                               &step->shard, spec->threads));
    step->graphs = kern_heap_since(before);
    *result = step;
    step = NULL;
done:
    train_step_destroy(step);
    return status;
}

void train_step_destroy(train_step *step) {
    if (!step) return;
    train_gradient_destroy(step->gradient);
    train_optimizer_destroy(step->optimizer);
    train_weights_destroy(step->weights);
    infer_model_destroy(step->model);
    for (int i = 0; i < 3; i++) kern_buffer_destroy(&step->memory[i]);
    kern_free(step->buffers.token_nll);
    kern_free(step->buffers.chunk_loss);
    kern_free(step->buffers.gradient_norm);
    free(step);
}

const train_step_spec *train_step_spec_of(const train_step *step) {
    return &step->spec;
}

const train_shard *train_step_shard(const train_step *step) {
    return &step->shard;
}

const train_weights *train_step_weights(const train_step *step) {
    return step->weights;
}

const infer_model *train_step_model(const train_step *step) {
    return step->model;
}

/* Losses and norms that the caller reads. */
static size_t result_bytes(const train_step *step) {
    const train_step_buffers *b = &step->buffers;
    int64_t context = step->spec.conf->train.context;
    return (size_t)(b->sequences * (context + 2 * b->chunks)) * kern_dtype_bytes(b->dtype);
}

train_step_memory train_step_plan(const train_step *step) {
    infer_model_memory model = infer_model_plan(step->model);
    infer_model_parts parts = infer_model_internals(step->model);
    ad_scan_memory prefix = ad_scan_plan(parts.prefix), suffix = ad_scan_plan(parts.suffix);
    double row_bytes = prefix.bytes + prefix.vjp_bytes + suffix.bytes + suffix.vjp_bytes;
    size_t flat = (size_t)step->shard.flat * kern_dtype_bytes(step->buffers.dtype);
    double micro_batches = (double)(step->buffers.sequences / step->spec.micro_batch);
    double flops = model.prefix_flops + model.body_flops;
    flops += model.body_vjp_flops + model.prefix_vjp_flops;
    train_step_memory memory = {
        .parameters = train_weights_bytes(step->weights),
        .gradient = flat,
        .moments = 2 * (size_t)step->shard.elements * kern_dtype_bytes(step->buffers.dtype),
        .product_weights = model.product_weights,
        .carries = model.carries + train_gradient_bytes(step->gradient),
        .slots = model.slots,
        .history = model.history,
        .activations = model.activations + result_bytes(step),
        .workspace = model.workspace + train_optimizer_bytes(step->optimizer) +
                     train_gradient_workspace(step->gradient),
        .program = program_bytes(step),
        .executed_flops = micro_batches * flops,
        .row_bytes = micro_batches * row_bytes,
        .moved = micro_batches * (prefix.moved + suffix.moved),
        .kept_fraction = suffix.kept_fraction,
        .every = model.every};
    memory.total = memory.parameters + memory.gradient + memory.moments + memory.product_weights +
                   memory.carries + memory.slots + memory.history + memory.activations +
                   memory.workspace + memory.program;
    return memory;
}

kern_status train_step_allocate(train_step *step) {
    kern_status status = KERN_OK;
    train_step_buffers *b = &step->buffers;
    size_t element = kern_dtype_bytes(b->dtype);
    size_t chunks = (size_t)(b->chunks * b->sequences) * element;
    size_t tokens = (size_t)(b->sequences * step->spec.conf->train.context);
    void **const place[] = {&b->gradient, &b->m, &b->v};
    const char *const name[] = {"gradient", "first moments", "second moments"};
    const int64_t elements[] = {step->shard.flat, step->shard.elements, step->shard.elements};
    TRY(train_sums_same(&step->sums, step->spec.micro_batch,
                        b->sequences / step->spec.micro_batch));
    TRY(train_weights_allocate(step->weights));
    b->parameters = train_weights_own(step->weights);
    for (int i = 0; i < 3; i++) {
        TRY(kern_buffer_create_zero(&step->memory[i], b->device, (size_t)elements[i] * element,
                                    name[i]));
        *place[i] = step->memory[i].data;
    }
    TRY(kern_alloc_zero(&b->token_nll, tokens * element, "token losses"));
    TRY(kern_alloc_zero(&b->chunk_loss, chunks, "chunk losses"));
    TRY(kern_alloc_zero(&b->gradient_norm, chunks, "inner gradient norms"));
    TRY(infer_model_allocate(step->model));
    TRY(train_gradient_allocate(step->gradient));
    TRY(train_optimizer_allocate(step->optimizer));
done:
    return status;
}

train_step_buffers train_step_memory_of(train_step *step) {
    return step->buffers;
}

/* ---- what is run ---- */

typedef struct {
    train_step_visit visit;
    void *context;
    int forward, backward; /* phases of the scan */
    double times;
} scan_visitor;

static void visit_run(void *context, const ad_plan *plan, int64_t before, bool backward) {
    const scan_visitor *v = context;
    v->visit(v->context, backward ? v->backward : v->forward, plan, before, v->times);
}

void train_step_visit_runs(const train_step *step, train_step_visit visit, void *context) {
    infer_model_parts parts = infer_model_internals(step->model);
    const ad_plan *update[TRAIN_OPTIMIZER_PLANS];
    double times = (double)(step->buffers.sequences / step->spec.micro_batch);
    scan_visitor prefix = {visit, context, TRAIN_PREFIX, TRAIN_PREFIX_VJP, times};
    scan_visitor suffix = {visit, context, TRAIN_SUFFIX, TRAIN_SUFFIX_VJP, times};
    ad_scan_visit_runs(parts.prefix, visit_run, &prefix);
    ad_scan_visit_runs(parts.suffix, visit_run, &suffix);
    visit(context, TRAIN_SUFFIX_VJP, train_gradient_plan(step->gradient), 0, times);
    int updates = train_optimizer_plans(step->optimizer, update);
    for (int i = 0; i < updates; i++) visit(context, TRAIN_UPDATE, update[i], 0, 1);
}

static double sum_of(const void *values, kern_dtype dtype, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += kern_real_at(values, dtype, i);
    return sum;
}

/* ---- what ranks do together ---- */

/* Losses, norms of inner gradients and tokens of all data ranks. */
static kern_status add_up(const train_step *step, train_step_result *result) {
    kern_status status = KERN_OK;
    const kern_comm *data = step->spec.ranks->data;
    const train_step_buffers *b = &step->buffers;
    int64_t chunks = b->chunks * b->sequences, all = chunks * data->ranks;
    double sum[2] = {sum_of(b->chunk_loss, b->dtype, chunks),
                     sum_of(b->gradient_norm, b->dtype, chunks)};
    TRY(data->agree_f64(data, sum, 2, KERN_SUM));
    result->loss = sum[0] / (double)all;
    result->inner_grad_norm =
        b->chunks > 1 ? sum[1] / (double)all * (double)b->chunks / (double)(b->chunks - 1) : 0;
    result->tokens = b->sequences * step->spec.conf->train.context * data->ranks;
done:
    return status;
}

void train_step_gather(train_step *step) {
    train_weights_gather(step->weights);
}

/* All of them are drawn where the gradient will be. */
void train_step_start(train_step *step) {
    const train_step_buffers *b = &step->buffers;
    bool whole = !step->shard.apart;
    infer_parameters_init(b->layout, step->spec.conf, b->dtype, b->device,
                          whole ? b->parameters : b->gradient);
    if (whole) return;
    train_weights_take(step->weights, b->gradient);
    train_step_gather(step);
}

/* ---- a step ---- */

/* The prefix's reverse has come so far. */
static void begin_turn(void *context, int mark) {
    const train_step *step = context;
    train_sums_begin(&step->sums, step->buffers.gradient, 1 + mark);
}

/* That of the last micro-batch. */
static kern_status end_prefix(train_step *step) {
    const infer_parameters *layout = step->buffers.layout;
    const train_shard *shard = &step->shard;
    int *mark = kern_array(layout->count, sizeof *mark);
    for (int i = 0; i < layout->count; i++) {
        const infer_parameter *p = &layout->item[i];
        int turn = train_shard_turn(shard, p->offset + p->elements - 1);
        mark[i] = turn <= shard->turns ? turn - 1 : -1;
    }
    ad_marks marks = {shard->turns, mark, begin_turn, step};
    kern_status status = train_gradient_prefix(step->gradient, shard->turns ? &marks : NULL);
    free(mark);
    return status;
}

/* The gradient of the own sequences, micro-batch by micro-batch; behind the last one that of all
 * ranks, in the own parts. */
static kern_status add_gradients(train_step *step, const int32_t *tokens, double rate) {
    kern_status status = KERN_OK;
    const train_step_buffers *b = &step->buffers;
    int64_t micro = step->spec.micro_batch, context = step->spec.conf->train.context;
    size_t element = kern_dtype_bytes(b->dtype);
    for (int64_t first = 0; first < b->sequences; first += micro) {
        size_t chunk = (size_t)(first * b->chunks) * element;
        infer_batch batch = {.tokens = step->put ? NULL : tokens + first * (context + 1),
                             .rate = rate,
                             .token_nll =
                                 (char *)b->token_nll + (size_t)(first * context) * element,
                             .chunk_loss = (char *)b->chunk_loss + chunk,
                             .gradient_norm = (char *)b->gradient_norm + chunk};
        step->put = false;
        TRY(train_gradient_suffix(step->gradient, b->gradient, &batch));
        bool last = first + micro == b->sequences;
        if (last) train_sums_begin(&step->sums, b->gradient, 0);
        TRY(last ? end_prefix(step) : train_gradient_prefix(step->gradient, NULL));
    }
    train_gradient_share(step->gradient, b->gradient);
    train_sums_begin(&step->sums, b->gradient, step->shard.turns + 1);
done:
    train_sums_end(&step->sums);
    return status;
}

void train_step_meanwhile(train_step *step, void (*work)(void *context), void *context) {
    step->work = work;
    step->context = context;
}

kern_status train_step_put(train_step *step, const int32_t *tokens) {
    kern_status status = infer_model_put(step->model, tokens);
    step->put = status == KERN_OK;
    return status;
}

kern_status train_step_run(train_step *step, train_step_result *result, const int32_t *tokens,
                           int64_t number) {
    kern_status status = KERN_OK;
    const ttt_conf *conf = step->spec.conf;
    const conf_train *train = &conf->train;
    const train_step_buffers *b = &step->buffers;
    train_schedule schedule = {train->lr, train->end_lr, train->warmup_steps,
                               conf_total_steps(conf)};
    *result = (train_step_result){.learning_rate = train_learning_rate(&schedule, number),
                                  .inner_multiplier = train_inner_multiplier(
                                      conf->inner.warmup_from, conf->inner.warmup_steps, number)};
    kern_stream *stream = b->device->stream;
    size_t flat = (size_t)step->shard.flat * kern_dtype_bytes(b->dtype);
    stream->device->lap(stream, -1);
    train_weights_set(step->weights, step->model);
    stream->device->zero(stream, b->gradient, flat, flat, 1);
    stream->device->lap(stream, TRAIN_UPDATE);
    TRY(add_gradients(step, tokens, conf->inner.lr * result->inner_multiplier));
    if (step->work) step->work(step->context);
    kern_status norm_status =
        train_optimizer_norm(step->optimizer, &result->outer_grad_norm, b->gradient);
    if (norm_status != KERN_OK && norm_status != KERN_ERR_NUMERIC) TRY(norm_status);
    TRY(add_up(step, result));
    if (!isfinite(result->loss)) {
        status = kern_fail(KERN_ERR_NUMERIC, "the loss is not finite");
        goto done;
    }
    TRY(norm_status);
    TRY(train_optimizer_update(step->optimizer, result->outer_grad_norm, b->parameters, b->m, b->v,
                               b->gradient, number, result->learning_rate));
    train_step_gather(step);
    stream->device->lap(stream, TRAIN_UPDATE);
    double seconds[KERN_LAPS];
    stream->device->laps(stream, seconds);
    memcpy(result->seconds, seconds, sizeof result->seconds);
done:
    return status;
}
