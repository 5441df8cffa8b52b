/* ttt eval --decode: what a run writes behind the beginnings of held-out texts, scored by another.
 */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "infer/evaluate.h"
#include "infer/sample.h"
#include "infer/session.h"
#include "launch/eval.h"
#include "launch/eval_saved.h"
#include "launch/outputs.h"
#include "launch/progress_line.h"
#include "launch/ranks.h"
#include "launch/report.h"
#include "train/dataset.h"
#include "train/files.h"
#include "train/fit.h"
#include "train/signals.h"

enum { SAMPLES = 4, SAMPLE_BYTES = 2000, MOST_RECENT = 1 << 16 };
static const float NEVER = -1e30f; /* the score of what is not to be written */

/* A run that reads token by token. */
typedef struct {
    launch_trained run;
    infer_session *session;
} reader;

typedef struct {
    const launch_eval_choices *chosen;
    reader writer, judge;
    data_source *source;
    data_window *window;
    int64_t windows, prompt, length; /* tokens: of a prompt, and with what is written behind it */
    int32_t *tokens;                 /* [length] */
    double *nll;                     /* [length] the judge's */
    float *scores;                   /* [vocabulary] */
    infer_losses losses;
    json_t *samples;
} decoding;

/* ---- opening ---- */

static kern_status open_session(reader *of, int64_t length) {
    kern_status status = KERN_OK;
    const ttt_conf *conf = of->run.conf;
    infer_session_spec spec = {.conf = conf,
                               .inner = launch_eval_has_inner(&of->run),
                               .limit = length + 1,
                               .device = of->run.device,
                               .tensor = of->run.ranks->tensor,
                               .memory = train_rank_limit(conf, of->run.device, of->run.ranks),
                               .threads = train_threads(conf)};
    omp_set_num_threads(spec.threads);
    TRY(infer_session_create(&of->session, &spec));
    TRY(launch_trained_load(&of->run,
                            (infer_readers){.plain = !spec.inner, .stepping = spec.inner}));
    infer_session_set_values(of->session, of->run.values);
done:
    return status;
}

static kern_status check_judge(const decoding *d) {
    const launch_trained *a = &d->writer.run, *b = &d->judge.run;
    if (!strcmp(a->vocabulary->hash, b->vocabulary->hash)) return KERN_OK;
    return kern_fail(KERN_ERR_USAGE,
                     "%s reads %s (%s), %s reads %s (%s): a judge needs the vocabulary of what it "
                     "scores",
                     a->label, a->vocabulary->name, a->vocabulary->hash, b->label,
                     b->vocabulary->name, b->vocabulary->hash);
}

/* Whether --save can write, before hours of writing texts. */
static kern_status check_place(const decoding *d) {
    kern_status status = KERN_OK;
    launch_outputs outputs = {0};
    char *folder = train_text("%s/eval", d->writer.run.dir);
    char *path = train_text("%s/decoding.json", folder);
    if (d->writer.run.alone)
        TRY(kern_fail(KERN_ERR_USAGE,
                      "--save writes into a run, and %s is a checkpoint that lies "
                      "in none",
                      d->writer.run.dir));
    TRY(train_make_directory(folder));
    launch_outputs_write(&outputs, LAUNCH_MEASURE, path);
    TRY(launch_outputs_check(&outputs, d->chosen->force));
done:
    launch_outputs_clear(&outputs);
    free(folder);
    free(path);
    return status;
}

static kern_status open_source(decoding *d) {
    kern_status status = KERN_OK;
    const launch_trained *run = &d->writer.run;
    const char *paths = d->chosen->data ? d->chosen->data : run->conf->data.test;
    if (!*paths)
        TRY(kern_fail(KERN_ERR_USAGE,
                      "which texts? data.test of %s is empty; name shards: --data test.h5",
                      run->dir));
    TRY(train_dataset_open(&d->source, run->conf, d->chosen->data ? "--data" : "data.test", paths,
                           d->prompt, false));
    TRY(data_source_windows(&d->window, &d->windows, d->source, d->chosen->windows));
done:
    return status;
}

static kern_status allocate(decoding *d) {
    kern_status status = KERN_OK;
    d->tokens = kern_array(d->length + 1, sizeof *d->tokens);
    d->nll = kern_array(d->length, sizeof *d->nll);
    d->scores = kern_array(d->writer.run.conf->model.vocab, sizeof *d->scores);
    d->samples = json_array();
    d->losses.windows = d->windows;
    d->losses.bins = infer_bins_create(d->length, d->prompt);
    /* none holds what was read and what was written */
    infer_bins_split(&d->losses.bins, d->prompt);
    int64_t columns = d->losses.bins.count + 2;
    TRY(kern_alloc((void **)&d->losses.document, (size_t)d->windows * sizeof *d->losses.document,
                   "documents"));
    TRY(kern_alloc((void **)&d->losses.loss,
                   (size_t)(d->windows * columns) * sizeof *d->losses.loss, "losses"));
done:
    return status;
}

/* ---- a text ---- */

/* The next token, never one that ends a text: all texts are to be as long. */
static kern_status choose(int32_t *token, decoding *d, infer_sampler *sampler, int64_t vocabulary) {
    const launch_trained *run = &d->writer.run;
    memcpy(d->scores, infer_session_logits(d->writer.session),
           (size_t)vocabulary * sizeof *d->scores);
    for (int64_t i = 0; i < run->vocabulary->special_count; i++)
        if (run->vocabulary->specials[i].id < vocabulary)
            d->scores[run->vocabulary->specials[i].id] = NEVER;
    if (run->vocabulary->bos >= 0 && run->vocabulary->bos < vocabulary)
        d->scores[run->vocabulary->bos] = NEVER;
    *token = infer_sampler_choose(sampler, d->scores);
    if (*token >= 0) return KERN_OK;
    return kern_fail(KERN_ERR_NUMERIC, "the scores of token %lld are not finite",
                     (long long)infer_session_position(d->writer.session));
}

/* Reads the prompt of a window, and writes on. */
static kern_status write_on(decoding *d, int64_t w) {
    kern_status status = KERN_OK;
    infer_sampler *sampler = NULL;
    infer_sampling sampling = d->chosen->sampling;
    int64_t vocabulary = kern_min(d->writer.run.vocabulary->size, d->writer.run.conf->model.vocab);
    sampling.seed += (uint64_t)w;
    sampling.repetition_window = kern_min(d->length, MOST_RECENT);
    TRY(infer_sampler_create(&sampler, &sampling, vocabulary));
    infer_session_reset(d->writer.session);
    TRY(data_source_read_document(d->tokens, d->source, d->window[w].document, d->window[w].begin,
                                  d->prompt + 1));
    TRY(infer_session_read(d->writer.session, d->tokens, d->prompt, NULL));
    for (int64_t t = 0; t < d->prompt; t++) infer_sampler_seen(sampler, d->tokens[t]);
    for (int64_t t = d->prompt; t < d->length; t++) {
        TRY(choose(&d->tokens[t], d, sampler, vocabulary));
        infer_sampler_seen(sampler, d->tokens[t]);
        if (t + 1 < d->length) TRY(infer_session_read(d->writer.session, &d->tokens[t], 1, NULL));
        if (train_signals_received()) TRY(kern_fail(KERN_ERR_INTERRUPTED, "stopped"));
    }
done:
    infer_sampler_destroy(sampler);
    return status;
}

/* The mean of the judge's losses from position `from` on to before `to`. */
static double mean_nll(const decoding *d, int64_t from, int64_t to) {
    double sum = 0;
    int64_t count = 0;
    for (int64_t t = from; t < to; t++)
        if (!isnan(d->nll[t])) sum += d->nll[t], count++;
    return count ? sum / (double)count : NAN;
}

static kern_status score(decoding *d, int64_t w) {
    kern_status status = KERN_OK;
    const infer_bins *bins = &d->losses.bins;
    double *row = d->losses.loss + w * (bins->count + 2);
    infer_session_reset(d->judge.session);
    TRY(infer_session_read(d->judge.session, d->tokens, d->length, d->nll));
    for (int bin = 0; bin < bins->count; bin++)
        row[bin] = mean_nll(d, bins->edge[bin], bins->edge[bin + 1]);
    row[bins->count] = mean_nll(d, 0, d->prompt);             /* INFER_ALL: what was read */
    row[bins->count + 1] = mean_nll(d, d->prompt, d->length); /* INFER_TAIL: what was written */
    d->losses.document[w] = d->window[w].document;
done:
    return status;
}

/* The end of the prompt and what was written, as text. */
static void keep_sample(decoding *d, int64_t w) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&text, &bytes);
    ASSERT(to);
    for (int64_t t = kern_max(0, d->prompt - 100); t < d->length && ftell(to) < SAMPLE_BYTES; t++) {
        const char *piece;
        if (t == d->prompt) fputs(" || ", to);
        int64_t count =
            d->writer.run.vocabulary->decode(&piece, d->writer.run.vocabulary, d->tokens[t]);
        for (int64_t i = 0; i < count; i++) fputc(piece[i] ? piece[i] : ' ', to);
    }
    ASSERT(!fclose(to));
    const char *name = data_source_document(d->source, d->window[w].document).name;
    launch_json_add(d->samples, launch_json("{s:o,s:o}", "document", launch_json_text(name), "text",
                                            launch_json_text(text)));
    free(text);
}

static kern_status decode_all(decoding *d) {
    kern_status status = KERN_OK;
    launch_progress_line line = {
        .label = d->writer.run.label, .unit = "texts", .began = kern_seconds()};
    for (int64_t w = 0; w < d->windows; w++) {
        TRY(write_on(d, w));
        TRY(score(d, w));
        if (w % kern_max(1, d->windows / SAMPLES) == 0 &&
            w / kern_max(1, d->windows / SAMPLES) < SAMPLES)
            keep_sample(d, w);
        if (!train_signals_received()) launch_progress_show(&line, w + 1, d->windows);
    }
done:
    if (status == KERN_ERR_INTERRUPTED) launch_progress_clear(&line);
    return status;
}

/* ---- results ---- */

static json_t *result_json(const decoding *d) {
    json_t *positions = json_array();
    const infer_bins *bins = &d->losses.bins;
    infer_mean read = infer_losses_mean(&d->losses, INFER_ALL, INFER_ALL);
    infer_mean written = infer_losses_mean(&d->losses, INFER_ALL, INFER_TAIL);
    for (int bin = 0; bin < bins->count; bin++) {
        infer_mean mean = infer_losses_mean(&d->losses, INFER_ALL, bin);
        launch_json_add(positions,
                        launch_json("{s:I,s:I,s:o,s:o,s:I}", "begin", (json_int_t)bins->edge[bin],
                                    "end", (json_int_t)bins->edge[bin + 1], "mean",
                                    launch_json_number(mean.mean), "standard_error",
                                    launch_json_number(mean.standard_error), "windows",
                                    (json_int_t)mean.windows));
    }
    return launch_json(
        "{s:o,s:o,s:I,s:I,s:o,s:o,s:o,s:o,s:o,s:O}", "model", launch_json_text(d->writer.run.label),
        "judge", launch_json_text(d->judge.run.label), "prompt_tokens", (json_int_t)d->prompt,
        "written_tokens", (json_int_t)(d->length - d->prompt), "read_mean",
        launch_json_number(read.mean), "written_mean", launch_json_number(written.mean),
        "written_standard_error", launch_json_number(written.standard_error), "tokenizer",
        launch_json_text(d->writer.run.vocabulary->name), "positions", positions, "samples",
        d->samples);
}

static void print_mean(infer_mean mean) {
    printf(" %9.4f", mean.mean);
    if (isfinite(mean.standard_error)) printf(" \u00b1%.4f", mean.standard_error);
    printf("\n");
}

static void print_result(const decoding *d) {
    const infer_bins *bins = &d->losses.bins;
    printf("nats per token by ");
    launch_print_name(d->judge.run.label, 0);
    printf(" \u00b1 standard error over %lld texts; ", (long long)d->windows);
    launch_print_name(d->writer.run.label, 0);
    printf(" writes from position %lld on\n", (long long)d->prompt);
    for (int bin = 0; bin < bins->count; bin++) {
        printf("%8lld to %-8lld", (long long)bins->edge[bin], (long long)bins->edge[bin + 1] - 1);
        print_mean(infer_losses_mean(&d->losses, INFER_ALL, bin));
    }
    printf("%-20s", "what was read");
    print_mean(infer_losses_mean(&d->losses, INFER_ALL, INFER_ALL));
    printf("%-20s", "what was written");
    print_mean(infer_losses_mean(&d->losses, INFER_ALL, INFER_TAIL));
}

static kern_status present(const decoding *d) {
    kern_status status = KERN_OK;
    json_t *result = result_json(d);
    print_result(d);
    fflush(stdout);
    if (d->chosen->save && !launch_ranks_rank()) /* the first one writes */
        TRY(launch_saved_measure(d->writer.run.dir, "decoding", d->chosen->command,
                                 d->writer.run.step, result));
    if (d->chosen->json) TRY(launch_print_json(json_incref(result)));
done:
    json_decref(result);
    return status;
}

static void close_reader(reader *of) {
    infer_session_destroy(of->session);
    launch_trained_close(&of->run);
}

kern_status launch_eval_decoding(const launch_eval_choices *chosen, const char *word) {
    kern_status status = KERN_OK;
    decoding d = {.chosen = chosen};
    bool begun = false;
    TRY(launch_trained_open(&d.writer.run, word, chosen->device, 0));
    TRY(launch_trained_open(&d.judge.run, chosen->judge, chosen->device, 0));
    TRY(check_judge(&d));
    if (chosen->save) TRY(check_place(&d));
    d.prompt = chosen->prompt_tokens ? chosen->prompt_tokens : d.writer.run.conf->train.context;
    d.length = d.prompt + chosen->decode;
    TRY(open_source(&d));
    TRY(allocate(&d));
    TRY(open_session(&d.writer, d.length));
    TRY(open_session(&d.judge, d.length));
    launch_eval_signals_begin();
    begun = true;
    TRY(decode_all(&d));
    TRY(present(&d));
done:
    if (begun) launch_eval_signals_end();
    close_reader(&d.writer);
    close_reader(&d.judge);
    data_source_destroy(d.source);
    kern_free(d.window);
    kern_free(d.losses.document);
    kern_free(d.losses.loss);
    free(d.tokens);
    free(d.nll);
    free(d.scores);
    json_decref(d.samples);
    return status;
}
