/* kern_matmul against a plain triple loop in f64, at tile edges, with bounds that follow from the
 * number of roundings; and bit for bit across thread counts. */
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

#include "kernels/isa.h"
#include "kernels/matmul.h"
#include "tests/kernels/rerun.h"

enum { GUARD = 64 }; /* bytes beyond a buffer that must survive */

static uint64_t random_state;

static double uniform(void) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(random_state >> 11) * 0x1p-53 * 2 - 1;
}

static double element(kern_dtype dtype, const void *data, int64_t i) {
    if (dtype == KERN_F64) return ((const double *)data)[i];
    if (dtype == KERN_F32) return (double)((const float *)data)[i];
    uint32_t bits = (uint32_t)((const uint16_t *)data)[i] << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return (double)value;
}

static void set_element(kern_dtype dtype, void *data, int64_t i, double value) {
    if (dtype == KERN_F64) {
        ((double *)data)[i] = value;
    } else {
        float single = (float)value;
        uint32_t bits;
        memcpy(&bits, &single, sizeof bits);
        if (dtype == KERN_F32)
            ((float *)data)[i] = single;
        else
            ((uint16_t *)data)[i] = (uint16_t)(bits >> 16);
    }
}

static void *buffer(kern_dtype dtype, int64_t n) {
    size_t bytes = (size_t)n * kern_dtype_bytes(dtype);
    char *data;
    assert_int_equal(kern_alloc((void **)&data, bytes + GUARD, "test"), KERN_OK);
    for (int64_t i = 0; i < n; i++) set_element(dtype, data, i, uniform());
    memset(data + bytes, 0x5a, GUARD);
    return data;
}

static void check_guard(kern_dtype dtype, const void *data, int64_t n) {
    const char *guard = (const char *)data + (size_t)n * kern_dtype_bytes(dtype);
    for (int i = 0; i < GUARD; i++) assert_int_equal(guard[i], 0x5a);
}

static kern_dtype result_dtype(kern_dtype dtype) {
    return dtype == KERN_F64 ? KERN_F64 : KERN_F32;
}

/* Runs with `threads` threads on an exact, NaN-filled workspace. */
static void run(const kern_matmul_shape *shape, int threads, void *c, const void *a,
                const void *b) {
    kern_matmul *matmul;
    if (kern_matmul_create(&matmul, shape) != KERN_OK) fail_msg("%s", kern_error());
    int64_t workspace_bytes = (int64_t)kern_matmul_workspace(matmul, threads);
    void *workspace;
    assert_int_equal(kern_alloc(&workspace, (size_t)workspace_bytes + GUARD, "test"), KERN_OK);
    memset(workspace, 0xff, (size_t)workspace_bytes);
    memset((char *)workspace + workspace_bytes, 0x5a, GUARD);
    omp_set_num_threads(threads);
    kern_matmul_run(matmul, c, a, b, workspace);
    check_guard(KERN_BF16, workspace, workspace_bytes / 2);
    kern_free(workspace);
    kern_matmul_destroy(matmul);
}

/* |computed - exact| <= gamma_(k+2) sum |a b| + |c| u for any order of a sum of k products. */
static void check_element(const kern_matmul_shape *s, const double *a, const double *b,
                          double before, double computed, int64_t item, int64_t i, int64_t j) {
    double sum = s->accumulate ? before : 0, size = fabs(sum);
    const double *x = a + item * s->stride_a + (s->transpose_a ? i : i * s->k);
    const double *y = b + item * s->stride_b + (s->transpose_b ? j * s->k : j);
    int64_t next_x = s->transpose_a ? s->m : 1, next_y = s->transpose_b ? 1 : s->n;
    for (int64_t p = 0; p < s->k; p++) {
        double product = x[p * next_x] * y[p * next_y];
        sum += product;
        size += fabs(product);
    }
    double unit = s->dtype == KERN_F64 ? 0x1p-52 : 0x1p-24;
    double bound = ((double)s->k + 2) * unit * size * 1.01;
    if (!(fabs(computed - sum) <= bound))
        fail_msg("%s %c%c m=%lld n=%lld k=%lld: [%lld][%lld][%lld] = %.9g, not %.9g +- %.2g",
                 kern_dtype_name(s->dtype), s->transpose_a ? 'T' : 'N', s->transpose_b ? 'T' : 'N',
                 (long long)s->m, (long long)s->n, (long long)s->k, (long long)item, (long long)i,
                 (long long)j, computed, sum, bound);
}

enum { CHECKED_PRODUCTS = SANITIZED ? 30000 : 3000000 };
/* From one choice of what is transposed and added up to the next: none, both, and one with adding.
 */
enum { FLAGS_STEP = SANITIZED ? 3 : 1 };

static double *as_doubles(kern_dtype dtype, const void *data, int64_t n) {
    double *values = malloc((size_t)n * sizeof *values);
    assert_non_null(values);
    for (int64_t i = 0; i < n; i++) values[i] = element(dtype, data, i);
    return values;
}

static void check(kern_matmul_shape shape) {
    int64_t items_a = shape.stride_a ? shape.batch : 1, items_b = shape.stride_b ? shape.batch : 1;
    int64_t size_a = (items_a - 1) * shape.stride_a + shape.m * shape.k;
    int64_t size_b = (items_b - 1) * shape.stride_b + shape.k * shape.n;
    int64_t size_c = (shape.batch - 1) * shape.stride_c + shape.m * shape.n;
    kern_dtype type_c = result_dtype(shape.dtype);
    size_t bytes_c = (size_t)size_c * kern_dtype_bytes(type_c);
    void *a = buffer(shape.dtype, size_a), *b = buffer(shape.dtype, size_b);
    void *before = buffer(type_c, size_c), *c = buffer(type_c, size_c),
         *other = buffer(type_c, size_c);
    memcpy(c, before, bytes_c);
    run(&shape, 2, c, a, b);
    check_guard(type_c, c, size_c);
    double *x = as_doubles(shape.dtype, a, size_a), *y = as_doubles(shape.dtype, b, size_b);
    /* Large products are checked at a sample of elements that includes the edges. */
    int64_t step = 1 + shape.m * shape.n * shape.k / CHECKED_PRODUCTS;
    for (int64_t item = 0; item < shape.batch; item++)
        for (int64_t e = 0; e < shape.m * shape.n; e++) {
            if (e % step != 0 && e + 40 < shape.m * shape.n) continue;
            int64_t at = item * shape.stride_c + e;
            check_element(&shape, x, y, element(type_c, before, at), element(type_c, c, at), item,
                          e / shape.n, e % shape.n);
        }
    for (int threads = 1; threads <= 3; threads += 2) {
        memcpy(other, before, bytes_c);
        run(&shape, threads, other, a, b);
        assert_memory_equal(c, other, bytes_c);
    }
    free(a), free(b), free(c), free(before), free(other), free(x), free(y);
}

static kern_matmul_shape dense(kern_dtype dtype, int transposes, int64_t batch, int64_t m,
                               int64_t n, int64_t k) {
    return (kern_matmul_shape){.dtype = dtype,
                               .transpose_a = transposes & 1,
                               .transpose_b = transposes >> 1 & 1,
                               .accumulate = transposes >> 2 & 1,
                               .batch = batch,
                               .m = m,
                               .n = n,
                               .k = k,
                               .stride_a = m * k,
                               .stride_b = k * n,
                               .stride_c = m * n};
}

static void check_dtype(kern_dtype dtype) {
    static const int64_t sizes[][3] = {
        {1, 1, 1},       {1, 7, 3},        {2, 1, 13},     {13, 17, 1},   {300, 1201, 1},
        {7, 16, 16},     {31, 33, 29},     {32, 48, 64},   {127, 129, 5}, {128, 128, 127},
        {129, 127, 128}, {257, 401, 31},   {257, 577, 33}, {5, 1200, 65}, {1, 1153, 300},
        {1200, 3, 257},  {129, 140, 1025},
    };
    random_state = 7;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int flags = 0; flags < 8; flags += FLAGS_STEP)
            check(dense(dtype, flags, 1, sizes[i][0], sizes[i][1], sizes[i][2]));
    check(dense(dtype, 0, 1, 256, 1152, 512));
    check(dense(dtype, 1, 1, 512, 1152, 256));
    check(dense(dtype, 2, 1, 256, 2048, 512));
}

static void check_batches(kern_dtype dtype) {
    random_state = 11;
    for (int flags = 0; flags < 8; flags += FLAGS_STEP) {
        kern_matmul_shape s = dense(dtype, flags, 5, 19, 23, 37);
        check(s);
        s.stride_b = 0; /* one b for all: folded into m where a is dense */
        check(s);
        s.stride_a += 6;
        s.stride_c += 5;
        check(s);
        s.stride_b = 23 * 37 + 3;
        s.stride_a = 0;
        check(s);
    }
}

static void test_f32(void **state) {
    (void)state;
    check_dtype(KERN_F32);
    check_batches(KERN_F32);
}

static void test_f64(void **state) {
    (void)state;
    check_dtype(KERN_F64);
    check_batches(KERN_F64);
}

static void test_bf16(void **state) {
    (void)state;
    check_dtype(KERN_BF16);
    check_batches(KERN_BF16);
}

/* Products of few rows: the edges of vectors and blocks, every grouping of rows and the first
 * shape beyond; then shapes that are cut by columns, along k, and by both. */
static void test_few_rows(void **state) {
    (void)state;
    static const kern_dtype dtypes[] = {KERN_F32, KERN_F64, KERN_BF16};
    static const int64_t m[] = {1, 2, 3, 4, 5, 7, 8, 9}, n[] = {1, 3, 16, 31, 67, 129};
    static const int64_t k[] = {1, 7, 8, 17, 31, 130};
    enum { CUT = 6 };
    static const int64_t cut[CUT][3] = {{1, 300, 1500}, {1, 67, 4001},  {3, 1300, 333},
                                        {8, 70, 3001},  {2, 2500, 131}, {2, 9001, 67}};
    random_state = 13;
    for (int d = 0; d < 3; d++)
        for (int flags = 0; flags < 8; flags += FLAGS_STEP) {
            for (int i = 0; i < 8 * 36; i++)
                check(dense(dtypes[d], flags, 1, m[i / 36], n[i / 6 % 6], k[i % 6]));
            for (int i = 0; i < CUT; i++)
                check(dense(dtypes[d], flags, 1, cut[i][0], cut[i][1], cut[i][2]));
            kern_matmul_shape s = dense(dtypes[d], flags, 3, 2, 150, 700);
            check(s);
            s.stride_a = 0, s.stride_b += 3, s.stride_c += 5;
            check(s);
            s.stride_a = 1400, s.stride_b = 0;
            check(s);
            for (int64_t batch = 16; batch <= 64; batch += 48)
                check(dense(dtypes[d], flags, batch, 1, 24, 72));
        }
    /* Large enough for more than 16 parts: of columns and of k; of columns, a line of c each. */
    check(dense(KERN_F32, 0, 1, 1, 1100, 4000));
    check(dense(KERN_F32, 2, 1, 1, 1100, 4000));
}

/* What is read for one row has that row's bits when more rows are computed beside it. */
static void test_rows_alone(void **state) {
    (void)state;
    enum { N = 1100, K = 300, M = 4 };
    static const kern_dtype dtypes[] = {KERN_F32, KERN_F64, KERN_BF16};
    random_state = 17;
    for (int d = 0; d < 3; d++)
        for (int flags = 0; flags <= 2; flags += 2) {
            kern_dtype type_c = result_dtype(dtypes[d]);
            size_t row_a = K * kern_dtype_bytes(dtypes[d]), row_c = N * kern_dtype_bytes(type_c);
            char *a = buffer(dtypes[d], M * K), *b = buffer(dtypes[d], K * N);
            char *together = buffer(type_c, M * N), *alone = buffer(type_c, N);
            for (int64_t m = 2; m <= M; m++) {
                kern_matmul_shape some = dense(dtypes[d], flags, 1, m, N, K);
                kern_matmul_shape one = dense(dtypes[d], flags, 1, 1, N, K);
                run(&some, 2, together, a, b);
                for (int64_t i = 0; i < m; i++) {
                    run(&one, 2, alone, a + (size_t)i * row_a, b);
                    assert_memory_equal(together + (size_t)i * row_c, alone, row_c);
                }
            }
            free(a), free(b), free(together), free(alone);
        }
}

/* Without bf16 products and with narrower vectors, where this machine has what others lack. */
static void test_other_processors(void **state) {
    (void)state;
    if (rerun_is_over()) skip();
    if (kern_isa() == KERN_ISA_V4) rerun_with("ONEDNN_MAX_CPU_ISA", "AVX2", "DNNL_MAX_CPU_ISA");
    rerun_with_others();
}

static void test_inside_a_parallel_region(void **state) {
    (void)state;
    random_state = 3;
    kern_matmul_shape shape = dense(KERN_F32, 0, 1, 200, 500, 300);
    float *a = buffer(KERN_F32, 200 * 300), *b = buffer(KERN_F32, 300 * 500);
    float *c[3];
    for (int i = 0; i < 3; i++) c[i] = buffer(KERN_F32, 200 * 500);
    run(&shape, 1, c[2], a, b);
    kern_matmul *matmul;
    assert_int_equal(kern_matmul_create(&matmul, &shape), KERN_OK);
    omp_set_num_threads(2);
#pragma omp parallel for
    for (int i = 0; i < 2; i++) kern_matmul_run(matmul, c[i], a, b, NULL);
    kern_matmul_destroy(matmul);
    for (int i = 0; i < 2; i++) assert_memory_equal(c[i], c[2], 200 * 500 * sizeof(float));
    for (int i = 0; i < 3; i++) free(c[i]);
    free(a), free(b);
}

/* oneDNN divides by such an axis modulo 2^32. Other axes are cut into tiles. */
static void test_too_long_for_bf16(void **state) {
    (void)state;
    if (!kern_matmul_native_bf16()) skip(); /* that is not oneDNN's product */
    kern_matmul_shape shape = dense(KERN_BF16, 0, 1, 256, 256, INT64_C(1) << 32);
    kern_matmul *matmul;
    assert_int_equal(kern_matmul_create(&matmul, &shape), KERN_ERR_GRAPH);
    assert_null(matmul);
    assert_non_null(strstr(kern_error(), "k=4294967296"));
}

/* An infinity or NaN in an operand reaches the result, in every dtype. */
static void test_not_finite(void **state) {
    (void)state;
    kern_dtype dtypes[] = {KERN_F32, KERN_F64, KERN_BF16};
    for (int d = 0; d < 3; d++) {
        kern_matmul_shape shape = dense(dtypes[d], 0, 1, 33, 65, 17);
        void *a = buffer(dtypes[d], 33 * 17), *b = buffer(dtypes[d], 17 * 65);
        void *c = buffer(result_dtype(dtypes[d]), 33 * 65);
        set_element(dtypes[d], a, 32 * 17 + 16, (double)INFINITY);
        run(&shape, 2, c, a, b);
        for (int64_t i = 0; i < 33 * 65; i++)
            assert_int_equal(isfinite(element(result_dtype(dtypes[d]), c, i)) != 0, i < 32 * 65);
        free(a), free(b), free(c);
    }
}

static void test_peak(void **state) {
    (void)state;
    double one = kern_matmul_peak(KERN_F32, 1);
    assert_true(one > 1e8 && one < 1e14);
    print_message("f32 peak of one thread %.1f GFLOP/s, native bf16: %d\n", one * 1e-9,
                  kern_matmul_native_bf16());
}

int main(int argc, char **argv) {
    assert_true(argc >= 1);
    program = argv[0];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32),
        cmocka_unit_test(test_f64),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_few_rows),
        cmocka_unit_test(test_rows_alone),
        cmocka_unit_test(test_inside_a_parallel_region),
        cmocka_unit_test(test_too_long_for_bf16),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_peak),
        cmocka_unit_test(test_other_processors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
