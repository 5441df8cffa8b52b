/* ttt eval --text: log-probabilities of whole texts, as JSON lines. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <omp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/utf8.h"
#include "infer/session.h"
#include "launch/eval.h"
#include "launch/progress_line.h"
#include "launch/report.h"
#include "train/fit.h"
#include "train/signals.h"

enum { BLOCK = 1 << 16, PATIENCE_MS = 200 };

/* What all texts of a call have in common. */
typedef struct {
    const launch_eval_choices *chosen;
    const launch_trained *run;
    infer_session *session;
    int64_t stride;
    double *nll; /* [stride] */
} reader;

/* One text as it is read. */
typedef struct {
    const char *path; /* as the user wrote it */
    int descriptor;
    int64_t size; /* bytes, 0: unknown */
    int64_t tokens, bytes;
    double logprob; /* of these tokens */
    launch_progress_line line;
} text_input;

static kern_status open_text(text_input *text, const char *path) {
    struct stat info;
    bool standard = !strcmp(path, "-");
    *text = (text_input){.path = path, .descriptor = STDIN_FILENO};
    if (!standard) text->descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (text->descriptor < 0 || fstat(text->descriptor, &info))
        return kern_fail(KERN_ERR_FILE, "cannot open %s: %s", path, strerror(errno));
    if (S_ISREG(info.st_mode)) text->size = info.st_size;
    text->line = (launch_progress_line){
        .label = standard ? "standard input" : path, .unit = "bytes", .began = kern_seconds()};
    return KERN_OK;
}

static void close_text(const text_input *text) {
    if (text->descriptor > STDIN_FILENO) close(text->descriptor);
}

static kern_status interrupted(const text_input *text) {
    launch_progress_clear(&text->line);
    return kern_fail(KERN_ERR_INTERRUPTED, "stopped after %lld tokens of %s",
                     (long long)text->tokens, text->line.label);
}

/* The next bytes of the text; 0 at its end. Waits in a way that a signal ends. */
static kern_status read_some(int64_t *got, const text_input *text, char *to, int64_t bytes) {
    struct pollfd wait = {.fd = text->descriptor, .events = POLLIN};
    *got = 0;
    while (poll(&wait, 1, PATIENCE_MS) <= 0)
        if (train_signals_received()) return interrupted(text);
    ssize_t count = read(text->descriptor, to, (size_t)bytes);
    if (count < 0)
        return kern_fail(KERN_ERR_FILE, "cannot read %s: %s", text->line.label, strerror(errno));
    *got = count;
    return KERN_OK;
}

/* Bytes as the text that they are, or where they are not UTF-8 in hexadecimal under another key. */
static void add_bytes(json_t *line, const char *key, const char *other_key, const char *bytes,
                      int64_t count) {
    if (data_utf8_prefix(bytes, count) == count) {
        json_object_set_new(line, key, json_stringn(bytes, (size_t)count));
        return;
    }
    char *digits = malloc((size_t)(2 * count + 1));
    ASSERT(digits);
    for (int64_t i = 0; i < count; i++)
        snprintf(digits + 2 * i, 3, "%02x", (unsigned)(unsigned char)bytes[i]);
    json_object_set_new(line, other_key, json_string(digits));
    free(digits);
}

static void add_file(json_t *line, const text_input *text) {
    add_bytes(line, "file", "file_bytes", text->path, (int64_t)strlen(text->path));
}

/* A JSON line of one token. `nll` NAN: nothing predicted it. */
static kern_status print_token(const reader *r, const text_input *text, int64_t position,
                               int32_t token, double nll) {
    const char *bytes;
    int64_t count = r->run->vocabulary->decode(&bytes, r->run->vocabulary, token);
    json_t *line = json_object();
    if (r->chosen->text.count > 1) add_file(line, text);
    json_object_set_new(line, "position", json_integer(position));
    json_object_set_new(line, "token", json_integer(token));
    add_bytes(line, "text", "bytes", bytes, count);
    json_object_set_new(line, "logprob", isnan(nll) ? json_null() : json_real(-nll));
    return launch_print_json(line);
}

/* Reads at most a stride of tokens. */
static kern_status take(reader *r, text_input *text, const int32_t *token, int64_t count) {
    kern_status status = KERN_OK;
    int64_t position = infer_session_position(r->session);
    if (train_signals_received()) return interrupted(text);
    TRY(infer_session_read(r->session, token, count, r->nll));
    for (int64_t i = 0; i < count; i++) {
        const char *bytes;
        bool predicted = position + i > 0;
        if (predicted && !isfinite(r->nll[i]))
            TRY(kern_fail(KERN_ERR_NUMERIC,
                          "the loss of token %lld of %s is not finite; a smaller inner.lr or "
                          "inner.clip may help, if the weights are sound",
                          (long long)(position + i), text->line.label));
        double nll = predicted ? r->nll[i] : (double)NAN;
        if (!r->chosen->sum) TRY(print_token(r, text, position + i, token[i], nll));
        if (!predicted) continue;
        text->tokens++;
        text->bytes += r->run->vocabulary->decode(&bytes, r->run->vocabulary, token[i]);
        text->logprob -= nll;
    }
    if (fflush(stdout))
        TRY(kern_fail(KERN_ERR_FILE, "the output could not be written: %s", strerror(errno)));
    if (text->bytes) launch_progress_show(&text->line, text->bytes, text->size);
done:
    return status;
}

/* Tokens as the bytes come; what further bytes could change waits. */
static kern_status read_text(reader *r, text_input *text) {
    kern_status status = KERN_OK;
    data_encoder *encoder = NULL;
    data_tokens tokens = {0};
    char *bytes = NULL;
    int64_t capacity = 0, held = 0, got = 1, consumed;
    TRY(data_encoder_create(&encoder, r->run->vocabulary));
    while (got > 0) {
        bytes = kern_grow(bytes, &capacity, held + BLOCK, 1);
        TRY(read_some(&got, text, bytes + held, BLOCK));
        held += got;
        tokens.count = 0;
        TRY(data_encode(&tokens, &consumed, encoder, bytes, held, got == 0, false));
        held -= consumed;
        memmove(bytes, bytes + consumed, (size_t)held);
        for (int64_t i = 0; i < tokens.count; i += r->stride) {
            int64_t left = tokens.count - i;
            TRY(take(r, text, tokens.ids + i, left < r->stride ? left : r->stride));
        }
    }
done:
    data_encoder_destroy(encoder);
    free(tokens.ids);
    free(bytes);
    return status;
}

static kern_status print_sum(const text_input *text) {
    json_t *line = json_object();
    add_file(line, text);
    json_object_set_new(line, "tokens", json_integer(text->tokens));
    json_object_set_new(line, "bytes", json_integer(text->bytes));
    json_object_set_new(line, "logprob", json_real(text->logprob));
    double tokens = (double)text->tokens, bits = (double)text->bytes * log(2);
    json_object_set_new(line, "nats_per_token",
                        tokens > 0 ? json_real(-text->logprob / tokens) : json_null());
    json_object_set_new(line, "bits_per_byte",
                        bits > 0 ? json_real(-text->logprob / bits) : json_null());
    return launch_print_json(line);
}

static kern_status score(reader *r, const char *path) {
    kern_status status = KERN_OK;
    text_input text;
    int32_t bos = r->run->vocabulary->bos;
    TRY(open_text(&text, path));
    infer_session_reset(r->session);
    if (r->run->conf->model.bos >= 0) TRY(infer_session_read(r->session, &bos, 1, r->nll));
    TRY(read_text(r, &text));
    launch_progress_clear(&text.line);
    if (r->chosen->sum) TRY(print_sum(&text));
done:
    close_text(&text);
    return status;
}

/* Positions that a session must have room for where a block attends to everything: --context, or
 * what the longest text may have (a token has a byte at least), or the training context. Finds
 * texts that cannot be opened before work begins. */
static kern_status find_limit(int64_t *limit, const launch_eval_choices *chosen,
                              const launch_trained *run) {
    kern_status status = KERN_OK;
    int64_t *lengths = NULL, count;
    TRY(launch_eval_lengths(&lengths, &count, chosen->context));
    if (count > 1)
        TRY(kern_fail(KERN_ERR_USAGE, "--context of a text is one number, not %s",
                      chosen->context));
    *limit = run->conf->train.context;
    for (int64_t i = 0; i < chosen->text.count; i++) {
        text_input text;
        status = open_text(&text, chosen->text.item[i]);
        close_text(&text);
        if (status != KERN_OK) goto done;
        if (text.size + 1 > *limit) *limit = text.size + 1;
    }
    if (count) *limit = lengths[0];
done:
    free(lengths);
    return status;
}

static kern_status create_session(reader *r, int64_t limit) {
    kern_status status = KERN_OK;
    int threads = train_threads(r->run->conf);
    infer_session_spec spec = {.conf = r->run->conf,
                               .inner = launch_eval_has_inner(r->run) && !r->chosen->off,
                               .limit = limit,
                               .threads = threads};
    omp_set_num_threads(threads);
    TRY(infer_session_create(&r->session, &spec));
    infer_session_set_parameters(r->session, r->run->parameters);
    r->stride = infer_session_stride(r->session);
    TRY(kern_alloc((void **)&r->nll, (size_t)r->stride * sizeof *r->nll, "losses by token"));
done:
    return status;
}

kern_status launch_eval_texts(const launch_eval_choices *chosen, const char *word) {
    kern_status status = KERN_OK;
    launch_trained run = {0};
    reader r = {.chosen = chosen, .run = &run};
    int64_t limit;
    bool begun = false;
    TRY(launch_trained_open(&run, word, 0));
    TRY(find_limit(&limit, chosen, &run));
    TRY(launch_trained_load(&run));
    TRY(create_session(&r, limit));
    launch_eval_signals_begin();
    begun = true;
    for (int64_t i = 0; i < chosen->text.count; i++) TRY(score(&r, chosen->text.item[i]));
done:
    if (begun) launch_eval_signals_end();
    infer_session_destroy(r.session);
    kern_free(r.nll);
    launch_trained_close(&run);
    return status;
}
