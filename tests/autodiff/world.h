/* A graph with random inputs, and hostile runs of plans of it: results are read from a run whose
 * arena was full of NaN, with guard words behind every piece of memory. For tests of autodiff/. */
#ifndef TESTS_AUTODIFF_WORLD_H
#define TESTS_AUTODIFF_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "autodiff/composites.h"
#include "autodiff/op.h"
#include "autodiff/plan.h"
#include "autodiff/vjp.h"

enum { WORLD_INPUTS = 160, WORLD_OUTPUTS = 160, WORLD_GUARD = 64 };

typedef struct {
    ad_value value;
    ad_type type;
    double *data; /* exactly representable in the type */
} world_input;

typedef struct {
    ad_graph *graph;
    kern_dtype real; /* of the tensors that cases build */
    uint64_t random;
    int inputs;
    world_input input[WORLD_INPUTS];
} world;

static inline void world_begin(world *w, kern_dtype real, uint64_t seed) {
    memset(w, 0, sizeof *w);
    w->graph = ad_graph_create();
    w->real = real;
    w->random = seed * 0x9e3779b97f4a7c15u + 1;
}

static inline void world_end(world *w) {
    for (int i = 0; i < w->inputs; i++) free(w->input[i].data);
    ad_graph_destroy(w->graph);
}

static inline double world_uniform(world *w, double low, double high) {
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    return low + (high - low) * (double)(w->random >> 11) * 0x1p-53;
}

static inline int world_below(world *w, int bound) {
    return (int)world_uniform(w, 0, bound);
}

static inline uint16_t world_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline double world_from_bf16(uint16_t value) {
    uint32_t bits = (uint32_t)value << 16;
    float result;
    memcpy(&result, &bits, sizeof result);
    return (double)result;
}

/* An input with values from [low, high], whole numbers for i32. */
static inline ad_value world_tensor(world *w, ad_type type, double low, double high) {
    assert_true(w->inputs < WORLD_INPUTS);
    world_input *input = &w->input[w->inputs];
    int64_t elements = ad_elements(type);
    input->type = type;
    input->value = ad_input(w->graph, type, "x%d", w->inputs++);
    input->data = calloc((size_t)elements, sizeof(double));
    for (int64_t i = 0; i < elements; i++) {
        double value = world_uniform(w, low, high);
        if (type.dtype == KERN_I32)
            value = floor(value);
        else if (type.dtype == KERN_BF16)
            value = world_from_bf16(world_bf16((float)value));
        else
            value = (double)(float)value; /* so that f32 and f64 graphs get equal inputs */
        input->data[i] = value;
    }
    return input->value;
}

/* The input behind a value. */
static inline const double *world_data(const world *w, ad_value value) {
    for (int i = 0; i < w->inputs; i++)
        if (ad_same(w->input[i].value, value)) return w->input[i].data;
    fail_msg("no input");
    return NULL;
}

static inline void world_store(void *memory, ad_type type, const double *data) {
    for (int64_t i = 0; i < ad_elements(type); i++) {
        if (type.dtype == KERN_F64)
            ((double *)memory)[i] = data[i];
        else if (type.dtype == KERN_F32)
            ((float *)memory)[i] = (float)data[i];
        else if (type.dtype == KERN_I32)
            ((int32_t *)memory)[i] = (int32_t)data[i];
        else
            ((uint16_t *)memory)[i] = world_bf16((float)data[i]);
    }
}

static inline void world_load(double *data, ad_type type, const void *memory) {
    for (int64_t i = 0; i < ad_elements(type); i++) {
        if (type.dtype == KERN_F64)
            data[i] = ((const double *)memory)[i];
        else if (type.dtype == KERN_F32)
            data[i] = (double)((const float *)memory)[i];
        else
            data[i] = world_from_bf16(((const uint16_t *)memory)[i]);
    }
}

/* A plan with all its memory. */
typedef struct {
    const world *w;
    ad_plan *plan;
    int outputs;
    ad_plan_output output[WORLD_OUTPUTS];
    int64_t elements; /* of all outputs */
    void *arena, *in[WORLD_INPUTS], *out[WORLD_OUTPUTS];
    int threads;
} runner;

/* Memory with a guard behind it. */
static inline void *world_guarded(size_t bytes) {
    void *memory;
    assert_int_equal(kern_alloc(&memory, bytes + WORLD_GUARD, "test"), KERN_OK);
    memset(memory, 0xff, bytes);
    memset((char *)memory + bytes, 0xa5, WORLD_GUARD);
    return memory;
}

static inline void world_check_guard(const void *memory, size_t bytes) {
    for (int i = 0; i < WORLD_GUARD; i++)
        assert_int_equal(((const unsigned char *)memory)[bytes + (size_t)i], 0xa5);
}

/* spec->output is used; spec->threads 0 means 1. */
static inline void runner_begin(runner *r, const world *w, ad_plan_spec spec) {
    memset(r, 0, sizeof *r);
    r->w = w;
    r->outputs = spec.outputs;
    r->threads = spec.threads = spec.threads ? spec.threads : 1;
    memcpy(r->output, spec.output, (size_t)spec.outputs * sizeof *spec.output);
    if (ad_plan_compile(&r->plan, w->graph, &spec) != KERN_OK) fail_msg("%s", kern_error());
    r->arena = world_guarded(ad_plan_arena_bytes(r->plan));
    for (int i = 0; i < w->inputs; i++) {
        r->in[i] = world_guarded(ad_bytes(w->input[i].type));
        ad_plan_bind(r->plan, w->input[i].value, r->in[i]);
    }
    for (int i = 0; i < spec.outputs; i++) {
        ad_type type = ad_type_at(w->graph, spec.output[i].value);
        r->out[i] = world_guarded(ad_bytes(type));
        r->elements += ad_elements(type);
        ad_plan_bind_output(r->plan, i, r->out[i]);
    }
}

static inline void runner_end(runner *r) {
    for (int i = 0; i < r->w->inputs; i++) kern_free(r->in[i]);
    for (int i = 0; i < r->outputs; i++) kern_free(r->out[i]);
    kern_free(r->arena);
    ad_plan_destroy(r->plan);
}

/* What an output in mode AD_ADD holds before a run. */
static inline double world_before(int64_t i) {
    return (double)(i % 7) - 3;
}

static inline void runner_prepare(runner *r) {
    memset(r->arena, 0xff, ad_plan_arena_bytes(r->plan));
    for (int i = 0; i < r->w->inputs; i++)
        world_store(r->in[i], r->w->input[i].type, r->w->input[i].data);
    for (int i = 0; i < r->outputs; i++) {
        ad_type type = ad_type_at(r->w->graph, r->output[i].value);
        memset(r->out[i], 0xff, ad_bytes(type));
        if (r->output[i].mode != AD_ADD) continue;
        double *before = calloc((size_t)ad_elements(type), sizeof *before);
        for (int64_t e = 0; e < ad_elements(type); e++) before[e] = world_before(e);
        world_store(r->out[i], type, before);
        free(before);
    }
}

static inline kern_status runner_try(runner *r) {
    runner_prepare(r);
    int threads = omp_get_max_threads();
    omp_set_num_threads(r->threads);
    kern_status status = ad_plan_run(r->plan, r->arena);
    omp_set_num_threads(threads);
    return status;
}

/* One run with the world's present data; all outputs one after the other. Free the result. */
static inline double *runner_run(runner *r) {
    if (runner_try(r) != KERN_OK) fail_msg("%s", kern_error());
    world_check_guard(r->arena, ad_plan_arena_bytes(r->plan));
    for (int i = 0; i < r->w->inputs; i++) {
        ad_type type = r->w->input[i].type;
        void *before = world_guarded(ad_bytes(type));
        world_store(before, type, r->w->input[i].data);
        assert_memory_equal(before, r->in[i], ad_bytes(type) + WORLD_GUARD);
        kern_free(before);
    }
    double *result = calloc((size_t)r->elements + 1, sizeof *result), *at = result;
    for (int i = 0; i < r->outputs; i++) {
        ad_type type = ad_type_at(r->w->graph, r->output[i].value);
        world_check_guard(r->out[i], ad_bytes(type));
        world_load(at, type, r->out[i]);
        at += ad_elements(type);
    }
    return result;
}

static inline double *world_run(const world *w, ad_plan_spec spec) {
    runner *r = malloc(sizeof *r);
    runner_begin(r, w, spec);
    double *result = runner_run(r);
    runner_end(r);
    free(r);
    return result;
}

/* Values in mode AD_WRITE, with an ordinary plan. */
static inline double *world_values(const world *w, int n, const ad_value *value) {
    ad_plan_output output[WORLD_OUTPUTS];
    for (int i = 0; i < n; i++) output[i] = (ad_plan_output){value[i], AD_WRITE};
    return world_run(w, (ad_plan_spec){.outputs = n, .output = output});
}

/* Sum of a r over all elements, pairs and ranks, r new inputs: [1, 1]. Absent values count as zero.
 */
static inline ad_value world_contract(world *w, int n, const ad_value *a) {
    ad_value sum = AD_NONE;
    for (int i = 0; i < n; i++) {
        if (ad_is_none(a[i])) continue;
        ad_type type = ad_type_at(w->graph, a[i]);
        ad_value product = ad_mul(w->graph, a[i], world_tensor(w, type, -1, 1));
        product = ad_sum(w->graph, product, (1u << type.rank) - 1);
        product = ad_reshape(w->graph, product, AD_TYPE(type.dtype, 1, 1));
        product = ad_cast(w->graph, product, w->real);
        if (type.varies) product = ad_reduce(w->graph, product);
        sum = ad_is_none(sum) ? product : ad_add(w->graph, sum, product);
    }
    return sum;
}

/* Cotangents of all floating inputs from a scalar [1, 1]; AD_NONE for the others. */
static inline void world_gradient(world *w, ad_value loss, ad_value *gradient) {
    ad_value wrt[WORLD_INPUTS], result[WORLD_INPUTS];
    int wrts = 0;
    for (int i = 0; i < w->inputs; i++)
        if (w->input[i].type.dtype != KERN_I32) wrt[wrts++] = w->input[i].value;
    if (ad_graph_status(w->graph) != KERN_OK) fail_msg("%s", kern_error());
    ad_value one = ad_fill(w->graph, ad_type_at(w->graph, loss), 1);
    ad_vjp(w->graph, 1, &loss, &one, wrts, wrt, result);
    for (int i = 0, j = 0; i < w->inputs; i++)
        gradient[i] = w->input[i].type.dtype == KERN_I32 ? AD_NONE : result[j++];
}

/* d loss / d eps at inputs + eps direction, from four runs: the error is of fourth order in the
 * step, so that with a step of 1e-3 it and the rounding are both near 1e-12. */
static inline double world_difference(world *w, ad_value loss, double *const *direction) {
    static const double at[4] = {1, -1, 2, -2}, weight[4] = {8, -8, -1, 1};
    const double step = 1e-3;
    ad_plan_output output = {loss, AD_WRITE};
    runner *r = malloc(sizeof *r);
    runner_begin(r, w, (ad_plan_spec){.outputs = 1, .output = &output});
    double difference = 0, moved = 0;
    for (int k = 0; k < 4; k++) {
        for (int i = 0; i < w->inputs; i++)
            for (int64_t e = 0; e < ad_elements(w->input[i].type) && direction[i]; e++)
                w->input[i].data[e] += (at[k] - moved) * step * direction[i][e];
        moved = at[k];
        double *value = runner_run(r);
        difference += weight[k] * value[0] / (12 * step);
        free(value);
    }
    for (int i = 0; i < w->inputs; i++)
        for (int64_t e = 0; e < ad_elements(w->input[i].type) && direction[i]; e++)
            w->input[i].data[e] -= moved * step * direction[i][e];
    runner_end(r);
    free(r);
    return difference;
}

/* The gradient of a scalar against finite differences in a random direction of all f64 inputs.
 * Rounding: 1e-8 of the terms that are added, and of the loss what its last bits are by the step.
 */
static inline void world_check_gradient(world *w, ad_value loss, const ad_value *gradient,
                                        const char *name) {
    double *direction[WORLD_INPUTS] = {0}, sum = 0, size = 0;
    ad_value present[WORLD_INPUTS];
    int n = 0, owner[WORLD_INPUTS];
    for (int i = 0; i < w->inputs; i++) {
        if (w->input[i].type.dtype != KERN_F64) continue;
        int64_t elements = ad_elements(w->input[i].type);
        direction[i] = calloc((size_t)elements, sizeof(double));
        for (int64_t e = 0; e < elements; e++) direction[i][e] = world_uniform(w, -1, 1);
        if (ad_is_none(gradient[i])) continue;
        owner[n] = i;
        present[n++] = gradient[i];
    }
    double *value = n ? world_values(w, n, present) : NULL, *at = value;
    for (int j = 0; j < n; j++)
        for (int64_t e = 0; e < ad_elements(w->input[owner[j]].type); e++, at++) {
            sum += *at * direction[owner[j]][e];
            size += fabs(*at * direction[owner[j]][e]);
        }
    double expected = world_difference(w, loss, direction);
    if (!(fabs(expected - sum) <= 1e-8 * size + 1e-9))
        fail_msg("%s: the gradient gives %.12g, finite differences %.12g", name, sum, expected);
    free(value);
    for (int i = 0; i < w->inputs; i++) free(direction[i]);
}

#endif
