/* What a training step executes, by plan: calls, row programs among them, FLOPs of products and
 * attention, bytes that row programs move; and how far carries are apart. It is known before
 * anything runs and is the same on every machine, so it guards speed where time cannot: whoever
 * makes a step do more, or another thing, sees it here. The numbers are in executed.txt beside
 * this file. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "train/step.h"

#define NUMBERS TESTS_DIR "/train/executed.txt"

static void print_plan(FILE *file, const char *name, const ad_plan *plan) {
    if (!plan) return;
    int rows = 0, steps = ad_plan_steps(plan);
    for (int i = 0; i < steps; i++) rows += !strcmp(ad_plan_step(plan, i, INT64_MAX).op, "rows");
    fprintf(file, "  %-16s calls %4d  row programs %3d  FLOPs %.0f  bytes %.0f\n", name, steps,
            rows, ad_plan_flops(plan, INT64_MAX), ad_plan_bytes(plan));
}

static void print_scan(FILE *file, const char *name, const ad_scan *scan) {
    static const char *const plans[AD_SCAN_PLANS] = {"body", "body, last", "vjp", "vjp, last"};
    char text[64];
    for (int which = 0; which < AD_SCAN_PLANS; which++) {
        snprintf(text, sizeof text, "%s %s", name, plans[which]);
        print_plan(file, text, ad_scan_plan_of(scan, which));
    }
}

typedef struct {
    const char *conf, *override;
    double budget; /* of carries and kept values */
} kind;

static void print_kind(FILE *file, const kind *k) {
    ttt_conf *conf;
    train_step *step;
    if (conf_load(&conf, k->conf, k->override ? 1 : 0, &k->override) != KERN_OK)
        fail_msg("%s", kern_error());
    train_step_spec spec = {.conf = conf, .micro_batch = 1, .budget = k->budget, .threads = 1};
    if (train_step_create(&step, &spec) != KERN_OK) fail_msg("%s", kern_error());
    train_step_memory all = train_step_plan(step);
    infer_model_parts parts = infer_model_internals(train_step_model(step));
    fprintf(file, "%s %s, a budget of %.0f\n", k->conf, k->override ? k->override : "as it is",
            k->budget);
    print_scan(file, "prefix", parts.prefix);
    print_scan(file, "suffix", parts.suffix);
    fprintf(file, "  %-16s FLOPs %.0f  bytes %.0f  carry every %" PRId64 "  kept %.4f\n", "step",
            all.executed_flops, all.row_bytes, all.every, all.kept_fraction);
    train_step_destroy(step);
    conf_destroy(conf);
}

static const kind kinds[] = {
    {"bench-small", NULL, 1e12},    {"bench-small", NULL, 1.5e8},
    {"bench-small", NULL, 0},       {"bench-small", "train.precision=bf16", 1e12},
    {"quickstart", NULL, 3e7},      {"quickstart-swa", NULL, 3e7},
    {"toy-e2e-16", NULL, 1e12},     {"toy-attention", NULL, 1e12},
    {"125m-hybrid-8k", NULL, 1e12}, {"125m-e2e-8k", NULL, 4e9},
};

static char *executed_now(void) {
    char *text;
    size_t bytes;
    FILE *file = open_memstream(&text, &bytes);
    assert_non_null(file);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) print_kind(file, &kinds[i]);
    assert_int_equal(fclose(file), 0);
    return text;
}

static char *read_all(const char *path) {
    FILE *file = fopen(path, "r");
    char *text = NULL;
    size_t capacity = 0;
    if (!file || getdelim(&text, &capacity, 0, file) < 0) fail_msg("%s cannot be read", path);
    fclose(file);
    return text;
}

/* Prints lines that differ under the line of their configuration; how many there are. */
static int compare(char *was, char *is) {
    char *was_at, *is_at, *a = strtok_r(was, "\n", &was_at), *b = strtok_r(is, "\n", &is_at);
    const char *heading = "";
    int differ = 0;
    for (; a && b; a = strtok_r(NULL, "\n", &was_at), b = strtok_r(NULL, "\n", &is_at)) {
        if (*b != ' ') heading = b;
        if (!strcmp(a, b)) continue;
        print_error("%s\n was %s\n is  %s\n", heading, a, b);
        differ++;
    }
    return differ + (a || b);
}

static void test_a_step_executes_what_it_did(void **state) {
    (void)state;
    char *is = executed_now();
    if (getenv("TTT_RENEW")) {
        FILE *file = fopen(NUMBERS, "w");
        assert_true(file && fputs(is, file) >= 0 && fclose(file) == 0);
        print_message("wrote %s\n", NUMBERS);
        free(is);
        return;
    }
    char *was = read_all(NUMBERS);
    int differ = compare(was, is);
    if (differ)
        fail_msg("%d lines are not those of %s. If that is meant, write it anew with "
                 "TTT_RENEW=1 build/tests/test_executed, and say in the commit what a step now "
                 "does more or less",
                 differ, NUMBERS);
    free(was);
    free(is);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_step_executes_what_it_did)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
