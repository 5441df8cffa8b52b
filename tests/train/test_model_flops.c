/* The FLOP convention of docs/costs.md against sums written out by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "infer/mixer.h"
#include "train/step.h"

static double flops_of(int overrides, const char *const *override) {
    ttt_conf *conf;
    if (conf_load(&conf, "bench-small", overrides, override) != KERN_OK)
        fail_msg("%s", kern_error());
    double flops = train_model_flops(conf);
    conf_destroy(conf);
    return flops;
}

static void near(double value, double expected, double error) {
    if (!(fabs(value - expected) <= error)) fail_msg("%.9g is not %.9g", value, expected);
}

/* Forward FLOPs of one sequence's pairs (t, s), t - window < s <= t, one head of 64 at a time. */
static double pair_flops(int tokens, int chunk, int window, double own, double past) {
    double flops = 0;
    for (int t = 0; t < tokens; t++)
        for (int s = 0; s <= t; s++)
            if (t - s < window) flops += t / chunk == s / chunk ? own : past;
    return 8 * 64 * 4 * flops;
}

static const double tokens = 4096, ordinary = 4 * 512 * 512 + 3 * 512 * 1152, fast = 3 * 512 * 1152;

/* L=6 S=2 D=512 H=8 F=1152 V=8192 T=2048 C=256 W=512, two sequences. */
static void bench_small_is_the_example(void **state) {
    (void)state;
    double prefix = 3 * 2 * tokens * 4 * ordinary, suffix = 6 * 2 * tokens * 2 * ordinary;
    double stepped = 9 * 2 * tokens * 2 * fast, head = 6 * 2 * tokens * 512 * 8192;
    double attention =
        2 * (5 * pair_flops(2048, 256, 512, 3.5, 3.5) + pair_flops(2048, 256, 512, 12, 8.5));
    near(prefix, 0.277e12, 0.0005e12);
    near(suffix, 0.277e12, 0.0005e12);
    near(stepped, 0.261e12, 0.0005e12);
    near(head, 0.206e12, 0.0005e12);
    near(attention, 0.102e12, 0.0005e12);
    double all = prefix + suffix + stepped + head + attention;
    near(all, 1.12e12, 0.005e12);
    near(flops_of(0, NULL), all, 1e-9 * all);
}

static void without_inner_steps_all_is_three_times(void **state) {
    (void)state;
    double weights = 6 * ordinary + 2 * fast + 512 * 8192;
    double attention = 2 * 6 * pair_flops(2048, 256, 512, 3.5, 3.5);
    double all = 3 * 2 * tokens * weights + attention;
    near(flops_of(1, (const char *[]){"inner.mode=off"}), all, 1e-9 * all);
    near(flops_of(1, (const char *[]){"inner.mode=naive"}), all, 1e-9 * all);
}

/* Precision, micro-batch and memory say how a step is executed, not what the model costs. */
static void execution_does_not_count(void **state) {
    (void)state;
    const char *const changed[] = {"train.precision=bf16", "train.micro_batch=2",
                                   "train.memory_limit=1e9"};
    assert_true(flops_of(3, changed) == flops_of(0, NULL));
}

static void full_attention_sees_half_of_the_square(void **state) {
    (void)state;
    const char *const full[] = {"inner.mode=off", "model.attention=full"};
    const char *const none[] = {"inner.mode=off", "model.window=1"};
    double all = 2 * 6 * pair_flops(2048, 256, 4096, 3.5, 3.5);
    double own = 2 * 6 * pair_flops(2048, 256, 1, 3.5, 3.5);
    double more = flops_of(2, full) - flops_of(2, none);
    near(more, all - own, 1e-6 * all);
    near(all, 2 * 6 * 3.5 * 8 * 64 * 4 * 2048.0 * 2049 / 2, 1);
}

/* GFLOP a token at 8K, to two digits behind the point; counted by hand. */
static const struct {
    const char *size;
    double swa, mamba2, gdn, kvb, muon;
} systems[] = {{"125m", 1.63, 1.39, 1.39, 1.70, 1.79},
               {"350m", 4.05, 3.38, 3.39, 4.33, 4.76},
               {"760m", 7.37, 6.41, 6.41, 8.06, 9.49},
               {"1b", 11.57, 10.20, 10.33, 12.71, 16.10},
               {"3b", 21.89, 19.69, 19.70, 24.36, 33.20}};

static void costs(const char *size, const char *method, bool muon, double expected) {
    char name[64];
    ttt_conf *conf;
    snprintf(name, sizeof name, "%s-%s-8k", size, method);
    assert_int_equal(infer_load(&conf, name, muon, (const char *const[]){"kvb.muon=true"}),
                     KERN_OK);
    double tokens_of_step = (double)(conf->train.batch * conf->train.context);
    near(train_model_flops(conf) / tokens_of_step / 1e9, expected, 0.0051);
    conf_destroy(conf);
}

static void other_systems_cost_by_their_recurrences(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof systems / sizeof *systems; i++) {
        costs(systems[i].size, "swa", false, systems[i].swa);
        costs(systems[i].size, "mamba2", false, systems[i].mamba2);
        costs(systems[i].size, "gdn", false, systems[i].gdn);
        costs(systems[i].size, "kvb", false, systems[i].kvb);
        costs(systems[i].size, "kvb", true, systems[i].muon);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bench_small_is_the_example),
        cmocka_unit_test(without_inner_steps_all_is_three_times),
        cmocka_unit_test(execution_does_not_count),
        cmocka_unit_test(full_attention_sees_half_of_the_square),
        cmocka_unit_test(other_systems_cost_by_their_recurrences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
