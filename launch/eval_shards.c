/* ttt eval with --data or data.test: windows of held-out shards, read by several runs with inner
 * steps on and off. */
#include <errno.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/eval.h"
#include "launch/eval_report.h"
#include "launch/eval_saved.h"
#include "launch/gnuplot.h"
#include "launch/outputs.h"
#include "launch/progress_line.h"
#include "launch/ranks.h"
#include "launch/report.h"
#include "launch/together.h"
#include "train/dataset.h"
#include "train/files.h"
#include "train/fit.h"
#include "train/signals.h"
#include "train/terminal.h"
#include "train/vocabulary.h"

kern_status launch_eval_lengths(int64_t **lengths, int64_t *count, const char *text) {
    int64_t capacity = 0;
    *lengths = NULL;
    *count = 0;
    for (const char *next = text; next;) {
        char *end;
        errno = 0;
        long long length = strtoll(next, &end, 10);
        bool again = false;
        for (int64_t i = 0; i < *count; i++) again |= (*lengths)[i] == length;
        if (end == next || (*end && *end != ',') || errno || length < 1 || again) {
            free(*lengths);
            *lengths = NULL;
            return kern_fail(KERN_ERR_USAGE,
                             "--context takes different whole numbers of at least 1 with commas "
                             "between them, as in 512,2048, not '%s'",
                             text);
        }
        *lengths = kern_grow(*lengths, &capacity, *count + 1, sizeof **lengths);
        (*lengths)[(*count)++] = length;
        next = *end ? end + 1 : NULL;
    }
    return KERN_OK;
}

bool launch_eval_has_inner(const launch_trained *run) {
    return run->conf->inner.mode != CONF_INNER_OFF;
}

static train_signals handlers;

void launch_eval_signals_begin(void) {
    train_signals_install_saying(&handlers, "\nttt: stopping");
    /* Who reads our output may go away: that ends us quietly. */
    ASSERT(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
}

void launch_eval_signals_end(void) {
    train_signals_restore(&handlers);
}

/* Everything that one call opens. */
typedef struct {
    const launch_eval_choices *chosen;
    int64_t count; /* of runs */
    launch_trained *runs;
    int64_t *lengths; /* [report.lengths] */
    data_source *source;
    launch_outputs outputs;
    launch_eval_report report;
} evaluation;

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

static bool show(void *context, int64_t done, int64_t windows) {
    launch_progress_line *line = context;
    bool stop = launch_asked_to_stop() != 0;
    if (stop)
        launch_progress_clear(line);
    else
        launch_progress_show(line, done, windows);
    return !stop;
}

/* Windows at once: enough for fast products. Each has fast weights of its own, which are to stay
 * small. */
static int64_t choose_batch(int64_t tokens, int64_t windows, const infer_parameters *parameters) {
    enum { SMALL = 1 << 17 }; /* elements, of all windows */
    int64_t batch = 8192 / tokens, fast = 1;
    for (int i = 0; i < parameters->count; i++)
        if (parameters->item[i].fast) fast += parameters->item[i].elements;
    int64_t most = SMALL / fast > 8 ? SMALL / fast : 8;
    batch = batch > most ? most : batch;
    batch = batch > windows ? windows : batch;
    return batch < 1 ? 1 : batch;
}

/* The chunk that bins are aligned to: of the first run that has one. */
static int64_t chunk_of(const evaluation *e) {
    for (int64_t i = 0; i < e->count; i++)
        if (launch_eval_has_inner(&e->runs[i])) return e->runs[i].conf->inner.chunk;
    return 1;
}

/* A checked configuration takes another context. */
static kern_status set_context(const launch_trained *run, int64_t tokens) {
    char *assignment = train_text("train.context=%lld", (long long)tokens);
    kern_status status = conf_set(run->conf, assignment);
    if (status == KERN_OK && conf_check(run->conf) != KERN_OK)
        status = kern_fail_context(KERN_ERR_USAGE, "%s in windows of %lld tokens", run->label,
                                   (long long)tokens);
    free(assignment);
    return status;
}

/* The run's weights on all windows of a length, with or without inner steps. */
static kern_status evaluate(evaluation *e, int64_t column, int64_t length) {
    kern_status status = KERN_OK;
    launch_eval_column *c = &e->report.column[column];
    const launch_trained *run = &e->runs[c->run];
    infer_model *model = NULL;
    data_window *window = NULL;
    int64_t windows, tokens = e->lengths[length];
    int threads = train_threads(run->conf);
    char *label = e->report.lengths > 1 ? train_text("%s, %lld tokens", c->label, (long long)tokens)
                                        : train_text("%s", c->label);
    launch_progress_line line = {.label = label, .unit = "windows", .began = kern_seconds()};
    TRY(set_context(run, tokens));
    TRY(data_source_windows(&window, &windows, e->source, e->chosen->windows));
    infer_model_spec spec = {.conf = run->conf,
                             .batch = choose_batch(tokens, windows, run->layout),
                             .tokens = tokens,
                             .inner = c->chunk > 0,
                             .device = run->device,
                             .tensor = run->ranks->tensor,
                             .threads = threads,
                             .values = run->values};
    omp_set_num_threads(threads);
    TRY(infer_model_create(&model, &spec));
    TRY(infer_model_allocate(model));
    infer_evaluation given = {.model = model,
                              .source = e->source,
                              .per_document = e->chosen->windows,
                              .rate = c->chunk > 0 ? run->conf->inner.lr : 0,
                              .bins = e->chosen->by_token ? infer_bins_by_token(tokens)
                                                          : infer_bins_create(tokens, chunk_of(e)),
                              .tail = e->report.tail,
                              .vocabulary = run->vocabulary,
                              .seen = show,
                              .context = &line,
                              .data = run->ranks->data};
    TRY(infer_evaluate(&c->losses[length], &given));
done:
    if (status != KERN_OK) kern_fail_context(status, "%s", label);
    free(label);
    kern_free(window);
    infer_model_destroy(model);
    return status;
}

static void add_column(evaluation *e, int64_t index, bool off) {
    const launch_trained *run = &e->runs[index];
    launch_eval_column *column = &e->report.column[e->report.columns++];
    bool inner = launch_eval_has_inner(run);
    *column =
        (launch_eval_column){.label = train_text("%s%s", run->label, inner && off ? "-off" : ""),
                             .run = index,
                             .step = run->step,
                             .chunk = inner && !off ? run->conf->inner.chunk : 0,
                             .losses = calloc((size_t)e->report.lengths, sizeof(infer_losses *))};
    ASSERT(column->losses);
}

/* Where a run's results are saved, in a folder that is made. free(*path). */
static kern_status find_saved(char **path, const launch_trained *run, int64_t step) {
    char *folder = train_text("%s/eval", run->dir);
    *path = train_text("%s/step-%08lld.json", folder, (long long)step);
    kern_status status = train_make_directory(folder);
    free(folder);
    return status;
}

/* Where results of a run will be saved, by its newest checkpoint that is known. */
static kern_status list_saved(launch_outputs *outputs, const launch_trained *run) {
    kern_status status = KERN_OK;
    char *path = NULL;
    if (run->alone)
        TRY(kern_fail(KERN_ERR_USAGE,
                      "--save writes into the run's directory, and %s is a checkpoint that lies in "
                      "no run; --json and --csv FILE keep the numbers elsewhere",
                      run->dir));
    TRY(find_saved(&path, run, run->step));
    launch_outputs_write(outputs, LAUNCH_SAVED, path);
done:
    free(path);
    return status;
}

/* A run with its inner steps and without them; one without an inner loop as it is. */
static kern_status evaluate_run(evaluation *e, int64_t index) {
    kern_status status = KERN_OK;
    launch_trained *run = &e->runs[index];
    int64_t first = e->report.columns;
    bool stepping = launch_eval_has_inner(run) && !e->chosen->off;
    int64_t checked = run->step;
    TRY(launch_trained_load(run, (infer_readers){.plain = true, .stepping = stepping}));
    if (e->chosen->save && run->step != checked) { /* it trains: a newer one came meanwhile */
        TRY(list_saved(&e->outputs, run));
        TRY(launch_outputs_check(&e->outputs, e->chosen->force));
    }
    if (stepping) add_column(e, index, false);
    add_column(e, index, true);
    for (int64_t length = 0; length < e->report.lengths; length++)
        for (int64_t column = first; column < e->report.columns; column++)
            TRY(evaluate(e, column, length));
done:
    launch_trained_unload(run);
    return status;
}

static kern_status save(const evaluation *e, int64_t index) {
    kern_status status = KERN_OK;
    const launch_trained *run = &e->runs[index];
    json_t *object = launch_saved_json(&e->report, index, e->chosen->command, e->chosen->windows);
    char *text = json_dumps(object, JSON_INDENT(1) | JSON_REAL_PRECISION(17)), *path = NULL;
    ASSERT(text);
    TRY(find_saved(&path, run, run->step));
    TRY(train_write_file(path, text, strlen(text)));
done:
    json_decref(object);
    free(text);
    free(path);
    return status;
}

/* What the command line says that is read and written. */
static void list_files(launch_outputs *outputs, const launch_eval_choices *chosen,
                       char *const *words, int64_t count) {
    for (int64_t i = 0; i < count; i++) launch_outputs_read_run(outputs, words[i]);
    if (chosen->data) launch_outputs_read_list(outputs, chosen->data);
    launch_outputs_write(outputs, LAUNCH_EVAL_CSV, chosen->csv);
    launch_outputs_write(outputs, LAUNCH_PICTURE, chosen->png);
}

/* Whether what is asked for can be written, now that all that is read is known. */
static kern_status check_places(evaluation *e) {
    kern_status status = KERN_OK;
    const char *before = NULL;
    for (int64_t i = 0; i < data_source_documents(e->source); i++) {
        const char *path = data_source_document(e->source, i).path;
        if (path != before) launch_outputs_read(&e->outputs, path);
        before = path;
    }
    for (int64_t i = 0; i < e->count && e->chosen->save; i++)
        TRY(list_saved(&e->outputs, &e->runs[i]));
    TRY(launch_outputs_check(&e->outputs, e->chosen->force));
    if (e->chosen->png) TRY(launch_gnuplot_check("pngcairo"));
done:
    return status;
}

/* The numbers are shown before files are written: a disk that is full loses none of them. */
static kern_status present(const evaluation *e) {
    kern_status status = KERN_OK;
    const launch_eval_choices *chosen = e->chosen;
    const launch_eval_report *report = &e->report;
    launch_eval_print(report, chosen->books, chosen->by_position);
    if (chosen->json) TRY(launch_print_json(launch_eval_json(report, INFER_ALL)));
    fflush(stdout);
    if (launch_ranks_rank()) goto done; /* the first one writes */
    if (chosen->csv) TRY(launch_eval_write_csv(report, chosen->csv));
    if (chosen->png) TRY(launch_eval_draw(report, chosen->by_position, chosen->png));
    for (int64_t i = 0; i < e->count && chosen->save; i++) TRY(save(e, i));
done:
    return status;
}

/* The shards of data.test, which all runs must name alike: what one run has kept aside, another may
 * have learned. */
static kern_status open_test(evaluation *e, int64_t length) {
    const launch_trained *first = &e->runs[0];
    const char *paths = first->conf->data.test;
    for (int64_t i = 1; i < e->count; i++)
        if (strcmp(e->runs[i].conf->data.test, paths) != 0)
            return kern_fail(KERN_ERR_USAGE,
                             "data.test is '%s' in %s and '%s' in %s; name the shards that all "
                             "runs are to read: --data valid.h5,test.h5",
                             paths, first->dir, e->runs[i].conf->data.test, e->runs[i].dir);
    if (!*paths)
        return kern_fail(KERN_ERR_USAGE,
                         "what to read? data.test of %s is empty; name shards: --data "
                         "valid.h5,test.h5, or data.test=test.h5 in training; or name a text: "
                         "--text book.txt",
                         first->dir);
    kern_status status =
        train_dataset_open(&e->source, first->conf, "data.test", paths, length, false);
    if (status != KERN_OK) return kern_fail_context(status, "%s/config.yaml", first->dir);
    train_terminal_say(stderr, "reading data.test: %s", paths);
    return KERN_OK;
}

/* Lengths, and the place of windows: as of the longest length, or where --place says. */
static kern_status open_source(evaluation *e) {
    kern_status status = KERN_OK;
    const int64_t *lengths = e->lengths;
    int64_t longest = lengths[0], place = e->chosen->place;
    e->report.tail = lengths[0];
    for (int64_t l = 0; l < e->report.lengths; l++) {
        longest = lengths[l] > longest ? lengths[l] : longest;
        e->report.tail = lengths[l] < e->report.tail ? lengths[l] : e->report.tail;
        for (int64_t i = 0; i < e->count; i++) TRY(set_context(&e->runs[i], lengths[l]));
    }
    if (place && place < longest)
        TRY(kern_fail(KERN_ERR_USAGE,
                      "--place %lld is shorter than windows of %lld tokens; they would begin "
                      "before their documents",
                      (long long)place, (long long)longest));
    if (e->chosen->by_token && longest > INFER_MOST_BINS)
        TRY(kern_fail(KERN_ERR_USAGE,
                      "--by-token is for windows of up to %d tokens, not of %lld; --by-position "
                      "has log-spaced bins",
                      INFER_MOST_BINS, (long long)longest));
    if (!place) place = longest;
    TRY(e->chosen->data ? data_source_open(&e->source, e->chosen->data, place, false)
                        : open_test(e, place));
    for (int64_t i = 0; i < e->count; i++) TRY(check_vocabulary(&e->runs[i], e->source));
    e->report.length = lengths;
    e->report.source = e->source;
done:
    return status;
}

static kern_status open_runs(evaluation *e, char *const *words) {
    kern_status status = KERN_OK;
    TRY(launch_eval_lengths(&e->lengths, &e->report.lengths, e->chosen->context));
    for (int64_t i = 0; i < e->count; i++)
        TRY(launch_trained_open(&e->runs[i], words[i], e->chosen->device, e->chosen->tensor));
    tell_apart(e->runs, words, e->count);
    if (e->report.lengths == 0) {
        e->lengths = kern_array(1, sizeof *e->lengths);
        e->lengths[e->report.lengths++] = e->runs[0].conf->train.context;
    }
done:
    return status;
}

static kern_status evaluate_all(evaluation *e) {
    kern_status status = KERN_OK;
    int threads = 1;
    for (int64_t i = 0; i < e->count; i++)
        if (train_threads(e->runs[i].conf) > threads) threads = train_threads(e->runs[i].conf);
    omp_set_num_threads(threads);
    launch_eval_signals_begin();
    for (int64_t i = 0; i < e->count; i++) TRY(evaluate_run(e, i));
done:
    launch_eval_signals_end();
    return status;
}

kern_status launch_eval_shards(const launch_eval_choices *chosen, char *const *words,
                               int64_t count) {
    kern_status status = KERN_OK;
    evaluation e = {.chosen = chosen, .count = count};
    e.runs = kern_array(count, sizeof *e.runs);
    e.report.column = kern_array(count * 2, sizeof *e.report.column);
    list_files(&e.outputs, chosen, words, count);
    TRY(launch_outputs_check(&e.outputs, chosen->force));
    TRY(open_runs(&e, words));
    TRY(open_source(&e));
    TRY(check_places(&e));
    TRY(evaluate_all(&e));
    TRY(present(&e));
done:
    launch_eval_report_clear(&e.report);
    launch_outputs_clear(&e.outputs);
    data_source_destroy(e.source);
    for (int64_t i = 0; i < count; i++) launch_trained_close(&e.runs[i]);
    free(e.runs);
    free(e.lengths);
    return status;
}
