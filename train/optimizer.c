#include "train/optimizer.h"

#include <math.h>
#include <stdlib.h>

#include "autodiff/composites.h"
#include "infer/parameters.h"

enum { FACTOR, RATE, CORRECT1, CORRECT2, SCALARS };

/* Parameters that decay, and those that do not: their place, and what updates them; NULL where
 * there are none. */
enum { RANGES = 2 };
typedef struct {
    int64_t first, elements;
    ad_value p, g, m, v;
    ad_plan *update;
} range;

struct train_optimizer {
    conf_train conf;
    kern_dtype dtype;
    ad_graph *graph;
    ad_plan *squares;
    ad_value g, scalar[SCALARS];
    range range[RANGES];
    const kern_device *device;
    const kern_comm *comm;
    kern_buffer arena; /* and behind it the sum of squares */
};

static kern_status compile_squares(train_optimizer *o, int threads) {
    ad_plan_output output = {ad_sum(o->graph, ad_mul(o->graph, o->g, o->g), 3u), AD_WRITE};
    ad_plan_spec spec = {
        .outputs = 1, .output = &output, .device = o->device, .threads = threads, .repeats = true};
    return ad_plan_compile(&o->squares, o->graph, &spec);
}

static kern_status compile_update(train_optimizer *o, range *r, double weight_decay, int threads) {
    if (r->elements == 0) return KERN_OK;
    ad_type type = AD_TYPE(o->dtype, r->elements / INFER_ROW, INFER_ROW);
    r->p = ad_input(o->graph, type, "parameters");
    r->g = ad_input(o->graph, type, "gradient");
    r->m = ad_input(o->graph, type, "m");
    r->v = ad_input(o->graph, type, "v");
    ad_adamw_args args = {.factor = o->scalar[FACTOR],
                          .rate = o->scalar[RATE],
                          .correct1 = o->scalar[CORRECT1],
                          .correct2 = o->scalar[CORRECT2],
                          .beta1 = o->conf.beta1,
                          .beta2 = o->conf.beta2,
                          .eps = o->conf.eps,
                          .weight_decay = weight_decay};
    ad_value p, m, v;
    ad_adamw(o->graph, &args, r->p, r->g, r->m, r->v, &p, &m, &v);
    ad_plan_output output[3] = {{p, AD_WRITE}, {m, AD_WRITE}, {v, AD_WRITE}};
    ad_plan_spec spec = {
        .outputs = 3, .output = output, .device = o->device, .threads = threads, .repeats = true};
    return ad_plan_compile(&r->update, o->graph, &spec);
}

kern_status train_optimizer_create(train_optimizer **result, const conf_train *conf,
                                   const kern_device *device, const kern_comm *comm,
                                   kern_dtype dtype, int64_t elements, int64_t decaying,
                                   int threads) {
    kern_status status = KERN_OK;
    train_optimizer *o = kern_array(1, sizeof *o);
    ASSERT(elements % INFER_ROW == 0 && decaying % INFER_ROW == 0 && decaying <= elements);
    *result = NULL;
    o->conf = *conf;
    o->dtype = dtype;
    o->device = device ? device : kern_device_cpu();
    o->comm = comm ? comm : kern_comm_alone();
    o->graph = ad_graph_create();
    ad_scope_push(o->graph, "optimizer");
    ad_type type = AD_TYPE(dtype, elements / INFER_ROW, INFER_ROW);
    o->g = ad_input(o->graph, type, "gradient");
    o->range[0] = (range){.elements = decaying};
    o->range[1] = (range){.first = decaying, .elements = elements - decaying};
    for (int i = 0; i < SCALARS; i++) o->scalar[i] = ad_scalar(o->graph, dtype, "scalar.%d", i);
    TRY(compile_squares(o, threads));
    TRY(compile_update(o, &o->range[0], conf->weight_decay, threads));
    TRY(compile_update(o, &o->range[1], 0, threads));
    *result = o;
    o = NULL;
done:
    train_optimizer_destroy(o);
    return status;
}

void train_optimizer_destroy(train_optimizer *optimizer) {
    if (!optimizer) return;
    ad_plan_destroy(optimizer->squares);
    for (int r = 0; r < RANGES; r++) ad_plan_destroy(optimizer->range[r].update);
    ad_graph_destroy(optimizer->graph);
    kern_buffer_destroy(&optimizer->arena);
    free(optimizer);
}

static size_t arena_bytes(const train_optimizer *o) {
    size_t bytes = ad_plan_arena_bytes(o->squares);
    for (int r = 0; r < RANGES; r++)
        if (o->range[r].update)
            bytes = kern_max_bytes(bytes, ad_plan_arena_bytes(o->range[r].update));
    return kern_align(bytes);
}

size_t train_optimizer_bytes(const train_optimizer *optimizer) {
    return arena_bytes(optimizer) + kern_align(sizeof(double));
}

kern_status train_optimizer_allocate(train_optimizer *o) {
    return kern_buffer_create(&o->arena, o->device, train_optimizer_bytes(o),
                              "optimizer workspace");
}

int train_optimizer_plans(const train_optimizer *o, const ad_plan *plan[TRAIN_OPTIMIZER_PLANS]) {
    int plans = 0;
    plan[plans++] = o->squares;
    for (int r = 0; r < RANGES; r++)
        if (o->range[r].update) plan[plans++] = o->range[r].update;
    return plans;
}

/* In the precision of the sum. */
static double root(double sum, kern_dtype dtype) {
    return dtype == KERN_F64 ? sqrt(sum) : (double)sqrtf((float)sum);
}

kern_status train_optimizer_norm(train_optimizer *o, double *norm, const void *gradient) {
    kern_status status = KERN_OK;
    char *place = (char *)o->arena.data + arena_bytes(o);
    double found;
    ad_plan_bind(o->squares, o->g, gradient);
    ad_plan_bind_output(o->squares, 0, place);
    TRY(ad_plan_run(o->squares, o->arena.data));
    o->comm->reduce(o->comm, o->device->stream, place, place, 1, o->dtype, KERN_SUM);
    TRY(kern_download(o->device, &found, place, kern_dtype_bytes(o->dtype)));
    *norm = root(kern_real_at(&found, o->dtype, 0), o->dtype);
    if (!isfinite(*norm))
        TRY(kern_fail(KERN_ERR_NUMERIC, "the norm of the outer gradient is not finite"));
done:
    return status;
}

static void set_scalars(train_optimizer *o, ad_plan *update, double norm, int64_t step, double lr) {
    const conf_train *c = &o->conf;
    double value[SCALARS] = {
        [FACTOR] = norm > c->clip ? c->clip / norm : 1,
        [RATE] = lr,
        [CORRECT1] = 1 / (1 - pow(c->beta1, (double)(step + 1))),
        [CORRECT2] = 1 / (1 - pow(c->beta2, (double)(step + 1))),
    };
    for (int i = 0; i < SCALARS; i++) ad_plan_set(update, o->scalar[i], value[i]);
}

kern_status train_optimizer_update(train_optimizer *o, double norm, void *parameters, void *m,
                                   void *v, const void *gradient, int64_t step, double lr) {
    kern_status status = KERN_OK;
    for (int i = 0; i < RANGES; i++) {
        const range *r = &o->range[i];
        size_t from = (size_t)r->first * kern_dtype_bytes(o->dtype);
        if (!r->update) continue;
        set_scalars(o, r->update, norm, step, lr);
        ad_plan_bind(r->update, r->p, (char *)parameters + from);
        ad_plan_bind(r->update, r->m, (char *)m + from);
        ad_plan_bind(r->update, r->v, (char *)v + from);
        ad_plan_bind(r->update, r->g, (const char *)gradient + from);
        ad_plan_bind_output(r->update, 0, (char *)parameters + from);
        ad_plan_bind_output(r->update, 1, (char *)m + from);
        ad_plan_bind_output(r->update, 2, (char *)v + from);
        TRY(ad_plan_run(r->update, o->arena.data));
    }
done:
    return status;
}
