/* Instructions of kernels, counted by valgrind's callgrind on one thread at the instruction set v3:
 * the speed of kernels, without a clock. What a compiler makes of them is its own, so the numbers,
 * in instructions.txt beside this file, are by compiler; others, sanitizers and machines without
 * valgrind or v3 skip. oneDNN's products are not in it. */
#include <stdio.h>
#include <unistd.h>

#include "kernels/isa.h"
#include "tests/autodiff/plan_steps.h"

#define NUMBERS TESTS_DIR "/autodiff/instructions.txt"

enum { TEXT = 512 };

/* ---- what is counted ---- */

static ad_value norm(world *w) {
    ad_value x = matrix(w, 256, 192);
    ad_value y = ad_rms_norm(w->graph, x, world_tensor(w, AD_TYPE(w->real, 192), -1, 1), 1e-5);
    return ad_mul(w->graph, ad_silu(w->graph, y), x);
}

static ad_value entropy(world *w) {
    ad_value target = world_tensor(w, AD_TYPE(KERN_I32, 64, 1), 0, 999);
    return ad_cross_entropy(w->graph, matrix(w, 64, 1000), target);
}

static ad_value column_sums(world *w) {
    ad_value x = matrix(w, 300, 250);
    return ad_lead_sum(w->graph, ad_mul(w->graph, x, matrix(w, 300, 250)), 0);
}

/* Attention and as many of its derivatives as `order` says. */
static ad_value attention(world *w, int order) {
    ad_type rows = AD_TYPE(w->real, 1, 160, 2, 64);
    ad_attention_args args = {.q = world_tensor(w, rows, -1, 1),
                              .k = world_tensor(w, rows, -1, 1),
                              .v = world_tensor(w, rows, -1, 1),
                              .past_k = world_tensor(w, rows, -1, 1),
                              .past_v = world_tensor(w, rows, -1, 1),
                              .past_rows = world_tensor(w, AD_TYPE(KERN_I32, 1), 160, 160.5),
                              .window = 96,
                              .scale = 0.125};
    ad_value y = ad_attention(w->graph, &args, NULL), ct, wrt[] = {args.q, args.k, args.v};
    for (int i = 0; i < order; i++) {
        ct = world_tensor(w, ad_type_at(w->graph, y), -1, 1);
        ad_vjp(w->graph, 1, &y, &ct, 1, &wrt[i], &y);
    }
    return y;
}

static ad_value attention_0(world *w) {
    return attention(w, 0);
}
static ad_value attention_1(world *w) {
    return attention(w, 1);
}
static ad_value attention_2(world *w) {
    return attention(w, 2);
}

static ad_value one_row(world *w) {
    return ad_matmul(w->graph, matrix(w, 1, 256), matrix(w, 256, 600), false, false);
}

static ad_value product(world *w) {
    return ad_matmul(w->graph, matrix(w, 130, 200), matrix(w, 200, 90), false, false);
}

static ad_value transposed(world *w) {
    return ad_transpose(w->graph, matrix(w, 300, 250), (int[]){1, 0});
}

static ad_value gathered(world *w) {
    ad_value index = world_tensor(w, AD_TYPE(KERN_I32, 200), 0, 99);
    ad_value rows = ad_gather(w->graph, matrix(w, 100, 96), index);
    return ad_scatter_add(w->graph, rows, index, 100);
}

static const struct {
    const char *name;
    kern_dtype real;
    ad_value (*build)(world *w);
} kinds[] = {{"norm_and_gate", KERN_F32, norm},
             {"norm_and_gate_f64", KERN_F64, norm},
             {"cross_entropy", KERN_F32, entropy},
             {"column_sums", KERN_F32, column_sums},
             {"attention", KERN_F32, attention_0},
             {"attention_and_its_vjp", KERN_F32, attention_1},
             {"attention_and_two_vjps", KERN_F32, attention_2},
             {"product_of_one_row", KERN_F32, one_row},
             {"product_f64", KERN_F64, product},
             {"transpose", KERN_F32, transposed},
             {"gather_and_scatter", KERN_F32, gathered}};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* Callgrind counts what happens in here, and writes a file whenever it returns. */
static void counted(runner *r) {
    if (ad_plan_run(r->plan, r->arena) != KERN_OK) abort();
}

static void run_kinds(void) {
    static void (*volatile const run)(runner *) = counted; /* a function of its own */
    world *w = malloc(sizeof *w);
    runner *r = malloc(sizeof *r);
    for (int i = 0; i < KINDS; i++) {
        world_begin(w, kinds[i].real, SEED);
        ad_plan_output output = {kinds[i].build(w), AD_WRITE};
        runner_begin(r, w, (ad_plan_spec){.outputs = 1, .output = &output});
        runner_prepare(r);
        run(r);
        runner_end(r);
        world_end(w);
    }
    free(r);
    free(w);
}

/* ---- counting ---- */

#if defined(__x86_64__) && defined(__OPTIMIZE__) && !defined(__clang__) &&                         \
    !defined(__SANITIZE_ADDRESS__)
static const bool for_counting = true;
#else
static const bool for_counting = false;
#endif

static void count(double *instructions) {
    char folder[] = "/tmp/instructions.XXXXXX", text[TEXT], self[TEXT / 2] = "";
    assert_non_null(mkdtemp(folder));
    assert_true(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    snprintf(text, sizeof text,
             "TTT_ISA=v3 OMP_NUM_THREADS=1 valgrind --tool=callgrind --toggle-collect=counted "
             "--dump-after=counted --callgrind-out-file=%s/out '%s' run >%s/said 2>&1",
             folder, self, folder);
    int status = system(text);
    if (status) fail_msg("exit %d of: %s", status, text);
    for (int i = 0; i < KINDS; i++) {
        snprintf(text, sizeof text, "%s/out.%d", folder, i + 1);
        FILE *file = fopen(text, "r");
        if (!file) fail_msg("callgrind wrote no %s", text);
        instructions[i] = 0;
        while (fgets(text, sizeof text, file))
            if (sscanf(text, "totals: %lf", &instructions[i]) == 1) break;
        fclose(file);
        assert_true(instructions[i] > 0);
    }
    snprintf(text, sizeof text, "rm -r %s", folder);
    assert_int_equal(system(text), 0);
}

/* ---- the numbers in the tree ---- */

/* A line is: gcc, version, name, instructions. Those of this compiler into `known`, 0 where there
 * is none; all others into `others`. */
static bool read_known(const char *name, double *known, FILE *others) {
    char line[TEXT], kind[TEXT];
    bool any = false;
    FILE *file = fopen(NUMBERS, "r");
    if (!file) fail_msg("%s cannot be read", NUMBERS);
    for (int i = 0; i < KINDS; i++) known[i] = 0;
    while (fgets(line, sizeof line, file)) {
        size_t length = strlen(name);
        double value;
        if (strncmp(line, name, length) != 0 || line[length] != ' ') {
            fputs(line, others);
            continue;
        }
        if (sscanf(line + length, "%511s %lf", kind, &value) != 2) fail_msg("a line is: %s", line);
        for (int i = 0; i < KINDS; i++)
            if (!strcmp(kind, kinds[i].name)) known[i] = value;
        any = true;
    }
    fclose(file);
    return any;
}

static void renew(const char *name, const double *now, const char *others) {
    FILE *file = fopen(NUMBERS, "w");
    assert_non_null(file);
    fputs(others, file);
    for (int i = 0; i < KINDS; i++) fprintf(file, "%s %s %.0f\n", name, kinds[i].name, now[i]);
    assert_int_equal(fclose(file), 0);
    print_message("wrote %s\n", NUMBERS);
}

static const char *why_not(void) {
    if (!for_counting)
        return "this build is not for counting (gcc, optimised, no sanitizers, x86-64)";
    setenv("TTT_ISA", "v3", 1);
    if (kern_isa() != KERN_ISA_V3) return "this processor has no v3";
    if (system("valgrind --version >/dev/null 2>&1")) return "there is no valgrind";
    return NULL;
}

static void test_instructions(void **state) {
    (void)state;
    const char *reason = why_not();
    char name[64];
    double known[KINDS], now[KINDS];
    char *others = NULL;
    size_t bytes;
    int wrong = 0;
    if (reason) {
        print_message("skipped: %s\n", reason);
        skip();
    }
    snprintf(name, sizeof name, "gcc %d.%d.%d", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
    FILE *file = open_memstream(&others, &bytes);
    bool any = read_known(name, known, file);
    fclose(file);
    if (!any && !getenv("TTT_RENEW")) {
        print_message("skipped: %s has no numbers of %s\n", NUMBERS, name);
        free(others);
        skip();
    }
    count(now);
    if (getenv("TTT_RENEW")) renew(name, now, others);
    for (int i = 0; i < KINDS && !getenv("TTT_RENEW"); i++) {
        if (fabs(now[i] - known[i]) <= 0.03 * known[i]) continue;
        print_error("%s: %.0f instructions, not about %.0f\n", kinds[i].name, now[i], known[i]);
        wrong++;
    }
    free(others);
    if (wrong)
        fail_msg("%d kernels execute more or fewer instructions than before, by more than 3 %%. If "
                 "that is meant (fewer, or for a reason), write %s anew with TTT_RENEW=1 "
                 "build/tests/test_instructions, and say in the commit why",
                 wrong, NUMBERS);
}

int main(int argc, char **argv) {
    (void)argv;
    if (argc > 1) {
        run_kinds();
        return 0;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_instructions)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
