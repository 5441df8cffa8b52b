/* Attention's three stages: in f64 against a plain full-score-matrix implementation and against
 * finite differences of the composition from the forward on; f32 and bf16 against f64; bit for bit
 * across thread counts and across what is asked for. */
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
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/attention.h"

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

static const char *program; /* argv[0] */
static uint64_t random_state;
static int current; /* case, for messages */

static double uniform(void) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(random_state >> 11) * 0x1p-53 * 2 - 1;
}

/* Inputs to products have the problem's dtype; everything else is f32 (f64). */
static kern_dtype tensor_dtype(const problem *p, int tensor) {
    if (p->shape.dtype == KERN_F64) return KERN_F64;
    return tensor <= C ? p->shape.dtype : KERN_F32;
}

static double get(const problem *p, int tensor, int64_t i) {
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
static void set(problem *p, int tensor, int64_t i, double value) {
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

static void fill(problem *p, int tensor) {
    for (int64_t i = 0; i < p->size[tensor]; i++)
        set(p, tensor, i, floor(uniform() * 128) / 128); /* exact in every dtype */
}

static problem problem_create(kern_attention_shape shape, int64_t past, int64_t lead) {
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

static void check_guard(const void *end) {
    for (int i = 0; i < GUARD; i++) assert_int_equal(((const char *)end)[i], 0x5a);
}

static void problem_destroy(problem *p) {
    for (int t = 0; t < TENSORS; t++) {
        size_t bytes = (size_t)p->size[t] * kern_dtype_bytes(tensor_dtype(p, t));
        check_guard((char *)p->data[t] + bytes);
        kern_free(p->data[t]);
    }
}

/* The same problem in another dtype, past's cotangents included. */
static problem converted(const problem *from, kern_dtype dtype) {
    kern_attention_shape shape = from->shape;
    shape.dtype = dtype;
    problem p = problem_create(shape, from->past, from->lead);
    for (int t = 0; t <= C; t++)
        for (int64_t i = 0; i < p.size[t]; i++) set(&p, t, i, get(from, t, i));
    for (int t = OUT_PAST_K; t <= OUT_PAST_V; t++)
        for (int64_t i = 0; i < p.size[t]; i++) set(&p, t, i, get(from, t, i));
    return p;
}

static int64_t past_stride(const problem *p) {
    return (p->past + p->lead) * p->shape.groups * p->shape.head_size;
}

static char *past_base(const problem *p, int tensor) {
    int64_t skip = p->lead * p->shape.groups * p->shape.head_size;
    return (char *)p->data[tensor] + (size_t)skip * kern_dtype_bytes(tensor_dtype(p, tensor));
}

static int threads = 2;

/* Runs a stage on an exact workspace full of NaN. `wanted`: bits of the OUT_ tensors; `given`: bits
 * of A, B, C. */
static void run(problem *p, int stage, unsigned wanted, unsigned given) {
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
static void clear_past_ct(problem *p) {
    for (int t = OUT_PAST_K; t <= OUT_PAST_V; t++)
        for (int64_t i = 0; i < p->size[t]; i++) set(p, t, i, 0);
}

/* Index of q, o, ... (heads) or k, v, ... (groups), and of rows of past ++ new. */
static int64_t query_at(const problem *p, int64_t b, int64_t t, int64_t h, int64_t i) {
    const kern_attention_shape *s = &p->shape;
    return ((b * s->rows + t) * s->heads + h) * s->head_size + i;
}

static int64_t key_at(const problem *p, int64_t b, int64_t s, int64_t g, int64_t i) {
    const kern_attention_shape *shape = &p->shape;
    int64_t row =
        s < p->past ? b * (p->past + p->lead) + p->lead + s : b * shape->rows + s - p->past;
    return (row * shape->groups + g) * shape->head_size + i;
}

static double key_value(const problem *p, int past, int fresh, int64_t b, int64_t s, int64_t g,
                        int64_t i) {
    return get(p, s < p->past ? past : fresh, key_at(p, b, s, g, i));
}

static bool visible(const problem *p, int64_t t, int64_t s) {
    return s <= p->past + t && p->past + t - s < p->shape.window;
}

/* One row of one head: probabilities over all keys, its log-sum-exp returned. */
static double plain_row(const problem *p, int64_t b, int64_t t, int64_t h, double *probability) {
    const kern_attention_shape *s = &p->shape;
    int64_t keys = p->past + s->rows, g = h / (s->heads / s->groups);
    double largest = -INFINITY, sum = 0;
    for (int64_t j = 0; j < keys; j++) {
        probability[j] = -INFINITY;
        if (!visible(p, t, j)) continue;
        double score = 0;
        for (int64_t i = 0; i < s->head_size; i++)
            score += get(p, Q, query_at(p, b, t, h, i)) * key_value(p, PAST_K, K, b, j, g, i);
        probability[j] = score * s->scale;
        if (probability[j] > largest) largest = probability[j];
    }
    for (int64_t j = 0; j < keys; j++) sum += exp(probability[j] - largest);
    for (int64_t j = 0; j < keys; j++) probability[j] = exp(probability[j] - largest) / sum;
    return largest + log(sum);
}

static void check_close(const char *what, double computed, double exact, double bound) {
    if (!(fabs(computed - exact) <= bound))
        fail_msg("%s is %.17g, not %.17g +- %.2g (case %d)", what, computed, exact, bound, current);
}

static void add_to(double *sum, const problem *p, bool value, int64_t b, int64_t s, int64_t g,
                   int64_t i, double x) {
    int64_t offset = s < p->past ? 0 : p->size[PAST_K];
    if (value) offset += p->size[PAST_K] + p->size[K];
    sum[offset + key_at(p, b, s, g, i)] += x;
}

/* Stage 0 and 1 of one (batch, head), from the full score matrix; ct_k and ct_v are summed in
 * `sums`: past k, new k, past v, new v. */
static void check_plain_head(const problem *p, int64_t b, int64_t h, double *sums,
                             double *probability) {
    const kern_attention_shape *s = &p->shape;
    int64_t keys = p->past + s->rows, g = h / (s->heads / s->groups);
    for (int64_t t = 0; t < s->rows; t++) {
        double lse = plain_row(p, b, t, h, probability), delta = 0;
        check_close("lse", get(p, LSE, (b * s->rows + t) * s->heads + h), lse, 1e-12);
        for (int64_t i = 0; i < s->head_size; i++) {
            double o = 0;
            for (int64_t j = 0; j < keys; j++)
                o += probability[j] == 0 ? 0 : probability[j] * key_value(p, PAST_V, V, b, j, g, i);
            check_close("o", get(p, O, query_at(p, b, t, h, i)), o, 1e-12);
            delta += o * get(p, CT_O, query_at(p, b, t, h, i));
        }
        for (int64_t j = 0; j < keys; j++) {
            double dp = 0;
            if (!visible(p, t, j)) continue;
            for (int64_t i = 0; i < s->head_size; i++) {
                double ct_o = get(p, CT_O, query_at(p, b, t, h, i));
                dp += ct_o * key_value(p, PAST_V, V, b, j, g, i);
                add_to(sums, p, true, b, j, g, i, probability[j] * ct_o);
            }
            double ds = s->scale * probability[j] * (dp - delta);
            probability[j] = ds; /* for ct_q below */
            for (int64_t i = 0; i < s->head_size; i++)
                add_to(sums, p, false, b, j, g, i, ds * get(p, Q, query_at(p, b, t, h, i)));
        }
        for (int64_t i = 0; i < s->head_size; i++) {
            double ct_q = 0;
            for (int64_t j = 0; j < keys; j++)
                if (visible(p, t, j)) ct_q += probability[j] * key_value(p, PAST_K, K, b, j, g, i);
            check_close("ct_q", get(p, OUT_Q, query_at(p, b, t, h, i)), ct_q, 1e-11);
        }
    }
}

static void check_plain(kern_attention_shape shape, int64_t past, int64_t lead) {
    problem p = problem_create(shape, past, lead);
    int64_t sizes[] = {p.size[PAST_K], p.size[K], p.size[PAST_V], p.size[V]};
    static const int out[] = {OUT_PAST_K, OUT_K, OUT_PAST_V, OUT_V};
    int64_t total = 2 * (sizes[0] + sizes[1]);
    double *sums = calloc((size_t)total, sizeof *sums);
    double *probability = calloc((size_t)(past + shape.rows), sizeof *probability);
    for (int64_t i = 0; i < sizes[0]; i++) { /* the past's cotangents are added to */
        sums[i] = get(&p, OUT_PAST_K, i);
        sums[sizes[0] + sizes[1] + i] = get(&p, OUT_PAST_V, i);
    }
    run(&p, 0, 0, 0);
    run(&p, 1, ALL, 0);
    for (int64_t b = 0; b < shape.batch; b++)
        for (int64_t h = 0; h < shape.heads; h++) check_plain_head(&p, b, h, sums, probability);
    for (int i = 0, at = 0; i < 4; at += (int)sizes[i], i++)
        for (int64_t j = 0; j < sizes[i]; j++)
            check_close("ct of keys or values", get(&p, out[i], j), sums[at + j], 1e-11);
    free(sums), free(probability);
    problem_destroy(&p);
}

static kern_attention_shape shape_of(int64_t batch, int64_t rows, int64_t heads, int64_t groups,
                                     int64_t head_size, int64_t window) {
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

static kern_attention_shape case_shape(size_t i) {
    const int64_t *c = cases[i];
    return shape_of(c[0], c[1], c[2], c[3], c[4], c[5]);
}

static void test_plain(void **state) {
    (void)state;
    random_state = 1;
    for (size_t i = 0; i < CASES; i++) {
        current = (int)i;
        check_plain(case_shape(i), cases[i][6], cases[i][7]);
    }
}

/* Every alignment of the window's two edges with tiles and register blocks. */
static void test_windows(void **state) {
    (void)state;
    random_state = 12;
    for (int64_t window = 1; window <= 34; window++)
        for (int64_t past = 0; past <= 40; past += 20)
            check_plain(shape_of(1, 140, 1, 1, 2, window), past + past / 20, 0);
}

static double inner_product(const problem *p, int a, int b) {
    double sum = 0;
    for (int64_t i = 0; i < p->size[a]; i++) sum += get(p, a, i) * get(p, b, i);
    return sum;
}

/* The function whose gradient is stage 1 (with respect to q, k, v and the past): <ct_o, o>. Stage
 * 2's: <a, ct_q> + <b, ct_k> + <c, ct_v>, as functions of q, k, v, past and ct_o through the
 * forward. */
static double value_of(problem *p, int stage) {
    run(p, 0, 0, 0);
    if (stage == 1) return inner_product(p, CT_O, O);
    run(p, 1, ALL & ~(1u << OUT_PAST_K | 1u << OUT_PAST_V), 0);
    return inner_product(p, A, OUT_Q) + inner_product(p, B, OUT_K) + inner_product(p, C, OUT_V);
}

/* Directional derivative by differences of fourth order at x - 2h .. x + 2h. */
static void check_differences(kern_attention_shape shape, int64_t past, int64_t lead, int stage) {
    static const int inputs[] = {Q, K, V, PAST_K, PAST_V, CT_O};
    static const int outputs[] = {OUT_Q, OUT_K, OUT_V, OUT_PAST_K, OUT_PAST_V, OUT_CT_O};
    problem p = problem_create(shape, past, lead);
    problem direction = problem_create(shape, past, lead);
    clear_past_ct(&p);
    run(&p, 0, 0, 0);
    run(&p, stage, ALL, GIVEN);
    double analytic[6], size = 0;
    int count = stage == 1 ? 5 : 6;
    for (int i = 0; i < count; i++) {
        analytic[i] = 0;
        for (int64_t j = 0; j < p.size[inputs[i]]; j++) {
            double term = get(&p, outputs[i], j) * get(&direction, inputs[i], j);
            analytic[i] += term;
            size += fabs(term);
        }
    }
    problem at = converted(&p, KERN_F64);
    for (int i = 0; i < count; i++) { /* one input at a time, so that errors cannot cancel */
        static const double weights[] = {1.0 / 12, -2.0 / 3, 0, 2.0 / 3, -1.0 / 12};
        const double h = 1e-3;
        double difference = 0;
        for (int step = -2; step <= 2; step++) {
            if (step == 0) continue;
            for (int64_t j = 0; j < p.size[inputs[i]]; j++)
                set(&at, inputs[i], j,
                    get(&p, inputs[i], j) + step * h * get(&direction, inputs[i], j));
            difference += weights[step + 2] * value_of(&at, stage) / h;
        }
        for (int64_t j = 0; j < p.size[inputs[i]]; j++)
            set(&at, inputs[i], j, get(&p, inputs[i], j));
        check_close("directional derivative", analytic[i], difference, 1e-8 * (size + 1));
    }
    problem_destroy(&p);
    problem_destroy(&direction);
    problem_destroy(&at);
}

static void test_differences(void **state) {
    (void)state;
    random_state = 2;
    for (int stage = 1; stage <= 2; stage++)
        for (size_t i = 0; i < CASES; i++)
            check_differences(case_shape(i), cases[i][6], cases[i][7], stage);
}

/* Roundings of K products and of the keys' sums, of the exponent (its argument is rounded too) and
 * of a residual in f32. Errors of the parts add up; `size` is the largest element of the result. */
static void check_dtype(kern_dtype dtype) {
    static const int outputs[] = {O, LSE, OUT_Q, OUT_K, OUT_V, OUT_PAST_K, OUT_PAST_V, OUT_CT_O};
    random_state = 3;
    for (size_t i = 0; i < CASES; i++) {
        problem exact = problem_create(case_shape(i), cases[i][6], cases[i][7]);
        problem rough = converted(&exact, dtype);
        for (int stage = 0; stage <= 2; stage++) {
            run(&exact, stage, ALL, GIVEN);
            run(&rough, stage, ALL, GIVEN);
            double terms = (double)(cases[i][4] + cases[i][1] * cases[i][2] + 40);
            for (int t = 0; t < 8; t++) {
                if ((stage == 0) != (t < 2) || (stage == 1 && outputs[t] == OUT_CT_O)) continue;
                double size = 1;
                for (int64_t j = 0; j < exact.size[outputs[t]]; j++)
                    size = fmax(size, fabs(get(&exact, outputs[t], j)));
                for (int64_t j = 0; j < exact.size[outputs[t]]; j++)
                    check_close("low precision result", get(&rough, outputs[t], j),
                                get(&exact, outputs[t], j), terms * size * 0x1p-24);
            }
        }
        problem_destroy(&exact);
        problem_destroy(&rough);
    }
}

static void test_f32(void **state) {
    (void)state;
    check_dtype(KERN_F32);
}

static void test_bf16(void **state) {
    (void)state;
    check_dtype(KERN_BF16);
}

static void assert_same(const problem *p, const problem *other, int tensor) {
    size_t bytes = (size_t)p->size[tensor] * kern_dtype_bytes(tensor_dtype(p, tensor));
    assert_memory_equal(p->data[tensor], other->data[tensor], bytes);
}

static void test_threads(void **state) {
    (void)state;
    static const kern_dtype dtypes[] = {KERN_F64, KERN_F32, KERN_BF16};
    random_state = 4;
    for (size_t i = 0; i < CASES; i++)
        for (int d = 0; d < 3; d++) {
            problem base = problem_create(case_shape(i), cases[i][6], cases[i][7]);
            problem first = converted(&base, dtypes[d]);
            for (int stage = 0; stage <= 2; stage++) {
                threads = 1;
                run(&first, stage, ALL, GIVEN);
            }
            for (threads = 2; threads <= 3; threads++) {
                problem second = converted(&base, dtypes[d]);
                for (int stage = 0; stage <= 2; stage++) run(&second, stage, ALL, GIVEN);
                for (int t = O; t < TENSORS; t++) assert_same(&first, &second, t);
                problem_destroy(&second);
            }
            threads = 2;
            problem_destroy(&base);
            problem_destroy(&first);
        }
}

/* Many runs of rows whose neighbours share most keys: none may add while its neighbour does. */
static void test_shared_keys(void **state) {
    (void)state;
    random_state = 13;
    problem base = problem_create(shape_of(1, 4000, 1, 1, 16, 250), 0, 0);
    problem first = converted(&base, KERN_F32);
    threads = 1;
    for (int stage = 0; stage <= 2; stage++) run(&first, stage, ALL, GIVEN);
    threads = 2;
    problem second = converted(&first, KERN_F32);
    run(&second, 0, 0, 0);
    for (int repeat = 0; repeat < 5; repeat++) {
        for (int stage = 1; stage <= 2; stage++) run(&second, stage, ALL, GIVEN);
        assert_same(&first, &second, OUT_K);
        assert_same(&first, &second, OUT_V);
    }
    problem_destroy(&base);
    problem_destroy(&first);
    problem_destroy(&second);
}

/* Each subset of results has the bits that it has among all; what was not asked for is not touched.
 */
static void test_wanted(void **state) {
    (void)state;
    static const size_t chosen[] = {3, 8, 10};
    random_state = 5;
    for (size_t c = 0; c < 3; c++)
        for (int stage = 1; stage <= 2; stage++) {
            size_t i = chosen[c];
            problem base = problem_create(case_shape(i), cases[i][6], cases[i][7]);
            problem all = converted(&base, KERN_F32);
            run(&all, 0, 0, 0);
            run(&all, stage, ALL, GIVEN);
            for (unsigned bits = 0; bits < 64; bits++) {
                problem some = converted(&base, KERN_F32);
                problem untouched = converted(&base, KERN_F32);
                run(&some, 0, 0, 0);
                run(&some, stage, bits << OUT_Q, GIVEN);
                for (int t = OUT_Q; t < TENSORS; t++)
                    assert_same(bits >> (t - OUT_Q) & 1 && (stage == 2 || t != OUT_CT_O)
                                    ? &all
                                    : &untouched,
                                &some, t);
                problem_destroy(&some);
                problem_destroy(&untouched);
            }
            problem_destroy(&base);
            problem_destroy(&all);
        }
}

/* A cotangent that is not given is zero. */
static void test_given(void **state) {
    (void)state;
    static const size_t chosen[] = {3, 8, 10};
    random_state = 6;
    for (size_t c = 0; c < 3; c++)
        for (unsigned bits = 0; bits < 8; bits++) {
            problem zeros = problem_create(case_shape(chosen[c]), cases[chosen[c]][6], 1);
            problem absent = converted(&zeros, KERN_F64);
            for (int t = A; t <= C; t++)
                for (int64_t i = 0; i < zeros.size[t]; i++)
                    if (!(bits >> (t - A) & 1)) set(&zeros, t, i, 0);
            run(&zeros, 0, 0, 0);
            run(&absent, 0, 0, 0);
            run(&zeros, 2, ALL, GIVEN);
            run(&absent, 2, ALL, bits << A);
            for (int t = OUT_Q; t < TENSORS; t++)
                for (int64_t i = 0; i < zeros.size[t]; i++)
                    check_close("without a cotangent", get(&absent, t, i), get(&zeros, t, i),
                                1e-12);
            problem_destroy(&zeros);
            problem_destroy(&absent);
        }
}

/* Large scores of either sign neither overflow nor lose the sum. */
static void test_extremes(void **state) {
    (void)state;
    random_state = 8;
    problem exact = problem_create(shape_of(1, 70, 1, 1, 16, 50), 40, 0);
    exact.shape.scale = 300;
    problem rough = converted(&exact, KERN_F32);
    for (int stage = 0; stage <= 2; stage++) run(&rough, stage, ALL, GIVEN);
    run(&exact, 0, 0, 0);
    for (int64_t i = 0; i < rough.size[O]; i++)
        check_close("o", get(&rough, O, i), get(&exact, O, i), 1e-3);
    for (int t = O; t < TENSORS; t++)
        for (int64_t i = 0; i < rough.size[t]; i++) assert_true(isfinite(get(&rough, t, i)));
    problem_destroy(&exact);
    problem_destroy(&rough);
}

static void test_nan_is_seen(void **state) {
    (void)state;
    random_state = 9;
    problem p = problem_create(shape_of(1, 20, 1, 1, 4, 8), 0, 0);
    set(&p, K, 4 * 5 + 1, (double)NAN);
    run(&p, 0, 0, 0);
    for (int64_t t = 5; t < 13; t++) assert_true(isnan(get(&p, O, t * 4)));
    problem_destroy(&p);
}

static void test_pairs(void **state) {
    (void)state;
    for (size_t i = 0; i < CASES; i++) {
        problem p = problem_create(case_shape(i), cases[i][6], 0);
        double counts[2] = {0, 0};
        for (int64_t t = 0; t < p.shape.rows; t++)
            for (int64_t s = 0; s < p.past + p.shape.rows; s++)
                if (visible(&p, t, s))
                    counts[s < p.past] += (double)(p.shape.batch * p.shape.heads);
        for (int past = 0; past < 2; past++)
            assert_true(kern_attention_pairs(&p.shape, p.past, past) == counts[past]);
        problem_destroy(&p);
    }
}

static void rerun_with_isa(const char *isa) {
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setenv("TTT_ISA", isa, 1);
        setenv("TEST_ATTENTION_CHILD", "1", 1);
        execl(program, program, (char *)NULL);
        _exit(127);
    }
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result));
    assert_int_equal(WEXITSTATUS(result), 0);
}

static void test_other_instruction_sets(void **state) {
    (void)state;
    if (getenv("TEST_ATTENTION_CHILD")) skip();
    rerun_with_isa("v2");
    rerun_with_isa("v3");
}

int main(int argc, char **argv) {
    assert_true(argc >= 1);
    program = argv[0];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_differences),
        cmocka_unit_test(test_f32),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_shared_keys),
        cmocka_unit_test(test_wanted),
        cmocka_unit_test(test_given),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_nan_is_seen),
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_other_instruction_sets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
