/* A device's products against a triple loop in f64, within a bound that holds for any order of the
 * sum: all transposes, batches, repeated operands, adding, operands that are hardly aligned. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <omp.h>
#include <string.h>

#include "tests/device.h"

static uint64_t random_state = 9;

static double uniform(void) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(random_state >> 11) * 0x1p-53 * 2 - 1;
}

static double element(kern_dtype dtype, const void *data, int64_t i) {
    if (dtype != KERN_BF16) return kern_real_at(data, dtype, i);
    uint32_t bits = (uint32_t)((const uint16_t *)data)[i] << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return (double)value;
}

/* Numbers here and there, `lead` elements behind an address that is well aligned. */
typedef struct {
    kern_dtype dtype;
    char *here;
    kern_buffer there;
    size_t lead;
} matrix;

static matrix matrix_of(kern_dtype dtype, int64_t count, size_t lead) {
    size_t each = kern_dtype_bytes(dtype);
    matrix x = {.dtype = dtype, .lead = lead * each};
    x.here = kern_array(count + (int64_t)lead, each);
    for (int64_t i = 0; i < count + (int64_t)lead; i++)
        if (dtype == KERN_BF16)
            ((uint16_t *)(void *)x.here)[i] =
                (uint16_t)(0x3f80 + (random_state >> 40) % 64 * 2 + (uniform() < 0 ? 0x8000u : 0u));
        else
            kern_real_put(x.here, dtype, i, uniform());
    x.there = test_on_device(x.here, (size_t)(count + (int64_t)lead) * each);
    return x;
}

static void forget(matrix *x) {
    free(x->here);
    kern_buffer_destroy(&x->there);
}

static double at(const matrix *x, int64_t i) {
    return element(x->dtype, x->here + x->lead, i);
}

static void check_results(const kern_matmul_shape *s, const matrix *a, const matrix *b,
                          const matrix *c, const void *got) {
    double unit = s->dtype == KERN_F64 ? 0x1p-52 : 0x1p-23;
    for (int64_t e = 0; e < s->batch * s->m * s->n; e++) {
        int64_t item = e / (s->m * s->n), i = e / s->n % s->m, j = e % s->n;
        int64_t of_c = item * s->stride_c + i * s->n + j;
        double sum = s->accumulate ? at(c, of_c) : 0, size = fabs(sum);
        for (int64_t k = 0; k < s->k; k++) {
            double x = at(a, item * s->stride_a + (s->transpose_a ? k * s->m + i : i * s->k + k));
            double y = at(b, item * s->stride_b + (s->transpose_b ? j * s->k + k : k * s->n + j));
            sum += x * y;
            size += fabs(x * y);
        }
        double is = element(c->dtype, (const char *)got + c->lead, of_c);
        if (!(fabs(is - sum) <= ((double)s->k + 2) * unit * size))
            fail_msg("%s %d%d [%lld][%lld][%lld] is %.9g, not %.9g", kern_dtype_name(s->dtype),
                     s->transpose_a, s->transpose_b, (long long)item, (long long)i, (long long)j,
                     is, sum);
    }
}

static void check(kern_matmul_shape s, size_t lead) {
    const kern_device *device = test_device();
    kern_dtype result = s.dtype == KERN_F64 ? KERN_F64 : KERN_F32;
    matrix a = matrix_of(s.dtype, (s.batch - 1) * s.stride_a + s.m * s.k, lead);
    matrix b = matrix_of(s.dtype, (s.batch - 1) * s.stride_b + s.k * s.n, 0);
    matrix c = matrix_of(result, (s.batch - 1) * s.stride_c + s.m * s.n, lead);
    kern_buffer workspace = {0};
    char *got = kern_array((int64_t)c.there.bytes, 1);
    void *state;
    size_t bytes;
    if (device->matmul->create(&state, &s, omp_get_max_threads(), &bytes) != KERN_OK)
        fail_msg("%s", kern_error());
    assert_int_equal(kern_buffer_create(&workspace, device, bytes, "workspace"), KERN_OK);
    device->matmul->run(device->stream, state, (char *)c.there.data + c.lead,
                        (char *)a.there.data + a.lead, b.there.data, workspace.data);
    test_from_device(got, c.there.data, c.there.bytes);
    check_results(&s, &a, &b, &c, got);
    device->matmul->destroy(state);
    kern_buffer_destroy(&workspace);
    free(got);
    forget(&a);
    forget(&b);
    forget(&c);
}

static void test_products(void **state) {
    (void)state;
    static const kern_dtype dtypes[] = {KERN_F32, KERN_BF16, KERN_F64};
    static const int64_t sizes[][3] = {{1, 1, 1},
                                       {1, 40, 33},
                                       {4, 64, 20},
                                       {17, 5, 9},
                                       {33, 48, 1},
                                       {7, 1, 65},
                                       {64, 32, 31},
                                       /* few rows: edges of runs, blocks, parts of k */
                                       {3, 129, 1025},
                                       {1, 256, 520},
                                       {1, 33, 1027},
                                       {8, 264, 264},
                                       {9, 16, 8},
                                       {2, 640, 1280},
                                       {5, 1, 40000},
                                       {2, 2056, 16}};
    for (int d = 0; d < 3; d++)
        for (int bits = 0; bits < 8; bits++)
            for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                int64_t m = sizes[i][0], n = sizes[i][1], k = sizes[i][2];
                kern_matmul_shape s = {.dtype = dtypes[d],
                                       .transpose_a = bits & 1,
                                       .transpose_b = bits & 2,
                                       .accumulate = bits & 4,
                                       .batch = 1 + (int64_t)i % 3,
                                       .m = m,
                                       .n = n,
                                       .k = k,
                                       .stride_a = i % 2 ? m * k : 0,
                                       .stride_b = kern_round_up(k * n, 8) + (int64_t)i % 2,
                                       .stride_c = m * n + 3};
                check(s, i % 4 == 3);
            }
}

/* Items that share b and lie one after another may be one product. */
static void test_shared_b(void **state) {
    (void)state;
    static const kern_dtype dtypes[] = {KERN_F32, KERN_BF16, KERN_F64};
    for (int d = 0; d < 3; d++)
        for (int bits = 0; bits < 8; bits++)
            for (int64_t m = 1; m <= 3; m++) {
                kern_matmul_shape s = {.dtype = dtypes[d],
                                       .transpose_a = bits & 1,
                                       .transpose_b = bits & 2,
                                       .accumulate = bits & 4,
                                       .batch = 4,
                                       .m = m,
                                       .n = 72,
                                       .k = 520,
                                       .stride_a = m * 520,
                                       .stride_c = m * 72};
                check(s, 0);
                s.stride_a += 8; /* not one matrix of more rows */
                if (m == 2) check(s, 0);
                s.stride_a -= 8;
                s.stride_c += 8;
                if (m == 2) check(s, 0);
            }
}

/* With a word, only those tests whose names are like it. */
int main(int count, char **words) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_products),
                                       cmocka_unit_test(test_shared_b)};
    if (count > 1) cmocka_set_test_filter(words[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
