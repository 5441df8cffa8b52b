/* Attention's numbers: f32 and bf16 against f64; the same bits whatever the number of threads and
 * whatever is asked for; large scores; NaN. */
#include "tests/kernels/attention_problem.h"

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

/* f32 and bf16 against f64, scores of all sizes; one thread against several. */
static void test_few_rows(void **state) {
    (void)state;
    static const kern_dtype dtypes[] = {KERN_F64, KERN_F32, KERN_BF16};
    random_state = 14;
    for (size_t i = 0; i < FEW_CASES; i++)
        for (int d = 0; d < 3; d++) {
            problem exact = problem_create(few_shape(i), few_cases[i][6], few_cases[i][7]);
            exact.shape.scale *= i % 2 ? 16 : 1;
            problem first = converted(&exact, dtypes[d]), second = converted(&exact, dtypes[d]);
            threads = 2;
            run(&exact, 0, 0, 0);
            run(&first, 0, 0, 0);
            double unit = dtypes[d] == KERN_F64 ? 1e-13 : 0x1p-24;
            double bound = (double)(few_cases[i][4] + 40) * (i % 2 ? 16 : 1) * unit;
            for (int t = O; t <= LSE; t++)
                for (int64_t j = 0; j < exact.size[t]; j++)
                    check_close("result", get(&first, t, j), get(&exact, t, j),
                                bound * fmax(1, fabs(get(&exact, t, j))));
            for (threads = 1; threads <= 3; threads += 2) {
                run(&second, 0, 0, 0);
                assert_same(&first, &second, O);
                assert_same(&first, &second, LSE);
            }
            threads = 2;
            problem_destroy(&exact);
            problem_destroy(&first);
            problem_destroy(&second);
        }
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
    problem base = problem_create(shape_of(1, SANITIZED ? 1000 : 4000, 1, 1, 16, 250), 0, 0);
    problem first = converted(&base, KERN_F32);
    threads = 1;
    for (int stage = 0; stage <= 2; stage++) run(&first, stage, ALL, GIVEN);
    threads = 2;
    problem second = converted(&first, KERN_F32);
    run(&second, 0, 0, 0);
    for (int repeat = 0; repeat < (SANITIZED ? 1 : 5); repeat++) {
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
            for (unsigned bits = 0; bits < 64; bits += SANITIZED ? 9 : 1) {
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
        for (unsigned bits = 0; bits < 8; bits += SANITIZED ? 3 : 1) {
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
    for (int64_t at = 0; at < 600; at += 37) { /* one row that sees all of a past in parts */
        problem one = problem_create(shape_of(1, 1, 1, 1, 4, 1000), 600, 0);
        set(&one, at % 2 ? PAST_K : PAST_V, 4 * at, (double)NAN);
        run(&one, 0, 0, 0);
        assert_true(isnan(get(&one, O, 0)));
        problem_destroy(&one);
    }
}

int main(int argc, char **argv) {
    assert_true(argc >= 1);
    program = argv[0];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32),         cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_few_rows),    cmocka_unit_test(test_threads),
        cmocka_unit_test(test_shared_keys), cmocka_unit_test(test_wanted),
        cmocka_unit_test(test_given),       cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_nan_is_seen), cmocka_unit_test(test_other_instruction_sets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
