/* ttt bench: how fast training steps and the engine's ops run, against this machine's own peak. */
#include "configs/conf.h"
#include "infer/mixer.h"
#include "kernels/crowding.h"
#include "kernels/device_speed.h"
#include "launch/agree.h"
#include "launch/arguments.h"
#include "launch/bench.h"
#include "launch/commands.h"
#include "launch/outputs.h"
#include "launch/profile.h"
#include "launch/ranks.h"
#include "launch/report.h"
#include "train/fit.h"

#include <omp.h>
#include <stdio.h>
#include <string.h>

/* Where the step's time goes; the trainer's phases and the making of tokens. */
enum { DATA = TRAIN_PHASES, PHASES };

typedef struct {
    const ttt_conf *conf;
    int64_t steps;
    const char *device;
    bool profile, json;
    size_t resident; /* at start */
    int threads, ranks;
    kern_dtype dtype; /* of products */
    char with[128];   /* what computes */
    bool processor;
    train_fit fit;
    /* results */
    double seconds[PHASES], total; /* mean of the measured steps */
    double waiting;                /* share of their time that threads waited for a processor */
    double peak;                   /* FLOP/s, of products */
    double resident_peak;          /* bytes beyond what the process had at start */
} bench;

static const char *phase_name(int phase) {
    return phase == DATA ? "data" : train_phase_name[phase];
}

void launch_bench_tokens(int32_t *tokens, int64_t count, int64_t vocabulary, int64_t skip,
                         uint64_t seed) {
    for (int64_t i = 0; i < count; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        tokens[i] = (int32_t)((seed >> 33) % (uint64_t)vocabulary);
        if (tokens[i] == skip) tokens[i] = (int32_t)((tokens[i] + 1) % vocabulary);
    }
}

/* The machine's speed changes while it is measured; the best that it ever showed is the peak. */
static kern_status measure_peak(bench *b, const kern_device *device) {
    double peak = 0;
    kern_status status = kern_product_speed(&peak, device, b->dtype, b->threads);
    if (peak > b->peak) b->peak = peak;
    return status;
}

void launch_computed_with(char *text, size_t size, const kern_device *device, int threads) {
    if (device->machine->memory > 0)
        snprintf(text, size, "%s", device->machine->name);
    else
        snprintf(text, size, "%d threads", threads);
}

static kern_status one_step(bench *b, train_step *step, int32_t *tokens, int64_t number) {
    kern_status status = KERN_OK;
    const conf_train *train = &b->conf->train;
    train_step_result result;
    double start = kern_seconds(), waiting = kern_waiting_seconds();
    int64_t sequences = train_step_memory_of(step).sequences;
    launch_bench_tokens(tokens, sequences * (train->context + 1), b->conf->model.vocab,
                        b->conf->model.bos, (uint64_t)number);
    double made = kern_seconds();
    TRY(train_step_run(step, &result, tokens, number));
    TRY(kern_finish(train_step_memory_of(step).device->stream));
    double end = kern_seconds();
    bool measured = number > 0 || b->steps == 1;
    printf("step %lld  %8.3f s  loss %.4f%s\n", (long long)number, end - start, result.loss,
           measured ? "" : "  (first, not counted)");
    fflush(stdout);
    if (!measured || number >= b->steps) goto done;
    double share = 1 / (double)(b->steps > 1 ? b->steps - 1 : 1);
    for (int phase = 0; phase < TRAIN_PHASES; phase++)
        b->seconds[phase] += share * result.seconds[phase];
    b->seconds[DATA] += share * (made - start);
    b->total += share * (end - start);
    b->waiting += share * (kern_waiting_seconds() - waiting) / ((end - start) * b->threads);
done:
    return status;
}

static kern_status run_steps(bench *b) {
    kern_status status = KERN_OK;
    train_step *step = NULL;
    int32_t *tokens = NULL;
    const conf_train *train = &b->conf->train;
    const kern_device *device;
    const kern_ranks *ranks = NULL;
    TRY(kern_device_open(&device, train->device));
    launch_computed_with(b->with, sizeof b->with, device, b->threads);
    b->processor = device->machine->memory <= 0;
    TRY(measure_peak(b, device));
    TRY(launch_agree_and_open(&ranks, b->conf));
    TRY(train_fit_create(&step, &b->fit, b->conf, train_rank_limit(b->conf, device, ranks), ranks,
                         b->threads, false));
    TRY(train_step_allocate(step));
    int64_t sequences = train_sequences(b->conf, ranks);
    TRY(kern_alloc((void **)&tokens, (size_t)(sequences * (train->context + 1)) * sizeof *tokens,
                   "tokens"));
    train_step_start(step);
    b->ranks = ranks->job->ranks;
    for (int64_t number = 0; number < b->steps; number++) TRY(one_step(b, step, tokens, number));
    b->resident_peak = (double)kern_peak_resident_bytes() - (double)b->resident;
    if (b->profile) {
        launch_profile profile;
        launch_profile_model(&profile, train_step_model(step));
        TRY(one_step(b, step, tokens, b->steps));
        launch_profile_print(&profile);
    }
    train_step_destroy(step);
    step = NULL; /* or there may be no memory to measure with */
    TRY(measure_peak(b, device));
done:
    kern_free(tokens);
    train_step_destroy(step);
    launch_ranks_close(ranks);
    return status;
}

static void print_result(const bench *b) {
    double tokens = (double)b->conf->train.batch * (double)b->conf->train.context;
    double rate = train_model_flops(b->conf) / b->total;
    char text[32], plan[32];
    printf("\n%-18s %10s %7s\n", "phase", "seconds", "share");
    for (int phase = 0; phase < PHASES; phase++)
        printf("%-18s %10.4f %6.1f%%\n", phase_name(phase), b->seconds[phase],
               100 * b->seconds[phase] / b->total);
    printf("%-18s %10.4f\n\n", "step", b->total);
    printf("tokens/s           %.0f\n", tokens / b->total);
    printf("model FLOP/s       %s\n", launch_scaled(text, rate, "FLOP/s"));
    printf("peak of products   %s", launch_scaled(text, b->peak, "FLOP/s"));
    printf(" (%s, %s)\n", kern_dtype_name(b->dtype), b->with);
    if (b->ranks > 1) printf("ranks              %d, memory and peak of one\n", b->ranks);
    printf("fraction of peak   %.1f %%\n", 100 * rate / b->peak / b->ranks);
    train_bytes_text(text, b->resident_peak);
    train_bytes_text(plan, (double)b->fit.memory.total);
    if (b->processor)
        printf("peak memory        %s (planned %s)\n", text, plan);
    else
        printf("planned memory     %s\n", plan);
    if (b->waiting > 0.02)
        printf("note: other programs ran: threads waited %.0f %% of the time for a processor\n",
               100 * b->waiting);
    if (b->processor && b->dtype == KERN_BF16 && !kern_matmul_native_bf16())
        printf("note: this processor has no bf16 products; they run, slower than in f32\n");
}

static kern_status print_result_json(const bench *b) {
    double tokens = (double)b->conf->train.batch * (double)b->conf->train.context;
    double rate = train_model_flops(b->conf) / b->total;
    json_t *phases = json_object();
    for (int phase = 0; phase < PHASES; phase++)
        launch_json_set(phases, phase_name(phase), launch_json_number(b->seconds[phase]));
    return launch_print_json(launch_json(
        "{s:o,s:s,s:I,s:I,s:f,s:o,s:f,s:f,s:f,s:f,s:I,s:I,s:f,s:b}", "name",
        launch_json_text(b->conf->name), "precision", kern_dtype_name(b->dtype), "threads",
        (json_int_t)b->threads, "steps", (json_int_t)b->steps, "seconds_per_step", b->total,
        "phase_seconds", phases, "tokens_per_second", tokens / b->total, "model_flops_per_second",
        rate, "peak_flops_per_second", b->peak, "peak_fraction", rate / b->peak / b->ranks,
        "peak_memory_bytes", (json_int_t)b->resident_peak, "planned_memory_bytes",
        (json_int_t)b->fit.memory.total, "waiting_fraction", b->waiting, "native_bf16",
        kern_matmul_native_bf16()));
}

static kern_status bench_step(bench *b, int words, char **word) {
    kern_status status = KERN_OK;
    ttt_conf *conf = NULL;
    if (!words)
        TRY(kern_fail(KERN_ERR_USAGE,
                      "bench step needs a configuration, such as: ttt bench step bench-small"));
    char device[64];
    TRY(infer_load(&conf, word[0], words - 1, (const char *const *)(word + 1)));
    snprintf(device, sizeof device, "train.device=%s", b->device);
    if (strcmp(b->device, "cpu") != 0) TRY(conf_set(conf, device));
    b->conf = conf;
    b->threads = train_threads(conf);
    static const kern_dtype dtypes[] = {
        [CONF_F32] = KERN_F32, [CONF_BF16] = KERN_BF16, [CONF_F64] = KERN_F64};
    b->dtype = dtypes[conf->train.precision];
    omp_set_num_threads(b->threads);
    TRY(run_steps(b));
    print_result(b);
    if (b->json) TRY(print_result_json(b));
done:
    conf_destroy(conf);
    return status;
}

int launch_bench(int argc, char **argv) {
    bench b = {.device = "cpu", .steps = 3, .resident = kern_resident_bytes()};
    int64_t threads = 0;
    launch_bench_infer reading = {.contexts = "1024,2048,4096,8192", .tokens = 32};
    const launch_option accepted[] = {
        {"steps", LAUNCH_COUNT, &b.steps, "N",
         "step: how many; the first of several is not counted"},
        {"profile", LAUNCH_FLAG, &b.profile, NULL, "step, infer: also where the time went"},
        {"threads", LAUNCH_COUNT, &threads, "N", "ops: threads; 0: one for each core"},
        {"contexts", LAUNCH_TEXT, &reading.contexts, "N,N...",
         "infer: lengths of text (1024,2048,4096,8192)"},
        {"tokens", LAUNCH_COUNT, &reading.tokens, "N", "infer: read one by one at each (32)"},
        {"png", LAUNCH_TEXT, &reading.png, "FILE", "infer: draw a picture"},
        LAUNCH_FORCE(&reading.force),
        LAUNCH_DEVICE(&b.device),
        LAUNCH_JSON(&b.json),
        {NULL, LAUNCH_FLAG, NULL, NULL, NULL},
    };
    const launch_syntax syntax = {
        "bench",
        "step CONFIG [key=value...] | infer CONFIG [key=value...] | ops",
        "bench step runs training steps of CONFIG on random tokens and prints their time by\n"
        "phase, tokens/s, model FLOP/s (docs/costs.md), the fraction of what matrix products\n"
        "reach on this machine in the same run, and the peak memory beyond the program's own;\n"
        "with several ranks (mpirun, ranks.tensor=N) all together.\n"
        "bench infer reads random tokens with CONFIG (with its inner steps and without), and\n"
        "with a sliding window or full attention in all blocks instead: the time to read a\n"
        "text, and to read one more token as writing does, by the text's length, against the\n"
        "time in which the machine can read the weights.\n"
        "bench ops runs each op of the engine at the shapes of bench-small, in f32 and bf16,\n"
        "and prints its time and its fraction of the product peak, of a copy of its bytes or, for\n"
        "products of one row, of the speed of reading memory.",
        accepted,
        1,
        -1};
    int code = launch_parse(&syntax, &argc, argv);
    if (code >= 0) return code;
    kern_status status = kern_device_open(&reading.device, b.device);
    if (status != KERN_OK) return launch_report(syntax.command, status);
    if (!strcmp(argv[1], "step") && b.steps < 1)
        status = kern_fail(KERN_ERR_USAGE, "--steps takes at least 1");
    else if (!strcmp(argv[1], "step"))
        status = bench_step(&b, argc - 2, argv + 2);
    else if (!strcmp(argv[1], "infer")) {
        reading.words = argc - 2;
        reading.word = argv + 2;
        reading.json = b.json;
        reading.profile = b.profile;
        status = launch_bench_reading(&reading);
    } else if (launch_ranks_count() > 1)
        status = kern_fail(KERN_ERR_USAGE,
                           "several ranks run bench step and bench infer, not bench %s", argv[1]);
    else if (!strcmp(argv[1], "ops") && argc == 2)
        status =
            launch_bench_ops(reading.device, threads ? (int)threads : omp_get_num_procs(), b.json);
    else
        status = kern_fail(KERN_ERR_USAGE, "ttt bench knows step, infer and ops, not '%s'",
                           argv[strcmp(argv[1], "ops") ? 1 : 2]);
    return launch_report(syntax.command, status);
}
