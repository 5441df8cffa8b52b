#include "train/validation.h"

#include <stdio.h>
#include <stdlib.h>

#include "infer/evaluate.h"
#include "train/dataset.h"
#include "train/signals.h"
#include "train/vocabulary.h"

struct train_validation {
    const ttt_conf *conf;
    const kern_ranks *ranks;
    data_source *source;
    infer_model *model;
    bool allocated;
};

kern_status train_validation_create(train_validation **result, const ttt_conf *conf,
                                    const data_vocabulary *vocabulary, const kern_ranks *ranks,
                                    int threads) {
    kern_status status = KERN_OK;
    train_validation *v = NULL;
    *result = NULL;
    if (!*conf->data.valid || !conf->run.eval_every) {
        if (*conf->data.valid)
            fprintf(stderr, "warning: data.valid is not evaluated: run.eval_every is 0\n");
        if (conf->run.eval_every)
            fprintf(stderr, "warning: run.eval_every=%lld evaluates nothing: data.valid is empty\n",
                    (long long)conf->run.eval_every);
        return status;
    }
    v = kern_array(1, sizeof *v);
    v->conf = conf;
    v->ranks = ranks;
    TRY(train_dataset_open(&v->source, conf, "data.valid", conf->data.valid, conf->train.context,
                           false));
    if (train_vocabulary_match(vocabulary, v->source, "data.train") != KERN_OK)
        TRY(kern_fail_context(KERN_ERR_CONFIG, "data.valid"));
    const kern_device *device;
    TRY(kern_device_open(&device, conf->train.device));
    int64_t rows = conf->inner.chunk ? 256 / conf->inner.chunk : 1;
    infer_model_spec spec = {.conf = conf,
                             .batch = rows > 1 ? rows : 1,
                             .tokens = conf->train.context,
                             .inner = conf->inner.mode != CONF_INNER_OFF,
                             .device = device,
                             .tensor = ranks->tensor,
                             .threads = threads};
    TRY(infer_model_create(&v->model, &spec));
    *result = v;
    v = NULL;
done:
    train_validation_destroy(v);
    return status == KERN_OK ? status : kern_fail_context(status, "validation");
}

void train_validation_destroy(train_validation *validation) {
    if (!validation) return;
    infer_model_destroy(validation->model);
    data_source_destroy(validation->source);
    free(validation);
}

double train_validation_bytes(const train_validation *validation) {
    if (!validation) return 0;
    infer_model_memory m = infer_model_plan(validation->model);
    return (double)(m.carries + m.slots + m.history + m.activations + m.workspace +
                    m.product_weights);
}

/* A rank that cannot ask the others any more stops, too. */
static bool go_on(void *context, int64_t done, int64_t windows) {
    (void)done, (void)windows;
    const kern_comm *job = context;
    int64_t received = train_signals_received();
    return job->agree_i64(job, &received, 1, KERN_MAX) == KERN_OK && !received;
}

kern_status train_validation_run(train_validation *v, double *loss, double *error,
                                 const train_weights *weights) {
    kern_status status = KERN_OK;
    infer_losses *losses = NULL;
    if (!v->allocated) TRY(infer_model_allocate(v->model));
    v->allocated = true;
    train_weights_set(weights, v->model);
    infer_evaluation evaluation = {
        .model = v->model,
        .source = v->source,
        .per_document = v->conf->run.eval_windows,
        .rate = v->conf->inner.mode == CONF_INNER_OFF ? 0 : v->conf->inner.lr,
        .bins = infer_bins_create(v->conf->train.context, v->conf->inner.chunk),
        .seen = go_on,
        .context = (void *)(uintptr_t)v->ranks->job,
        .data = v->ranks->data};
    TRY(infer_evaluate(&losses, &evaluation));
    infer_mean mean = infer_losses_mean(losses, INFER_ALL, INFER_ALL);
    *loss = mean.mean;
    *error = mean.standard_error;
done:
    infer_losses_destroy(losses);
    return status;
}
