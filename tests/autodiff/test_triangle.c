/* Triangular composites against plain loops, and the inverse's derivative against its closed form.
 */
#include "autodiff/triangle.h"
#include "tests/autodiff/world.h"

enum { ITEMS = 2 };

static const int64_t sizes[] = {1, 2, 3, 7, 16, 37, 64};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void expect(const char *what, int64_t n, int64_t at, double got, double expected,
                   double limit) {
    if (!(fabs(got - expected) <= limit))
        fail_msg("%s, n = %d, element %d: %.17g, not %.17g", what, (int)n, (int)at, got, expected);
}

static void test_constants(void **state) {
    (void)state;
    for (int s = 0; s < SIZES; s++) {
        int64_t n = sizes[s];
        world w;
        world_begin(&w, KERN_F64, 1);
        ad_value y[] = {
            ad_lower_ones(w.graph, KERN_F64, n, false), ad_lower_ones(w.graph, KERN_F64, n, true),
            ad_identity(w.graph, KERN_F64, n, n + 2), ad_identity(w.graph, KERN_F64, n + 1, n)};
        double *got = world_values(&w, 4, y), *at = got;
        for (int strict = 0; strict < 2; strict++)
            for (int64_t i = 0; i < n * n; i++)
                expect("ones", n, i, *at++, i % n + strict <= i / n, 0);
        for (int64_t i = 0; i < n * (n + 2); i++)
            expect("wide", n, i, *at++, i % (n + 2) == i / (n + 2), 0);
        for (int64_t i = 0; i < (n + 1) * n; i++) expect("high", n, i, *at++, i % n == i / n, 0);
        free(got);
        world_end(&w);
    }
}

static void test_sums(void **state) {
    (void)state;
    for (int s = 0; s < SIZES; s++) {
        int64_t n = sizes[s];
        world w;
        world_begin(&w, KERN_F64, 2);
        ad_value y = ad_cumsum(w.graph, world_tensor(&w, AD_TYPE(KERN_F64, 3, 2, n), -2, 2));
        double *got = world_values(&w, 1, &y), sum = 0;
        const double *x = w.input[0].data;
        for (int64_t i = 0; i < 6 * n; i++) {
            sum = i % n ? sum + x[i] : x[i];
            expect("sum", n, i, got[i], sum, 1e-13);
        }
        free(got);
        world_end(&w);
    }
}

/* Ones below the diagonal, whose powers reach 5e17 where n = 64: the inverse is 1 on the diagonal
 * and -1 right below, exactly. */
static void test_inverse_of_ones(void **state) {
    (void)state;
    for (int s = 0; s < SIZES; s++) {
        int64_t n = sizes[s];
        world w;
        world_begin(&w, KERN_F32, 3);
        ad_value a = ad_reshape(w.graph, ad_lower_ones(w.graph, KERN_F32, n, true),
                                AD_TYPE(KERN_F32, 1, n, n));
        ad_value y = ad_cast(w.graph, ad_unit_lower_inverse(w.graph, a), KERN_F64);
        double *got = world_values(&w, 1, &y);
        for (int64_t i = 0; i < n * n; i++) {
            int64_t row = i / n, column = i % n;
            expect("inverse", n, i, got[i], row == column ? 1 : row == column + 1 ? -1 : 0, 0);
        }
        free(got);
        world_end(&w);
    }
}

/* X = (I + A)^-1 by substitution, column by column. */
static void invert(double *x, const double *a, int64_t n) {
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < n; i++) {
            double sum = i == j;
            for (int64_t k = j; k < i; k++) sum -= a[i * n + k] * x[k * n + j];
            x[i * n + j] = i < j ? 0 : sum;
        }
}

/* And dA = -X^T C X^T below the diagonal. */
static void test_inverse(void **state) {
    (void)state;
    for (int s = 0; s < SIZES; s++) {
        int64_t n = sizes[s], all = ITEMS * n * n;
        world w;
        world_begin(&w, KERN_F64, 4);
        ad_type type = AD_TYPE(KERN_F64, ITEMS, n, n);
        ad_value dense = world_tensor(&w, type, -0.3, 0.3), ct = world_tensor(&w, type, -1, 1);
        ad_value below = ad_reshape(w.graph, ad_lower_ones(w.graph, KERN_F64, n, true),
                                    AD_TYPE(KERN_F64, 1, n, n));
        ad_value a = ad_mul(w.graph, dense, ad_broadcast(w.graph, below, type)), y[3];
        y[0] = a;
        y[1] = ad_unit_lower_inverse(w.graph, a);
        ad_vjp(w.graph, 1, &y[1], &ct, 1, &dense, &y[2]);
        if (n == 1) y[2] = ad_fill(w.graph, type, 0);
        double *got = world_values(&w, 3, y), *x = calloc((size_t)all, sizeof *x);
        const double *c = w.input[1].data;
        assert_non_null(x);
        for (int64_t b = 0; b < ITEMS; b++) invert(x + b * n * n, got + b * n * n, n);
        for (int64_t i = 0; i < all; i++) expect("inverse", n, i, got[all + i], x[i], 1e-12);
        for (int64_t at = 0; at < all; at++) {
            int64_t item = at / (n * n) * n * n, i = at / n % n, j = at % n;
            double slope = 0;
            for (int64_t p = 0; p < n && i > j; p++)
                for (int64_t q = 0; q < n; q++)
                    slope -= x[item + p * n + i] * c[item + p * n + q] * x[item + j * n + q];
            expect("slope", n, at, got[2 * all + at], slope, 1e-11);
        }
        free(x);
        free(got);
        world_end(&w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_constants),
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_inverse_of_ones),
        cmocka_unit_test(test_inverse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
