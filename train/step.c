#include "train/step.h"

#include <malloc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "train/gradient.h"
#include "train/optimizer.h"
#include "train/schedule.h"

const char *const train_phase_name[TRAIN_PHASES] = {
    "prefix forward", "suffix forward", "suffix backward", "prefix backward", "optimizer"};

struct train_step {
    train_step_spec spec;
    infer_model *model;
    train_gradient *gradient;
    train_optimizer *optimizer;
    train_step_buffers buffers;
    kern_buffer memory[4]; /* parameters, gradient, moments */
    size_t program;        /* bytes of graphs and plans */
    void (*work)(void *context);
    void *context;
    bool put; /* the first tokens of the next run are with the model */
};

/* Pages of the product library that running it touches, and code that it generates. */
static const size_t LIBRARY_BYTES = 10 << 20;

/* What the heap needs for the same objects differs by some kB with what it held before; so that the
 * least that is needed can be told, whole pieces are counted. */
static const size_t PROGRAM_PIECE = 1 << 20;

static size_t heap_bytes(void) {
    struct mallinfo2 heap = mallinfo2();
    return heap.uordblks + heap.hblkhd;
}

kern_status train_step_create(train_step **result, const train_step_spec *spec) {
    kern_status status = KERN_OK;
    const ttt_conf *conf = spec->conf;
    size_t before = heap_bytes();
    train_step *step = kern_array(1, sizeof *step);
    ASSERT(conf->train.batch % spec->micro_batch == 0);
    *result = NULL;
    step->spec = *spec;
    if (!spec->device) step->spec.device = kern_device_cpu();
    if (!spec->comm) step->spec.comm = kern_comm_alone();
    step->buffers.device = step->spec.device;
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
                              .threads = spec->threads,
                              .debug = spec->debug};
    TRY(infer_model_create(&step->model, &model));
    TRY(train_gradient_create(&step->gradient, step->model));
    step->buffers.dtype = infer_model_real(step->model);
    step->buffers.layout = infer_model_parameters(step->model);
    step->buffers.chunks = chunks;
    TRY(train_optimizer_create(&step->optimizer, &conf->train, step->spec.device, step->spec.comm,
                               step->buffers.dtype, step->buffers.layout->elements,
                               step->buffers.layout->decaying, spec->threads));
    size_t after = heap_bytes();
    size_t program = (after > before ? after - before : 0) + LIBRARY_BYTES;
    step->program = (program + PROGRAM_PIECE - 1) / PROGRAM_PIECE * PROGRAM_PIECE;
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
    infer_model_destroy(step->model);
    for (int i = 0; i < 4; i++) kern_buffer_destroy(&step->memory[i]);
    kern_free(step->buffers.token_nll);
    kern_free(step->buffers.chunk_loss);
    kern_free(step->buffers.gradient_norm);
    free(step);
}

const train_step_spec *train_step_spec_of(const train_step *step) {
    return &step->spec;
}

const infer_model *train_step_model(const train_step *step) {
    return step->model;
}

/* Losses and norms that the caller reads. */
static size_t result_bytes(const train_step *step) {
    const conf_train *conf = &step->spec.conf->train;
    size_t each = kern_dtype_bytes(step->buffers.dtype);
    return (size_t)(conf->batch * (conf->context + 2 * step->buffers.chunks)) * each;
}

static double row_bytes(const train_step *step) {
    infer_model_parts parts = infer_model_internals(step->model);
    ad_scan_memory prefix = ad_scan_plan(parts.prefix), suffix = ad_scan_plan(parts.suffix);
    return prefix.bytes + prefix.vjp_bytes + suffix.bytes + suffix.vjp_bytes;
}

static double moved(const train_step *step) {
    infer_model_parts parts = infer_model_internals(step->model);
    return ad_scan_plan(parts.prefix).moved + ad_scan_plan(parts.suffix).moved;
}

train_step_memory train_step_plan(const train_step *step) {
    infer_model_memory model = infer_model_plan(step->model);
    size_t flat = (size_t)step->buffers.layout->elements * kern_dtype_bytes(step->buffers.dtype);
    double micro_batches = (double)(step->spec.conf->train.batch / step->spec.micro_batch);
    double flops = model.prefix_flops + model.body_flops;
    flops += model.body_vjp_flops + model.prefix_vjp_flops;
    train_step_memory memory = {
        .parameters = flat,
        .gradient = flat,
        .moments = 2 * flat,
        .product_weights = model.product_weights,
        .carries = model.carries + train_gradient_bytes(step->gradient),
        .slots = model.slots,
        .history = model.history,
        .activations = model.activations + result_bytes(step),
        .workspace = model.workspace + train_optimizer_bytes(step->optimizer) +
                     train_gradient_workspace(step->gradient),
        .program = step->spec.device->machine->memory > 0 ? 0 : step->program,
        .executed_flops = micro_batches * flops,
        .row_bytes = micro_batches * row_bytes(step),
        .moved = micro_batches * moved(step),
        .kept_fraction = ad_scan_plan(infer_model_internals(step->model).suffix).kept_fraction,
        .every = model.every};
    memory.total = memory.parameters + memory.gradient + memory.moments + memory.product_weights +
                   memory.carries + memory.slots + memory.history + memory.activations +
                   memory.workspace + memory.program;
    return memory;
}

kern_status train_step_allocate(train_step *step) {
    kern_status status = KERN_OK;
    const conf_train *conf = &step->spec.conf->train;
    train_step_buffers *b = &step->buffers;
    size_t element = kern_dtype_bytes(b->dtype), flat = (size_t)b->layout->elements * element;
    size_t chunks = (size_t)(b->chunks * conf->batch) * element;
    void **const place[] = {&b->parameters, &b->gradient, &b->m, &b->v};
    const char *const name[] = {"parameters", "gradient", "first moments", "second moments"};
    for (int i = 0; i < 4; i++) {
        TRY(kern_buffer_create_zero(&step->memory[i], b->device, flat, name[i]));
        *place[i] = step->memory[i].data;
    }
    TRY(kern_alloc_zero(&b->token_nll, (size_t)(conf->batch * conf->context) * element,
                        "token losses"));
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
    double times = (double)(step->spec.conf->train.batch / step->spec.micro_batch);
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

/* Losses, norms of inner gradients and tokens of all ranks. */
static kern_status add_up(const train_step *step, train_step_result *result) {
    kern_status status = KERN_OK;
    const kern_comm *comm = step->spec.comm;
    const train_step_buffers *b = &step->buffers;
    const conf_train *train = &step->spec.conf->train;
    int64_t chunks = b->chunks * train->batch, tokens = train->batch * train->context;
    double sum[2] = {sum_of(b->chunk_loss, b->dtype, chunks),
                     sum_of(b->gradient_norm, b->dtype, chunks)};
    TRY(comm->agree_f64(comm, sum, 2, KERN_SUM));
    TRY(comm->agree_i64(comm, &tokens, 1, KERN_SUM));
    result->loss = sum[0] / (double)(chunks * comm->ranks);
    result->inner_grad_norm = b->chunks > 1 ? sum[1] / (double)(chunks * comm->ranks) *
                                                  (double)b->chunks / (double)(b->chunks - 1)
                                            : 0;
    result->tokens = tokens;
done:
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
    size_t element = kern_dtype_bytes(b->dtype);
    int64_t micro = step->spec.micro_batch, context = train->context;
    train_schedule schedule = {train->lr, train->end_lr, train->warmup_steps,
                               conf_total_steps(conf)};
    *result = (train_step_result){.learning_rate = train_learning_rate(&schedule, number),
                                  .inner_multiplier = train_inner_multiplier(
                                      conf->inner.warmup_from, conf->inner.warmup_steps, number)};
    kern_stream *stream = b->device->stream;
    size_t flat = (size_t)b->layout->elements * element;
    stream->device->lap(stream, -1);
    infer_model_set_parameters(step->model, b->parameters);
    stream->device->zero(stream, b->gradient, flat, flat, 1);
    stream->device->lap(stream, TRAIN_UPDATE);
    for (int64_t first = 0; first < train->batch; first += micro) {
        size_t chunk = (size_t)(first * b->chunks) * element;
        infer_batch batch = {.tokens = step->put ? NULL : tokens + first * (context + 1),
                             .rate = conf->inner.lr * result->inner_multiplier,
                             .token_nll =
                                 (char *)b->token_nll + (size_t)(first * context) * element,
                             .chunk_loss = (char *)b->chunk_loss + chunk,
                             .gradient_norm = (char *)b->gradient_norm + chunk};
        step->put = false;
        TRY(train_gradient_add(step->gradient, b->gradient, &batch));
    }
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
    stream->device->lap(stream, TRAIN_UPDATE);
    double seconds[KERN_LAPS];
    stream->device->laps(stream, seconds);
    memcpy(result->seconds, seconds, sizeof result->seconds);
done:
    return status;
}
