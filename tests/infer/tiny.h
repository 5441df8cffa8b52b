/* Tiny models in f64 for tests: a configuration from overrides, random weights, random tokens; with
 * one mixer (tests/infer/ema.c) more than the program has. */
#ifndef TESTS_INFER_TINY_H
#define TESTS_INFER_TINY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "infer/mixer.h"
#include "infer/model.h"
#include "tests/device.h"

#ifndef assert_ok
#define assert_ok(call)                                                                            \
    do {                                                                                           \
        kern_status got_status = (call);                                                           \
        if (got_status != KERN_OK) fail_msg("%s: %s", #call, kern_error());                        \
    } while (0)
#endif

typedef struct {
    ttt_conf *conf;
    infer_parameters *layout;
    double *parameters;    /* [layout->elements] */
    kern_buffer on_device; /* the same as tiny_upload last found them */
    infer_values *values;  /* of those; tiny_values() uploads first */
} tiny;

static inline double tiny_random(uint64_t *state) { /* from [-1, 1) */
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(int64_t)*state * 0x1p-63;
}

/* What every tiny model has unless its overrides say otherwise. */
#define TINY                                                                                       \
    "train.precision=f64 model.vocab=19 model.bos=18 model.blocks=3 model.dim=12 model.heads=2 "   \
    "model.mlp=10 model.window=6 model.rope_theta=100 model.init_std=0.4 inner.mode=e2e "          \
    "inner.suffix=2 inner.chunk=4 inner.lr=0.7 inner.clip=0.5 train.context=16 train.batch=4 "

static inline void tiny_set(ttt_conf *conf, const char *overrides) {
    char text[2048];
    assert_true(strlen(overrides) < sizeof text);
    strcpy(text, overrides);
    for (char *word = strtok(text, " "); word; word = strtok(NULL, " "))
        assert_ok(conf_set(conf, word));
}

/* Matrices normal, norms about 1, all functions of the parameter's name. Overrides are separated by
 * blanks. */
static inline void tiny_begin(tiny *m, const char *overrides) {
    void *memory;
    *m = (tiny){0};
    assert_ok(conf_create(&m->conf));
    tiny_set(m->conf, TINY);
    tiny_set(m->conf, overrides);
    assert_ok(conf_check(m->conf));
    assert_ok(infer_check(m->conf));
    m->layout = infer_parameters_create(m->conf);
    size_t bytes = (size_t)m->layout->elements * sizeof(double);
    assert_ok(kern_alloc_zero(&memory, bytes, "weights"));
    m->parameters = memory;
    infer_parameters_init(m->layout, m->conf, KERN_F64, kern_device_cpu(), m->parameters);
    assert_ok(kern_buffer_create(&m->on_device, test_device(), bytes, "weights"));
    assert_ok(infer_values_view(&m->values, m->conf, NULL, test_device(), m->on_device.data));
    uint64_t random = 1;
    for (int i = 0; i < m->layout->count; i++) {
        const infer_parameter *p = &m->layout->item[i];
        for (int64_t j = 0; j < p->elements && p->rank == 1; j++)
            m->parameters[p->offset + j] += 0.3 * tiny_random(&random);
    }
}

static inline void tiny_end(tiny *m) {
    conf_destroy(m->conf);
    infer_values_destroy(m->values);
    infer_parameters_destroy(m->layout);
    kern_free(m->parameters);
    kern_buffer_destroy(&m->on_device);
}

/* The parameters as they are now, where models and sessions read them. */
static inline const void *tiny_upload(const tiny *m) {
    kern_upload(m->on_device.device, m->on_device.data, m->parameters, m->on_device.bytes);
    return m->on_device.data;
}
static inline const infer_values *tiny_values(const tiny *m) {
    tiny_upload(m);
    return m->values;
}

/* Tokens of any kind, a few of them the begin-of-document token. */
static inline void tiny_tokens(const tiny *m, int32_t *tokens, int64_t count, uint64_t seed) {
    for (int64_t i = 0; i < count; i++) {
        int64_t token = (int64_t)((tiny_random(&seed) + 1) / 2 * (double)m->conf->model.vocab);
        tokens[i] = (int32_t)token;
    }
}

/* The parameter of that name; it must exist. */
static inline const infer_parameter *tiny_find(const tiny *m, const char *name) {
    for (int i = 0; i < m->layout->count; i++)
        if (!strcmp(m->layout->item[i].name, name)) return &m->layout->item[i];
    fail_msg("no parameter %s", name);
    return NULL;
}

static inline void tiny_copy(tiny *to, const char *to_name, const tiny *from,
                             const char *from_name) {
    const infer_parameter *a = tiny_find(to, to_name), *b = tiny_find(from, from_name);
    assert_int_equal(a->elements, b->elements);
    memcpy(to->parameters + a->offset, from->parameters + b->offset,
           (size_t)a->elements * sizeof(double));
}

/* How a tiny model is read. */
typedef struct {
    int64_t batch;    /* sequences at once; 0: 1 */
    bool off;         /* built without inner steps */
    double rate;      /* of the inner steps */
    double *nll;      /* [sequences, T], or NULL */
    double *loss;     /* [n] chunk losses of the last sequence, or NULL; batch 1 only */
    double *norm;     /* [n] norms of its inner gradients, or NULL; batch 1 only */
    double *fast[16]; /* theta_n of the last sequence by carried parameter; batch 1 only */
} tiny_reading;

enum { TINY_MOST = 1 << 14 };

static inline size_t tiny_fast_bytes(const tiny *m, const infer_model_parts *parts, int f) {
    return (size_t)m->layout->item[parts->fast_parameter[f]].elements * sizeof(double);
}

static inline void tiny_read(const tiny *m, const tiny_reading *how, const int32_t *tokens,
                             int64_t sequences) {
    static double nll[TINY_MOST], loss[TINY_MOST], norm[TINY_MOST];
    int64_t T = m->conf->train.context, B = how->batch ? how->batch : 1;
    assert_true(B * T <= TINY_MOST && sequences % B == 0);
    infer_model *model;
    omp_set_num_threads(1); /* it is too little work for more */
    infer_model_spec spec = {.conf = m->conf,
                             .batch = B,
                             .tokens = T,
                             .inner = !how->off,
                             .device = test_device(),
                             .threads = 1};
    assert_ok(infer_model_create(&model, &spec));
    assert_ok(infer_model_allocate(model));
    infer_model_set_parameters(model, tiny_upload(m));
    kern_buffer theta[16] = {{0}};
    void *fast[16];
    infer_model_parts parts = infer_model_internals(model);
    for (int f = 0; how->fast[0] && f < parts.fast; f++) {
        theta[f] = test_on_device(how->fast[f], tiny_fast_bytes(m, &parts, f));
        fast[f] = theta[f].data;
    }
    for (int64_t first = 0; first < sequences; first += B) {
        infer_batch batch = {.tokens = tokens + first * (T + 1),
                             .rate = how->rate,
                             .token_nll = nll,
                             .chunk_loss = how->loss ? how->loss : loss,
                             .gradient_norm = how->norm ? how->norm : norm,
                             .fast = how->fast[0] ? fast : NULL};
        assert_ok(infer_model_forward(model, &batch));
        assert_ok(kern_finish(test_device()->stream));
        if (how->nll) memcpy(how->nll + first * T, nll, (size_t)(B * T) * sizeof *nll);
    }
    for (int f = 0; how->fast[0] && f < parts.fast; f++) {
        test_from_device(how->fast[f], fast[f], tiny_fast_bytes(m, &parts, f));
        kern_buffer_destroy(&theta[f]);
    }
    infer_model_destroy(model);
}

static inline double tiny_worst(const double *a, const double *b, int64_t count) {
    double worst = 0;
    for (int64_t i = 0; i < count; i++) {
        double difference = fabs(a[i] - b[i]);
        if (!(difference <= worst)) worst = difference;
    }
    return worst;
}

/* a[0..count) and b[0..count) agree to `limit`; NAN agrees with nothing. */
static inline void tiny_assert_close(const double *a, const double *b, int64_t count, double limit,
                                     const char *what) {
    double worst = tiny_worst(a, b, count);
    if (!(worst <= limit)) fail_msg("%s: they differ by %g", what, worst);
}

/* The derivative of f along `direction` [layout->elements] at the parameters, from four values: the
 * error is of fourth order in the step. */
static inline double tiny_slope(tiny *m, const double *direction, double (*f)(const tiny *, void *),
                                void *context) {
    static const double weight[4] = {1. / 12, -8. / 12, 8. / 12, -1. / 12},
                        place[4] = {-2, -1, 1, 2};
    const double step = 3e-6;
    size_t bytes = (size_t)m->layout->elements * sizeof(double);
    double *saved = malloc(bytes), slope = 0;
    assert_non_null(saved);
    memcpy(saved, m->parameters, bytes);
    for (int i = 0; i < 4; i++) {
        for (int64_t j = 0; j < m->layout->elements; j++)
            m->parameters[j] = saved[j] + place[i] * step * direction[j];
        slope += weight[i] / step * f(m, context);
    }
    memcpy(m->parameters, saved, bytes);
    free(saved);
    return slope;
}

/* Random numbers for every element of a parameter, or only of the fast ones; 0 in the gaps. */
static inline double *tiny_direction(const tiny *m, bool fast_only, uint64_t seed) {
    double *direction = calloc((size_t)m->layout->elements, sizeof *direction);
    assert_non_null(direction);
    for (int i = 0; i < m->layout->count; i++) {
        const infer_parameter *p = &m->layout->item[i];
        for (int64_t j = 0; j < p->elements && (p->fast || !fast_only); j++)
            direction[p->offset + j] = tiny_random(&seed);
    }
    return direction;
}

/* Every kind of model that a configuration can express, by overrides. Those without an inner loop
 * have inner.mode=off. */
static const char *const tiny_variants[] = {
    "",
    "inner.suffix=1",
    "inner.suffix=3",
    "inner.fast_blocks=1",
    "inner.fast_blocks=2",
    "inner.suffix=3 inner.fast_blocks=0,2",
    "inner.separate_mlp=false",
    "inner.separate_mlp=false inner.suffix=3 inner.fast_blocks=1",
    "model.tied=false",
    "model.heads=6 model.kv_heads=2",
    "model.heads=3 model.kv_heads=1 model.head_size=6",
    "model.qk_norm=false",
    "model.pre_norm=false",
    "model.post_norm=false",
    "model.pre_norm=false model.post_norm=false model.qk_norm=false model.init_std=0.2",
    "model.attention=none",
    "model.attention=full",
    "model.attention=hybrid model.full_every=2 model.rope_theta_full=1000",
    "model.attention=hybrid model.full_every=3",
    "model.window=1",
    "model.window=3",
    "model.window=9",
    "model.window=100",
    "inner.chunk=1",
    "inner.chunk=16",
    "inner.chunk=2 model.window=5",
    "inner.clip=1e9 inner.lr=0.3",
    "inner.mode=off inner.suffix=0",
    "inner.mode=off inner.suffix=2",
    "inner.mode=off inner.suffix=0 model.attention=full",
    "inner.mode=off inner.suffix=0 model.attention=hybrid model.full_every=2",
    "model.bos=-1",
    "model.pattern=e",
    "model.pattern=es inner.chunk=8 inner.suffix=3",
    "model.pattern=nef inner.separate_mlp=false inner.suffix=1",
    "model.pattern=e inner.mode=off inner.suffix=0",
    "model.pattern=se inner.chunk=1 inner.suffix=2",
    "model.pattern=m mamba.head_size=6 mamba.state=5 mamba.chunk=3",
    "model.pattern=ms mamba.head_size=6 mamba.state=4 mamba.groups=2 mamba.conv=3 inner.suffix=3 "
    "model.init_std=0.2 inner.lr=0.05",
    "model.pattern=m mamba.head_size=24 mamba.state=3 inner.mode=off inner.suffix=0",
    "model.pattern=g gdn.heads=2 gdn.key_size=3 gdn.value_size=5 gdn.chunk=3 model.init_std=0.2 "
    "inner.lr=0.05",
    "model.pattern=gs gdn.heads=3 gdn.key_size=4 gdn.value_size=2 gdn.conv=2 gdn.neg_eigval=true "
    "inner.suffix=3 inner.lr=0.05",
    "model.pattern=g gdn.heads=1 gdn.key_size=4 gdn.value_size=4 gdn.gate=false inner.mode=off "
    "inner.suffix=0 model.init_std=0.6",
    "model.pattern=k kvb.heads=3 kvb.inner=5 kvb.rank=2 kvb.chunk=4 inner.lr=0.1",
    "model.pattern=ks kvb.heads=2 kvb.inner=4 kvb.rank=0 kvb.chunk=2 kvb.loss=l2 kvb.output=k "
    "kvb.momentum=false kvb.qk_norm=width inner.suffix=3 inner.lr=0.05",
    "model.pattern=k kvb.heads=1 kvb.inner=8 kvb.chunk=16 kvb.rank=3 kvb.muon=true kvb.scale=false "
    "kvb.qk_norm=off inner.mode=off inner.suffix=0",
};
enum { TINY_VARIANTS = sizeof tiny_variants / sizeof *tiny_variants };

static inline bool tiny_has_inner(const tiny *m) {
    return m->conf->inner.mode != CONF_INNER_OFF;
}

#endif
