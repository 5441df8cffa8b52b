/* Row programs where rounding matters: every function against libm in long double, sums of numbers
 * that do not add up exactly, rounding to bf16, special values; the same bits wherever an element
 * lies, with any number of threads and in place. */
#include "tests/kernels/rows_naive.h"

#include <sys/syscall.h>
#include <unistd.h>

static uint64_t state = 5;

static double uniform(double from, double to) {
    return from + (to - from) * (double)(naive_random(&state) >> 11) * 0x1p-53;
}

static long double exact(kern_row_op op, long double x) {
    switch (op) {
    case KERN_ROW_EXP: return expl(x);
    case KERN_ROW_LOG: return logl(x);
    case KERN_ROW_SQRT: return sqrtl(x);
    default: return x > 0 ? 1 / (1 + expl(-x)) : expl(x) / (1 + expl(x));
    }
}

/* Distance in units of the last place of the exact value (of the smallest normal number below it).
 */
static double ulps(kern_dtype dtype, double got, long double want) {
    long double largest = dtype == KERN_F32 ? 0x1.fffffep127L : 0x1.fffffffffffffp1023L;
    int digits = dtype == KERN_F32 ? 24 : 53, lowest = dtype == KERN_F32 ? -149 : -1074, exponent;
    if (isnan(want)) return isnan(got) ? 0 : 1e30;
    frexpl(want, &exponent);
    int unit = exponent - digits < lowest ? lowest : exponent - digits;
    if (fabsl(want) > largest + ldexpl(largest, -digits - 1))
        return isinf(got) && (got > 0) == (want > 0) ? 0 : fabsl(want) > 2 * largest ? 1e30 : 1;
    if (isinf(got)) return isinf(want) ? 0 : 1e30;
    return (double)(fabsl((long double)got - want) / ldexpl(1, unit));
}

static void check_function(kern_dtype dtype, kern_row_op op, double from, double to, bool powers,
                           double limit) {
    enum { COUNT = 100003 };
    size_t bytes = COUNT * kern_dtype_bytes(dtype);
    void *in = guarded(bytes, 0), *out = guarded(bytes, 0);
    for (int64_t i = 0; i < COUNT; i++) {
        double x = uniform(from, to);
        naive_write(dtype, in, i, powers ? exp2(x) : x);
    }
    small_program s;
    make_unary(&s, dtype, op, 1, COUNT, dtype, dtype, false);
    run_small(&s, in, out, 2);
    double worst = 0, at = 0;
    for (int64_t i = 0; i < COUNT; i++) {
        double x = naive_read(dtype, in, i);
        double error = ulps(dtype, naive_read(dtype, out, i), exact(op, (long double)x));
        if (error > worst) at = x;
        worst = fmax(worst, error);
    }
    if (worst > limit)
        fail_msg("%s in %s: %.2f ulp at %.17g", kern_row_op_name(op), kern_dtype_name(dtype), worst,
                 at);
    free_guarded(in, bytes);
    free_guarded(out, bytes);
}

static void functions_are_accurate(void **unused) {
    (void)unused;
    check_function(KERN_F32, KERN_ROW_EXP, -104, 89, false, 1.5);
    check_function(KERN_F32, KERN_ROW_EXP, -1, 1, false, 1.5);
    check_function(KERN_F64, KERN_ROW_EXP, -746, 710, false, 1);
    check_function(KERN_F64, KERN_ROW_EXP, -1, 1, false, 1);
    check_function(KERN_F32, KERN_ROW_LOG, -149, 128, true, 1.5);
    check_function(KERN_F32, KERN_ROW_LOG, 0.5, 2, false, 1.5);
    check_function(KERN_F64, KERN_ROW_LOG, -1074, 1024, true, 1);
    check_function(KERN_F64, KERN_ROW_LOG, 0.5, 2, false, 1);
    check_function(KERN_F32, KERN_ROW_SQRT, -149, 128, true, 0.501);
    check_function(KERN_F64, KERN_ROW_SQRT, -1074, 1024, true, 0.501);
    check_function(KERN_F32, KERN_ROW_SIGMOID, -110, 110, false, 3);
    check_function(KERN_F64, KERN_ROW_SIGMOID, -750, 750, false, 3);
    check_function(KERN_F32, KERN_ROW_SIGMOID, -4, 4, false, 3);
    check_function(KERN_F64, KERN_ROW_SIGMOID, -4, 4, false, 3);
}

static void check_special(kern_dtype dtype, kern_row_op op, double x, double want) {
    enum { COUNT = 37 }; /* vector body and tail */
    size_t bytes = COUNT * kern_dtype_bytes(dtype);
    void *in = guarded(bytes, 0), *out = guarded(bytes, 0);
    for (int64_t i = 0; i < COUNT; i++) naive_write(dtype, in, i, x);
    small_program s;
    make_unary(&s, dtype, op, 1, COUNT, dtype, dtype, false);
    run_small(&s, in, out, 1);
    for (int64_t i = 0; i < COUNT; i++) {
        double got = naive_read(dtype, out, i);
        if (!(got == want && signbit(got) == signbit(want)) && !(isnan(got) && isnan(want)))
            fail_msg("%s(%g) in %s is %g, not %g", kern_row_op_name(op), x, kern_dtype_name(dtype),
                     got, want);
    }
    free_guarded(in, bytes);
    free_guarded(out, bytes);
}

static void special_values(void **unused) {
    (void)unused;
    const double inf = (double)INFINITY, nan = (double)NAN;
    const struct {
        kern_row_op op;
        double x, want;
    } cases[] = {
        {KERN_ROW_EXP, inf, inf},     {KERN_ROW_EXP, -inf, 0},    {KERN_ROW_EXP, nan, nan},
        {KERN_ROW_EXP, 0, 1},         {KERN_ROW_EXP, -0.0, 1},    {KERN_ROW_EXP, 1e30, inf},
        {KERN_ROW_EXP, -1e30, 0},     {KERN_ROW_LOG, 0, -inf},    {KERN_ROW_LOG, -0.0, -inf},
        {KERN_ROW_LOG, -1, nan},      {KERN_ROW_LOG, -inf, nan},  {KERN_ROW_LOG, inf, inf},
        {KERN_ROW_LOG, nan, nan},     {KERN_ROW_LOG, 1, 0},       {KERN_ROW_SQRT, -1, nan},
        {KERN_ROW_SQRT, -0.0, -0.0},  {KERN_ROW_SQRT, inf, inf},  {KERN_ROW_SIGMOID, inf, 1},
        {KERN_ROW_SIGMOID, -inf, 0},  {KERN_ROW_SIGMOID, 0, 0.5}, {KERN_ROW_SIGMOID, nan, nan},
        {KERN_ROW_ABS, -0.0, 0},      {KERN_ROW_ABS, -inf, inf},  {KERN_ROW_ABS, nan, nan},
        {KERN_ROW_NEG, 0, -0.0},      {KERN_ROW_NEG, inf, -inf},  {KERN_ROW_SIGMOID, 1e30, 1},
        {KERN_ROW_SIGMOID, -1e30, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_special(KERN_F32, cases[i].op, cases[i].x, cases[i].want);
        check_special(KERN_F64, cases[i].op, cases[i].x, cases[i].want);
    }
}

/* Sums and maxima over rows at sizes around the vector width. */
static void check_reduction(kern_dtype dtype, int64_t rows, int64_t n) {
    size_t bytes = (size_t)(rows * n) * kern_dtype_bytes(dtype);
    size_t out_bytes = (size_t)rows * kern_dtype_bytes(dtype);
    double unit = dtype == KERN_F32 ? 0x1p-24 : 0x1p-53;
    void *in = guarded(bytes, 0), *sum = guarded(out_bytes, 0), *max = guarded(out_bytes, 0);
    for (int64_t i = 0; i < rows * n; i++) naive_write(dtype, in, i, uniform(-1, 1));
    if (rows > 2) naive_write(dtype, in, 2 * n - 1, (double)NAN);
    small_program s;
    make_unary(&s, dtype, KERN_ROW_ROW_SUM, rows, n, dtype, dtype, true);
    run_small(&s, in, sum, 2);
    s.instr[1].op = KERN_ROW_ROW_MAX;
    run_small(&s, in, max, 2);
    for (int64_t r = 0; r < rows; r++) {
        long double total = 0, size = 0;
        double largest = -(double)INFINITY;
        for (int64_t j = 0; j < n; j++) {
            double x = naive_read(dtype, in, r * n + j);
            total += (long double)x;
            size += fabsl((long double)x);
            largest = naive_value(KERN_ROW_MAX, largest, x, 0);
        }
        double got = naive_read(dtype, sum, r), got_max = naive_read(dtype, max, r);
        assert_true(got_max == largest || (isnan(got_max) && isnan(largest)));
        double bound = (double)size * unit * ((double)n / 8 + 8);
        assert_true(isnan(total) ? isnan(got) : fabsl((long double)got - total) <= bound);
    }
    free_guarded(in, bytes);
    free_guarded(sum, out_bytes);
    free_guarded(max, out_bytes);
}

static void reductions(void **unused) {
    (void)unused;
    static const int64_t sizes[] = {1, 2, 7, 16, 17, 31, 32, 33, 64, 65, 511, 8191};
    static const int64_t rows[] = {1, 3, 1000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int r = 0; r < 3; r++) {
            if (sizes[i] * rows[r] > 100000) continue;
            check_reduction(KERN_F32, rows[r], sizes[i]);
            check_reduction(KERN_F64, rows[r], sizes[i]);
        }
    check_reduction(KERN_F32, 20, 8191);
}

/* A row's sum has the same bits in whatever row of the tensor it lies; an element's function too.
 */
static void bits_do_not_depend_on_place(void **unused) {
    (void)unused;
    enum { ROWS = 300, N = 167 };
    static float in[ROWS * N], out[ROWS * N], sum[ROWS];
    for (int j = 0; j < N; j++) in[j] = (float)uniform(-3, 3);
    for (int r = 1; r < ROWS; r++) memcpy(in + r * N, in, N * sizeof *in);
    for (int threads = 1; threads <= 3; threads++) {
        small_program s;
        make_unary(&s, KERN_F32, KERN_ROW_ROW_SUM, ROWS, N, KERN_F32, KERN_F32, true);
        run_small(&s, in, sum, threads);
        for (int r = 1; r < ROWS; r++) assert_memory_equal(&sum[r], &sum[0], sizeof *sum);
        static const kern_row_op ops[] = {KERN_ROW_EXP, KERN_ROW_SIGMOID, KERN_ROW_LOG};
        for (int o = 0; o < 3; o++) {
            make_unary(&s, KERN_F32, ops[o], ROWS, N, KERN_F32, KERN_F32, false);
            run_small(&s, in, out, threads);
            for (int r = 1; r < ROWS; r++)
                for (int j = 0; j < N; j++) /* NaN has any sign */
                    assert_true(out[r * N + j] == out[j] ||
                                (isnan(out[j]) && isnan(out[r * N + j])));
        }
    }
}

/* The product that feeds a row sum alone is not stored: the bits are those of the stored one. */
static void dot_equals_product_and_sum(void **unused) {
    (void)unused;
    enum { ROWS = 9, N = 1111 };
    static float in[ROWS * N], product[ROWS * N], direct[ROWS], stepwise[ROWS];
    for (int i = 0; i < ROWS * N; i++) {
        in[i] = (float)uniform(-1, 1);
        product[i] = in[i] * in[i];
    }
    small_program s;
    make_unary(&s, KERN_F32, KERN_ROW_ROW_SUM, ROWS, N, KERN_F32, KERN_F32, true);
    run_small(&s, product, stepwise, 1);
    s.instr[3] = s.instr[2];
    s.instr[1] = (kern_row_instr){.op = KERN_ROW_MUL, .d = 1, .a = 0, .b = 0};
    s.instr[2] = (kern_row_instr){.op = KERN_ROW_ROW_SUM, .d = 2, .a = 1};
    s.instr[3].a = 2;
    s.wide[1] = true;
    s.wide[2] = false;
    s.p.instrs = 4;
    s.p.registers = 3;
    run_small(&s, in, direct, 1);
    assert_memory_equal(direct, stepwise, sizeof direct);
}

/* a * b + c, a * b - c and c - a * b round twice, also where the two steps run as one. */
static void pairs_round_twice(void **unused) {
    (void)unused;
    enum { ROWS = 5, N = 333 };
    static float in[3][ROWS * N], out[ROWS * N];
    for (int i = 0; i < 3 * ROWS * N; i++)
        in[i / (ROWS * N)][i % (ROWS * N)] = (float)uniform(-1, 1);
    for (int kind = 0; kind < 12; kind++) {
        bool narrow_b = kind / 3 % 2, narrow_c = kind / 6; /* one value a row */
        int64_t wide[4] = {N, N, N, N}, narrow[4] = {1, 1, 1, 1};
        kern_row_operand operand[4] = {{.dtype = KERN_F32, .wide = true},
                                       {.dtype = KERN_F32, .wide = !narrow_b},
                                       {.dtype = KERN_F32, .wide = !narrow_c},
                                       {.dtype = KERN_F32, .wide = true}};
        for (int o = 0; o < 4; o++)
            memcpy(operand[o].stride, operand[o].wide ? wide : narrow, sizeof wide);
        bool reg_wide[5] = {true, !narrow_b, !narrow_c, true, true};
        kern_row_instr instr[6] = {
            {.op = KERN_ROW_LOAD, .d = 0, .operand = 0},
            {.op = KERN_ROW_LOAD, .d = 1, .operand = 1},
            {.op = KERN_ROW_LOAD, .d = 2, .operand = 2},
            {.op = KERN_ROW_MUL, .d = 3, .a = 0, .b = 1},
            {.op = kind % 3 ? KERN_ROW_SUB : KERN_ROW_ADD, .d = 4, .a = 3, .b = 2},
            {.op = KERN_ROW_STORE, .a = 4, .operand = 3}};
        if (kind % 3 == 2) {
            instr[4].a = 2;
            instr[4].b = 3;
        }
        kern_row_program p = {.compute = KERN_F32,
                              .lead = {ROWS, 1, 1, 1},
                              .n = N,
                              .operands = 4,
                              .instrs = 6,
                              .registers = 5,
                              .operand = operand,
                              .instr = instr,
                              .wide = reg_wide};
        void *input[4] = {in[0], in[1], in[2], NULL}, *output[4] = {NULL, NULL, NULL, out};
        run_guarded(&p, input, NULL, 2, output);
        for (int i = 0; i < ROWS * N; i++) {
            float b = in[1][narrow_b ? i / N : i], c = in[2][narrow_c ? i / N : i];
            float product = in[0][i] * b;
            assert_true(out[i] == (kind % 3 == 0   ? product + c
                                   : kind % 3 == 1 ? product - c
                                                   : c - product));
        }
    }
}

/* Sums over leading axes of numbers that round: near the exact one, the same with any threads. */
static void sums_over_leading_axes(void **unused) {
    (void)unused;
    enum { A = 3, B = 70, C = 11, N = 129 };
    static float in[A * B * C * N], out[A * B * C * N], again[A * B * C * N];
    for (int i = 0; i < A * B * C * N; i++) in[i] = (float)uniform(-1, 1);
    for (int kept = 0; kept <= 3; kept++) {
        small_program s;
        make_unary(&s, KERN_F32, KERN_ROW_SUM_LEAD, 1, N, KERN_F32, KERN_F32, false);
        const int64_t lead[4] = {A, B, C, 1};
        memcpy(s.p.lead, lead, sizeof lead);
        int64_t stride = N, out_stride = N, blocks = 1;
        for (int axis = 3; axis >= 0; axis--) {
            s.operand[0].stride[axis] = stride;
            s.operand[1].stride[axis] = axis < kept ? out_stride : 0;
            stride *= lead[axis];
            if (axis < kept) out_stride *= lead[axis];
            if (axis < kept) blocks *= lead[axis];
        }
        s.instr[1] = (kern_row_instr){.op = KERN_ROW_SUM_LEAD, .a = 0, .operand = 1, .kept = kept};
        s.p.instrs = 2;
        s.p.registers = 1;
        run_small(&s, in, out, 1);
        for (int threads = 2; threads <= 4; threads++) {
            run_small(&s, in, again, threads);
            assert_memory_equal(out, again, (size_t)(blocks * N) * sizeof *out);
        }
        int64_t each = A * B * C / blocks;
        for (int64_t i = 0; i < blocks * N; i++) {
            double sum = 0;
            for (int64_t r = 0; r < each; r++) sum += (double)in[(i / N * each + r) * N + i % N];
            assert_true(fabs((double)out[i] - sum) <= (double)each * (double)each * 0x1p-25);
        }
    }
}

/* Every kind of rounding to bf16: ties, values beside ties, overflow, NaN, from both types. */
static void rounding_to_bf16(void **unused) {
    (void)unused;
    enum { COUNT = 20001 };
    static double in[COUNT];
    static float in_f32[COUNT];
    static uint16_t out[COUNT];
    for (int64_t i = 0; i < COUNT; i++) {
        uint16_t bits = (uint16_t)(naive_random(&state) % 0x7F7F);
        double x = naive_read(KERN_BF16, &bits, 0);
        double step = ldexp(1, ilogb(x == 0 ? 1 : x) - 8);
        double nudge = (double)(i % 5 - 2) * ldexp(step, i % 2 ? -20 : -40);
        in[i] = (i % 3 ? x + step + nudge : x) * (i % 7 ? 1 : -1);
    }
    in[0] = (double)NAN;
    in[1] = 3.4e38;
    in[2] = -(double)INFINITY;
    in[3] = 1e300;
    for (int64_t i = 0; i < COUNT; i++) in_f32[i] = (float)in[i];
    small_program s;
    make_unary(&s, KERN_F64, KERN_ROW_NEG, 3, COUNT / 3, KERN_F64, KERN_BF16, false);
    run_small(&s, in, out, 2);
    for (int64_t i = 0; i < COUNT; i++) {
        uint16_t want = naive_bf16(-in[i]);
        assert_true(i == 0 ? isnan(naive_read(KERN_BF16, out, 0)) : out[i] == want);
    }
    make_unary(&s, KERN_F32, KERN_ROW_NEG, 3, COUNT / 3, KERN_F32, KERN_BF16, false);
    run_small(&s, in_f32, out, 2);
    for (int64_t i = 0; i < COUNT; i++) {
        uint16_t want = naive_bf16(-(double)in_f32[i]);
        assert_true(i == 0 ? isnan(naive_read(KERN_BF16, out, 0)) : out[i] == want);
    }
}

/* The threads of a full team, by number. */
enum { TEAM = 8 };
static void find_team(long *thread) {
#pragma omp parallel num_threads(TEAM)
    thread[omp_get_thread_num()] = syscall(SYS_gettid);
}

/* Where there are fewer parts than threads, the others wait: OpenMP ends those that a smaller team
 * leaves over, and starting them again for the next takes longer than what they compute. */
static void threads_stay(void **unused) {
    (void)unused;
    long before[TEAM] = {0}, after[TEAM] = {0};
    enum { MOST = 1 << 18 };
    float *in = calloc(MOST, sizeof *in), *out = calloc(MOST, sizeof *out);
    assert_true(in && out);
    omp_set_num_threads(TEAM);
    find_team(before);
    for (int64_t count = 4096; count <= MOST; count += 4096) {
        small_program s;
        make_unary(&s, KERN_F32, KERN_ROW_EXP, 1, count, KERN_F32, KERN_F32, false);
        run_small(&s, in, out, TEAM);
        assert_true(out[0] == 1 && out[count - 1] == 1);
        find_team(after);
        assert_memory_equal(before, after, sizeof before);
    }
    free(in);
    free(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_are_accurate),
        cmocka_unit_test(special_values),
        cmocka_unit_test(reductions),
        cmocka_unit_test(bits_do_not_depend_on_place),
        cmocka_unit_test(dot_equals_product_and_sum),
        cmocka_unit_test(pairs_round_twice),
        cmocka_unit_test(sums_over_leading_axes),
        cmocka_unit_test(rounding_to_bf16),
        cmocka_unit_test(threads_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
