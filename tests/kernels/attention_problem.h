/* A problem of kernels/attention.h for its tests: all tensors of the three stages, filled, run on
 * an exact workspace, guarded; and the cases that the tests go through. */
#ifndef TESTS_KERNELS_ATTENTION_PROBLEM_H
#define TESTS_KERNELS_ATTENTION_PROBLEM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/attention.h"
#include "tests/kernels/rerun.h"

enum { GUARD = 64 };

/* Everything that a stage reads or writes, in one dtype. The past's buffers hold `lead` rows more
 * in front of each item, so that strides are not dense. */
enum {
    Q,
    K,
    V,
    PAST_K,
    PAST_V,
    CT_O,
    A,
    B,
    C,
    O,
    LSE,
    OUT_Q,
    OUT_K,
    OUT_V,
    OUT_PAST_K,
    OUT_PAST_V,
    OUT_CT_O,
    TENSORS
};

typedef struct {
    kern_attention_shape shape;
    int64_t past, lead;
    int64_t size[TENSORS];
    void *data[TENSORS];
} problem;

static uint64_t random_state;
static int current; /* case, for messages */

static inline double uniform(void) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(random_state >> 11) * 0x1p-53 * 2 - 1;
}

/* Inputs to products have the problem's dtype; everything else is f32 (f64). */
static inline kern_dtype tensor_dtype(const problem *p, int tensor) {
    if (p->shape.dtype == KERN_F64) return KERN_F64;
    return tensor <= C ? p->shape.dtype : KERN_F32;
}

static inline double get(const problem *p, int tensor, int64_t i) {
    const void *data = p->data[tensor];
    kern_dtype dtype = tensor_dtype(p, tensor);
    if (dtype == KERN_F64) return ((const double *)data)[i];
    if (dtype == KERN_F32) return (double)((const float *)data)[i];
    uint32_t bits = (uint32_t)((const uint16_t *)data)[i] << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return (double)value;
}

/* Stores so that bf16 holds the value exactly if it has at most 8 significant bits. */
static inline void set(problem *p, int tensor, int64_t i, double value) {
    kern_dtype dtype = tensor_dtype(p, tensor);
    float single = (float)value;
    uint32_t bits;
    memcpy(&bits, &single, sizeof bits);
    if (dtype == KERN_F64)
        ((double *)p->data[tensor])[i] = value;
    else if (dtype == KERN_F32)
        ((float *)p->data[tensor])[i] = single;
    else
        ((uint16_t *)p->data[tensor])[i] = (uint16_t)(bits >> 16);
}

static inline void fill(problem *p, int tensor) {
    for (int64_t i = 0; i < p->size[tensor]; i++)
        set(p, tensor, i, floor(uniform() * 128) / 128); /* exact in every dtype */
}

static inline problem problem_create(kern_attention_shape shape, int64_t past, int64_t lead) {
    problem p = {.shape = shape, .past = past, .lead = lead};
    int64_t query = shape.batch * shape.rows * shape.heads * shape.head_size;
    int64_t key = shape.batch * shape.rows * shape.groups * shape.head_size;
    int64_t before = shape.batch * (past + lead) * shape.groups * shape.head_size;
    for (int t = 0; t < TENSORS; t++) {
        bool of_past = t == PAST_K || t == PAST_V || t == OUT_PAST_K || t == OUT_PAST_V;
        bool of_keys = t == K || t == V || t == B || t == C || t == OUT_K || t == OUT_V;
        p.size[t] = of_past ? before : of_keys ? key : query;
        if (t == LSE) p.size[t] = shape.batch * shape.rows * shape.heads;
        size_t bytes = (size_t)p.size[t] * kern_dtype_bytes(tensor_dtype(&p, t));
        assert_int_equal(kern_alloc(&p.data[t], bytes + GUARD, "test"), KERN_OK);
        memset((char *)p.data[t] + bytes, 0x5a, GUARD);
        if (t <= C || of_past)
            fill(&p, t);
        else
            memset(p.data[t], 0xff, bytes); /* results must not depend on what was there */
    }
    return p;
}

static inline void check_guard(const void *end) {
    for (int i = 0; i < GUARD; i++) assert_int_equal(((const char *)end)[i], 0x5a);
}

static inline void problem_destroy(problem *p) {
    for (int t = 0; t < TENSORS; t++) {
        size_t bytes = (size_t)p->size[t] * kern_dtype_bytes(tensor_dtype(p, t));
        check_guard((char *)p->data[t] + bytes);
        kern_free(p->data[t]);
    }
}

/* The same problem in another dtype, past's cotangents included. */
static inline problem converted(const problem *from, kern_dtype dtype) {
    kern_attention_shape shape = from->shape;
    shape.dtype = dtype;
    problem p = problem_create(shape, from->past, from->lead);
    for (int t = 0; t <= C; t++)
        for (int64_t i = 0; i < p.size[t]; i++) set(&p, t, i, get(from, t, i));
    for (int t = OUT_PAST_K; t <= OUT_PAST_V; t++)
        for (int64_t i = 0; i < p.size[t]; i++) set(&p, t, i, get(from, t, i));
    return p;
}

static inline int64_t past_stride(const problem *p) {
    return (p->past + p->lead) * p->shape.groups * p->shape.head_size;
}

static inline char *past_base(const problem *p, int tensor) {
    int64_t skip = p->lead * p->shape.groups * p->shape.head_size;
    return (char *)p->data[tensor] + (size_t)skip * kern_dtype_bytes(tensor_dtype(p, tensor));
}

static int threads = 2;

/* Runs a stage on an exact workspace full of NaN. `wanted`: bits of the OUT_ tensors; `given`: bits
 * of A, B, C. */
static inline void run(problem *p, int stage, unsigned wanted, unsigned given) {
    size_t bytes = kern_attention_workspace(&p->shape, stage, p->past, threads);
    char *workspace;
    assert_int_equal(kern_alloc((void **)&workspace, bytes + GUARD, "test"), KERN_OK);
    memset(workspace, 0xff, bytes);
    memset(workspace + bytes, 0x5a, GUARD);
    omp_set_num_threads(threads);
    void *const *d = p->data;
    kern_attention_past past = {past_base(p, PAST_K), past_base(p, PAST_V), p->past,
                                past_stride(p)};
    kern_attention_past_ct ct = {wanted >> OUT_PAST_K & 1 ? past_base(p, OUT_PAST_K) : NULL,
                                 wanted >> OUT_PAST_V & 1 ? past_base(p, OUT_PAST_V) : NULL,
                                 past_stride(p)};
    void *out[TENSORS];
    for (int t = OUT_Q; t < TENSORS; t++) out[t] = wanted >> t & 1 ? d[t] : NULL;
    const kern_attention_past *before = p->past ? &past : NULL;
    const kern_attention_past_ct *ct_before = ct.k || ct.v ? &ct : NULL;
    if (stage == 0)
        kern_attention(&p->shape, d[O], d[LSE], d[Q], d[K], d[V], before, workspace);
    else if (stage == 1)
        kern_attention_vjp(&p->shape, out[OUT_Q], out[OUT_K], out[OUT_V], ct_before, d[Q], d[K],
                           d[V], before, d[O], d[LSE], d[CT_O], workspace);
    else
        kern_attention_vjp2(&p->shape, out[OUT_Q], out[OUT_K], out[OUT_V], out[OUT_CT_O], ct_before,
                            d[Q], d[K], d[V], before, d[O], d[LSE], d[CT_O],
                            given >> A & 1 ? d[A] : NULL, given >> B & 1 ? d[B] : NULL,
                            given >> C & 1 ? d[C] : NULL, workspace);
    check_guard(workspace + bytes);
    kern_free(workspace);
}

static const unsigned ALL =
    1u << OUT_Q | 1u << OUT_K | 1u << OUT_V | 1u << OUT_PAST_K | 1u << OUT_PAST_V | 1u << OUT_CT_O;
static const unsigned GIVEN = 1u << A | 1u << B | 1u << C;

/* Zeroes what is added into. */
static inline void clear_past_ct(problem *p) {
    for (int t = OUT_PAST_K; t <= OUT_PAST_V; t++)
        for (int64_t i = 0; i < p->size[t]; i++) set(p, t, i, 0);
}

static inline void check_close(const char *what, double computed, double exact, double bound) {
    if (!(fabs(computed - exact) <= bound))
        fail_msg("%s is %.17g, not %.17g +- %.2g (case %d)", what, computed, exact, bound, current);
}

static inline kern_attention_shape shape_of(int64_t batch, int64_t rows, int64_t heads,
                                            int64_t groups, int64_t head_size, int64_t window) {
    return (kern_attention_shape){.dtype = KERN_F64,
                                  .batch = batch,
                                  .rows = rows,
                                  .heads = heads,
                                  .groups = groups,
                                  .head_size = head_size,
                                  .window = window,
                                  .scale = 1 / sqrt((double)head_size)};
}

/* {batch, rows, heads, groups, head size, window, past, lead} */
static const int64_t cases[][8] = {
    {1, 1, 1, 1, 2, 1, 0, 0},       {1, 1, 2, 1, 5, 7, 13, 2},
    {2, 3, 2, 2, 16, 1, 0, 0},      {1, 17, 4, 2, 33, 5, 3, 0},
    {2, 31, 4, 1, 8, 31, 30, 1},    {1, 64, 1, 1, 64, 64, 63, 0},
    {1, 65, 2, 2, 32, 1000, 0, 0},  {1, 37, 2, 1, 80, 129, 200, 3},
    {1, 129, 2, 1, 12, 67, 5, 0},   {1, 130, 1, 1, 4, 1 << 30, 257, 0},
    {1, 67, 3, 3, 17, 130, 129, 4}, {2, 300, 2, 2, 3, 40, 39, 0},
    {1, 600, 1, 1, 2, 20, 7, 0},    {1, 9, 2, 1, 128, 2000, 1700, 0},
};
enum { CASES = sizeof cases / sizeof *cases };

/* Few rows, whose keys are cut in parts: edges of vectors and parts, the border to the new rows. */
static const int64_t few_cases[][8] = {
    {1, 1, 1, 1, 7, 1 << 30, 0, 0},    {1, 1, 3, 3, 16, 1 << 30, 15, 1},
    {2, 1, 4, 2, 33, 1 << 30, 16, 0},  {1, 2, 2, 1, 64, 40, 63, 0},
    {3, 3, 2, 2, 5, 1 << 30, 517, 2},  {1, 4, 6, 2, 20, 100, 1300, 0},
    {1, 1, 12, 12, 8, 777, 1500, 0},   {17, 1, 2, 1, 4, 30, 40, 1},
    {1, 4, 1, 1, 130, 3, 33, 0},       {1, 4, 2, 2, 3, 2, 0, 0},
    {1, 1, 2, 2, 64, 1 << 30, 511, 0}, {1, 5, 2, 2, 9, 600, 700, 0},
    {1, 1, 1, 1, 5, 1 << 30, 4100, 0}, {1, 2, 2, 1, 6, 4000, 9000, 0},
};
enum { FEW_CASES = sizeof few_cases / sizeof *few_cases };

static inline kern_attention_shape few_shape(size_t i) {
    const int64_t *c = few_cases[i];
    return shape_of(c[0], c[1], c[2], c[3], c[4], c[5]);
}

static inline kern_attention_shape case_shape(size_t i) {
    const int64_t *c = cases[i];
    return shape_of(c[0], c[1], c[2], c[3], c[4], c[5]);
}

static inline void test_other_instruction_sets(void **state) {
    (void)state;
    if (rerun_is_over()) skip();
    rerun_with_others();
}

#endif
