/* Training in bf16, where chunks hand on their fast weights rounded, too: the gradient is that of
 * f32 within what rounding does, and the same however much of the forward pass is kept. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/device.h"
#include "train/step.h"

typedef struct {
    double loss;
    float *gradient;
    int64_t elements, every;
} outcome;

static outcome train_once(const char *precision, double budget, int64_t micro_batch) {
    const char *word[] = {
        precision,         "train.context=512", "train.batch=2",         "inner.lr=1",
        "model.vocab=257", "model.bos=256",     "inner.warmup_steps=600"};
    ttt_conf *conf;
    train_step *step;
    if (conf_load(&conf, "toy-e2e-16", 7, word) != KERN_OK) fail_msg("%s", kern_error());
    train_step_spec spec = {.conf = conf,
                            .micro_batch = micro_batch,
                            .budget = budget,
                            .device = test_device(),
                            .threads = 2};
    assert_int_equal(train_step_create(&step, &spec), KERN_OK);
    assert_int_equal(train_step_allocate(step), KERN_OK);
    train_step_buffers b = train_step_memory_of(step);
    infer_parameters_init(b.layout, conf, b.dtype, b.device, b.parameters);
    int32_t tokens[2 * 513];
    for (int i = 0; i < 2 * 513; i++) tokens[i] = (i * i % 31 + i / 7) % (int)conf->model.vocab;
    train_step_result result;
    if (train_step_run(step, &result, tokens, 0) != KERN_OK) fail_msg("%s", kern_error());
    outcome o = {
        .loss = result.loss, .elements = b.layout->elements, .every = train_step_plan(step).every};
    o.gradient = calloc((size_t)o.elements, sizeof *o.gradient);
    size_t bytes = (size_t)o.elements * sizeof *o.gradient;
    assert_int_equal(kern_download(b.device, o.gradient, b.gradient, bytes), KERN_OK);
    train_step_destroy(step);
    conf_destroy(conf);
    return o;
}

/* |a - b| / |b| of the gradients. */
static double difference(const outcome *a, const outcome *b) {
    double square = 0, size = 0;
    for (int64_t i = 0; i < b->elements; i++) {
        square += pow((double)a->gradient[i] - (double)b->gradient[i], 2);
        size += pow((double)b->gradient[i], 2);
    }
    return sqrt(square / size);
}

static void test_rounded_carries(void **state) {
    (void)state;
    outcome exact = train_once("train.precision=f32", HUGE_VAL, 2);
    outcome kept = train_once("train.precision=bf16", HUGE_VAL, 2);
    outcome alone = train_once("train.precision=bf16", HUGE_VAL, 1);
    outcome replayed = train_once("train.precision=bf16", 0, 2);
    assert_true(kept.every == 1 && replayed.every > 1);
    print_message("bf16 against f32: loss %.2e, gradient %.2e; replayed %.2e; one by one %.2e\n",
                  fabs(kept.loss - exact.loss), difference(&kept, &exact),
                  difference(&replayed, &kept), difference(&alone, &kept));
    assert_true(fabs(kept.loss - exact.loss) < 2e-3);
    assert_true(difference(&kept, &exact) < 0.05);
    assert_true(difference(&replayed, &kept) < 1e-5 && replayed.loss == kept.loss);
    assert_true(difference(&alone, &kept) < 1e-5);
    free(exact.gradient);
    free(kept.gradient);
    free(alone.gradient);
    free(replayed.gradient);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rounded_carries)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
