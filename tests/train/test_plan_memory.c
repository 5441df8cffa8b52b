/* What the plan says against what is resident: each case trains two steps in a process of its own
 * and compares the highest resident size, less what the process began with, with the plan's total.
 * RUN_SERIAL: memory pressure of others would show in it. */
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "train/fit.h"

enum { WORDS = 5, STEPS = 2 };

typedef struct {
    const char *source, *word[WORDS];
} example;

typedef struct {
    double planned, resident;
    char fault[512];
} outcome;

static kern_status train(outcome *to, const example *of) {
    kern_status status = KERN_OK;
    size_t start = kern_resident_bytes();
    ttt_conf *conf = NULL;
    train_step *step = NULL;
    train_fit fit;
    train_step_result result;
    int32_t *tokens = NULL;
    int words = 0;
    while (words < WORDS && of->word[words]) words++;
    omp_set_num_threads(2);
    TRY(conf_load(&conf, of->source, words, of->word));
    int64_t count = conf->train.batch * (conf->train.context + 1);
    TRY(train_fit_create(&step, &fit, conf, train_memory_limit(conf, kern_device_cpu()),
                         kern_ranks_alone(), 2, false));
    TRY(train_step_allocate(step));
    TRY(kern_alloc((void **)&tokens, (size_t)count * sizeof *tokens, "tokens"));
    train_step_buffers buffers = train_step_memory_of(step);
    infer_parameters_init(buffers.layout, conf, buffers.dtype, buffers.device, buffers.parameters);
    for (int64_t i = 0; i < count; i++) tokens[i] = (int32_t)(i * i % 251);
    for (int number = 0; number < STEPS; number++)
        TRY(train_step_run(step, &result, tokens, number));
    to->planned = (double)fit.memory.total;
    to->resident = (double)(kern_peak_resident_bytes() - start);
done:
    kern_free(tokens);
    train_step_destroy(step);
    conf_destroy(conf);
    return status;
}

/* In a child, so that one case's memory is not another's start. */
static outcome of_child(const example *of) {
    int ends[2];
    outcome result = {0};
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        if (train(&result, of) != KERN_OK)
            snprintf(result.fault, sizeof result.fault, "%s", kern_error());
        _exit(write(ends[1], &result, sizeof result) != sizeof result);
    }
    close(ends[1]);
    ssize_t got = read(ends[0], &result, sizeof result);
    close(ends[0]);
    int status;
    waitpid(child, &status, 0);
    if (got != sizeof result || status) fail_msg("%s: the child ended with %d", of->source, status);
    if (*result.fault) fail_msg("%s: %s", of->source, result.fault);
    return result;
}

static void check(const example *of) {
#ifdef __SANITIZE_ADDRESS__
    (void)of;
    skip(); /* the sanitizer's own memory is several times ours */
#endif
    outcome result = of_child(of);
    double off = result.resident / result.planned - 1;
    printf("%s %s: planned %.1f MB, resident %.1f MB (%+.1f %%)\n", of->source,
           of->word[0] ? of->word[0] : "", result.planned * 1e-6, result.resident * 1e-6,
           100 * off);
    if (fabs(off) > 0.05) fail_msg("plan and reality differ by %.1f %%", 100 * off);
}

#define CASE(name, ...)                                                                            \
    static void name(void **state) {                                                               \
        (void)state;                                                                               \
        const example of = {__VA_ARGS__};                                                          \
        check(&of);                                                                                \
    }

CASE(quickstart, "quickstart", {NULL})
CASE(quickstart_bf16, "quickstart", {"train.precision=bf16"})
CASE(quickstart_without_inner_steps, "quickstart-swa", {NULL})
CASE(little_memory, "quickstart", {"train.memory_limit=120e6"})
CASE(one_sequence_at_once, "quickstart", {"train.micro_batch=1"})
CASE(bench_small, "bench-small", {"train.context=512", "train.batch=1", "model.blocks=4"})
CASE(bench_small_squeezed, "bench-small",
     {"train.memory_limit=470e6", "train.context=512", "train.batch=1", "model.blocks=4",
      "model.vocab=512"})

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quickstart),
        cmocka_unit_test(quickstart_bf16),
        cmocka_unit_test(quickstart_without_inner_steps),
        cmocka_unit_test(little_memory),
        cmocka_unit_test(one_sequence_at_once),
        cmocka_unit_test(bench_small),
        cmocka_unit_test(bench_small_squeezed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
