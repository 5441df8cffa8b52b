#include "train/gradient.h"

#include <stdlib.h>

#include "autodiff/composites.h"

struct train_gradient {
    infer_model *model;
    infer_model_parts parts;
    kern_buffer memory; /* of lambda */
    void **ct_theta;    /* [fast] lambda_0: [B, in, out] */
    ad_graph *graph;    /* sums lambda_0 over the batch into the gradient of theta_0 */
    ad_value *lambda;   /* [fast] */
    ad_plan *plan;
    kern_buffer workspace;
};

static size_t lambda_bytes(const infer_model *model, const infer_parameter *p, int64_t batch) {
    size_t bytes = (size_t)(batch * p->elements) * kern_dtype_bytes(infer_model_real(model));
    return kern_align(bytes);
}

size_t train_gradient_bytes(const train_gradient *g) {
    const infer_parameters *p = infer_model_parameters(g->model);
    size_t bytes = 0;
    for (int f = 0; f < g->parts.fast; f++)
        bytes += lambda_bytes(g->model, &p->item[g->parts.fast_parameter[f]], g->parts.batch);
    return bytes;
}

size_t train_gradient_workspace(const train_gradient *g) {
    return ad_plan_arena_bytes(g->plan);
}

const ad_plan *train_gradient_plan(const train_gradient *g) {
    return g->plan;
}

static kern_status compile_sum(train_gradient *g) {
    const infer_parameters *p = infer_model_parameters(g->model);
    int fast = g->parts.fast;
    g->graph = ad_graph_create();
    g->lambda = kern_array(fast, sizeof *g->lambda);
    ad_plan_output *output = kern_array(fast, sizeof *output);
    for (int f = 0; f < fast; f++) {
        int64_t elements = p->item[g->parts.fast_parameter[f]].elements;
        ad_type type = AD_TYPE(infer_model_real(g->model), g->parts.batch, elements);
        g->lambda[f] = ad_input(g->graph, type, "lambda.%d", f);
        output[f] = (ad_plan_output){ad_sum(g->graph, g->lambda[f], 1u), AD_ADD};
    }
    ad_plan_spec spec = {.outputs = fast,
                         .output = output,
                         .device = g->parts.device,
                         .threads = g->parts.threads,
                         .repeats = true};
    kern_status status = ad_plan_compile(&g->plan, g->graph, &spec);
    free(output);
    return status;
}

kern_status train_gradient_create(train_gradient **result, infer_model *model) {
    kern_status status = KERN_OK;
    train_gradient *g = kern_array(1, sizeof *g);
    *result = NULL;
    g->model = model;
    g->parts = infer_model_internals(model);
    g->ct_theta = kern_array(g->parts.fast, sizeof *g->ct_theta);
    TRY(compile_sum(g));
    *result = g;
    g = NULL;
done:
    train_gradient_destroy(g);
    return status;
}

kern_status train_gradient_allocate(train_gradient *g) {
    kern_status status = KERN_OK;
    const infer_parameters *p = infer_model_parameters(g->model);
    g->parts = infer_model_internals(g->model); /* now with the arena */
    TRY(kern_buffer_create(&g->memory, g->parts.device, train_gradient_bytes(g),
                           "cotangents of the fast weights"));
    TRY(kern_buffer_create(&g->workspace, g->parts.device, train_gradient_workspace(g),
                           "workspace"));
    char *at = g->memory.data;
    for (int f = 0; f < g->parts.fast; f++) {
        g->ct_theta[f] = at;
        at += lambda_bytes(g->model, &p->item[g->parts.fast_parameter[f]], g->parts.batch);
    }
done:
    return status;
}

void train_gradient_destroy(train_gradient *gradient) {
    if (!gradient) return;
    ad_plan_destroy(gradient->plan);
    ad_graph_destroy(gradient->graph);
    kern_buffer_destroy(&gradient->memory);
    kern_buffer_destroy(&gradient->workspace);
    free(gradient->ct_theta);
    free(gradient->lambda);
    free(gradient);
}

static void *place(const train_gradient *g, void *sum, int parameter) {
    int64_t offset = infer_model_parameters(g->model)->item[parameter].offset;
    return (char *)sum + (size_t)offset * kern_dtype_bytes(infer_model_real(g->model));
}

static void bind_sums(train_gradient *g, void *sum) {
    const infer_parameters *p = infer_model_parameters(g->model);
    for (int i = 0; i < p->count; i++) {
        void *memory = place(g, sum, i);
        if (g->parts.prefix_constant[i] >= 0)
            ad_scan_bind_constant_ct(g->parts.prefix, g->parts.prefix_constant[i], memory);
        if (g->parts.suffix_constant[i] >= 0)
            ad_scan_bind_constant_ct(g->parts.suffix, g->parts.suffix_constant[i], memory);
    }
}

kern_status train_gradient_suffix(train_gradient *g, void *sum, infer_batch *batch) {
    kern_status status = KERN_OK;
    kern_stream *stream = g->parts.device->stream;
    bind_sums(g, sum);
    TRY(infer_model_forward(g->model, batch));
    TRY(ad_scan_backward(g->parts.suffix, g->ct_theta, g->parts.arena));
    for (int f = 0; f < g->parts.fast; f++) {
        ad_plan_bind(g->plan, g->lambda[f], g->ct_theta[f]);
        ad_plan_bind_output(g->plan, f, place(g, sum, g->parts.fast_parameter[f]));
    }
    TRY(ad_plan_run(g->plan, g->workspace.data));
    stream->device->lap(stream, TRAIN_LAP_SUFFIX);
done:
    return status;
}

kern_status train_gradient_prefix(train_gradient *g, const ad_marks *marks) {
    kern_stream *stream = g->parts.device->stream;
    int count = infer_model_parameters(g->model)->count;
    ad_marks of_constants = {0};
    int *mark = kern_array(count, sizeof *mark); /* a constant is a parameter */
    for (int i = 0; i < count; i++) mark[i] = -1;
    for (int i = 0; i < count && marks; i++)
        if (g->parts.prefix_constant[i] >= 0) mark[g->parts.prefix_constant[i]] = marks->mark[i];
    if (marks) of_constants = (ad_marks){marks->marks, mark, marks->reached, marks->context};
    kern_status status = ad_scan_backward_marked(g->parts.prefix, NULL, g->parts.arena,
                                                 marks ? &of_constants : NULL);
    free(mark);
    if (status == KERN_OK) stream->device->lap(stream, TRAIN_LAP_PREFIX);
    return status;
}

kern_status train_gradient_add(train_gradient *g, void *sum, infer_batch *batch) {
    kern_status status = train_gradient_suffix(g, sum, batch);
    return status == KERN_OK ? train_gradient_prefix(g, NULL) : status;
}

void train_gradient_share(train_gradient *g, void *sum) {
    const kern_comm *tensor = infer_model_spec_of(g->model)->tensor;
    kern_dtype real = infer_model_real(g->model);
    infer_span summed = infer_model_parameters(g->model)->summed;
    char *at = (char *)sum + (size_t)summed.first * kern_dtype_bytes(real);
    if (tensor && summed.count)
        tensor->reduce(tensor, g->parts.device->stream, at, at, summed.count, real, KERN_SUM);
}
