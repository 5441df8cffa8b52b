#include "train/diagnose.h"

#include "kernels/doing.h"
#include "train/fit.h"
#include "train/gradient.h"
#include "train/schedule.h"

/* KERN_OK where every value is finite; `first`: the number of the first sequence in the batch. */
static kern_status check_sequences(const ttt_conf *conf, infer_model *model,
                                   train_gradient *gradient, const train_step_buffers *b,
                                   const int32_t *tokens, int64_t number, int64_t first) {
    double multiplier =
        train_inner_multiplier(conf->inner.warmup_from, conf->inner.warmup_steps, number);
    train_weights_set(b->weights, model);
    size_t flat = (size_t)b->layout->elements * kern_dtype_bytes(b->dtype);
    b->device->zero(b->device->stream, b->gradient, flat, flat, 1);
    for (int64_t s = 0; s < b->sequences; s++) {
        infer_batch batch = {.tokens = tokens + s * (conf->train.context + 1),
                             .rate = conf->inner.lr * multiplier,
                             .token_nll = b->token_nll,
                             .chunk_loss = b->chunk_loss,
                             .gradient_norm = b->gradient_norm};
        kern_status status = train_gradient_add(gradient, b->gradient, &batch);
        if (status != KERN_OK)
            return kern_fail_context(status, "outer step %lld, sequence %lld",
                                     (long long)number + 1, (long long)(first + s));
    }
    return KERN_OK;
}

/* Every value is kept, which takes far more than a step does; the system would rather end the
 * process than refuse. */
static kern_status enough_memory(const infer_model *model, const train_gradient *gradient) {
    infer_model_memory m = infer_model_plan(model);
    double free_bytes = train_free_memory();
    double needed = (double)(m.carries + m.slots + m.history + m.activations + m.workspace +
                             m.product_weights + train_gradient_bytes(gradient));
    char has[32], needs[32];
    if (free_bytes <= 0 || needed <= free_bytes) return KERN_OK;
    train_bytes_text(has, free_bytes);
    train_bytes_text(needs, needed);
    return kern_fail(KERN_ERR_MEMORY, "that takes %s, and %s are free", needs, has);
}

/* Both of these are local: what fails on one tensor rank is met before the others call it. */
static kern_status create(infer_model **model, train_gradient **gradient,
                          const infer_model_spec *spec) {
    kern_status status = KERN_OK;
    TRY(infer_model_create(model, spec));
    TRY(train_gradient_create(gradient, *model));
    TRY(enough_memory(*model, *gradient));
done:
    return status;
}

static kern_status allocate(infer_model *model, train_gradient *gradient) {
    kern_status status = infer_model_allocate(model);
    return status == KERN_OK ? train_gradient_allocate(gradient) : status;
}

/* Of the own sequences. */
static kern_status diagnose(const ttt_conf *conf, int threads, const train_step_buffers *buffers,
                            const kern_ranks *ranks, const int32_t *tokens, int64_t number) {
    kern_status status = KERN_OK;
    infer_model *model = NULL;
    train_gradient *gradient = NULL;
    infer_model_spec spec = {.conf = conf,
                             .batch = 1,
                             .tokens = conf->train.context,
                             .inner = conf->inner.mode == CONF_INNER_E2E ||
                                      conf->inner.mode == CONF_INNER_FIRST_ORDER,
                             .first_order = conf->inner.mode == CONF_INNER_FIRST_ORDER,
                             .backward = true,
                             .loss_scale = 1,
                             .device = buffers->device,
                             .tensor = ranks->tensor,
                             .threads = threads,
                             .debug = true};
    TRY(kern_comm_meet(ranks->tensor, create(&model, &gradient, &spec)));
    TRY(kern_comm_meet(ranks->tensor, allocate(model, gradient)));
    status = check_sequences(conf, model, gradient, buffers, tokens, number,
                             ranks->data->rank * buffers->sequences);
done:
    train_gradient_destroy(gradient);
    infer_model_destroy(model);
    if (status == KERN_ERR_MEMORY)
        return kern_fail_context(KERN_ERR_NUMERIC,
                                 "outer step %lld: loss or gradient is not finite, and there is no "
                                 "memory to find the op",
                                 (long long)number + 1);
    return status;
}

kern_status train_diagnose(const ttt_conf *conf, int threads, const train_step_buffers *buffers,
                           const kern_ranks *ranks, const int32_t *tokens, int64_t number) {
    kern_doing_long("looking for what is not finite");
    kern_status status = diagnose(conf, threads, buffers, ranks, tokens, number);
    kern_doing_long(NULL);
    status = kern_comm_meet(ranks->job, status);
    if (status != KERN_OK) return status;
    return kern_fail(KERN_ERR_NUMERIC,
                     "outer step %lld: the loss or the gradient is not finite although every value "
                     "of each sequence is; their sum overflowed",
                     (long long)number + 1);
}
