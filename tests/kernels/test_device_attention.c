/* A device's attention against the CPU's in f64, within what rounding allows: edges of tiles,
 * windows, pasts, grouped heads, any subset of results and of what is given. */
#include "kernels/cuda/attention_cudnn_scratch.h"
#include "kernels/device_paper.h"
#include "tests/device.h"
#include "tests/kernels/attention_bounds.h"

enum { STAGE_CASES = 10 };
static int64_t spare = 3;   /* rows that the past might have and has not */
static int misaligned = -1; /* a tensor that begins one element behind an aligned address */

/* {batch, rows, heads, groups, head size, window, past, lead}: edges of tiles of 16, 32 and 64;
 * tiles that all rows but one see, and one that is not full; a past of which nothing is there. */
static const int64_t device_cases[][8] = {
    {1, 5, 1, 1, 64, 100, 0, 0},   {1, 64, 2, 1, 64, 64, 63, 1},
    {1, 65, 1, 1, 80, 1000, 5, 0}, {2, 31, 2, 2, 8, 31, 30, 1},
    {1, 33, 4, 2, 96, 32, 65, 0},  {1, 63, 1, 1, 128, 20, 16, 0},
    {1, 129, 2, 1, 16, 67, 31, 2}, {1, 17, 1, 1, 120, 90, 80, 0},
    {1, 97, 1, 1, 72, 33, 64, 0},  {1, 130, 1, 1, 24, 17, 128, 0},
    {2, 15, 3, 3, 88, 1, 1, 0},    {1, 32, 1, 1, 104, 1 << 30, 0, 0},
    {1, 16, 2, 2, 33, 40, 20, 1},  {1, 20, 1, 1, 130, 9, 30, 0},
    {1, 192, 1, 1, 8, 127, 0, 0},  {1, 130, 1, 1, 40, 1000, 62, 0},
    {1, 66, 2, 1, 32, 70, 0, 2},
};
enum { DEVICE_CASES = sizeof device_cases / sizeof *device_cases };

/* ---- running ---- */

typedef struct {
    kern_buffer tensor[TENSORS], past_rows, workspace;
} placed;

static size_t tensor_bytes(const problem *p, int t) {
    return (size_t)p->size[t] * kern_dtype_bytes(tensor_dtype(p, t));
}

static size_t lead_bytes(const problem *p, int t) {
    return t == misaligned ? kern_dtype_bytes(tensor_dtype(p, t)) : 0;
}

static kern_buffer place(const problem *p, int t) {
    kern_buffer made = {0};
    size_t lead = lead_bytes(p, t), bytes = tensor_bytes(p, t);
    assert_int_equal(kern_buffer_create(&made, test_device(), lead + bytes, "test"), KERN_OK);
    kern_upload(made.device, (char *)made.data + lead, p->data[t], bytes);
    return made;
}

static void *address(const problem *p, const placed *at, int t, unsigned bits) {
    if (!(bits >> t & 1)) return NULL;
    bool of_past = t == PAST_K || t == PAST_V || t == OUT_PAST_K || t == OUT_PAST_V;
    int64_t skip = of_past ? p->lead * p->shape.groups * p->shape.head_size : 0;
    return (char *)at->tensor[t].data + lead_bytes(p, t) +
           (size_t)skip * kern_dtype_bytes(tensor_dtype(p, t));
}

/* What cuDNN wants is no more than what is planned with where it is not, which is of whole tiles.
 */
static void check_planned(const problem *p, int stage, size_t workspace) {
    if (!strstr(test_device_name(), "+cudnn") || !kern_cudnn_attends(&p->shape, stage, p->past))
        return;
    kern_device *paper = kern_device_paper_create(kern_machine_named("h200"), true);
    void *state;
    size_t planned;
    assert_int_equal(paper->attention->create(&state, &p->shape, stage, 0, 1, &planned), KERN_OK);
    assert_in_range(workspace, p->shape.rows < 64 ? 1 : planned / 4, planned);
    paper->attention->destroy(state);
    kern_device_paper_destroy(paper);
}

/* As run() of the CPU, on the test's device. */
static void run_on_device(problem *p, int stage, unsigned wanted, unsigned given) {
    const kern_device *device = test_device();
    placed at = {0};
    void *state;
    size_t workspace;
    int32_t past_rows = (int32_t)p->past;
    unsigned bits = ~0u;
    bool room = p->past || p->lead; /* for a past, of which nothing may be there yet */
    if (!room) bits &= ~(1u << PAST_K | 1u << PAST_V | 1u << OUT_PAST_K | 1u << OUT_PAST_V);
    if (stage > 0) bits &= wanted | ((1u << OUT_Q) - 1);
    if (stage > 1) bits &= given | ~GIVEN;
    assert_int_equal(device->attention->create(&state, &p->shape, stage, room ? p->past + spare : 0,
                                               2, &workspace),
                     KERN_OK);
    check_planned(p, stage, workspace);
    assert_int_equal(kern_buffer_create(&at.workspace, device, workspace, "test"), KERN_OK);
    at.past_rows = test_on_device(&past_rows, sizeof past_rows);
    for (int t = 0; t < TENSORS; t++) at.tensor[t] = place(p, t);
    kern_attention_arguments call = {.q = address(p, &at, Q, bits),
                                     .k = address(p, &at, K, bits),
                                     .v = address(p, &at, V, bits),
                                     .past_k = address(p, &at, PAST_K, bits),
                                     .past_v = address(p, &at, PAST_V, bits),
                                     .past_rows = room ? at.past_rows.data : NULL,
                                     .past_stride = past_stride(p),
                                     .ct_o = address(p, &at, CT_O, bits),
                                     .a = address(p, &at, A, bits),
                                     .b = address(p, &at, B, bits),
                                     .c = address(p, &at, C, bits),
                                     .o = address(p, &at, O, bits),
                                     .lse = address(p, &at, LSE, bits),
                                     .ct_q = address(p, &at, OUT_Q, bits),
                                     .ct_k = address(p, &at, OUT_K, bits),
                                     .ct_v = address(p, &at, OUT_V, bits),
                                     .ct_ct_o = address(p, &at, OUT_CT_O, bits),
                                     .ct_past_k = address(p, &at, OUT_PAST_K, bits),
                                     .ct_past_v = address(p, &at, OUT_PAST_V, bits),
                                     .ct_past_stride = past_stride(p),
                                     .workspace = at.workspace.data};
    device->attention->run(device->stream, state, &call);
    for (int t = 0; t < TENSORS; t++) {
        test_from_device(p->data[t], (char *)at.tensor[t].data + lead_bytes(p, t),
                         tensor_bytes(p, t));
        kern_buffer_destroy(&at.tensor[t]);
    }
    kern_buffer_destroy(&at.past_rows);
    kern_buffer_destroy(&at.workspace);
    device->attention->destroy(state);
}

/* ---- comparing ---- */

/* Sums of `terms` at most: twice as many roundings, since partial sums are sums themselves. The
 * GPU's tensor cores, which take head sizes of whole 16 bytes up to 128, get weights in bf16; cuDNN
 * also writes results so. */
static attention_errors errors_of(const problem *p, int stage) {
    const kern_attention_shape *s = &p->shape;
    bool tensor = !strncmp(test_device_name(), "cuda", 4) && s->dtype == KERN_BF16 &&
                  s->head_size % 8 == 0 && s->head_size <= 128;
    bool rounded = tensor && strstr(test_device_name(), "+cudnn") && stage < 2 && !p->past;
    double unit = s->dtype == KERN_F64 ? 0x1p-53 : 0x1p-24;
    int64_t keys = kern_min(p->past + s->rows, s->window);
    int64_t terms = kern_max(s->head_size, kern_max(keys, s->rows * s->heads / s->groups));
    return (attention_errors){(double)(terms + 16) * unit, tensor ? 0x1p-8 : 0,
                              rounded ? 0x1p-8 : 0};
}

static void check_stage(const problem *exact, const problem *rough, const problem *before,
                        int stage, unsigned wanted, unsigned given) {
    static const char *const name[TENSORS] = {[O] = "o",
                                              [LSE] = "lse",
                                              [OUT_Q] = "ct_q",
                                              [OUT_K] = "ct_k",
                                              [OUT_V] = "ct_v",
                                              [OUT_CT_O] = "ct_ct_o",
                                              [OUT_PAST_K] = "ct_past_k",
                                              [OUT_PAST_V] = "ct_past_v"};
    attention_errors e = errors_of(rough, stage);
    double *bound[TENSORS] = {0};
    for (int t = O; t < TENSORS; t++) bound[t] = kern_array(exact->size[t], sizeof *bound[t]);
    attention_bounds(exact, bound, stage, given, e);
    for (int t = O; t < TENSORS; t++) {
        bool result = stage == 0 ? t <= LSE : wanted >> t & 1 && (stage == 2 || t != OUT_CT_O);
        bool of_past = t == OUT_PAST_K || t == OUT_PAST_V;
        if (!result || (of_past && !exact->past))
            assert_memory_equal(rough->data[t], before->data[t], tensor_bytes(rough, t));
        else
            for (int64_t i = 0; i < exact->size[t]; i++)
                check_close(name[t], get(rough, t, i), get(exact, t, i),
                            bound[t][i] + e.sum * fabs(get(exact, t, i)));
        free(bound[t]);
    }
}

static problem copy_of(const problem *p) {
    problem copy = problem_create(p->shape, p->past, p->lead);
    for (int t = 0; t < TENSORS; t++) memcpy(copy.data[t], p->data[t], tensor_bytes(p, t));
    return copy;
}

/* o and lse of stages 1 and 2 are the exact ones, rounded. */
static void check_case(const int64_t *c, kern_dtype dtype, int stage, unsigned wanted,
                       unsigned given) {
    kern_attention_shape shape = shape_of(c[0], c[1], c[2], c[3], c[4], c[5]);
    problem exact = problem_create(shape, c[6], c[7]), rough = converted(&exact, dtype);
    run(&exact, 0, 0, 0);
    if (stage > 0) {
        for (int t = O; t <= LSE; t++)
            for (int64_t i = 0; i < exact.size[t]; i++) set(&rough, t, i, get(&exact, t, i));
        run(&exact, stage, wanted, given);
    }
    problem before = copy_of(&rough);
    run_on_device(&rough, stage, wanted, given);
    check_stage(&exact, &rough, &before, stage, wanted, given);
    problem_destroy(&exact);
    problem_destroy(&rough);
    problem_destroy(&before);
}

static const kern_dtype dtypes[] = {KERN_F32, KERN_BF16, KERN_F64};

static void check_cases(const int64_t (*table)[8], int count, int stage) {
    random_state = 21 + (uint64_t)stage;
    for (int i = 0; i < count; i++)
        for (int d = 0; d < 3; d++) {
            current = i * 10 + d;
            check_case(table[i], dtypes[d], stage, ALL, GIVEN);
        }
}

static void test_forward(void **state) {
    (void)state;
    check_cases(device_cases, DEVICE_CASES, 0);
    check_cases(cases, STAGE_CASES, 0);
}

/* All stages of one shape, for where each takes long (test_cuda_ptx). */
static void test_tiles(void **state) {
    (void)state;
    static const int64_t shapes[2][8] = {{1, 70, 2, 1, 40, 50, 33, 1},
                                         {1, 4, 1, 1, 24, 700, 600, 0}};
    for (int stage = 0; stage < 3; stage++) check_cases(shapes, 1, stage);
    check_cases(shapes + 1, 1, 0);
}

static void test_few_rows(void **state) {
    (void)state;
    static const int64_t long_heads[1][8] = {{1, 4, 1, 1, 2112, 3, 1, 0}};
    check_cases(few_cases, FEW_CASES, 0);
    check_cases(long_heads, 1, 0);
}

/* A GPU takes the keys of so few rows in parts: several row tiles, parts that some rows see none
 * of, less past than there may be. */
static void test_parts(void **state) {
    (void)state;
    static const int64_t parted[][8] = {
        {1, 7, 2, 1, 64, 1 << 30, 1000, 0}, {1, 40, 1, 1, 40, 700, 1500, 1},
        {2, 70, 1, 1, 16, 300, 900, 0},     {1, 63, 2, 2, 33, 600, 513, 2},
        {1, 20, 1, 1, 128, 512, 2040, 0},   {1, 6, 1, 1, 8, 1 << 30, 300, 0},
    };
    check_cases(parted, sizeof parted / sizeof *parted, 0);
    spare = 5000; /* parts that are empty */
    check_cases(parted, 2, 0);
    spare = 3;
}

static void test_vjp(void **state) {
    (void)state;
    check_cases(device_cases, DEVICE_CASES, 1);
    check_cases(cases, STAGE_CASES, 1);
}

static void test_vjp2(void **state) {
    (void)state;
    check_cases(device_cases, DEVICE_CASES, 2);
    check_cases(cases, STAGE_CASES, 2);
}

/* What is not wanted is not touched, what is not given is zero. */
static void test_subsets(void **state) {
    (void)state;
    static const int64_t small[8] = {1, 18, 2, 1, 16, 9, 12, 1};
    random_state = 25;
    for (unsigned bits = 0; bits < 64; bits++)
        for (int d = 0; d < 3; d++) {
            current = (int)bits * 10 + d;
            unsigned given = (bits * 5 + (unsigned)d) % 8 << A;
            check_case(small, dtypes[d], 2, bits << OUT_Q, given);
            if (bits < 32) check_case(small, dtypes[d], 1, bits << OUT_Q, 0);
        }
}

/* More items than a launch has; single rows that see themselves alone. */
static void test_batch(void **state) {
    (void)state;
    static const int64_t many[8] = {129, 1, 1, 1, 8, 1, 1, 0};
    random_state = 29;
    for (int stage = 0; stage <= 2; stage++)
        for (int d = 0; d < 2; d++) check_case(many, dtypes[d], stage, ALL, GIVEN);
}

/* Each tensor in turn begins where nothing of 16 bytes can be loaded or stored. */
static void test_misaligned(void **state) {
    (void)state;
    static const int64_t small[8] = {1, 18, 2, 1, 16, 9, 12, 1};
    random_state = 30;
    for (misaligned = 0; misaligned < TENSORS; misaligned++)
        for (int stage = 0; stage <= 2; stage++) {
            current = misaligned * 10 + stage;
            check_case(small, KERN_BF16, stage, ALL, GIVEN);
        }
    misaligned = -1;
}

/* Scores so large that those of hidden keys would make nothing of the others. */
static void test_extremes(void **state) {
    (void)state;
    /* rows, window, past; the last in parts, whose largest scores lie far apart */
    static const int64_t shapes[][3] = {{70, 50, 40}, {3, 2, 40}, {3, 1000, 600}};
    random_state = 26;
    for (int i = 0; i < 9; i++) {
        const int64_t *c = shapes[i / 3];
        problem p = problem_create(shape_of(1, c[0], 1, 1, 16, c[1]), c[2], 0);
        p.shape.scale = 300;
        problem rough = converted(&p, dtypes[i % 3]);
        for (int stage = 0; stage <= 2; stage++) run_on_device(&rough, stage, ALL, GIVEN);
        for (int t = O; t < TENSORS; t++)
            for (int64_t at = 0; at < rough.size[t]; at++)
                assert_true(isfinite(get(&rough, t, at)));
        problem_destroy(&p);
        problem_destroy(&rough);
    }
}

static void test_nan_is_seen(void **state) {
    (void)state;
    random_state = 27;
    for (int d = 0; d < 3; d++)
        for (int64_t rows = 3; rows < 30; rows += 20)
            for (int of_past = 0; of_past < 2; of_past++) {
                problem exact = problem_create(shape_of(1, rows, 1, 1, 8, 8), 9, 0);
                problem p = converted(&exact, dtypes[d]);
                set(&p, of_past ? PAST_K : V, of_past ? 8 * 7 + 1 : 8 * 1 + 1, (double)NAN);
                run_on_device(&p, 0, 0, 0);
                for (int64_t t = 1; t < 3; t++) assert_true(isnan(get(&p, O, t * 8 + 1)));
                problem_destroy(&exact);
                problem_destroy(&p);
            }
}

/* Shapes without past, which cuda+cudnn gives to cuDNN; the last has heads that it does not take.
 */
static void test_no_past(void **state) {
    (void)state;
    static const int64_t shapes[][8] = {{2, 70, 4, 2, 32, 20, 0, 0},
                                        {1, 65, 2, 2, 128, 1000, 0, 0},
                                        {1, 5, 3, 1, 8, 3, 0, 0},
                                        {1, 9, 1, 1, 130, 9, 0, 0}};
    random_state = 28;
    for (current = 0; current < 4; current++)
        for (int stage = 0; stage < 2; stage++)
            check_case(shapes[current], KERN_BF16, stage, ALL, 0);
    for (unsigned bits = 0; bits < 8; bits++) check_case(shapes[2], KERN_BF16, 1, bits << OUT_Q, 0);
    for (misaligned = 0; misaligned < TENSORS; misaligned++)
        for (int stage = 0; stage < 2; stage++) check_case(shapes[2], KERN_BF16, stage, ALL, 0);
    misaligned = -1;
}

/* [NAME]: all tests, or the one of that name. */
int main(int count, char **words) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward),  cmocka_unit_test(test_few_rows),
        cmocka_unit_test(test_parts),    cmocka_unit_test(test_vjp),
        cmocka_unit_test(test_vjp2),     cmocka_unit_test(test_subsets),
        cmocka_unit_test(test_extremes), cmocka_unit_test(test_nan_is_seen),
        cmocka_unit_test(test_no_past),  cmocka_unit_test(test_batch),
        cmocka_unit_test(test_tiles),    cmocka_unit_test(test_misaligned),
    };
    if (count > 1) cmocka_set_test_filter(words[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
