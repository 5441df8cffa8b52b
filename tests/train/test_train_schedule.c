#include "scratch.h"

#include <math.h>

#include "train/schedule.h"

static const train_schedule plain = {
    .lr = 3e-3, .end_lr = 1e-5, .warmup_steps = 10, .total_steps = 110};

static void near(double value, double expected) {
    if (!(fabs(value - expected) <= 1e-15 + 1e-14 * fabs(expected)))
        fail_msg("%.17g is not %.17g", value, expected);
}

static void warm_up_is_linear(void **state) {
    (void)state;
    near(train_learning_rate(&plain, 0), 0);
    near(train_learning_rate(&plain, 1), 3e-4);
    near(train_learning_rate(&plain, 9), 2.7e-3);
    near(train_learning_rate(&plain, 10), 3e-3);
}

/* Where the cosine has values that are known by hand: 0, 1/4, 1/3, 1/2, 2/3, 1 of the way. */
static void cosine_goes_to_the_end_rate(void **state) {
    (void)state;
    const double span = 3e-3 - 1e-5;
    near(train_learning_rate(&plain, 35), 1e-5 + span * (2 + 1.4142135623730951) / 4);
    near(train_learning_rate(&plain, 60), 1e-5 + span * 0.5);
    near(train_learning_rate(&plain, 110), 1e-5);
    near(train_learning_rate(&plain, 1000000), 1e-5);
    const train_schedule thirds = {.lr = 1, .end_lr = 0, .warmup_steps = 0, .total_steps = 3};
    near(train_learning_rate(&thirds, 1), 0.75);
    near(train_learning_rate(&thirds, 2), 0.25);
}

static void edges_of_the_schedule(void **state) {
    (void)state;
    const train_schedule none = {.lr = 2, .end_lr = 1, .warmup_steps = 0, .total_steps = 4};
    near(train_learning_rate(&none, 0), 2);
    const train_schedule only_warm_up = {.lr = 2, .end_lr = 1, .warmup_steps = 4, .total_steps = 4};
    near(train_learning_rate(&only_warm_up, 3), 1.5);
    near(train_learning_rate(&only_warm_up, 4), 1);
    const train_schedule longer = {.lr = 2, .end_lr = 1, .warmup_steps = 8, .total_steps = 4};
    near(train_learning_rate(&longer, 6), 1.5);
    near(train_learning_rate(&longer, 8), 1);
    const train_schedule empty = {.lr = 2, .end_lr = 1, .warmup_steps = 0, .total_steps = 0};
    near(train_learning_rate(&empty, 0), 1);
}

static void inner_multiplier(void **state) {
    (void)state;
    near(train_inner_multiplier(0.1, 0, 0), 1);
    near(train_inner_multiplier(0.1, 4, 0), 0.325);
    near(train_inner_multiplier(0.1, 4, 1), 0.55);
    near(train_inner_multiplier(0.1, 4, 2), 0.775);
    assert_true(train_inner_multiplier(0.1, 4, 3) == 1);
    assert_true(train_inner_multiplier(0.1, 4, 400) == 1);
    assert_true(train_inner_multiplier(0.1, 1, 0) == 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(warm_up_is_linear),
        cmocka_unit_test(cosine_goes_to_the_end_rate),
        cmocka_unit_test(edges_of_the_schedule),
        cmocka_unit_test(inner_multiplier),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
