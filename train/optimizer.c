#include "train/optimizer.h"

#include <math.h>
#include <stdlib.h>

#include "autodiff/composites.h"
#include "infer/parameters.h"

enum { FACTOR, RATE, CORRECT1, CORRECT2, SCALARS };

typedef struct {
    train_range at;
    ad_value p, g, m, v;
    ad_plan *plan;
} update;

/* A range of the gradient: the sum of its squares. */
typedef struct {
    int64_t first;
    ad_value g;
    ad_plan *plan;
} squares;

struct train_optimizer {
    conf_train conf;
    kern_dtype dtype;
    ad_graph *graph;
    ad_value scalar[SCALARS];
    int counted, ranges;
    squares squares[TRAIN_COUNTED];
    update update[TRAIN_RANGES];
    const kern_device *device;
    const kern_comm *comm;
    kern_buffer arena; /* and behind it the sums of squares */
};

static kern_status compile_squares(train_optimizer *o, squares *s, int64_t elements, int threads) {
    s->g = ad_input(o->graph, AD_TYPE(o->dtype, elements / INFER_ROW, INFER_ROW), "gradient");
    ad_plan_output output = {ad_sum(o->graph, ad_mul(o->graph, s->g, s->g), 3u), AD_WRITE};
    ad_plan_spec spec = {
        .outputs = 1, .output = &output, .device = o->device, .threads = threads, .repeats = true};
    return ad_plan_compile(&s->plan, o->graph, &spec);
}

static kern_status compile_update(train_optimizer *o, update *u, int threads) {
    ad_type type = AD_TYPE(o->dtype, u->at.elements / INFER_ROW, INFER_ROW);
    u->p = ad_input(o->graph, type, "parameters");
    u->g = ad_input(o->graph, type, "gradient");
    u->m = ad_input(o->graph, type, "m");
    u->v = ad_input(o->graph, type, "v");
    ad_adamw_args args = {.factor = o->scalar[FACTOR],
                          .rate = o->scalar[RATE],
                          .correct1 = o->scalar[CORRECT1],
                          .correct2 = o->scalar[CORRECT2],
                          .beta1 = o->conf.beta1,
                          .beta2 = o->conf.beta2,
                          .eps = o->conf.eps,
                          .weight_decay = u->at.decays ? o->conf.weight_decay : 0};
    ad_value p, m, v;
    ad_adamw(o->graph, &args, u->p, u->g, u->m, u->v, &p, &m, &v);
    ad_plan_output output[3] = {{p, AD_WRITE}, {m, AD_WRITE}, {v, AD_WRITE}};
    ad_plan_spec spec = {
        .outputs = 3, .output = output, .device = o->device, .threads = threads, .repeats = true};
    return ad_plan_compile(&u->plan, o->graph, &spec);
}

kern_status train_optimizer_create(train_optimizer **result, const conf_train *conf,
                                   const kern_device *device, const kern_comm *comm,
                                   kern_dtype dtype, const train_shard *shard, int threads) {
    kern_status status = KERN_OK;
    train_optimizer *o = kern_array(1, sizeof *o);
    train_range range[TRAIN_RANGES];
    infer_span counted[TRAIN_COUNTED];
    *result = NULL;
    o->conf = *conf;
    o->dtype = dtype;
    o->device = device ? device : kern_device_cpu();
    o->comm = comm;
    o->graph = ad_graph_create();
    ad_scope_push(o->graph, "optimizer");
    for (int i = 0; i < SCALARS; i++) o->scalar[i] = ad_scalar(o->graph, dtype, "scalar.%d", i);
    o->counted = train_shard_counted(counted, shard);
    for (int i = 0; i < o->counted; i++) {
        o->squares[i].first = counted[i].first;
        TRY(compile_squares(o, &o->squares[i], counted[i].count, threads));
    }
    o->ranges = train_shard_ranges(range, shard);
    for (int i = 0; i < o->ranges; i++) {
        o->update[i].at = range[i];
        TRY(compile_update(o, &o->update[i], threads));
    }
    *result = o;
    o = NULL;
done:
    train_optimizer_destroy(o);
    return status;
}

void train_optimizer_destroy(train_optimizer *optimizer) {
    if (!optimizer) return;
    for (int i = 0; i < optimizer->counted; i++) ad_plan_destroy(optimizer->squares[i].plan);
    for (int i = 0; i < optimizer->ranges; i++) ad_plan_destroy(optimizer->update[i].plan);
    ad_graph_destroy(optimizer->graph);
    kern_buffer_destroy(&optimizer->arena);
    free(optimizer);
}

int train_optimizer_plans(const train_optimizer *o, const ad_plan *plan[TRAIN_OPTIMIZER_PLANS]) {
    int plans = 0;
    for (int i = 0; i < o->counted; i++) plan[plans++] = o->squares[i].plan;
    for (int i = 0; i < o->ranges; i++) plan[plans++] = o->update[i].plan;
    return plans;
}

static size_t arena_bytes(const train_optimizer *o) {
    const ad_plan *plan[TRAIN_OPTIMIZER_PLANS];
    size_t bytes = 0;
    for (int i = train_optimizer_plans(o, plan) - 1; i >= 0; i--)
        bytes = kern_max_bytes(bytes, ad_plan_arena_bytes(plan[i]));
    return kern_align(bytes);
}

size_t train_optimizer_bytes(const train_optimizer *optimizer) {
    return arena_bytes(optimizer) + kern_align(TRAIN_COUNTED * sizeof(double));
}

kern_status train_optimizer_allocate(train_optimizer *o) {
    return kern_buffer_create(&o->arena, o->device, train_optimizer_bytes(o),
                              "optimizer workspace");
}

/* In the precision of the sum. */
static double root(double sum, kern_dtype dtype) {
    return dtype == KERN_F64 ? sqrt(sum) : (double)sqrtf((float)sum);
}

kern_status train_optimizer_norm(train_optimizer *o, double *norm, const void *gradient) {
    kern_status status = KERN_OK;
    char *sums = (char *)o->arena.data + arena_bytes(o);
    size_t element = kern_dtype_bytes(o->dtype);
    double found[TRAIN_COUNTED], sum = 0;
    size_t bytes = TRAIN_COUNTED * element; /* ranks have different numbers of ranges */
    o->device->zero(o->device->stream, sums, bytes, bytes, 1);
    for (int i = 0; i < o->counted; i++) {
        squares *s = &o->squares[i];
        ad_plan_bind(s->plan, s->g, (const char *)gradient + (size_t)s->first * element);
        ad_plan_bind_output(s->plan, 0, sums + (size_t)i * element);
        TRY(ad_plan_run(s->plan, o->arena.data));
    }
    o->comm->reduce(o->comm, o->device->stream, sums, sums, TRAIN_COUNTED, o->dtype, KERN_SUM);
    TRY(kern_download(o->device, found, sums, bytes));
    for (int i = 0; i < TRAIN_COUNTED; i++) sum += kern_real_at(found, o->dtype, i);
    *norm = root(sum, o->dtype);
    if (!isfinite(*norm))
        TRY(kern_fail(KERN_ERR_NUMERIC, "the norm of the outer gradient is not finite"));
done:
    return status;
}

static void set_scalars(train_optimizer *o, ad_plan *plan, double norm, int64_t step, double lr) {
    const conf_train *c = &o->conf;
    double value[SCALARS] = {
        [FACTOR] = norm > c->clip ? c->clip / norm : 1,
        [RATE] = lr,
        [CORRECT1] = 1 / (1 - pow(c->beta1, (double)(step + 1))),
        [CORRECT2] = 1 / (1 - pow(c->beta2, (double)(step + 1))),
    };
    for (int i = 0; i < SCALARS; i++) ad_plan_set(plan, o->scalar[i], value[i]);
}

kern_status train_optimizer_update(train_optimizer *o, double norm, void *parameters, void *m,
                                   void *v, const void *gradient, int64_t step, double lr) {
    kern_status status = KERN_OK;
    for (int i = 0; i < o->ranges; i++) {
        const update *u = &o->update[i];
        size_t flat = (size_t)u->at.first * kern_dtype_bytes(o->dtype);
        size_t own = (size_t)u->at.place * kern_dtype_bytes(o->dtype);
        size_t home = (size_t)u->at.home * kern_dtype_bytes(o->dtype);
        set_scalars(o, u->plan, norm, step, lr);
        ad_plan_bind(u->plan, u->p, (char *)parameters + home);
        ad_plan_bind(u->plan, u->m, (char *)m + own);
        ad_plan_bind(u->plan, u->v, (char *)v + own);
        ad_plan_bind(u->plan, u->g, (const char *)gradient + flat);
        ad_plan_bind_output(u->plan, 0, (char *)parameters + home);
        ad_plan_bind_output(u->plan, 1, (char *)m + own);
        ad_plan_bind_output(u->plan, 2, (char *)v + own);
        TRY(ad_plan_run(u->plan, o->arena.data));
    }
done:
    return status;
}
