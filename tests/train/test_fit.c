/* What fits: the choice of sequences at once and of what is kept, and the refusal. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "kernels/device_paper.h"
#include "tests/sanitized.h"
#include "train/fit.h"

static ttt_conf *conf_of(const char *a, const char *b) {
    ttt_conf *conf;
    const char *const words[] = {a, b ? b : "train.seed=0"};
    if (conf_load(&conf, "quickstart", 2, words) != KERN_OK) fail_msg("%s", kern_error());
    return conf;
}

/* The step of quickstart with an override within a limit. */
static kern_status fit_of(train_fit *fit, double limit, const char *a, const char *b) {
    ttt_conf *conf = conf_of(a, b);
    train_step *step;
    kern_status status = train_fit_create(&step, fit, conf, limit, kern_ranks_alone(), 2, false);
    assert_true((status == KERN_OK) == (step != NULL));
    train_step_destroy(step);
    conf_destroy(conf);
    return status;
}

static int64_t preferred(const char *a, const char *b) {
    ttt_conf *conf = conf_of(a, b);
    int64_t micro = train_preferred_micro_batch(conf, conf->train.batch, &kern_machine_cpu);
    conf_destroy(conf);
    return micro;
}

static void products_get_enough_rows(void **state) {
    (void)state;
    assert_int_equal(preferred("train.batch=4", NULL), 4); /* C = 64 */
    assert_int_equal(preferred("train.batch=64", NULL), 4);
    assert_int_equal(preferred("train.batch=6", NULL), 6); /* 6, for 4 */
    assert_int_equal(preferred("train.batch=64", "inner.chunk=256"), 1);
    assert_int_equal(preferred("train.batch=2", "inner.chunk=32"), 2);
    assert_int_equal(preferred("train.batch=64", "train.micro_batch=16"), 16); /* as told */
}

static void with_room_all_is_kept(void **state) {
    (void)state;
    train_fit fit;
    assert_int_equal(fit_of(&fit, HUGE_VAL, "train.batch=4", NULL), KERN_OK);
    assert_int_equal(fit.micro_batch, 4);
    assert_int_equal(fit.memory.every, 1);
    assert_true(fit.memory.kept_fraction > 0.95);
    assert_true(fit.memory.slots > 0);
}

/* Less memory never means less work, and never more than the limit. */
static void less_memory_costs_work(void **state) {
    (void)state;
    train_fit all, fit;
    assert_int_equal(fit_of(&all, HUGE_VAL, "train.batch=2", "train.micro_batch=2"), KERN_OK);
    double before = all.memory.executed_flops, limit = 0.97 * (double)all.memory.total;
    int fitted = 0;
    for (; fit_of(&fit, limit, "train.batch=2", "train.micro_batch=2") == KERN_OK;
         limit *= 0.85, fitted++) {
        assert_true((double)fit.memory.total <= limit);
        assert_true(fit.memory.executed_flops > all.memory.executed_flops);
        assert_true(fit.memory.executed_flops >= 0.9 * before);
        before = fit.memory.executed_flops;
    }
    assert_true(fitted >= 3);
    assert_true(before > 1.2 * all.memory.executed_flops);
}

static double number_after(const char *text, const char *key) {
    const char *at = strstr(text, key);
    if (!at) fail_msg("no '%s' in: %s", key, text);
    return strtod(at + strlen(key), NULL);
}

/* The least bytes that quickstart with an override was found to need. */
static double least_of(const char *word) {
    ttt_conf *conf = conf_of(word, NULL);
    train_step *step;
    train_fit fit;
    assert_int_equal(
        train_fit_find(&step, &fit, conf, kern_device_cpu(), 0, kern_ranks_alone(), 2, false),
        KERN_OK);
    assert_null(step);
    conf_destroy(conf);
    return (double)fit.memory.total;
}

static void what_cannot_fit_is_refused_with_numbers(void **state) {
    (void)state;
    train_fit fit;
    char word[64], message[2048], context[64], longer[64];
    double limit = floor(0.8 * least_of("train.seed=0"));
    snprintf(word, sizeof word, "train.memory_limit=%.0f", limit);
    assert_int_equal(fit_of(&fit, limit, word, NULL), KERN_ERR_MEMORY);
    snprintf(message, sizeof message, "%s", kern_error());
    static const char *const parts[] = {"train.memory_limit is ", "weights 3.40 MB",
                                        "optimiser 6.81 MB", "workspace", "program"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strstr(message, parts[i])) fail_msg("no '%s' in: %s", parts[i], message);
    /* Every remedy works, and less of it does not. The heap's own rounding is a few kB. */
    double needed = number_after(message, "train.memory_limit of ");
    assert_int_equal(fit_of(&fit, 1.01 * needed, "train.batch=4", NULL), KERN_OK);
    assert_int_equal(fit_of(&fit, 0.98 * needed, "train.batch=4", NULL), KERN_ERR_MEMORY);
    int64_t whole = (int64_t)number_after(message, "train.context=");
    snprintf(context, sizeof context, "train.context=%lld", (long long)whole);
    snprintf(longer, sizeof longer, "train.context=%lld", (long long)(2 * whole));
    assert_int_equal(fit_of(&fit, limit, context, NULL), KERN_OK);
    assert_int_equal(fit_of(&fit, limit, longer, NULL), KERN_ERR_MEMORY);
}

/* What is needed is a matter of the configuration: the same whatever there is, until it is enough.
 */
static void the_least_does_not_depend_on_the_limit(void **state) {
    (void)state;
    train_fit fit;
    static const char *const batches[] = {"train.micro_batch=0", "train.micro_batch=2"};
    for (int b = 0; b < (SANITIZED ? 1 : 2); b++) {
        static const double shares[] = {0, 0.1, 0.5, 0.8, 0.9, 0.97, 0.999999};
        double needed = 0;
        for (size_t i = 0; i < sizeof shares / sizeof *shares; i += SANITIZED ? 3 : 1) {
            kern_status status =
                fit_of(&fit, shares[i] * needed, "train.memory_limit=1 TB", batches[b]);
            assert_int_equal(status, KERN_ERR_MEMORY);
            double now = number_after(kern_error(), "train.memory_limit of ");
            if (i == 0) needed = now;
            assert_true(now == needed);
        }
        assert_int_equal(fit_of(&fit, needed, "train.memory_limit=1 TB", batches[b]), KERN_OK);
    }
}

/* Where weights alone are too much, no shorter context is proposed. */
static void nothing_useless_is_proposed(void **state) {
    (void)state;
    train_fit fit;
    assert_int_equal(fit_of(&fit, 5e6, "train.memory_limit=5e6", NULL), KERN_ERR_MEMORY);
    assert_null(strstr(kern_error(), "train.context="));
    assert_null(strstr(kern_error(), "bf16"));
}

static void fewer_sequences_where_they_help(void **state) {
    (void)state;
    train_fit fit;
    assert_int_equal(fit_of(&fit, HUGE_VAL, "train.batch=4", "train.micro_batch=1"), KERN_OK);
    double one = (double)fit.memory.total;
    assert_int_equal(fit_of(&fit, one, "train.batch=4", NULL), KERN_OK);
    assert_true(fit.micro_batch < 4);
    assert_int_equal(fit_of(&fit, 1.02 * one, "train.batch=4", "train.micro_batch=4"),
                     KERN_ERR_MEMORY);
    assert_non_null(strstr(kern_error(), "train.micro_batch=1"));
}

/* Computing a little again is cheaper than products of few rows, and much of it is not. */
static void work_is_weighed_against_rows(void **state) {
    (void)state;
    train_fit all, fit;
    assert_int_equal(fit_of(&all, HUGE_VAL, "train.batch=4", NULL), KERN_OK);
    double total = (double)all.memory.total;
    assert_int_equal(fit_of(&fit, 0.85 * total, "train.batch=4", NULL), KERN_OK);
    assert_int_equal(fit.micro_batch, 4);
    assert_true(fit.memory.executed_flops > all.memory.executed_flops);
    assert_int_equal(fit_of(&fit, 0.65 * total, "train.batch=4", NULL), KERN_OK);
    assert_int_equal(fit.micro_batch, 2);
    assert_int_equal(fit_of(&fit, 0.65 * total, "train.batch=4", "train.micro_batch=4"), KERN_OK);
}

/* The CPU, which counts the row programs that it makes: those of plans that are compiled. */
static int rows_made;

static kern_status count_rows(void **state, const kern_row_program *program, int threads,
                              size_t *workspace) {
    rows_made++;
    return kern_device_cpu()->rows->create(state, program, threads, workspace);
}

/* Row programs that a search makes within a limit. */
static int made_within(train_search *search, train_fit *fit, double limit) {
    int before = rows_made;
    assert_int_equal(train_search_within(search, NULL, fit, limit), KERN_OK);
    return rows_made - before;
}

/* What is known of a step is kept, and what cannot decide is not compiled. */
static void no_step_is_compiled_twice(void **state) {
    (void)state;
    kern_rows_ops rows = *kern_device_cpu()->rows;
    kern_device device = *kern_device_cpu();
    rows.create = count_rows;
    device.rows = &rows;
    ttt_conf *conf = conf_of("train.batch=4", NULL);
    train_search *search = train_search_create(conf, &device, kern_ranks_alone(), 1, false);
    train_fit all, least, between, again;
    int one = made_within(search, &all, HUGE_VAL);
    assert_true(one > 0);
    assert_int_equal(made_within(search, &again, HUGE_VAL), 0);
    assert_memory_equal(&again, &all, sizeof all);
    /* One sequence at once, and the three smallest budgets: each with more programs than `one`. */
    int smallest = made_within(search, &least, 0);
    if (!(smallest > one / 2 && smallest < 4 * one))
        fail_msg("%d row programs are made for the least, %d for one step", smallest, one);
    assert_int_equal(made_within(search, &again, 0), 0);
    assert_memory_equal(&again, &least, sizeof least);
    /* Two sequences at once are looked at, too; but for the update nothing is compiled. */
    assert_true(made_within(search, &again, 0.5 * (double)least.memory.total) < one / 10);
    assert_memory_equal(&again.memory, &least.memory, sizeof least.memory);
    double middle = 0.8 * (double)all.memory.total;
    assert_true(made_within(search, &between, middle) > 0);
    assert_true(least.memory.total < between.memory.total);
    assert_true((double)between.memory.total <= middle);
    assert_int_equal(made_within(search, &again, middle), 0);
    assert_memory_equal(&again, &between, sizeof between);
    /* One that is taken is that which is known. */
    train_step *step;
    assert_int_equal(train_search_within(search, &step, &again, middle), KERN_OK);
    assert_true(train_step_plan(step).executed_flops == between.memory.executed_flops);
    assert_true(train_step_spec_of(step)->budget == between.budget);
    train_step_destroy(step);
    train_search_destroy(search);
    conf_destroy(conf);
}

static void the_limit_is_the_configurations_or_the_machines(void **state) {
    (void)state;
    ttt_conf *conf = conf_of("train.memory_limit=3 GB", NULL);
    assert_true(train_memory_limit(conf, kern_device_cpu()) == 3e9);
    conf_destroy(conf);
    conf = conf_of("train.memory_limit=0", NULL);
    double left = train_memory_limit(conf, kern_device_cpu());
    conf_destroy(conf);
    FILE *file = fopen("/proc/meminfo", "r");
    assert_non_null(file);
    char line[256];
    double total = 0;
    while (fgets(line, sizeof line, file)) sscanf(line, "MemTotal: %lf", &total);
    fclose(file);
    assert_true(left > 0 && left < total * 1024);
}

static double used(const char *name) {
    char line[256];
    double kilobytes = -1;
    FILE *file = fopen("/proc/self/status", "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file))
        if (!strncmp(line, name, strlen(name))) kilobytes = strtod(line + strlen(name), NULL);
    fclose(file);
    assert_true(kilobytes > 0);
    return kilobytes * 1024;
}

/* ulimit -v and -d are on what is reserved: what is left of them, not what the machine has. */
static void own_limits_count(void **state) {
    (void)state;
    static const struct {
        unsigned resource;
        const char *used;
    } cases[] = {{RLIMIT_AS, "VmSize:"}, {RLIMIT_DATA, "VmData:"}};
    double machine = train_free_memory(), room = machine / 2;
    for (int i = 0; i < 2; i++) {
        struct rlimit before, limit;
        assert_int_equal(getrlimit(cases[i].resource, &before), 0);
        limit = before;
        limit.rlim_cur = (rlim_t)(used(cases[i].used) + room);
        assert_int_equal(setrlimit(cases[i].resource, &limit), 0);
        double left = train_free_memory();
        limit.rlim_cur = (rlim_t)used(cases[i].used);
        assert_int_equal(setrlimit(cases[i].resource, &limit), 0);
        double nothing = SANITIZED ? 1 : train_free_memory(); /* a sanitizer takes some itself */
        assert_int_equal(setrlimit(cases[i].resource, &before), 0);
        assert_true(left <= 0.95 * room);
        assert_true(left > 0.8 * (room - 100e6));
        assert_true(nothing == 1); /* 0 would mean that nobody knows */
    }
    assert_true(train_free_memory() > 1.2 * room);
}

/* What a machine has free is for all of its ranks together; a GPU's memory and a limit that was
 * given are a rank's. */
static void ranks_of_a_machine_share_what_is_free(void **state) {
    (void)state;
    ttt_conf *free_memory = conf_of("train.memory_limit=0", NULL);
    ttt_conf *given = conf_of("train.memory_limit=8e9", NULL);
    const kern_device *cpu = kern_device_cpu();
    kern_machine machine = kern_machine_like("H100", 64e9);
    kern_device *gpu = kern_device_paper_create(&machine, false);
    kern_ranks four = *kern_ranks_alone();
    four.on_machine = 4;
    double all = train_rank_limit(free_memory, cpu, kern_ranks_alone());
    double share = train_rank_limit(free_memory, cpu, &four);
    if (isfinite(all) &&
        !(share > 0.15 * all && share < 0.4 * all)) /* others take and give meanwhile */
        fail_msg("a quarter of %g is %g", all, share);
    assert_true(train_rank_limit(given, cpu, &four) == 8e9);
    assert_true(train_rank_limit(free_memory, gpu, &four) ==
                train_rank_limit(free_memory, gpu, kern_ranks_alone()));
    kern_device_paper_destroy(gpu);
    conf_destroy(free_memory);
    conf_destroy(given);
}

static void bytes_have_three_digits(void **state) {
    (void)state;
    char text[32];
    static const struct {
        double bytes;
        const char *text;
    } cases[] = {{0, "0 B"},          {999, "999 B"},      {1000, "1.00 kB"},  {9994, "9.99 kB"},
                 {9996, "10.0 kB"},   {99960, "100 kB"},   {999400, "999 kB"}, {999600, "1.00 MB"},
                 {1.21e9, "1.21 GB"}, {1.16e12, "1.16 TB"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        train_bytes_text(text, cases[i].bytes);
        assert_string_equal(text, cases[i].text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_of_a_machine_share_what_is_free),
        cmocka_unit_test(products_get_enough_rows),
        cmocka_unit_test(with_room_all_is_kept),
        cmocka_unit_test(less_memory_costs_work),
        cmocka_unit_test(what_cannot_fit_is_refused_with_numbers),
        cmocka_unit_test(the_least_does_not_depend_on_the_limit),
        cmocka_unit_test(nothing_useless_is_proposed),
        cmocka_unit_test(fewer_sequences_where_they_help),
        cmocka_unit_test(work_is_weighed_against_rows),
        cmocka_unit_test(no_step_is_compiled_twice),
        cmocka_unit_test(the_limit_is_the_configurations_or_the_machines),
        cmocka_unit_test(own_limits_count),
        cmocka_unit_test(bytes_have_three_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
