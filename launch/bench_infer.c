/* ttt bench infer: how long reading and writing take by the length of what was read, with inner
 * steps and without or as it is given, and for full attention and a sliding window in its place. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "infer/mixer.h"
#include "infer/model.h"
#include "infer/session.h"
#include "kernels/device_speed.h"
#include "launch/agree.h"
#include "launch/bench.h"
#include "launch/gnuplot.h"
#include "launch/outputs.h"
#include "launch/profile.h"
#include "launch/ranks.h"
#include "launch/report.h"
#include "train/fit.h"

enum { MOST_LENGTHS = 32, MOST_LENGTH = 1000000000, VARIANTS = 5, OVERRIDES = 4, MOST_WORDS = 256 };

/* The ways in which one configuration is read. */
typedef struct {
    const char *label, *override[OVERRIDES];
    bool inner;
    bool (*suits)(const ttt_conf *conf); /* NULL: any */
} variant;

static bool has_inner(const ttt_conf *conf) {
    return conf->inner.mode != CONF_INNER_OFF;
}

/* Whether none of the other rows is what the configuration says. */
static bool is_other(const ttt_conf *conf) {
    int64_t windows = 0, full = 0;
    for (int64_t b = 0; b < conf->model.blocks; b++) {
        windows += conf_block_letter(conf, b) == 's';
        full += conf_block_letter(conf, b) == 'f';
    }
    return !has_inner(conf) && windows < conf->model.blocks && full < conf->model.blocks;
}

#define WINDOW "model.attention=window" /* what a pattern wants */
static const variant variants[VARIANTS] = {
    {"ttt", {NULL}, true, has_inner},
    {"ttt off", {NULL}, false, has_inner},
    {"as given", {NULL}, false, is_other},
    {"swa", {"inner.mode=off", "inner.suffix=0", "model.pattern=s", WINDOW}, false, NULL},
    {"full", {"inner.mode=off", "inner.suffix=0", "model.pattern=f", WINDOW}, false, NULL},
};

/* At one length of text. Seconds. */
typedef struct {
    double read;         /* the text to here, from its beginning */
    double segment;      /* tokens per second since the length before */
    double token;        /* one more token, the median, no step among them if that can be */
    double step;         /* the step at a chunk's end; 0: there are none; NAN: each token has one,
                            and its time is with it */
    double weights, all; /* what the token would take if its weights, or these and the keys and
                            values in reach, were read at the bandwidth */
} point;

typedef struct {
    const launch_bench_infer *given;
    const kern_ranks *ranks; /* all of which read together */
    int64_t length[MOST_LENGTHS];
    int lengths, threads;
    int64_t chunk;
    point *point; /* [VARIANTS, lengths] */
    bool there[VARIANTS];
    double bandwidth;                  /* bytes/s */
    double forward_rate, prefill_rate; /* tokens/s with inner steps; 0: none */
    int64_t forward_tokens;
} bench;

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* "1024,2048" */
static kern_status parse_lengths(bench *b, const char *text) {
    for (const char *at = text; *at;) {
        char *end;
        long long length = strtoll(at, &end, 10);
        if (end == at || (*end && *end != ',') || length < 1 || length > MOST_LENGTH ||
            b->lengths == MOST_LENGTHS)
            return kern_fail(KERN_ERR_USAGE,
                             "--contexts is a list of at most %d numbers of tokens, up to %d, such "
                             "as 1024,2048; not '%s'",
                             MOST_LENGTHS, MOST_LENGTH, text);
        b->length[b->lengths++] = length;
        at = *end ? end + 1 : end;
    }
    qsort(b->length, (size_t)b->lengths, sizeof *b->length, ascending);
    return b->lengths ? KERN_OK : kern_fail(KERN_ERR_USAGE, "--contexts is empty");
}

static kern_status load(ttt_conf **conf, const bench *b, const variant *v) {
    const char *words[MOST_WORDS];
    int count = 0;
    if (b->given->words - 1 + OVERRIDES > MOST_WORDS)
        return kern_fail(KERN_ERR_USAGE, "more than %d overrides", MOST_WORDS - OVERRIDES);
    for (int i = 1; i < b->given->words; i++) words[count++] = b->given->word[i];
    for (int i = 0; i < OVERRIDES && v && v->override[i]; i++) words[count++] = v->override[i];
    return infer_load(conf, b->given->word[0], count, words);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *seconds, int64_t count) {
    qsort(seconds, (size_t)count, sizeof *seconds, by_value);
    return seconds[count / 2];
}

/* Reads tokens one at a time: the median of those without a step, which come first in `seconds`,
 * and what more those take that end a chunk. */
static kern_status read_singly(const bench *b, infer_session *session, const ttt_conf *conf,
                               bool inner, const int32_t *token, point *to) {
    kern_status status = KERN_OK;
    int64_t tokens = b->given->tokens, plain = 0, stepped = 0;
    double *seconds = kern_array(tokens, sizeof *seconds);
    for (int64_t i = 0; i < tokens; i++) {
        bool step = inner && infer_session_position(session) % conf->inner.chunk == 0;
        double start = kern_seconds();
        TRY(infer_session_read(session, token + i, 1, NULL));
        seconds[step ? tokens - ++stepped : plain++] = kern_seconds() - start;
    }
    to->token = median(seconds, plain ? plain : tokens);
    if (stepped) to->step = plain ? fmax(median(seconds + plain, stepped) - to->token, 0) : NAN;
done:
    free(seconds);
    return status;
}

/* Up to each length the text is read whole, then token by token across it. */
static kern_status measure(bench *b, int which, const ttt_conf *conf, const infer_values *values,
                           const int32_t *token) {
    kern_status status = KERN_OK;
    infer_session *session = NULL;
    bool inner = variants[which].inner;
    infer_session_spec spec = {.conf = conf,
                               .inner = inner,
                               .limit = b->length[b->lengths - 1] + b->given->tokens,
                               .device = b->given->device,
                               .tensor = b->ranks->tensor,
                               .threads = b->threads};
    double whole = 0;
    int64_t before = 0;
    TRY(infer_session_create(&session, &spec));
    infer_session_set_values(session, values);
    for (int l = 0; l < b->lengths; l++) {
        point *to = &b->point[which * b->lengths + l];
        int64_t half = b->given->tokens / 2, at = infer_session_position(session);
        int64_t count = b->length[l] - half - at;
        if (count < 1)
            TRY(kern_fail(KERN_ERR_USAGE,
                          "contexts lie closer together than --tokens %lld; take fewer tokens",
                          (long long)b->given->tokens));
        double start = kern_seconds();
        TRY(infer_session_read(session, token + at, count, NULL));
        double taken = kern_seconds() - start;
        /* The tokens that were read one by one count as if they had been read with the others. */
        to->segment = (double)count / taken;
        whole += (double)(b->length[l] - before) / to->segment;
        before = b->length[l];
        to->read = whole;
        launch_profile profile;
        bool last = l == b->lengths - 1 && b->given->profile;
        if (last) launch_profile_token(&profile, session);
        TRY(read_singly(b, session, conf, inner, token + at + count, to));
        if (last) launch_profile_print(&profile);
        infer_session_memory memory = infer_session_plan(session);
        to->weights = memory.weights_read / b->bandwidth;
        to->all = (memory.weights_read + memory.history_read) / b->bandwidth;
        fprintf(stderr, "%s: %lld tokens read\n", variants[which].label, (long long)b->length[l]);
    }
    b->there[which] = true;
done:
    infer_session_destroy(session);
    return status;
}

/* What training does with a sequence before it goes back, prefix and suffix with its steps, and a
 * session that reads the same tokens, by turns. */
static kern_status compare_with_training(bench *b, const ttt_conf *conf, const infer_values *values,
                                         const int32_t *token) {
    kern_status status = KERN_OK;
    infer_model *model = NULL;
    infer_session *session = NULL;
    /* No longer than the longest text of the table: this takes six times as long as reading it. */
    int64_t tokens = b->length[b->lengths - 1] / conf->inner.chunk * conf->inner.chunk;
    if (tokens > conf->train.context || tokens == 0) tokens = conf->train.context;
    kern_dtype real = conf->train.precision == CONF_F64 ? KERN_F64 : KERN_F32;
    kern_buffer fast = {0};
    void *loss = NULL, **places = NULL;
    infer_model_spec spec = {.conf = conf,
                             .batch = 1,
                             .tokens = tokens,
                             .inner = true,
                             .device = b->given->device,
                             .tensor = b->ranks->tensor,
                             .threads = b->threads,
                             .values = values};
    infer_session_spec reading = {.conf = conf,
                                  .inner = true,
                                  .limit = tokens + 1,
                                  .device = b->given->device,
                                  .tensor = b->ranks->tensor,
                                  .threads = b->threads};
    TRY(infer_session_create(&session, &reading));
    infer_session_set_values(session, values);
    TRY(infer_model_create(&model, &spec));
    TRY(infer_model_allocate(model));
    TRY(kern_alloc(&loss, (size_t)(3 * tokens) * kern_dtype_bytes(real), "losses"));
    infer_model_parts parts = infer_model_internals(model);
    const infer_parameters *layout = infer_model_parameters(model);
    /* The last chunk's step, too, as a session takes it. */
    TRY(kern_buffer_create(&fast, spec.device, (size_t)layout->elements * kern_dtype_bytes(real),
                           "fast weights"));
    places = kern_array(parts.fast + 1, sizeof *places);
    for (int f = 0; f < parts.fast; f++)
        places[f] = (char *)fast.data +
                    (size_t)layout->item[parts.fast_parameter[f]].offset * kern_dtype_bytes(real);
    char *memory = loss;
    size_t part = (size_t)tokens * kern_dtype_bytes(real);
    for (int repeat = 0; repeat < 3; repeat++) {
        infer_batch batch = {.tokens = token,
                             .rate = conf->inner.lr,
                             .token_nll = memory,
                             .chunk_loss = memory + part,
                             .gradient_norm = memory + 2 * part,
                             .fast = places};
        double start = kern_seconds();
        TRY(infer_model_forward(model, &batch));
        TRY(kern_finish(spec.device->stream));
        b->forward_rate = fmax(b->forward_rate, (double)tokens / (kern_seconds() - start));
        infer_session_reset(session);
        start = kern_seconds();
        TRY(infer_session_read(session, token, tokens + 1, NULL));
        b->prefill_rate = fmax(b->prefill_rate, (double)tokens / (kern_seconds() - start));
    }
    b->forward_tokens = tokens;
done:
    kern_free(loss);
    kern_buffer_destroy(&fast);
    free(places);
    infer_model_destroy(model);
    infer_session_destroy(session);
    return status;
}

static kern_status run_variant(bench *b, int which) {
    kern_status status = KERN_OK;
    ttt_conf *conf = NULL;
    infer_parameters *layout = NULL;
    kern_buffer parameters = {0};
    infer_values *values = NULL;
    int32_t *token = NULL;
    TRY(load(&conf, b, &variants[which]));
    if (variants[which].suits && !variants[which].suits(conf)) goto done;
    TRY(launch_agree(conf));
    TRY(infer_check_ranks(conf, b->ranks->tensor->ranks));
    b->chunk = conf->inner.chunk;
    b->threads = train_threads(conf);
    omp_set_num_threads(b->threads);
    if (b->bandwidth <= 0) TRY(kern_read_speed(&b->bandwidth, b->given->device, b->threads));
    layout = infer_parameters_of_rank(conf, b->ranks->tensor);
    kern_dtype real = conf->train.precision == CONF_F64 ? KERN_F64 : KERN_F32;
    const kern_device *device = b->given->device;
    TRY(kern_buffer_create(&parameters, device, (size_t)layout->elements * kern_dtype_bytes(real),
                           "weights"));
    infer_parameters_init(layout, conf, real, device, parameters.data);
    TRY(infer_values_view(&values, conf, b->ranks->tensor, device, parameters.data));
    int64_t count = b->length[b->lengths - 1] + b->given->tokens + conf->train.context + 1;
    TRY(kern_alloc((void **)&token, (size_t)count * sizeof *token, "tokens"));
    launch_bench_tokens(token, count, conf->model.vocab, conf->model.bos, 1);
    TRY(measure(b, which, conf, values, token));
    if (variants[which].inner) TRY(compare_with_training(b, conf, values, token));
done:
    kern_free(token);
    infer_values_destroy(values);
    kern_buffer_destroy(&parameters);
    infer_parameters_destroy(layout);
    conf_destroy(conf);
    return status;
}

/* With the share of the step that each token of a chunk has. */
static double mean_token(const bench *b, const point *p) {
    return p->token + (p->step > 0 ? p->step / (double)b->chunk : 0);
}

static void print_row(const bench *b, int v, int l) {
    char step[32] = "in token";
    const point *p = &b->point[v * b->lengths + l];
    if (!isnan(p->step)) snprintf(step, sizeof step, "%.2f", 1e3 * p->step);
    printf("%-8s %9lld %10.3f %10.0f %10.3f %10s %10.3f %6.1f %% %6.1f %%\n", variants[v].label,
           (long long)b->length[l], p->read, p->segment, 1e3 * p->token, step,
           1e3 * mean_token(b, p), 100 * p->weights / p->token, 100 * p->all / p->token);
}

static void print_table(const bench *b) {
    char text[32], with[128];
    bool always = false;
    launch_computed_with(with, sizeof with, b->given->device, b->threads);
    printf("%-8s %9s %10s %10s %10s %10s %10s %8s %8s\n", "model", "context", "read s", "tokens/s",
           "token ms", "step ms", "in all ms", "weights", "+ keys");
    for (int v = 0; v < VARIANTS; v++)
        for (int l = 0; l < b->lengths && b->there[v]; l++) {
            print_row(b, v, l);
            if (isnan(b->point[v * b->lengths + l].step)) always = true;
        }
    printf(
        "read s: the text up to there, from its beginning; tokens/s: since the row before.\n"
        "token ms: reading one token (writing reads each token once); step ms: more at a chunk's\n"
        "end; in all: with the step's share. weights: of the time that reading each weight once\n"
        "takes at this machine's bandwidth, %s with %s; + keys: and the keys\n"
        "and values in reach.\n",
        launch_scaled(text, b->bandwidth, "B/s"), with);
    if (always) printf("in token: each token ends a chunk; its time is with its step.\n");
    if (b->forward_rate > 0)
        printf(
            "a text of %lld tokens is read with inner steps at %.0f tokens/s; the same part of a\n"
            "training step reaches %.0f: %.2f times\n",
            (long long)b->forward_tokens, b->prefill_rate, b->forward_rate,
            b->prefill_rate / b->forward_rate);
}

static kern_status print_json(const bench *b) {
    json_t *rows = json_array();
    for (int v = 0; v < VARIANTS; v++)
        for (int l = 0; l < b->lengths && b->there[v]; l++) {
            const point *p = &b->point[v * b->lengths + l];
            launch_json_add(
                rows, launch_json("{s:s,s:I,s:f,s:f,s:f,s:o,s:f,s:f}", "model", variants[v].label,
                                  "context", (json_int_t)b->length[l], "read_seconds", p->read,
                                  "read_tokens_per_second", p->segment, "token_seconds", p->token,
                                  "step_seconds", launch_json_number(p->step), "weights_fraction",
                                  p->weights / p->token, "bandwidth_fraction", p->all / p->token));
        }
    return launch_print_json(launch_json("{s:o,s:f,s:f,s:f}", "rows", rows, "bandwidth",
                                         b->bandwidth, "prefill_tokens_per_second", b->prefill_rate,
                                         "training_forward_tokens_per_second", b->forward_rate));
}

static void plot(FILE *script, const bench *b, const char *title, const char *axis, char block) {
    static const char *const color[VARIANTS] = {"#2166ac", "#7f7f7f", "#762a83", "#1b7837",
                                                "#b2182b"};
    const char *word = "plot";
    fprintf(script, "set title '%s'\nset ylabel '%s'\n", title, axis);
    for (int v = 0; v < VARIANTS; v++) {
        if (!b->there[v]) continue;
        fprintf(script,
                "%s $%c%d using 1:2 with linespoints linewidth 2.5 pointtype 7 pointsize 1.4 "
                "linecolor rgb '%s' title '%s'",
                word, block, v, color[v], variants[v].label);
        word = ", \\\n    ";
    }
    fprintf(script, "\n");
}

static void write_script(FILE *script, const bench *b) {
    for (int v = 0; v < VARIANTS; v++)
        for (int block = 0; block < 2; block++) {
            fprintf(script, "$%c%d << EOD\n", block ? 't' : 'r', v);
            for (int l = 0; l < b->lengths && b->there[v]; l++) {
                const point *p = &b->point[v * b->lengths + l];
                double token = mean_token(b, p);
                fprintf(script, "%lld %.9g\n", (long long)b->length[l],
                        block ? 1e3 * token : p->read);
            }
            fprintf(script, "EOD\n");
        }
    fprintf(script, "set terminal pngcairo size 2000,800 enhanced font 'sans,18' background rgb "
                    "'white'\nset border 3 linewidth 1.5\nset xtics nomirror out\nset ytics "
                    "nomirror out\nset grid linetype 1 linewidth 1 linecolor rgb '#e4e4e4'\nset "
                    "logscale x 2\nset yrange [0:*]\nset key top left reverse Left\nset xlabel "
                    "'tokens read'\nset multiplot layout 1,2\n");
    plot(script, b, "Reading the whole text", "seconds", 'r');
    plot(script, b, "Writing one more token", "milliseconds", 't');
    fprintf(script, "unset multiplot\n");
}

static kern_status draw(const bench *b, const char *path) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *script = open_memstream(&text, &bytes);
    ASSERT(script);
    write_script(script, b);
    ASSERT(!fclose(script));
    kern_status status = launch_gnuplot_draw(path, text);
    free(text);
    return status;
}

static kern_status check_place(const launch_bench_infer *given) {
    launch_outputs outputs = {0};
    launch_outputs_read(&outputs, given->word[0]);
    launch_outputs_write(&outputs, LAUNCH_PICTURE, given->png);
    kern_status status = launch_outputs_check(&outputs, given->force);
    launch_outputs_clear(&outputs);
    return status;
}

kern_status launch_bench_reading(const launch_bench_infer *given) {
    kern_status status = KERN_OK;
    bench b = {.given = given};
    if (given->words < 1)
        TRY(kern_fail(KERN_ERR_USAGE,
                      "bench infer needs a configuration, such as: ttt bench infer bench-small"));
    if (given->tokens < 4) TRY(kern_fail(KERN_ERR_USAGE, "--tokens is at least 4"));
    TRY(parse_lengths(&b, given->contexts));
    TRY(check_place(given));
    if (given->png) TRY(launch_gnuplot_check("pngcairo"));
    TRY(launch_ranks_open(&b.ranks, given->device, launch_ranks_count()));
    b.point = kern_array(VARIANTS * b.lengths, sizeof *b.point);
    for (int v = 0; v < VARIANTS; v++) TRY(run_variant(&b, v));
    print_table(&b);
    if (given->json) TRY(print_json(&b));
    fflush(stdout);
    if (given->png && !launch_ranks_rank()) TRY(draw(&b, given->png));
done:
    launch_ranks_close(b.ranks);
    free(b.point);
    return status;
}
