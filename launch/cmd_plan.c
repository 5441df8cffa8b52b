/* ttt plan: what a configuration needs, without running it and without its memory. */
#include "configs/conf.h"
#include "infer/context.h"
#include "infer/mixer.h"
#include "kernels/device_paper.h"
#include "launch/arguments.h"
#include "launch/commands.h"
#include "launch/machine.h"
#include "launch/plan_ranks.h"
#include "launch/plan_time.h"
#include "launch/report.h"
#include "train/disk.h"
#include "train/fit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* A way of running the step: with everything kept, with the least memory, or as training would. */
typedef struct {
    bool known, timed;
    train_fit fit;
    train_prediction time; /* where it is timed */
} way;

/* All parameters of one axis: norms, and a mixer's like. */
#define NORMS "norms"
enum { MOST_KINDS = 20 };

enum { WAY_HERE, WAY_LEAST, WAY_MOST, WAYS };
static const char *const way_label[WAYS] = {"here", "least", "all kept"};
static const char *const way_name[WAYS] = {"here", "least_memory", "all_kept"};

typedef struct {
    const ttt_conf *conf;
    const kern_device *device;
    bool paper;                    /* the device is not here */
    const launch_paper_ranks *job; /* NULL: one rank */
    train_search *search;          /* of steps */
    train_step *ranked;            /* of a job: the step that was planned */
    double alone;                  /* seconds of a step by one rank; 0: not known */
    double limit, compile_seconds;
    int threads;
    way way[WAYS];
    double parameters, fast_parameters;
    double kind[MOST_KINDS];
    train_disk disk;
} plan;

/* Kinds of parameters in the order of printing: *name of kind `kind`, false behind the last. Those
 * of mixers have their mixer's name. */
static bool kind_name(const char **name, int kind) {
    static const char *const behind[] = {"fast_mlp", "mlp", NORMS};
    int mixers = 0;
    while (infer_mixers[mixers]) mixers++;
    if (kind >= 1 + mixers + (int)(sizeof behind / sizeof *behind)) return false;
    *name = kind == 0        ? "embedding"
            : kind <= mixers ? infer_mixers[kind - 1]->name
                             : behind[kind - 1 - mixers];
    return true;
}

static int kind_of(const infer_parameter *p) {
    const char *name, *wanted = p->rank == 1 ? NORMS : p->kind;
    int kind = 0;
    while (kind_name(&name, kind) && strcmp(name, wanted)) kind++;
    ASSERT(kind < MOST_KINDS && kind_name(&name, kind));
    return kind;
}

static const kern_ranks *ranks_where(const plan *of) {
    return of->job ? &of->job->ranks : kern_ranks_alone();
}

/* A rank's, whether or not they fit, and a run's disk. */
static void count_parameters(plan *to) {
    infer_parameters *parameters = infer_parameters_of_rank(to->conf, ranks_where(to)->tensor);
    for (int i = 0; i < parameters->count; i++) {
        const infer_parameter *p = &parameters->item[i];
        to->kind[kind_of(p)] += (double)p->elements;
        to->parameters += (double)p->elements;
        if (p->fast) to->fast_parameters += (double)p->elements;
    }
    struct stat about;
    const char *tokenizer = to->conf->data.tokenizer;
    int64_t bytes = *tokenizer && !stat(tokenizer, &about) ? about.st_size : 0;
    to->disk = train_disk_plan(to->conf, parameters, infer_real(to->conf), bytes);
    infer_parameters_destroy(parameters);
}

static double total_of(const way *w) {
    return (double)w->fit.memory.total;
}

/* One way, found within a limit; unknown where nothing fits unless the least was asked for. */
static kern_status find_way(plan *to, int which, double limit) {
    kern_status status = KERN_OK;
    train_step *step = NULL;
    way *found = &to->way[which];
    bool timed = train_can_predict(to->device->machine);
    TRY(train_search_within(to->search, timed || to->job ? &step : NULL, &found->fit, limit));
    found->known = total_of(found) <= found->fit.limit || which == WAY_LEAST;
    found->timed = step && timed;
    if (found->timed) found->time = train_predict(step);
    if (to->job && which == WAY_HERE) {
        to->ranked = step;
        step = NULL;
    }
done:
    train_step_destroy(step);
    return status;
}

/* How fast one rank would be that has memory enough: what the ranks of a job are compared with. */
static kern_status find_alone(plan *to) {
    kern_status status = KERN_OK;
    train_step *step = NULL;
    train_fit fit;
    TRY(train_fit_find(&step, &fit, to->conf, to->device, HUGE_VAL, kern_ranks_alone(), to->threads,
                       false));
    if (step && train_can_predict(to->device->machine))
        to->alone = train_predict(step).step.seconds;
done:
    train_step_destroy(step);
    return status;
}

/* Training chooses between the two ends only where the first does not fit and the second nearly
 * does. */
static kern_status find_ways(plan *to) {
    kern_status status = KERN_OK;
    TRY(find_way(to, WAY_MOST, HUGE_VAL));
    TRY(find_way(to, WAY_LEAST, 0));
    if (total_of(&to->way[WAY_MOST]) <= to->limit)
        to->way[WAY_HERE] = to->way[WAY_MOST];
    else if (total_of(&to->way[WAY_LEAST]) <= 1.25 * to->limit)
        TRY(find_way(to, WAY_HERE, to->limit));
    if (total_of(&to->way[WAY_HERE]) > 0 &&
        total_of(&to->way[WAY_HERE]) < total_of(&to->way[WAY_LEAST]))
        to->way[WAY_LEAST].fit = to->way[WAY_HERE].fit;
done:
    return status;
}

/* On a device that is not here: what training would do there; the least only where that does not
 * fit. */
static kern_status find_way_there(plan *to) {
    kern_status status = KERN_OK;
    TRY(find_way(to, WAY_HERE, to->limit));
    if (!to->way[WAY_HERE].known) TRY(find_way(to, WAY_LEAST, 0));
done:
    return status;
}

static kern_status make_plan(plan *to) {
    double start = kern_seconds();
    to->search = train_search_create(to->conf, to->device, ranks_where(to), to->threads, false);
    kern_status status = to->paper ? find_way_there(to) : find_ways(to);
    train_search_destroy(to->search);
    to->compile_seconds = kern_seconds() - start;
    if (status == KERN_OK) count_parameters(to);
    return status;
}

/* ---- printing ---- */

static void print_model(const plan *of) {
    const ttt_conf *conf = of->conf;
    char text[32];
    printf("%s: %lld blocks", conf->name, (long long)conf->model.blocks);
    if (conf->inner.suffix)
        printf(" (the last %lld in chunks of %lld)", (long long)conf->inner.suffix,
               (long long)conf->inner.chunk);
    printf(", %lld sequences of %lld tokens a step\n\n", (long long)conf->train.batch,
           (long long)conf->train.context);
    printf("parameters   %s", launch_scaled(text, of->parameters, ""));
    const char *name;
    for (int kind = 0; kind_name(&name, kind); kind++)
        if (of->kind[kind] > 0)
            printf("%s%s %s", kind ? ", " : ": ", name, launch_scaled(text, of->kind[kind], ""));
    printf("; fast: %s\n", launch_scaled(text, of->fast_parameters, ""));
}

static int ranks_of(const plan *of) {
    return of->job ? of->job->ranks.job->ranks : 1;
}

static double tokens_of(const plan *of) {
    return (double)of->conf->train.batch * (double)of->conf->train.context;
}

static void print_work(const plan *of) {
    double flops = train_model_flops(of->conf);
    char step[32], token[32];
    printf("tokens       %.0f a step\n", tokens_of(of));
    printf("model work   %s a step, %s a token\n", launch_scaled(step, flops, "FLOP"),
           launch_scaled(token, flops / tokens_of(of), "FLOP"));
}

static void print_disk(const plan *of) {
    const train_disk *disk = &of->disk;
    char one[32], all[32];
    train_bytes_text(one, disk->checkpoint);
    train_bytes_text(all, disk->run);
    printf("disk         %s a checkpoint; %s a run of %lld steps, with %lld checkpoint%s at a "
           "time\n\n",
           one, all, (long long)of->conf->train.steps, (long long)disk->checkpoints,
           disk->checkpoints == 1 ? "" : "s");
}

typedef struct {
    const char *key, *label;
    size_t offset;
} memory_row;

static const memory_row memory_rows[] = {
    {"weights", "weights", offsetof(train_step_memory, parameters)},
    {"product_weights", "rounded weights", offsetof(train_step_memory, product_weights)},
    {"gradient", "gradient", offsetof(train_step_memory, gradient)},
    {"optimiser", "optimiser", offsetof(train_step_memory, moments)},
    {"carries", "carries", offsetof(train_step_memory, carries)},
    {"history", "history", offsetof(train_step_memory, history)},
    {"kept", "kept values", offsetof(train_step_memory, slots)},
    {"activations", "activations", offsetof(train_step_memory, activations)},
    {"workspace", "workspace", offsetof(train_step_memory, workspace)},
    {"program", "program", offsetof(train_step_memory, program)},
    {"total", "total", offsetof(train_step_memory, total)},
};
enum { MEMORY_ROWS = sizeof memory_rows / sizeof *memory_rows };

static size_t bytes_of(const way *of, const memory_row *row) {
    return *(const size_t *)((const char *)&of->fit.memory + row->offset);
}

static void print_head(const plan *of) {
    printf("%-22s", "");
    for (int w = 0; w < WAYS; w++)
        if (of->way[w].known)
            printf(" %13s", w == WAY_HERE && of->paper ? of->device->name : way_label[w]);
    putchar('\n');
}

static void print_memory(const plan *of) {
    char text[32];
    for (int row = 0; row < MEMORY_ROWS; row++) {
        size_t most = 0;
        for (int w = 0; w < WAYS; w++)
            if (of->way[w].known)
                most = kern_max_bytes(most, bytes_of(&of->way[w], &memory_rows[row]));
        if (!most) continue;
        printf("%-22s", memory_rows[row].label);
        for (int w = 0; w < WAYS; w++) {
            if (!of->way[w].known) continue;
            train_bytes_text(text, (double)bytes_of(&of->way[w], &memory_rows[row]));
            printf(" %13s", text);
        }
        putchar('\n');
    }
}

typedef double (*figure)(const plan *of, const way *of_way);

static double sequences(const plan *of, const way *w) {
    (void)of;
    return (double)w->fit.micro_batch;
}
static double every(const plan *of, const way *w) {
    (void)of;
    return (double)w->fit.memory.every;
}
static double kept(const plan *of, const way *w) {
    (void)of;
    return 100 * w->fit.memory.kept_fraction;
}
static double executed(const plan *of, const way *w) {
    (void)of;
    return w->fit.memory.executed_flops;
}
static double ratio(const plan *of, const way *w) {
    return w->fit.memory.executed_flops / (train_model_flops(of->conf) / ranks_of(of));
}
static double moved(const plan *of, const way *w) {
    return w->fit.memory.row_bytes / (tokens_of(of) / ranks_of(of));
}

static void print_choices(const plan *of) {
    static const struct {
        const char *label;
        figure value;
        int digits; /* < 0: scaled */
        const char *unit;
    } rows[] = {
        {"sequences at once", sequences, 0, ""}, {"a carry saved every", every, 0, "chunks"},
        {"forward work kept", kept, 0, "%"},     {"executed a step", executed, -1, "FLOP"},
        {"executed / model", ratio, 2, ""},      {"row programs a token", moved, -1, "B"}};
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
        printf("%-22s", rows[row].label);
        for (int w = 0; w < WAYS; w++) {
            char text[64], number[32];
            if (!of->way[w].known) continue;
            double value = rows[row].value(of, &of->way[w]);
            if (rows[row].digits < 0)
                snprintf(text, sizeof text, "%s", launch_scaled(number, value, rows[row].unit));
            else
                snprintf(text, sizeof text, "%.*f%s%s", rows[row].digits, value,
                         *rows[row].unit ? " " : "", rows[row].unit);
            printf(" %13s", text);
        }
        putchar('\n');
    }
}

static void print_verdict(const plan *of) {
    char limit[32], need[32];
    const char *what = of->conf->train.memory_limit > 0 ? "train.memory_limit"
                       : of->paper                      ? "the device's memory"
                                                        : "free memory";
    train_bytes_text(limit, of->limit);
    train_bytes_text(need, (double)of->way[WAY_LEAST].fit.memory.total);
    if (!isfinite(of->limit))
        printf("\nthe machine does not say how much memory is free\n");
    else if (of->way[WAY_HERE].known)
        printf("\nfits: %s is %s\n", what, limit);
    else
        printf("\ndoes not fit: %s is %s, the least that is needed %s\n", what, limit, need);
}

/* ---- JSON ---- */

static json_t *json_way(const plan *of, const way *w) {
    if (!w->known) return json_null();
    json_t *memory = json_object();
    for (int row = 0; row < MEMORY_ROWS; row++)
        launch_json_set(memory, memory_rows[row].key,
                        json_integer((json_int_t)bytes_of(w, &memory_rows[row])));
    return launch_json("{s:I,s:I,s:f,s:f,s:f,s:f,s:o}", "micro_batch",
                       (json_int_t)w->fit.micro_batch, "carry_every",
                       (json_int_t)w->fit.memory.every, "kept_fraction",
                       w->fit.memory.kept_fraction, "executed_flops_per_step",
                       w->fit.memory.executed_flops, "executed_ratio", ratio(of, w),
                       "row_bytes_per_step", w->fit.memory.row_bytes, "memory_bytes", memory);
}

static kern_status print_plan_json(const plan *of) {
    double flops = train_model_flops(of->conf), tokens = tokens_of(of);
    json_t *parameters = launch_json("{s:I,s:I}", "total", (json_int_t)of->parameters, "fast",
                                     (json_int_t)of->fast_parameters);
    const char *name;
    for (int kind = 0; kind_name(&name, kind); kind++)
        launch_json_set(parameters, name, json_integer((json_int_t)of->kind[kind]));
    json_t *object =
        launch_json("{s:o,s:o,s:I,s:f,s:f,s:b,s:o,s:f,s:{s:I,s:I,s:I}}", "name",
                    launch_json_text(of->conf->name), "parameters", parameters, "tokens_per_step",
                    (json_int_t)tokens, "model_flops_per_step", flops, "model_flops_per_token",
                    flops / tokens, "fits", of->way[WAY_HERE].known, "limit_bytes",
                    launch_json_number(of->limit), "compile_seconds", of->compile_seconds, "disk",
                    "checkpoint_bytes", (json_int_t)of->disk.checkpoint, "checkpoints",
                    (json_int_t)of->disk.checkpoints, "run_bytes", (json_int_t)of->disk.run);
    for (int w = 0; w < WAYS; w++) launch_json_set(object, way_name[w], json_way(of, &of->way[w]));
    if (of->way[WAY_HERE].timed)
        launch_plan_time_json(object, of->conf, of->device->machine, &of->way[WAY_HERE].time,
                              ranks_of(of));
    if (of->ranked && of->way[WAY_HERE].timed)
        launch_plan_ranks_json(object, of->conf, of->job, of->ranked,
                               of->way[WAY_HERE].time.step.seconds, of->alone);
    return launch_print_json(object);
}

/* The device that train.device names; or the one on paper that --device does, of which train.device
 * says whether it attends by cuDNN. */
static kern_status open_device(plan *to, kern_device **paper, kern_machine *machine,
                               const char *name) {
    kern_status status = KERN_OK;
    bool cudnn;
    *paper = NULL;
    if (name) {
        TRY(launch_machine_open(machine, name));
        TRY(kern_device_cuda_cudnn(&cudnn, to->conf->train.device));
        to->paper = true;
        to->device = *paper = kern_device_paper_create(machine, cudnn);
    } else {
        TRY(kern_device_open(&to->device, to->conf->train.device));
    }
    to->limit = train_memory_limit(to->conf, to->device);
done:
    return status;
}

/* Jobs are foretold on a device on paper; --tensor goes before ranks.tensor. */
static kern_status check_ranks(const ttt_conf *conf, const char *name, int64_t *tensor,
                               int64_t ranks, bool scaling) {
    if (!*tensor && conf->ranks.tensor > 1 && (!name || (ranks == 1 && !scaling)))
        return kern_fail(KERN_ERR_USAGE,
                         "ranks.tensor=%lld is of a job, which is planned with --device NAME "
                         "--ranks N; what one rank does: ranks.tensor=1",
                         (long long)conf->ranks.tensor);
    if (!*tensor) *tensor = conf->ranks.tensor;
    if ((ranks != 1 || scaling || *tensor != 1) && !name)
        return kern_fail(KERN_ERR_USAGE, "--ranks, --tensor and --scaling need --device NAME");
    return KERN_OK;
}

int launch_plan(int argc, char **argv) {
    bool json = false, scaling = false;
    const char *name = NULL, *network = "400Gb";
    int64_t ranks = 1, tensor = 0;
    const launch_option accepted[] = {
        {"device", LAUNCH_TEXT, &name, "NAME", "a GPU that need not be here; or a file of figures"},
        {"ranks", LAUNCH_COUNT, &ranks, "N", "a job of so many of it, of which one is planned"},
        {"tensor", LAUNCH_COUNT, &tensor, "M", "so many share the work on a text (ranks.tensor)"},
        {"network", LAUNCH_TEXT, &network, "SPEED", "of a rank's port: 400Gb (bits), 50GB (bytes)"},
        {"scaling", LAUNCH_FLAG, &scaling, NULL, "a table over 8 to 1024 ranks"},
        LAUNCH_JSON(&json),
        {NULL, LAUNCH_FLAG, NULL, NULL, NULL}};
    const launch_syntax syntax = {
        "plan",
        "CONFIG [key=value...]",
        "Prints what training CONFIG would need: parameters, work per step and token, disk, and\n"
        "the peak memory by kind; nothing is run and the memory is not needed. Columns:\n"
        "  here      as training would run within train.memory_limit (0: what is free now)\n"
        "  least     as little memory as possible: much is computed again in the reverse pass\n"
        "  all kept  nothing that products made is computed again\n"
        "Model work is what the model costs by convention, executed what this program does\n"
        "(docs/costs.md). For example, how much would longer contexts need:\n"
        "  ttt plan 125m-e2e-8k train.context=32768 train.batch=1 train.memory_limit=16e9\n"
        "With --device: whether it fits there, how it would be trained and how fast, by the\n"
        "device's figures. There are a100-40, a100-80, h100, h200 and b200; other machines are\n"
        "described in a file (docs/costs.md). With --ranks, too: what each of a job's ranks "
        "needs,\n"
        "what they send each other, and how fast the job is against one rank.",
        accepted,
        1,
        -1};
    int code = launch_parse(&syntax, &argc, argv);
    if (code >= 0) return code;
    kern_status status = KERN_OK;
    ttt_conf *conf = NULL;
    kern_device *paper = NULL;
    kern_machine machine;
    launch_paper_ranks job;
    plan of = {0};
    TRY(infer_load(&conf, argv[1], argc - 2, (const char *const *)(argv + 2)));
    TRY(check_ranks(conf, name, &tensor, ranks, scaling));
    TRY(launch_paper_ranks_open(&job, ranks, scaling ? 1 : tensor, network));
    of.conf = conf;
    of.threads = train_threads(conf);
    if (ranks > 1) of.job = &job;
    TRY(open_device(&of, &paper, &machine, name));
    if (ranks > 1 || scaling) TRY(find_alone(&of));
    TRY(make_plan(&of));
    print_model(&of);
    print_work(&of);
    print_disk(&of);
    print_head(&of);
    print_memory(&of);
    print_choices(&of);
    print_verdict(&of);
    if (of.way[WAY_HERE].timed)
        launch_plan_time_print(conf, of.device->machine, &of.way[WAY_HERE].time, (int)ranks);
    if (of.ranked && of.way[WAY_HERE].timed)
        launch_plan_ranks_print(conf, &job, of.ranked, of.way[WAY_HERE].time.step.seconds,
                                of.alone);
    if (scaling) TRY(launch_plan_scaling(conf, of.device, tensor, network, of.alone));
    if (json) TRY(print_plan_json(&of));
done:
    train_step_destroy(of.ranked);
    kern_device_paper_destroy(paper);
    conf_destroy(conf);
    return launch_report(syntax.command, status);
}
