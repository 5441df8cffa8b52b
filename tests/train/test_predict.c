/* The time that is foretold, against sums written out by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "autodiff/ops.h"
#include "kernels/device_paper.h"
#include "train/fit.h"

/* Round numbers: 1 TFLOP/s, 100 GB/s, 10 processors. */
static const kern_machine machine = {.name = "round",
                                     .memory = 1e12,
                                     .f32_flops = 1e12,
                                     .bf16_flops = 4e12,
                                     .f64_flops = 1e11,
                                     .bandwidth = 1e11,
                                     .processors = 10,
                                     .launch_seconds = 1e-5,
                                     .pass_steps = 2,
                                     .piece_rows = 512,
                                     .product_rows = 256,
                                     .slice_elements = 1 << 20};

static void near(double value, double expected) {
    if (!(fabs(value - expected) <= 1e-12 * fabs(expected)))
        fail_msg("%.12g is not %.12g", value, expected);
}

static ad_plan_step_cost product(int64_t batch, int64_t m, int64_t n, int64_t k) {
    double all = (double)batch;
    return (ad_plan_step_cost){.kind = AD_CALL_PRODUCT,
                               .dtype = KERN_F32,
                               .batch = batch,
                               .m = m,
                               .n = n,
                               .flops = 2 * all * (double)(m * n * k),
                               .bytes = 4 * all * (double)(m * n + n * k + k * m)};
}

static void test_calls(void **state) {
    (void)state;
    /* 3 x 4 tiles in two rounds of 10: 12 of 20 places, 0.7 of the peak */
    ad_plan_step_cost call = product(1, 300, 512, 100000);
    near(train_call_seconds(&machine, &call), 2.0 * 300 * 512 * 1e5 / (0.7 * 1e12 * 12 / 20));
    /* 5 of them side by side: 60 tiles in 6 rounds, all places used */
    call = product(5, 300, 512, 100000);
    near(train_call_seconds(&machine, &call), 5 * 2.0 * 300 * 512 * 1e5 / (0.7 * 1e12));
    call.dtype = KERN_BF16;
    near(train_call_seconds(&machine, &call), 5 * 2.0 * 300 * 512 * 1e5 / (0.7 * 4e12));
    /* one row: its operands take longer than what is done with them */
    call = product(1, 1, 4096, 4096);
    near(train_call_seconds(&machine, &call), 4.0 * (4096 + 4096.0 * 4096 + 4096) / 1e11);
    ad_plan_step_cost attention = {.kind = AD_CALL_ATTENTION, .dtype = KERN_BF16, .flops = 9e12};
    near(train_call_seconds(&machine, &attention), 9 / (0.45 * 4));
    attention.kind = AD_CALL_ATTENTION_VJP;
    near(train_call_seconds(&machine, &attention), 9 / (0.35 * 4));
    ad_plan_step_cost rows = {.kind = AD_CALL_ROWS, .bytes = 3e9};
    near(train_call_seconds(&machine, &rows), 0.03);
}

/* x w (+ what its output holds), the sum of its rows' squares over all rows: what the plan itself
 * says of its calls. */
static void test_a_plan(void **state) {
    (void)state;
    ad_graph *g = ad_graph_create();
    ad_value x = ad_input(g, AD_TYPE(KERN_F32, 64, 32), "x");
    ad_value w = ad_input(g, AD_TYPE(KERN_F32, 32, 48), "w");
    ad_value y = ad_matmul(g, x, w, false, false);
    ad_value z = ad_matmul(g, x, ad_slice(g, w, 1, 0, 16), false, false);
    ad_plan_output output[] = {{y, AD_ADD}, {ad_lead_sum(g, ad_mul(g, z, z), 0), AD_WRITE}};
    ad_plan_spec spec = {.outputs = 2, .output = output, .threads = 1};
    ad_plan *plan;
    assert_int_equal(ad_plan_compile(&plan, g, &spec), KERN_OK);
    assert_int_equal(ad_plan_steps(plan), 4);
    double bytes = 0, flops = 0;
    int launches = 0, kinds[AD_CALL_KINDS] = {0};
    for (int i = 0; i < 4; i++) {
        ad_plan_step_cost call = ad_plan_step(plan, i, INT64_MAX);
        kinds[call.kind]++;
        bytes += call.bytes;
        flops += call.flops;
        launches += call.launches;
    }
    assert_true(kinds[AD_CALL_PRODUCT] == 2 && kinds[AD_CALL_ROWS] == 1 &&
                kinds[AD_CALL_MOVE] == 1);
    near(flops, 2.0 * 64 * 32 * (48 + 16));
    /* x and w read, y read and written; a slice of w copied; x and that read, z written; z read, a
     * row written */
    near(bytes, 4.0 * (64 * 32 + 32 * 48 + 2 * 64 * 48 + 2 * 32 * 16 + 64 * 32 + 32 * 16 + 64 * 16 +
                       64 * 16 + 16));
    assert_int_equal(launches, 5); /* the sum over rows takes two */
    ad_plan_destroy(plan);
    ad_graph_destroy(g);
}

/* Bytes that the calls of plans move between places. */
static void add_moves(void *context, int phase, const ad_plan *plan, int64_t before, double times) {
    (void)phase;
    for (int i = 0; i < ad_plan_steps(plan); i++) {
        ad_plan_step_cost call = ad_plan_step(plan, i, before);
        if (call.kind == AD_CALL_MOVE) *(double *)context += times * call.bytes;
    }
}

/* A step's time is that of its phases, and of its kinds; its FLOPs are those that it executes. */
static void test_a_step(void **state) {
    (void)state;
    ttt_conf *conf;
    const char *word[] = {"train.precision=bf16", "train.batch=4"};
    if (conf_load(&conf, "quickstart", 2, word) != KERN_OK) fail_msg("%s", kern_error());
    kern_device *paper = kern_device_paper_create(&machine, false);
    train_step *step;
    train_fit fit;
    assert_int_equal(train_fit_find(&step, &fit, conf, paper, 1e12, kern_ranks_alone(), 1, false),
                     KERN_OK);
    assert_non_null(step);
    train_prediction p = train_predict(step);
    train_time sum = {0};
    for (int phase = 0; phase < TRAIN_PHASES; phase++) {
        assert_true(p.phase[phase].seconds > 0);
        sum.seconds += p.phase[phase].seconds;
        sum.launches += p.phase[phase].launches;
    }
    double kinds = p.step.launch_seconds;
    for (int k = 0; k < AD_CALL_KINDS; k++) kinds += p.step.kind_seconds[k];
    near(p.step.seconds / sum.seconds, 1);
    near(p.step.seconds / kinds, 1);
    near(p.step.launch_seconds / (p.step.launches * machine.launch_seconds), 1);
    near(p.step.flops / train_step_plan(step).executed_flops, 1);
    assert_true(p.step.row_bytes > train_step_plan(step).row_bytes); /* and the optimiser's */
    train_step_memory memory = train_step_plan(step);
    double moved = 0;
    train_step_visit_runs(step, add_moves, &moved);
    assert_true(memory.moved > 0 && memory.product_weights > 0);
    moved += (double)memory.gradient + memory.moved; /* zeroed; between plans */
    moved += 3 * (double)memory.product_weights;     /* f32 read, bf16 written */
    near(p.step.kind_seconds[AD_CALL_MOVE], moved / machine.bandwidth);
    assert_int_equal(memory.program, 0);
    assert_int_equal(train_step_allocate(step), KERN_ERR_CONFIG);
    assert_non_null(strstr(kern_error(), "planned for, not here"));
    train_step_destroy(step);
    kern_device_paper_destroy(paper);
    conf_destroy(conf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_a_plan),
        cmocka_unit_test(test_a_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
