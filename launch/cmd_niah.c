/* ttt niah: needles in haystacks, asked of runs with inner steps on and off. */
#include <errno.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/arguments.h"
#include "launch/commands.h"
#include "launch/gnuplot.h"
#include "launch/niah.h"
#include "launch/outputs.h"
#include "launch/progress_line.h"
#include "launch/ranks.h"
#include "launch/report.h"
#include "launch/together.h"
#include "launch/trained.h"
#include "train/files.h"
#include "train/fit.h"
#include "train/signals.h"

static const char about_niah[] =
    "Hides a sentence in a long text and asks for it at the end: the three single-needle\n"
    "tasks of RULER. Each run answers greedily, with its inner steps and a second time\n"
    "without them (its name with -off); the score of an answer is the share of the\n"
    "reference strings in it.\n"
    "\n"
    "    1  a number of 7 digits in a repeated line of noise\n"
    "    2  a number of 7 digits in the text that --text names\n"
    "    3  a UUID in that text\n"
    "    ttt niah runs/e2e runs/swa --text book.txt --lengths 2048,8192 --png map.png\n"
    "    ttt niah runs/e2e --ruler niah_single_1.jsonl --ruler niah_single_2.jsonl\n"
    "\n"
    "Lengths are tokens of the run's vocabulary, the answer's included. Sample i lies at\n"
    "the depth i mod N of N depths. Samples depend on --seed, task, length, depth and i,\n"
    "on the text and on the vocabulary, not on the run: all runs, which need the same\n"
    "vocabulary, are asked the same. RULER's own files are taken as they are: the prompt\n"
    "is the input and, behind it, the answer_prefix. Ctrl-C stops and prints what is known.";

typedef struct {
    const char *text, *lengths, *tasks, *write, *csv, *png, *device;
    launch_texts ruler;
    int64_t depths, samples, answer_tokens;
    uint64_t seed;
    bool off, force, json;
} choices;

static bool has_inner(const launch_trained *run) {
    return run->conf->inner.mode != CONF_INNER_OFF;
}

/* "512,1024" -> numbers, each from 1 to `most`. free(*numbers). */
static kern_status parse_list(int64_t **numbers, int64_t *count, const char *option,
                              const char *text, int64_t most) {
    int64_t capacity = 0;
    for (const char *at = text;; at++) {
        char *end;
        errno = 0;
        long long number = strtoll(at, &end, 10);
        if (end == at || errno || number < 1 || number > most || (*end && *end != ','))
            return kern_fail(KERN_ERR_USAGE,
                             "--%s: '%s' is no list of numbers from 1 to %lld with commas between "
                             "them",
                             option, text, (long long)most);
        *numbers = kern_grow(*numbers, &capacity, *count + 1, sizeof **numbers);
        (*numbers)[(*count)++] = number;
        if (!*end) return KERN_OK;
        at = end;
    }
}

/* Runs are asked the same samples: they need one vocabulary. */
static kern_status check_vocabularies(const launch_trained *runs, int64_t count) {
    for (int64_t i = 1; i < count; i++) {
        const data_vocabulary *a = runs[0].vocabulary, *b = runs[i].vocabulary;
        bool begins = runs[0].conf->model.bos >= 0;
        if (!strcmp(a->hash, b->hash) && begins == (runs[i].conf->model.bos >= 0)) continue;
        return kern_fail(KERN_ERR_USAGE,
                         "%s reads %s (%s), %s reads %s (%s)%s; ask runs of different "
                         "vocabularies one at a time",
                         runs[0].label, a->name, a->hash, runs[i].label, b->name, b->hash,
                         strcmp(a->hash, b->hash) ? "" : ", one of them without begin of document");
    }
    return KERN_OK;
}

/* Runs of the same name are called what the command line calls them. */
static char *name_column(const launch_trained *runs, int64_t count, int64_t i, const char *word,
                         bool off) {
    bool same = false;
    for (int64_t j = 0; j < count; j++) same |= j != i && !strcmp(runs[i].label, runs[j].label);
    return train_text("%s%s", same ? word : runs[i].label, off ? "-off" : "");
}

static kern_status make_session(infer_session **session, const launch_trained *run, bool inner,
                                const launch_niah_samples *samples) {
    int threads = train_threads(run->conf);
    infer_session_spec spec = {
        .conf = run->conf, .inner = inner, .device = run->device, .threads = threads};
    spec.tensor = run->ranks->tensor;
    for (int64_t g = 0; g < launch_niah_groups(samples); g++) {
        int64_t length = launch_niah_group_of(samples, g)->length;
        spec.limit = length > spec.limit ? length : spec.limit;
    }
    omp_set_num_threads(threads);
    kern_status status = infer_session_create(session, &spec);
    if (status == KERN_OK) infer_session_set_values(*session, run->values);
    return status;
}

/* All samples, in the last column of the report. */
static kern_status ask_all(launch_niah_report *report, launch_niah_samples *samples,
                           const infer_answerer *answerer) {
    kern_status status = KERN_OK;
    infer_needle_result result = {.bytes = 0};
    data_needle sample = {.index = 0};
    int64_t done = 0, all = 0;
    launch_progress_line line = {.label = report->column[report->columns - 1].label,
                                 .unit = "samples",
                                 .began = kern_seconds()};
    for (int64_t g = 0; g < launch_niah_groups(samples); g++)
        all += launch_niah_group_of(samples, g)->samples;
    for (int64_t g = 0; g < launch_niah_groups(samples); g++)
        for (int64_t i = 0; i < launch_niah_group_of(samples, g)->samples; i++) {
            int64_t depth;
            TRY(launch_niah_sample(&sample, &depth, samples, g, i));
            TRY(infer_needle_ask(&result, &sample, answerer, report->spec));
            launch_niah_add(report, g, depth, result.score);
            launch_progress_show(&line, ++done, all);
            data_needle_clear(&sample);
        }
done:
    if (status != KERN_OK) launch_progress_clear(&line);
    if (status == KERN_ERR_INTERRUPTED)
        kern_fail(status,
                  "%s was stopped after %lld of %lld samples, which the table counts; no "
                  "file was written; run it again, or with fewer --samples",
                  line.label, (long long)done, (long long)all);
    data_needle_clear(&sample);
    free(result.answer);
    return status;
}

static kern_status ask_run(launch_niah_report *report, launch_niah_samples *samples,
                           const launch_trained *run, char *label, bool inner) {
    kern_status status = KERN_OK;
    infer_session *session = NULL;
    launch_niah_column *column = &report->column[report->columns++];
    int64_t cells = launch_niah_groups(samples) * (report->plan->depths + 1);
    *column = (launch_niah_column){.label = label, .step = run->step, .inner = inner};
    column->scores = kern_array(cells, sizeof *column->scores);
    TRY(make_session(&session, run, inner, samples));
    infer_needle_model model = {.session = session,
                                .vocabulary = run->conf->model.vocab,
                                .asked_to_stop = launch_asked_to_stop,
                                .last = -1};
    infer_answerer answerer = infer_needle_answerer(&model);
    TRY(ask_all(report, samples, &answerer));
done:
    infer_session_destroy(session);
    return status;
}

/* Each run with its inner steps, then without; one without an inner loop as it is. */
static kern_status ask_runs(launch_niah_report *report, launch_niah_samples *samples,
                            launch_trained *runs, char *const *words, int64_t count,
                            const choices *chosen) {
    kern_status status = KERN_OK;
    train_signals signals;
    omp_set_num_threads(train_threads(runs[0].conf));
    train_signals_install_saying(&signals, "\nttt: stopping");
    for (int64_t i = 0; i < count; i++) {
        bool inner = has_inner(&runs[i]);
        infer_readers readers = {.plain = true, .stepping = inner && !chosen->off};
        TRY(launch_trained_load(&runs[i], readers));
        for (int off = inner && chosen->off; off <= inner; off++)
            TRY(ask_run(report, samples, &runs[i], name_column(runs, count, i, words[i], off),
                        inner && !off));
        launch_trained_unload(&runs[i]);
    }
done:
    train_signals_restore(&signals);
    return status;
}

/* Whether what is asked for can be written. */
static kern_status check_places(const choices *chosen, char *const *words, int64_t count) {
    launch_outputs outputs = {0};
    for (int64_t i = 0; i < count; i++) launch_outputs_read_run(&outputs, words[i]);
    launch_outputs_read(&outputs, chosen->text);
    for (int64_t i = 0; i < chosen->ruler.count; i++)
        launch_outputs_read(&outputs, chosen->ruler.item[i]);
    launch_outputs_write(&outputs, LAUNCH_NIAH_CSV, chosen->csv);
    launch_outputs_write(&outputs, LAUNCH_PICTURE, chosen->png);
    launch_outputs_write(&outputs, LAUNCH_SAMPLES, chosen->write);
    kern_status status = launch_outputs_check(&outputs, chosen->force);
    launch_outputs_clear(&outputs);
    return status == KERN_OK && chosen->png ? launch_gnuplot_check("pngcairo") : status;
}

/* The numbers are shown before files are written: a disk that is full loses none of them. */
static kern_status present(const launch_niah_report *report, const choices *chosen) {
    kern_status status = KERN_OK;
    launch_niah_print(report);
    if (chosen->json) TRY(launch_print_json(launch_niah_json(report)));
    fflush(stdout);
    if (launch_ranks_rank()) goto done; /* the first one writes */
    if (chosen->csv) TRY(launch_niah_write_csv(report, chosen->csv));
    if (chosen->png) TRY(launch_niah_draw(report, chosen->png));
done:
    return status;
}

/* Asks, or writes what would be asked. */
static kern_status ask_or_write(launch_niah_samples *samples, const launch_niah_plan *plan,
                                const infer_needle_spec *spec, launch_trained *runs,
                                char *const *words, int64_t count, const choices *chosen) {
    kern_status status = KERN_OK;
    if (chosen->write)
        return launch_ranks_rank() ? KERN_OK : launch_niah_write(samples, chosen->write);
    launch_niah_report report = {.samples = samples, .plan = plan, .spec = spec};
    report.column = kern_array(count * 2, sizeof *report.column);
    status = ask_runs(&report, samples, runs, words, count, chosen);
    if (status == KERN_ERR_INTERRUPTED) launch_niah_print(&report);
    if (status != KERN_OK) goto done;
    TRY(present(&report, chosen));
done:
    for (int64_t c = 0; c < report.columns; c++) {
        free(report.column[c].label);
        free(report.column[c].scores);
    }
    free(report.column);
    return status;
}

/* Fewer samples than depths are spread over all of the text. */
static int64_t most_depths(const choices *chosen) {
    bool few = !chosen->ruler.count && chosen->samples < chosen->depths;
    return few ? chosen->samples : chosen->depths;
}

/* The numbers of the command line: tasks, lengths, depths. free(*tasks), free(*lengths). */
static kern_status make_plan(launch_niah_plan *plan, int64_t **tasks, int64_t **lengths,
                             const choices *chosen, const launch_trained *run) {
    enum { LONGEST = 1 << 30 };
    kern_status status = KERN_OK;
    const char *task_list = chosen->tasks ? chosen->tasks : chosen->text ? "1,2,3" : "1";
    char *context = train_text("%lld", (long long)run->conf->train.context);
    *plan = (launch_niah_plan){.text = chosen->text,
                               .samples = chosen->samples,
                               .depths = most_depths(chosen),
                               .seed = chosen->seed};
    TRY(parse_list(tasks, &plan->task_count, "tasks", task_list, DATA_NEEDLE_TASKS));
    TRY(parse_list(lengths, &plan->length_count, "lengths",
                   chosen->lengths ? chosen->lengths : context, LONGEST));
    plan->tasks = *tasks;
    plan->lengths = *lengths;
    if (chosen->depths < 1 || chosen->samples < 1 || chosen->answer_tokens < 1)
        TRY(kern_fail(KERN_ERR_USAGE,
                      "--depths, --samples and --answer-tokens are numbers from 1 on"));
    if (chosen->ruler.count && (chosen->text || chosen->tasks || chosen->lengths || chosen->write))
        TRY(kern_fail(KERN_ERR_USAGE,
                      "RULER's files say themselves what is asked; leave out --text, "
                      "--tasks, --lengths and --write, or --ruler"));
done:
    free(context);
    return status;
}

static kern_status run_all(const choices *chosen, char *const *words, int64_t count) {
    kern_status status = KERN_OK;
    launch_niah_plan plan;
    launch_niah_samples *samples = NULL;
    infer_needle_spec spec = {.answer_tokens = chosen->answer_tokens};
    int64_t *tasks = NULL, *lengths = NULL;
    launch_trained *runs = kern_array(count, sizeof *runs);
    TRY(check_places(chosen, words, count));
    for (int64_t i = 0; i < count; i++)
        TRY(launch_trained_open(&runs[i], words[i], chosen->device, 0));
    TRY(check_vocabularies(runs, count));
    TRY(make_plan(&plan, &tasks, &lengths, chosen, &runs[0]));
    spec.vocabulary = runs[0].vocabulary;
    spec.begin = runs[0].conf->model.bos >= 0;
    TRY(data_encoder_create(&spec.encoder, spec.vocabulary));
    TRY(launch_niah_samples_create(&samples, &plan, chosen->ruler.item, chosen->ruler.count,
                                   &spec));
    TRY(ask_or_write(samples, &plan, &spec, runs, words, count, chosen));
done:
    launch_niah_samples_destroy(samples);
    data_encoder_destroy(spec.encoder);
    for (int64_t i = 0; i < count; i++) launch_trained_close(&runs[i]);
    free(runs);
    free(tasks);
    free(lengths);
    return status;
}

int launch_niah(int argc, char **argv) {
    choices chosen = {.device = "cpu", .depths = 40, .samples = 40, .answer_tokens = 128};
    const launch_option options[] = {
        {"text", LAUNCH_TEXT, &chosen.text, "FILE", "required for tasks 2 and 3: their text"},
        {"lengths", LAUNCH_TEXT, &chosen.lengths, "N,...",
         "tokens of a sample; the first run's context"},
        {"tasks", LAUNCH_TEXT, &chosen.tasks, "N,...", "1, 2, 3; all that have a text"},
        {"depths", LAUNCH_COUNT, &chosen.depths, "N", "places of the needle: rows of the map (40)"},
        {"samples", LAUNCH_COUNT, &chosen.samples, "N", "of each task and length (40)"},
        {"answer-tokens", LAUNCH_COUNT, &chosen.answer_tokens, "N",
         "room for the answer, inside the length (128)"},
        {"seed", LAUNCH_SEED, &chosen.seed, "N", "of keys, values and places in the text (0)"},
        {"ruler", LAUNCH_TEXTS, &chosen.ruler, "FILE",
         "ask a jsonl file of RULER's instead; several times"},
        {"write", LAUNCH_TEXT, &chosen.write, "FILE",
         "write the samples as such a file, and ask nothing"},
        {"off", LAUNCH_FLAG, &chosen.off, NULL, "with inner steps off only"},
        {"csv", LAUNCH_TEXT, &chosen.csv, "FILE", "write accuracy by length and depth"},
        {"png", LAUNCH_TEXT, &chosen.png, "FILE", "draw it as heat maps (needs gnuplot)"},
        LAUNCH_FORCE(&chosen.force),
        LAUNCH_DEVICE(&chosen.device),
        LAUNCH_JSON(&chosen.json),
        {0},
    };
    const launch_syntax syntax = {"niah", "RUN...", about_niah, options, 1, -1};
    int code = launch_parse(&syntax, &argc, argv);
    if (code < 0) code = launch_report("niah", run_all(&chosen, argv + 1, argc - 1));
    free(chosen.ruler.item);
    return code;
}
