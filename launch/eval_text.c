/* ttt eval --text: log-probabilities of whole texts, as JSON lines. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/utf8.h"
#include "launch/eval.h"
#include "launch/prompt.h"
#include "launch/report.h"
#include "train/fit.h"

/* One text as it is read. */
typedef struct {
    const launch_eval_choices *chosen;
    const launch_trained *run;
    infer_session *session;
    const char *path, *name; /* as the user wrote it; and in messages */
    int64_t position;        /* tokens read */
    int64_t tokens, bytes;   /* that were predicted */
    double logprob;          /* of these */
} text_input;

/* Bytes as the text that they are, or where they are not UTF-8 in hexadecimal under another key. */
static void add_bytes(json_t *line, const char *key, const char *other_key, const char *bytes,
                      int64_t count) {
    if (data_utf8_prefix(bytes, count) == count) {
        launch_json_set(line, key, json_stringn(bytes, (size_t)count));
        return;
    }
    char *digits = kern_array(2 * count + 1, 1);
    for (int64_t i = 0; i < count; i++)
        snprintf(digits + 2 * i, 3, "%02x", (unsigned)(unsigned char)bytes[i]);
    launch_json_set(line, other_key, json_string(digits));
    free(digits);
}

static void add_file(json_t *line, const text_input *text) {
    add_bytes(line, "file", "file_bytes", text->path, (int64_t)strlen(text->path));
}

/* A JSON line of one token. `nll` NAN: nothing predicted it. */
static kern_status print_token(const text_input *text, int32_t token, double nll) {
    const char *bytes;
    int64_t count = text->run->vocabulary->decode(&bytes, text->run->vocabulary, token);
    json_t *line = json_object();
    if (text->chosen->text.count > 1) add_file(line, text);
    launch_json_set(line, "position", json_integer(text->position));
    launch_json_set(line, "token", json_integer(token));
    add_bytes(line, "text", "bytes", bytes, count);
    launch_json_set(line, "logprob", launch_json_number(-nll));
    return launch_print_json(line);
}

/* Tokens that were read, with their losses; the first of a text, which begins it, is no news. */
static kern_status take(void *context, const int32_t *token, const double *nll, int64_t count) {
    kern_status status = KERN_OK;
    text_input *text = context;
    bool begins = text->run->conf->model.bos >= 0;
    for (int64_t i = 0; i < count; i++, text->position++) {
        const char *bytes;
        bool predicted = text->position > 0;
        if (predicted && !isfinite(nll[i]))
            TRY(kern_fail(KERN_ERR_NUMERIC,
                          "the loss of token %lld of %s is not finite; a smaller inner.lr or "
                          "inner.clip may help, if the weights are sound",
                          (long long)text->position, text->name));
        if (!text->chosen->sum && (predicted || !begins))
            TRY(print_token(text, token[i], predicted ? nll[i] : (double)NAN));
        if (!predicted) continue;
        text->tokens++;
        text->bytes += text->run->vocabulary->decode(&bytes, text->run->vocabulary, token[i]);
        text->logprob -= nll[i];
    }
    if (fflush(stdout))
        TRY(kern_fail(KERN_ERR_FILE, "the output could not be written: %s", strerror(errno)));
done:
    return status;
}

static kern_status print_sum(const text_input *text) {
    json_t *line = json_object();
    add_file(line, text);
    launch_json_set(line, "tokens", json_integer(text->tokens));
    launch_json_set(line, "bytes", json_integer(text->bytes));
    launch_json_set(line, "logprob", launch_json_number(text->logprob));
    double tokens = (double)text->tokens, bits = (double)text->bytes * log(2);
    launch_json_set(line, "nats_per_token",
                    tokens > 0 ? launch_json_number(-text->logprob / tokens) : json_null());
    launch_json_set(line, "bits_per_byte",
                    bits > 0 ? launch_json_number(-text->logprob / bits) : json_null());
    return launch_print_json(line);
}

static kern_status score(text_input *text) {
    kern_status status = KERN_OK;
    launch_prompt prompt = {.session = text->session,
                            .vocabulary = text->run->vocabulary,
                            .losses = true,
                            .read = take,
                            .context = text};
    infer_session_reset(text->session);
    TRY(launch_prompt_file(&prompt, text->path));
    if (text->chosen->sum) TRY(print_sum(text));
done:
    if (status == KERN_ERR_INTERRUPTED)
        return kern_fail(status, "stopped after %lld tokens of %s", (long long)text->tokens,
                         text->name);
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
        int64_t bytes;
        TRY(launch_prompt_size(&bytes, chosen->text.item[i]));
        if (bytes + 1 > *limit) *limit = bytes + 1;
    }
    if (count) *limit = lengths[0];
done:
    free(lengths);
    return status;
}

kern_status launch_eval_texts(const launch_eval_choices *chosen, const char *word) {
    kern_status status = KERN_OK;
    launch_trained run = {0};
    infer_session *session = NULL;
    infer_session_spec spec = {.limit = 0};
    bool begun = false;
    TRY(launch_trained_open(&run, word, chosen->device, 0));
    TRY(find_limit(&spec.limit, chosen, &run));
    spec.conf = run.conf;
    spec.device = run.device;
    spec.tensor = run.ranks->tensor;
    spec.inner = launch_eval_has_inner(&run) && !chosen->off;
    spec.memory = train_rank_limit(run.conf, run.device, run.ranks);
    spec.threads = train_threads(run.conf);
    omp_set_num_threads(spec.threads);
    TRY(infer_session_create(&session, &spec));
    TRY(launch_trained_load(&run, (infer_readers){.plain = !spec.inner, .stepping = spec.inner}));
    infer_session_set_values(session, run.values);
    launch_eval_signals_begin();
    begun = true;
    for (int64_t i = 0; i < chosen->text.count; i++) {
        const char *path = chosen->text.item[i];
        text_input text = {.chosen = chosen,
                           .run = &run,
                           .session = session,
                           .path = path,
                           .name = strcmp(path, "-") ? path : "standard input"};
        TRY(score(&text));
    }
done:
    if (begun) launch_eval_signals_end();
    infer_session_destroy(session);
    launch_trained_close(&run);
    return status;
}
