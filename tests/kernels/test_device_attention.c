/* A device's attention against the CPU's in f64: all stages, at edges of tiles, windows, groups and
 * the past, with what is absent or not wanted left out. */
#include "tests/device.h"
#include "tests/kernels/attention_problem.h"

typedef struct {
    kern_buffer tensor[TENSORS], rows, workspace;
} there;

static void *at(const problem *p, const there *on, int tensor, bool present) {
    if (!present) return NULL;
    bool of_past =
        tensor == PAST_K || tensor == PAST_V || tensor == OUT_PAST_K || tensor == OUT_PAST_V;
    int64_t skip = of_past ? p->lead * p->shape.groups * p->shape.head_size : 0;
    return (char *)on->tensor[tensor].data +
           (size_t)skip * kern_dtype_bytes(tensor_dtype(p, tensor));
}

/* As `run`, on the device, prepared for more past than there is. */
static void run_there(problem *p, int stage, unsigned wanted, unsigned given) {
    const kern_device *device = test_device();
    there on = {0};
    void *state;
    size_t bytes = 0;
    int32_t past = (int32_t)p->past;
    if (device->attention->create(&state, &p->shape, stage, p->past + (p->past ? 21 : 0), threads,
                                  &bytes) != KERN_OK)
        fail_msg("%s", kern_error());
    for (int t = 0; t < TENSORS; t++)
        on.tensor[t] =
            test_on_device(p->data[t], (size_t)p->size[t] * kern_dtype_bytes(tensor_dtype(p, t)));
    on.rows = test_on_device(&past, sizeof past);
    assert_int_equal(kern_buffer_create(&on.workspace, device, bytes, "workspace"), KERN_OK);
    bool before = p->past > 0;
    kern_attention_arguments call = {
        .q = at(p, &on, Q, true),
        .k = at(p, &on, K, true),
        .v = at(p, &on, V, true),
        .past_k = at(p, &on, PAST_K, before),
        .past_v = at(p, &on, PAST_V, before),
        .past_rows = on.rows.data,
        .past_stride = past_stride(p),
        .ct_o = at(p, &on, CT_O, stage > 0),
        .a = at(p, &on, A, given >> A & 1),
        .b = at(p, &on, B, given >> B & 1),
        .c = at(p, &on, C, given >> C & 1),
        .o = at(p, &on, O, true),
        .lse = at(p, &on, LSE, true),
        .ct_q = at(p, &on, OUT_Q, wanted >> OUT_Q & 1),
        .ct_k = at(p, &on, OUT_K, wanted >> OUT_K & 1),
        .ct_v = at(p, &on, OUT_V, wanted >> OUT_V & 1),
        .ct_ct_o = at(p, &on, OUT_CT_O, stage == 2 && wanted >> OUT_CT_O & 1),
        .ct_past_k = at(p, &on, OUT_PAST_K, before && wanted >> OUT_PAST_K & 1),
        .ct_past_v = at(p, &on, OUT_PAST_V, before && wanted >> OUT_PAST_V & 1),
        .ct_past_stride = past_stride(p),
        .workspace = on.workspace.data,
    };
    device->attention->run(device->stream, state, &call);
    for (int t = 0; t < TENSORS; t++)
        device->download(device->stream, p->data[t], on.tensor[t].data, on.tensor[t].bytes);
    if (kern_finish(device->stream) != KERN_OK) fail_msg("%s", kern_error());
    for (int t = 0; t < TENSORS; t++) kern_buffer_destroy(&on.tensor[t]);
    kern_buffer_destroy(&on.rows);
    kern_buffer_destroy(&on.workspace);
    device->attention->destroy(state);
}

static void copy_into(problem *to, const problem *from, int tensor) {
    for (int64_t i = 0; i < to->size[tensor]; i++) set(to, tensor, i, get(from, tensor, i));
}

/* Every element is off by at most `unit` times a number that grows with the sums' lengths. */
static void compare(const problem *got, const problem *exact, int tensor, double unit) {
    static const char *const names[TENSORS] = {
        [O] = "o",
        [LSE] = "lse",
        [OUT_Q] = "ct_q",
        [OUT_K] = "ct_k",
        [OUT_V] = "ct_v",
        [OUT_PAST_K] = "ct_past_k",
        [OUT_PAST_V] = "ct_past_v",
        [OUT_CT_O] = "ct_ct_o",
    };
    double size = 1;
    for (int64_t i = 0; i < exact->size[tensor]; i++)
        if (fabs(get(exact, tensor, i)) > size) size = fabs(get(exact, tensor, i));
    for (int64_t i = 0; i < exact->size[tensor]; i++)
        check_close(names[tensor], get(got, tensor, i), get(exact, tensor, i), unit * size);
}

static void check(kern_dtype dtype, kern_attention_shape shape, int64_t past, int64_t lead,
                  unsigned wanted, unsigned given, double unit) {
    problem exact = problem_create(shape, past, lead), p = converted(&exact, dtype);
    int results[] = {OUT_Q, OUT_K, OUT_V, OUT_PAST_K, OUT_PAST_V, OUT_CT_O};
    run(&exact, 0, 0, 0);
    run_there(&p, 0, 0, 0);
    compare(&p, &exact, O, unit);
    compare(&p, &exact, LSE, unit);
    for (int stage = 1; stage <= 2; stage++) {
        copy_into(&p, &exact, O);
        copy_into(&p, &exact, LSE);
        run(&exact, stage, wanted, given);
        run_there(&p, stage, wanted, given);
        for (size_t i = 0; i < sizeof results / sizeof *results; i++)
            if (wanted >> results[i] & 1 && (stage == 2 || results[i] != OUT_CT_O))
                compare(&p, &exact, results[i], unit);
    }
    problem_destroy(&exact);
    problem_destroy(&p);
}

/* f64 in full at each case; of the others, and of what is left out, one each. */
static void test_cases(void **state) {
    (void)state;
    static const kern_dtype dtypes[] = {KERN_F64, KERN_F32, KERN_BF16};
    static const unsigned left_out[][2] = {
        {1u << OUT_K | 1u << OUT_V, 1u << A},
        {1u << OUT_PAST_K | 1u << OUT_PAST_V, 1u << C},
        {1u << OUT_Q, 1u << B | 1u << C},
        {1u << OUT_CT_O, 1u << A | 1u << B | 1u << C},
    };
    random_state = 5;
    for (size_t i = 0; i < CASES; i++) {
        current = (int)i;
        kern_dtype dtype = dtypes[i % 3];
        unsigned off = left_out[i % 4][0], none = left_out[i % 4][1];
        double unit = dtype == KERN_F64 ? 1e-12 : 2e-5;
        check(KERN_F64, case_shape(i), cases[i][6], cases[i][7], ALL, GIVEN, 1e-12);
        if (i % 2 == 0) check(KERN_F32, case_shape(i), cases[i][6], cases[i][7], ALL, GIVEN, 2e-5);
        check(dtype, case_shape(i), cases[i][6], cases[i][7], ALL & ~off, GIVEN & ~none, unit);
    }
}

static void test_few_rows(void **state) {
    (void)state;
    random_state = 6;
    for (size_t i = 0; i < FEW_CASES; i += 3) {
        current = (int)i;
        check(KERN_BF16, few_shape(i), few_cases[i][6], few_cases[i][7], ALL, GIVEN, 2e-5);
    }
}

/* Heads that no block has the shared memory for are refused. */
static void test_too_large(void **state) {
    (void)state;
    const kern_device *device = test_device();
    kern_attention_shape shape = shape_of(1, 8, 1, 1, 1024, 8);
    void *prepared;
    size_t bytes;
    if (device->host || !strcmp(device->name, "check")) skip();
    assert_int_equal(device->attention->create(&prepared, &shape, 0, 0, 1, &bytes),
                     KERN_ERR_CONFIG);
    assert_non_null(strstr(kern_error(), "heads of 1024"));
}

int main(int count, char **words) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_few_rows),
        cmocka_unit_test(test_too_large),
    };
    program = words[count - 1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
