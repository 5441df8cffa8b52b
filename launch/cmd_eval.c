/* ttt eval: the loss of runs on held-out shards, with inner steps on and off. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launch/arguments.h"
#include "launch/commands.h"
#include "launch/eval_report.h"
#include "launch/trained.h"
#include "train/files.h"
#include "train/fit.h"
#include "train/vocabulary.h"

static const char about_eval[] =
    "Measures how well trained runs predict texts that they have not seen. Of each\n"
    "document, windows are read from start to end, each from fresh weights: after every\n"
    "chunk a run with an inner loop takes one gradient step, and is then evaluated a\n"
    "second time without these steps (its name with -off). A token's loss is always the\n"
    "one before the step on its own chunk.\n"
    "\n"
    "RUN is a run directory, whose newest checkpoint is taken, or one of its checkpoints:\n"
    "    ttt eval runs/e2e runs/swa --data valid.h5,test.h5 --by-position\n"
    "    ttt eval runs/e2e/checkpoints/step-00000300 --data 'shards/test-*.h5'\n"
    "All runs read the same windows, so they are also compared window by window: the\n"
    "standard error of a difference leaves out how hard each window is by itself.\n"
    "\n"
    "Several runs need the same vocabulary. Windows are as long as the first run's\n"
    "training context, or as --context says (a multiple of every inner.chunk).\n"
    "The CSV has lines model,bin_start,bin_end,mean,standard_error,count: nats per token\n"
    "at positions bin_start <= t < bin_end, over `count` windows.";

typedef struct {
    const char *data, *csv;
    int64_t windows, context;
    bool by_position, off, save, json;
} choices;

static bool has_inner(const launch_trained *run) {
    return run->conf->inner.mode != CONF_INNER_OFF;
}

/* Runs of the same name are called what the command line calls them. */
static void tell_apart(launch_trained *runs, char *const *words, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        bool same = false;
        for (int64_t j = 0; j < count; j++) same |= j != i && !strcmp(runs[i].label, runs[j].label);
        if (!same) continue;
        for (int64_t j = count - 1; j >= i; j--) {
            if (j != i && strcmp(runs[i].label, runs[j].label)) continue;
            free(runs[j].label);
            runs[j].label = train_text("%s", words[j]);
        }
    }
}

static kern_status check_vocabulary(const launch_trained *run, const data_source *source) {
    if (train_vocabulary_match(run->vocabulary, source, run->dir) == KERN_OK) return KERN_OK;
    return kern_fail(KERN_ERR_USAGE,
                     "%s; pack the texts with the vocabulary that the run was trained on",
                     kern_error());
}

/* The progress line: rewritten on a terminal, printed now and then elsewhere. */
typedef struct {
    const char *label;
    double began, shown;
} progress_line;

static bool show(void *context, int64_t done, int64_t windows) {
    progress_line *w = context;
    double now = kern_seconds();
    bool terminal = isatty(STDERR_FILENO);
    if (done < windows && now - w->shown < (terminal ? 0.1 : 10)) return true;
    w->shown = now;
    double left = (now - w->began) / (double)done * (double)(windows - done);
    fprintf(stderr, "%s%s: %lld/%lld windows  %.0f s left%s", terminal ? "\r" : "", w->label,
            (long long)done, (long long)windows, left, terminal ? "\033[K" : "\n");
    if (terminal && done == windows) fprintf(stderr, "\r\033[K");
    fflush(stderr);
    return true;
}

/* Windows at once: enough for fast products. Each has fast weights of its own. */
static int64_t choose_batch(int64_t tokens, int64_t windows) {
    int64_t batch = 8192 / tokens;
    batch = batch > 8 ? 8 : batch;
    batch = batch > windows ? windows : batch;
    return batch < 1 ? 1 : batch;
}

/* The run's weights on all windows, with or without inner steps: column->losses. */
static kern_status evaluate(launch_eval_column *column, const launch_trained *run,
                            data_source *source, const choices *chosen, infer_bins bins) {
    kern_status status = KERN_OK;
    infer_model *model = NULL;
    data_window *window = NULL;
    int64_t windows, tokens = data_source_length(source);
    int threads = train_threads(run->conf);
    progress_line line = {.label = column->label, .began = kern_seconds()};
    TRY(data_source_windows(&window, &windows, source, chosen->windows));
    infer_model_spec spec = {.conf = run->conf,
                             .batch = choose_batch(tokens, windows),
                             .tokens = tokens,
                             .inner = column->chunk > 0,
                             .threads = threads};
    omp_set_num_threads(threads);
    TRY(infer_model_create(&model, &spec));
    TRY(infer_model_allocate(model));
    infer_model_set_parameters(model, run->parameters);
    infer_evaluation evaluation = {.model = model,
                                   .source = source,
                                   .per_document = chosen->windows,
                                   .rate = column->chunk > 0 ? run->conf->inner.lr : 0,
                                   .bins = bins,
                                   .seen = show,
                                   .context = &line};
    TRY(infer_evaluate(&column->losses, &evaluation));
done:
    if (status != KERN_OK) kern_fail_context(status, "%s", column->label);
    kern_free(window);
    infer_model_destroy(model);
    return status;
}

/* A run with its inner steps, then without them; one without an inner loop as it is. */
static kern_status evaluate_run(launch_eval_report *report, int64_t index, launch_trained *run,
                                data_source *source, const choices *chosen, infer_bins bins) {
    kern_status status = KERN_OK;
    TRY(launch_trained_load(run));
    for (int off = has_inner(run) && chosen->off; off <= has_inner(run); off++) {
        launch_eval_column *column = &report->column[report->columns++];
        *column = (launch_eval_column){
            .label = train_text("%s%s", run->label, off ? "-off" : ""),
            .run = index,
            .step = run->step,
            .chunk = has_inner(run) && !off ? run->conf->inner.chunk : 0,
        };
        TRY(evaluate(column, run, source, chosen, bins));
    }
done:
    launch_trained_unload(run);
    return status;
}

static kern_status save(const launch_eval_report *report, int64_t index,
                        const launch_trained *run) {
    kern_status status = KERN_OK;
    json_t *object = launch_eval_json(report, index);
    char *text = json_dumps(object, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    char *folder = train_text("%s/eval", run->dir);
    char *path = train_text("%s/step-%08lld.json", folder, (long long)run->step);
    ASSERT(text);
    TRY(train_make_directory(folder));
    TRY(train_write_file(path, text, strlen(text)));
done:
    json_decref(object);
    free(text);
    free(folder);
    free(path);
    return status;
}

static kern_status present(const launch_eval_report *report, const choices *chosen,
                           const launch_trained *runs, int64_t count) {
    kern_status status = KERN_OK;
    if (chosen->csv) TRY(launch_eval_write_csv(report, chosen->csv));
    for (int64_t i = 0; i < count && chosen->save; i++) TRY(save(report, i, &runs[i]));
    launch_eval_print(report, chosen->by_position);
    if (!chosen->json) goto done;
    json_t *object = launch_eval_json(report, INFER_ALL);
    char *text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(17));
    ASSERT(text);
    puts(text);
    free(text);
    json_decref(object);
done:
    return status;
}

/* The chunk that bins are aligned to: of the first run that has one. */
static int64_t chunk_of(const launch_trained *runs, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (has_inner(&runs[i])) return runs[i].conf->inner.chunk;
    return 1;
}

static kern_status run_all(const choices *chosen, char *const *words, int64_t count) {
    kern_status status = KERN_OK;
    data_source *source = NULL;
    launch_eval_report report = {.columns = 0};
    launch_trained *runs = calloc((size_t)count, sizeof *runs);
    report.column = calloc((size_t)count * 2, sizeof *report.column);
    ASSERT(runs && report.column);
    if (!chosen->data)
        TRY(kern_fail(KERN_ERR_USAGE, "what to read? name shards: --data valid.h5,test.h5"));
    int64_t context = chosen->context;
    for (int64_t i = 0; i < count; i++) {
        TRY(launch_trained_open(&runs[i], words[i], context));
        context = runs[i].conf->train.context;
    }
    tell_apart(runs, words, count);
    TRY(data_source_open(&source, chosen->data, context, false));
    report.source = source;
    for (int64_t i = 0; i < count; i++) TRY(check_vocabulary(&runs[i], source));
    infer_bins bins = infer_bins_create(context, chunk_of(runs, count));
    for (int64_t i = 0; i < count; i++)
        TRY(evaluate_run(&report, i, &runs[i], source, chosen, bins));
    TRY(present(&report, chosen, runs, count));
done:
    launch_eval_report_clear(&report);
    data_source_destroy(source);
    for (int64_t i = 0; i < count; i++) launch_trained_close(&runs[i]);
    free(runs);
    return status;
}

int launch_eval(int argc, char **argv) {
    choices chosen = {.windows = 24};
    const launch_option options[] = {
        {"data", LAUNCH_TEXT, &chosen.data, "SHARDS", "paths or globs, with commas between them"},
        {"windows", LAUNCH_COUNT, &chosen.windows, "N",
         "windows of each document, evenly placed; 0: all (24)"},
        {"context", LAUNCH_COUNT, &chosen.context, "T", "tokens of a window"},
        {"by-position", LAUNCH_FLAG, &chosen.by_position, NULL,
         "also by position in the window, in log-spaced bins"},
        {"csv", LAUNCH_TEXT, &chosen.csv, "FILE", "write the loss by position"},
        {"off", LAUNCH_FLAG, &chosen.off, NULL, "with inner steps off only"},
        {"save", LAUNCH_FLAG, &chosen.save, NULL, "also write RUN/eval/step-NUMBER.json"},
        LAUNCH_JSON(&chosen.json),
        {0},
    };
    const launch_syntax syntax = {"eval", "RUN...", about_eval, options, 1, -1};
    int code = launch_parse(&syntax, &argc, argv);
    if (code >= 0) return code;
    return launch_report("eval", run_all(&chosen, argv + 1, argc - 1));
}
