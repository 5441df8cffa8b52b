/* What the plan says against what is resident: each case trains two steps, or reads a text, in a
 * process of its own and compares the highest resident size, less what the process began with, with
 * the plan's total.
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

#include "infer/mixer.h"
#include "infer/session.h"
#include "train/fit.h"

enum { WORDS = 5, STEPS = 2, READ = 1000 };

typedef struct {
    double planned, resident;
    char fault[512];
} outcome;

typedef struct example {
    kern_status (*run)(outcome *to, const struct example *of);
    const char *source, *word[WORDS];
} example;

static kern_status load(ttt_conf **conf, const example *of) {
    int words = 0;
    while (words < WORDS && of->word[words]) words++;
    omp_set_num_threads(2);
    return infer_load(conf, of->source, words, of->word);
}

static kern_status train(outcome *to, const example *of) {
    kern_status status = KERN_OK;
    size_t start = kern_resident_bytes();
    ttt_conf *conf = NULL;
    train_step *step = NULL;
    train_fit fit;
    train_step_result result;
    int32_t *tokens = NULL;
    TRY(load(&conf, of));
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

/* Many tokens at once, and some one by one. */
static kern_status read_text(outcome *to, const example *of) {
    kern_status status = KERN_OK;
    size_t start = kern_resident_bytes();
    ttt_conf *conf = NULL;
    infer_parameters *layout = NULL;
    infer_values *values = NULL;
    infer_session *session = NULL;
    kern_buffer weights = {0};
    int32_t tokens[READ];
    TRY(load(&conf, of));
    layout = infer_parameters_create(conf);
    TRY(kern_buffer_create(&weights, kern_device_cpu(), (size_t)layout->elements * sizeof(float),
                           "weights"));
    infer_parameters_init(layout, conf, KERN_F32, kern_device_cpu(), weights.data);
    TRY(infer_values_view(&values, conf, NULL, kern_device_cpu(), weights.data));
    infer_session_spec spec = {.conf = conf, .limit = READ, .threads = 2};
    TRY(infer_session_create(&session, &spec));
    infer_session_set_values(session, values);
    for (int i = 0; i < READ; i++) tokens[i] = i * i % 251;
    TRY(infer_session_read(session, tokens, READ - 4, NULL));
    for (int i = READ - 4; i < READ; i++) TRY(infer_session_read(session, tokens + i, 1, NULL));
    infer_session_memory m = infer_session_plan(session);
    to->planned = (double)(m.weights + m.history + m.fast + m.workspace + m.rows + m.program);
    to->resident = (double)(kern_peak_resident_bytes() - start);
done:
    infer_session_destroy(session);
    infer_values_destroy(values);
    kern_buffer_destroy(&weights);
    infer_parameters_destroy(layout);
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
        if (of->run(&result, of) != KERN_OK)
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

#define CASE(name, ...) CASE_OF(name, train, __VA_ARGS__)
#define CASE_OF(name, ...)                                                                         \
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
CASE(mamba2, "compare-mamba2", {NULL})
CASE(gated_delta_below_fast_mlps, "compare-e2e-gdn", {"train.batch=2"})
CASE(kvb, "compare-kvb", {"train.batch=2"})
CASE_OF(reads_with_mamba2, read_text, "bench-mamba2", {NULL})
CASE_OF(reads_with_kvb, read_text, "bench-kvb", {NULL})
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
        cmocka_unit_test(mamba2),
        cmocka_unit_test(gated_delta_below_fast_mlps),
        cmocka_unit_test(kvb),
        cmocka_unit_test(reads_with_mamba2),
        cmocka_unit_test(reads_with_kvb),
        cmocka_unit_test(bench_small),
        cmocka_unit_test(bench_small_squeezed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
