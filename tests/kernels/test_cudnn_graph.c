/* Our graphs of attention in the stand-in for cuDNN, which knows operations and nothing of
 * attention: what they compute, and that no attribute of theirs can be another without it being
 * refused or seen in the numbers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/cuda/attention_cudnn.h"
#include "kernels/vector_math.h"
#include "tests/kernels/cuda/bench.h"

/* ---- what the stand-in needs of the others ---- */

size_t bench_number(const char *variable, size_t otherwise) {
    (void)variable;
    return otherwise;
}

bool bench_fails(const char *call) {
    (void)call;
    return false;
}

static void (*late)(void *);
static void *late_arguments;

void *bench_note(void *stream, void (*run)(void *), size_t bytes) {
    (void)stream;
    late = run;
    return late_arguments = kern_array(1, bytes);
}

static bool is_foreign; /* an address that is not of the GPU's memory was taken for one */
static bool is_ours(const void *address);

void bench_check_memory(const void *address, size_t bytes, const char *call) {
    (void)bytes, (void)call;
    is_foreign = is_foreign || !is_ours(address);
}

/* ---- running a graph ---- */

static const kern_attention_shape shape = {KERN_BF16, 2, 7, 4, 2, 8, 3, 0.4};

enum { MOST = 2 * 7 * 4 * 8, MEMORIES = CUDNN_DELTA + 1 };
static _Alignas(64) char memory[MEMORIES][MOST * 4], scratch[1 << 16];

static bool is_ours(const void *address) {
    const char *at = address;
    return (at >= *memory && at < *memory + sizeof memory) ||
           (at >= scratch && at < scratch + sizeof scratch);
}

static bool is_f32(int number) {
    return number == CUDNN_STATISTIC || number == CUDNN_DELTA;
}

static double get(int number, int64_t i) {
    return is_f32(number) ? (double)((float *)(void *)memory[number])[i]
                          : (double)kern_bf16_to_f32(((uint16_t *)(void *)memory[number])[i]);
}

static void set(int number, int64_t i, double value) {
    if (is_f32(number))
        ((float *)(void *)memory[number])[i] = (float)value;
    else
        ((uint16_t *)(void *)memory[number])[i] = kern_bf16_from_f32((float)value);
}

/* Numbers between -1 and 1, other ones at each place. */
static void fill(void) {
    uint32_t random = 7;
    for (int n = 0; n < MEMORIES; n++)
        for (int64_t i = 0; i < MOST; i++) {
            random = random * 1664525u + 1013904223u;
            set(n, i, (double)(random >> 8) / (1 << 23) - 1);
        }
}

static kern_status run(int stage) {
    float value[KERN_CUDNN_GIVEN] = {[CUDNN_SCALE] = (float)shape.scale,
                                     [CUDNN_HIDDEN] = -INFINITY,
                                     [CUDNN_HIDDEN_BEHIND] = -INFINITY,
                                     [CUDNN_WINDOW] = (float)shape.window,
                                     [CUDNN_ONE] = 1};
    void *address[KERN_CUDNN_GIVEN], *handle;
    kern_cudnn_graph graph = {.status = KERN_OK};
    for (int i = 0; i < KERN_CUDNN_GIVEN; i++)
        address[i] = i < MEMORIES ? (void *)memory[i] : (void *)&value[i];
    kern_cudnn_table.Create(&handle);
    is_foreign = false;
    fill();
    kern_cudnn_attention_graph(&graph, &shape, stage);
    kern_status status = kern_cudnn_plan(&graph, handle, NULL);
    late = NULL;
    if (!status) status = kern_cudnn_run(&graph, handle, address, scratch);
    if (late) {
        late(late_arguments);
        free(late_arguments);
    }
    kern_cudnn_destroy(&graph);
    return status;
}

/* ---- attributes that are others ---- */

enum { DESCRIPTORS = 400 };

static kern_cudnn itself;
static int64_t sets, target, variant; /* the set that is changed, and how */
static struct {
    void *descriptor;
    int kind;
} made[DESCRIPTORS];
static int made_count;
static int changed;   /* the attribute */
static bool harmless; /* it means what it did */
static int64_t last_shape[4];

static int create(int kind, void **descriptor) {
    int result = itself.BackendCreateDescriptor(kind, descriptor);
    assert_true(made_count < DESCRIPTORS);
    made[made_count].descriptor = *descriptor;
    made[made_count++].kind = kind;
    return result;
}

/* The tensor made next before this one, or before that. */
static void *other(void *descriptor) {
    int at = 0, back = (int)variant + 1;
    while (at < made_count && made[at].descriptor != descriptor) at++;
    for (int i = at - 1; i >= 0; i--)
        if (made[i].kind == KERN_CUDNN_TENSOR && made[at].kind == made[i].kind && !--back)
            return made[i].descriptor;
    return descriptor;
}

typedef union {
    int64_t number[64];
    int mode[64];
    bool truth[64];
    void *part[64];
} values;

static size_t size_of(int type) {
    bool eight = type == KERN_CUDNN_AN_INT64 || type == KERN_CUDNN_A_DESCRIPTOR ||
                 type == KERN_CUDNN_A_HANDLE || type == KERN_CUDNN_A_POINTER;
    return eight ? 8 : type == KERN_CUDNN_A_BOOLEAN ? sizeof(bool) : sizeof(int);
}

/* A number one larger, the other one of a truth, another mode or type, another tensor. */
static void change(values *v, int type, int64_t at) {
    if (type == KERN_CUDNN_AN_INT64)
        v->number[at]++;
    else if (type == KERN_CUDNN_A_BOOLEAN)
        v->truth[at] = !v->truth[at];
    else if (type == KERN_CUDNN_A_DESCRIPTOR)
        v->part[at] = other(v->part[at]);
    else if (size_of(type) == sizeof(int))
        v->mode[at] += variant ? 1 : v->mode[at] == KERN_CUDNN_BF16 ? -KERN_CUDNN_BF16 : 9;
}

/* Addresses are aligned as it is, the step along an axis of one element is not taken, and both
 * scores of what is hidden are the same number. */
static bool is_same(int name, int64_t at, const values *v) {
    return name == KERN_CUDNN_TENSOR_ALIGNMENT ||
           (name == KERN_CUDNN_TENSOR_STRIDES && last_shape[at] == 1) ||
           (name == KERN_CUDNN_TENSOR_NUMBER && v->number[0] == CUDNN_HIDDEN_BEHIND);
}

static int set_attribute(void *descriptor, int name, int type, int64_t count, const void *value) {
    values v;
    size_t bytes = (size_t)count * size_of(type);
    if (name == KERN_CUDNN_TENSOR_SHAPE) memcpy(last_shape, value, sizeof last_shape);
    if (sets++ != target) return itself.BackendSetAttribute(descriptor, name, type, count, value);
    int64_t at = (variant * 3 + name) % count;
    memcpy(&v, value, bytes);
    change(&v, type, at);
    harmless = !memcmp(&v, value, bytes) || is_same(name, at, &v);
    changed = name;
    return itself.BackendSetAttribute(descriptor, name, type, count, &v);
}

/* What means the same though it is another, as often as it is met: */
static const struct {
    int stage, attribute, count;
} same[] = {
    {0, KERN_CUDNN_POINTWISE_X, 4},       /* whose place an index is: only its shape counts */
    {0, KERN_CUDNN_TENSOR_TYPE, 2},       /* the end of a window, and the largest score, in bf16 */
    {0, KERN_CUDNN_REDUCTION_X, 2},       /* the largest of others than scores */
    {0, KERN_CUDNN_TENSOR_NUMBER, 2},     /* of the tensor that is made last */
    {1, KERN_CUDNN_POINTWISE_X, 8},       /* as above */
    {1, KERN_CUDNN_TENSOR_TYPE, 2},       /* the window's end; ds, which is rounded next */
    {1, KERN_CUDNN_TENSOR_IS_VIRTUAL, 2}, /* delta: only cuDNN itself wants memory for it */
    {1, KERN_CUDNN_TENSOR_NUMBER, 2},
};

static int expected_of(int stage, int attribute) {
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        if (same[i].stage == stage && same[i].attribute == attribute) return same[i].count;
    return 0;
}

static void check_changes(int stage, int results, const int *result) {
    static double right[3][MOST];
    static int unseen[3000]; /* by attribute */
    memset(unseen, 0, sizeof unseen);
    target = -1, sets = made_count = 0;
    assert_int_equal(run(stage), KERN_OK);
    int64_t all = sets;
    for (int r = 0; r < results; r++)
        for (int64_t i = 0; i < MOST; i++) right[r][i] = get(result[r], i);
    for (variant = 0; variant < 2; variant++)
        for (target = 0; target < all; target++) {
            sets = made_count = 0;
            bool seen = run(stage) != KERN_OK || is_foreign;
            for (int r = 0; r < results; r++)
                for (int64_t i = 0; i < MOST && !seen; i++)
                    seen = !(fabs(get(result[r], i) - right[r][i]) <= 1e-6);
            unseen[changed] += !seen && !harmless;
        }
    for (int a = 0; a < 3000; a++)
        if (unseen[a] != expected_of(stage, a))
            fail_msg("stage %d: %d other values of attribute %d are not seen", stage, unseen[a], a);
}

static void test_changes(void **state) {
    (void)state;
    static const int of_forward[] = {CUDNN_O, CUDNN_STATISTIC};
    static const int of_vjp[] = {CUDNN_CT_Q, CUDNN_CT_K, CUDNN_CT_V};
    itself = kern_cudnn_table;
    kern_cudnn_table.BackendCreateDescriptor = create;
    kern_cudnn_table.BackendSetAttribute = set_attribute;
    check_changes(0, 2, of_forward);
    check_changes(1, 3, of_vjp);
    kern_cudnn_table = itself;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_changes)};
    if (kern_cudnn_open(&kern_cudnn_table)) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
