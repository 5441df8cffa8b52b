/* A run of bf16 products is read without its f32 weights in memory: the most that a command has
 * resident, as the kernel counts it for a process that has ended. */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/launch/written_run.h"

enum { MOST_WORDS = 12 };

/* 38 million parameters, of them 3.1 million fast. */
static const char *const options[] = {
    "model.vocab=8192", "model.bos=256",   "model.dim=512",   "model.heads=8",
    "model.mlp=2048",   "model.blocks=8",  "model.window=64", "train.context=64",
    "inner.mode=e2e",   "inner.suffix=1",  "inner.chunk=32",  "train.precision=bf16",
    "train.threads=2",  "model.tied=true", "run.dir=big",     NULL};

/* Bytes of all parameters in f32. */
static double write_big_run(void) {
    ttt_conf *conf;
    void *weights;
    assert_ok(conf_create(&conf));
    for (const char *const *option = options; *option; option++) assert_ok(conf_set(conf, *option));
    assert_ok(conf_check(conf));
    infer_parameters *layout = infer_parameters_create(conf);
    assert_ok(kern_alloc(&weights, (size_t)layout->elements * sizeof(float), "weights"));
    infer_parameters_init(layout, conf, KERN_F32, kern_device_cpu(), weights);
    write_run("big", conf, layout, weights, data_vocabulary_byte());
    double bytes = (double)layout->weights * sizeof(float);
    kern_free(weights);
    infer_parameters_destroy(layout);
    conf_destroy(conf);
    return bytes;
}

/* Bytes that the command had resident at most. */
static double peak_of(const char *const *words) {
    const char *line[MOST_WORDS + 2] = {TTT_PROGRAM};
    struct rusage usage;
    int code;
    for (int i = 0; words[i]; i++) line[i + 1] = words[i];
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        int out = open("out", O_WRONLY | O_CREAT | O_TRUNC, 0666);
        if (out < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0) _exit(9);
        execv(TTT_PROGRAM, (char *const *)line);
        _exit(9);
    }
    assert_int_equal(wait4(child, &code, 0, &usage), child);
    if (code) fail_msg("ttt %s ends with %d: %s", words[0], code, slurp(NULL, "out"));
    return (double)usage.ru_maxrss * 1024;
}

static void test_peaks(void **state) {
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip(); /* the sanitizer's own memory is several times ours */
#endif
    static const char *const commands[][MOST_WORDS] = {
        {"infer", "big", "--prompt", "It is a truth universally acknowledged", "--tokens", "40"},
        {"infer", "big", "--prompt", "It is a truth", "--tokens", "5", "--no-ttt"},
        {"eval", "big", "--text", "text", "--sum"}};
    assert_int_equal(chdir(scratch), 0);
    double weights = write_big_run();
    FILE *text = fopen("text", "w");
    assert_non_null(text);
    for (int i = 0; i < 60; i++) fprintf(text, "Sentence %d. ", i * i);
    assert_int_equal(fclose(text), 0);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        double peak = peak_of(commands[i]);
        printf("%s %s: %.1f MB resident, %.1f MB of weights in f32\n", commands[i][0],
               commands[i][i == 1 ? 6 : 2], peak * 1e-6, weights * 1e-6);
        /* Weights in bf16, and room for the program, fast weights and workspaces. */
        if (peak > weights / 2 + 110e6)
            fail_msg("%.1f MB are more than half of the weights and 110 MB", peak * 1e-6);
    }
    assert_int_equal(chdir("/"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {SCRATCH_TEST(test_peaks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
