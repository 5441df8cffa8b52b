#include "train/optimizer.h"

#include <math.h>
#include <stdlib.h>

#include "autodiff/composites.h"
#include "infer/parameters.h"

enum { FACTOR, RATE, CORRECT1, CORRECT2, SCALARS };

struct train_optimizer {
    conf_train conf;
    kern_dtype dtype;
    ad_graph *graph;
    ad_plan *norm, *update;
    ad_value p, g, m, v, scalar[SCALARS];
    const kern_device *device;
    kern_buffer arena; /* and behind it the norm */
};

static kern_status compile_norm(train_optimizer *o, int threads) {
    ad_value squares = ad_sum(o->graph, ad_mul(o->graph, o->g, o->g), 3u);
    ad_plan_output output = {ad_sqrt(o->graph, squares), AD_WRITE};
    ad_plan_spec spec = {
        .outputs = 1, .output = &output, .device = o->device, .threads = threads, .repeats = true};
    return ad_plan_compile(&o->norm, o->graph, &spec);
}

static kern_status compile_update(train_optimizer *o, int threads) {
    ad_adamw_args args = {.factor = o->scalar[FACTOR],
                          .rate = o->scalar[RATE],
                          .correct1 = o->scalar[CORRECT1],
                          .correct2 = o->scalar[CORRECT2],
                          .beta1 = o->conf.beta1,
                          .beta2 = o->conf.beta2,
                          .eps = o->conf.eps,
                          .weight_decay = o->conf.weight_decay};
    ad_value p, m, v;
    ad_adamw(o->graph, &args, o->p, o->g, o->m, o->v, &p, &m, &v);
    ad_plan_output output[3] = {{p, AD_WRITE}, {m, AD_WRITE}, {v, AD_WRITE}};
    ad_plan_spec spec = {
        .outputs = 3, .output = output, .device = o->device, .threads = threads, .repeats = true};
    return ad_plan_compile(&o->update, o->graph, &spec);
}

kern_status train_optimizer_create(train_optimizer **result, const conf_train *conf,
                                   const kern_device *device, kern_dtype dtype, int64_t elements,
                                   int threads) {
    kern_status status = KERN_OK;
    train_optimizer *o = kern_array(1, sizeof *o);
    ASSERT(elements % INFER_ROW == 0);
    *result = NULL;
    o->conf = *conf;
    o->dtype = dtype;
    o->device = device ? device : kern_device_cpu();
    o->graph = ad_graph_create();
    ad_scope_push(o->graph, "optimizer");
    ad_type type = AD_TYPE(dtype, elements / INFER_ROW, INFER_ROW);
    o->p = ad_input(o->graph, type, "parameters");
    o->g = ad_input(o->graph, type, "gradient");
    o->m = ad_input(o->graph, type, "m");
    o->v = ad_input(o->graph, type, "v");
    for (int i = 0; i < SCALARS; i++) o->scalar[i] = ad_scalar(o->graph, dtype, "scalar.%d", i);
    TRY(compile_norm(o, threads));
    TRY(compile_update(o, threads));
    *result = o;
    o = NULL;
done:
    train_optimizer_destroy(o);
    return status;
}

void train_optimizer_destroy(train_optimizer *optimizer) {
    if (!optimizer) return;
    ad_plan_destroy(optimizer->norm);
    ad_plan_destroy(optimizer->update);
    ad_graph_destroy(optimizer->graph);
    kern_buffer_destroy(&optimizer->arena);
    free(optimizer);
}

static size_t arena_bytes(const train_optimizer *o) {
    return kern_align(kern_max_bytes(ad_plan_arena_bytes(o->norm), ad_plan_arena_bytes(o->update)));
}

size_t train_optimizer_bytes(const train_optimizer *optimizer) {
    return arena_bytes(optimizer) + kern_align(sizeof(double));
}

kern_status train_optimizer_allocate(train_optimizer *o) {
    return kern_buffer_create(&o->arena, o->device, train_optimizer_bytes(o),
                              "optimizer workspace");
}

void train_optimizer_plans(const train_optimizer *o, const ad_plan *plan[2]) {
    plan[0] = o->norm;
    plan[1] = o->update;
}

kern_status train_optimizer_norm(train_optimizer *o, double *norm, const void *gradient) {
    kern_status status = KERN_OK;
    char *place = (char *)o->arena.data + arena_bytes(o);
    double found;
    ad_plan_bind(o->norm, o->g, gradient);
    ad_plan_bind_output(o->norm, 0, place);
    TRY(ad_plan_run(o->norm, o->arena.data));
    TRY(kern_download(o->device, &found, place, kern_dtype_bytes(o->dtype)));
    *norm = kern_real_at(&found, o->dtype, 0);
    if (!isfinite(*norm))
        TRY(kern_fail(KERN_ERR_NUMERIC, "the norm of the outer gradient is not finite"));
done:
    return status;
}

static void set_scalars(train_optimizer *o, double norm, int64_t step, double lr) {
    const conf_train *c = &o->conf;
    double value[SCALARS] = {
        [FACTOR] = norm > c->clip ? c->clip / norm : 1,
        [RATE] = lr,
        [CORRECT1] = 1 / (1 - pow(c->beta1, (double)(step + 1))),
        [CORRECT2] = 1 / (1 - pow(c->beta2, (double)(step + 1))),
    };
    for (int i = 0; i < SCALARS; i++) ad_plan_set(o->update, o->scalar[i], value[i]);
}

kern_status train_optimizer_update(train_optimizer *o, double norm, void *parameters, void *m,
                                   void *v, const void *gradient, int64_t step, double lr) {
    set_scalars(o, norm, step, lr);
    ad_plan_bind(o->update, o->p, parameters);
    ad_plan_bind(o->update, o->m, m);
    ad_plan_bind(o->update, o->v, v);
    ad_plan_bind(o->update, o->g, gradient);
    ad_plan_bind_output(o->update, 0, parameters);
    ad_plan_bind_output(o->update, 1, m);
    ad_plan_bind_output(o->update, 2, v);
    return ad_plan_run(o->update, o->arena.data);
}
