/* AdamW against its formula, on parameters that decay and, behind them, on those that do not. */
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "infer/parameters.h"
#include "tests/device.h"
#include "train/optimizer.h"

enum { ELEMENTS = 4 * INFER_ROW };

static void check(int64_t decaying) {
    conf_train conf = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.5, .clip = 1e9};
    static double p[ELEMENTS], g[ELEMENTS], zero[ELEMENTS], found[ELEMENTS];
    const double lr = 0.1;
    train_optimizer *optimizer;
    for (int i = 0; i < ELEMENTS; i++) {
        p[i] = sin(i);
        g[i] = i % 7 ? cos(i) : 0;
    }
    kern_buffer on[4] = {test_on_device(p, sizeof p), test_on_device(zero, sizeof zero),
                         test_on_device(zero, sizeof zero), test_on_device(g, sizeof g)};
    train_shard shard = train_shard_whole(ELEMENTS, decaying);
    assert_int_equal(train_optimizer_create(&optimizer, &conf, test_device(), kern_comm_alone(),
                                            KERN_F64, &shard, 1),
                     KERN_OK);
    assert_int_equal(train_optimizer_allocate(optimizer), KERN_OK);
    double norm;
    assert_int_equal(train_optimizer_norm(optimizer, &norm, on[3].data), KERN_OK);
    assert_int_equal(train_optimizer_update(optimizer, norm, on[0].data, on[1].data, on[2].data,
                                            on[3].data, 0, lr),
                     KERN_OK);
    test_from_device(found, on[0].data, sizeof found);
    double squares = 0;
    for (int i = 0; i < ELEMENTS; i++) {
        double decay = i < decaying ? conf.weight_decay * p[i] : 0;
        double expected = p[i] - lr * (g[i] / (fabs(g[i]) + conf.eps) + decay);
        if (!(fabs(found[i] - expected) <= 1e-12))
            fail_msg("%d of %d: %.17g, not %.17g", i, (int)decaying, found[i], expected);
        squares += g[i] * g[i];
    }
    assert_true(fabs(norm - sqrt(squares)) <= 1e-12 * norm);
    for (int i = 0; i < 4; i++) kern_buffer_destroy(&on[i]);
    train_optimizer_destroy(optimizer);
}

static void test_decay(void **state) {
    (void)state;
    omp_set_num_threads(1);
    for (int rows = 0; rows <= 4; rows += 2) check(rows * INFER_ROW);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_decay)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
