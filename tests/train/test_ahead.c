/* A step's next batch is put while the device computes: no number changes by it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/device.h"
#include "train/step.h"

enum { STEPS = 3, BATCH = 2, ROWS = 65, COUNT = BATCH * ROWS };

static int32_t tokens[STEPS + 1][COUNT];

typedef struct {
    train_step *step;
    int64_t number, calls, early;
    bool puts;
} world;

static void work(void *context) {
    world *w = context;
    train_step_buffers b = train_step_memory_of(w->step);
    w->calls++;
    w->early += isnan(kern_real_at(b.token_nll, b.dtype, 0)) != 0;
    if (w->puts) assert_int_equal(train_step_put(w->step, tokens[w->number + 1]), KERN_OK);
}

static train_step *create(ttt_conf **conf) {
    static const char *const word[] = {"train.context=64", "train.batch=2", "inner.lr=1"};
    train_step *step;
    assert_int_equal(conf_load(conf, "toy-e2e-16", 3, word), KERN_OK);
    train_step_spec spec = {.conf = *conf, .micro_batch = 1, .device = test_device(), .threads = 2};
    assert_int_equal(train_step_create(&step, &spec), KERN_OK);
    assert_int_equal(train_step_allocate(step), KERN_OK);
    train_step_buffers b = train_step_memory_of(step);
    infer_parameters_init(b.layout, *conf, b.dtype, b.device, b.parameters);
    return step;
}

/* The losses of some steps; the caller's to free. */
static double *train(world *w) {
    ttt_conf *conf;
    train_step_result result;
    double *loss = kern_array(STEPS, sizeof *loss);
    w->step = create(&conf);
    train_step_meanwhile(w->step, work, w);
    for (w->number = 0; w->number < STEPS; w->number++) {
        assert_int_equal(train_step_run(w->step, &result, tokens[w->number], w->number), KERN_OK);
        loss[w->number] = result.loss;
    }
    assert_int_equal(kern_finish(test_device()->stream), KERN_OK);
    train_step_destroy(w->step);
    conf_destroy(conf);
    return loss;
}

/* Once a step, before the results are there (which the check device makes NaN until then). */
static void test_same_losses(void **state) {
    (void)state;
    world plain = {.puts = false}, ahead = {.puts = true};
    double *expected = train(&plain), *got = train(&ahead);
    for (int i = 0; i < STEPS; i++) assert_true(expected[i] == got[i]);
    assert_int_equal(ahead.calls, STEPS);
    assert_int_equal(ahead.early, strcmp(test_device()->name, "check") != 0 ? 0 : STEPS);
    free(expected);
    free(got);
}

/* What cannot be put leaves the next step as it is. */
static void test_wrong_tokens(void **state) {
    (void)state;
    ttt_conf *conf;
    train_step_result before, after;
    train_step *step = create(&conf);
    static int32_t wrong[COUNT];
    assert_int_equal(train_step_run(step, &before, tokens[0], 0), KERN_OK);
    memcpy(wrong, tokens[1], sizeof wrong);
    wrong[ROWS - 1] = (int32_t)conf->model.vocab;
    assert_int_equal(train_step_put(step, wrong), KERN_ERR_DATA);
    assert_non_null(strstr(kern_error(), "outside the model's vocabulary"));
    assert_int_equal(train_step_run(step, &after, tokens[0], 0), KERN_OK);
    assert_true(before.loss == after.loss); /* its learning rate was 0 */
    train_step_destroy(step);
    conf_destroy(conf);
}

int main(void) {
    for (int s = 0; s <= STEPS; s++)
        for (int i = 0; i < COUNT; i++) tokens[s][i] = (i * i % 31 + i / 7 + 5 * s) % 60;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_losses),
        cmocka_unit_test(test_wrong_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
