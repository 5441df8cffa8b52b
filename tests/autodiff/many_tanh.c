/* For test_add_op.sh: the page's operation as often as a row program may have nodes, which is more
 * instructions than it may have. */
#include "tests/autodiff/plan_steps.h"

enum { TERMS = 96 };

static void test_many_tanh(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_value product = ad_matmul(w.graph, matrix(&w, TERMS, 7), matrix(&w, 7, 5), false, false);
    ad_value part[TERMS + 1];
    ad_plan_output output[TERMS];
    for (int i = 0; i < TERMS; i++) {
        part[i] = ad_tanh(w.graph, ad_slice(w.graph, product, 0, i, 1));
        output[i] = (ad_plan_output){part[i], AD_WRITE};
    }
    part[TERMS] = product;
    expect_equal_ways(&w, TERMS, output);
    expect_steps(&w, TERMS, output, 3, 2);
    double *value = world_values(&w, TERMS + 1, part), *operand = value + TERMS * 5;
    for (int i = 0; i < TERMS * 5; i++)
        if (!(fabs(value[i] - tanh(operand[i])) < 1e-14)) fail_msg("%d: %g", i, value[i]);
    free(value);
    world_end(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_many_tanh)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
