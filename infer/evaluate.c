#include "infer/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

infer_bins infer_bins_create(int64_t tokens, int64_t chunk) {
    infer_bins bins = {.count = 0};
    int64_t unit = chunk;
    if (chunk < INFER_BIN_TOKENS) unit = (INFER_BIN_TOKENS + chunk - 1) / chunk * chunk;
    while (unit % 2 == 0 && unit / 2 >= INFER_BIN_TOKENS) unit /= 2;
    for (int64_t next = unit; next < tokens;) {
        if (tokens - next < unit) break; /* too few for a bin of their own */
        bins.edge[++bins.count] = next;
        ASSERT(bins.count < INFER_MOST_BINS);
        int64_t octave = unit;
        while (2 * octave <= next) octave *= 2;
        next += octave > unit ? octave / 2 : unit;
    }
    bins.edge[++bins.count] = tokens;
    return bins;
}

void infer_bins_split(infer_bins *bins, int64_t at) {
    int bin = 0;
    ASSERT(at > 0 && at < bins->edge[bins->count] && bins->count < INFER_MOST_BINS);
    while (bins->edge[bin] < at) bin++;
    if (bins->edge[bin] == at) return;
    for (int i = ++bins->count; i > bin; i--) bins->edge[i] = bins->edge[i - 1];
    bins->edge[bin] = at;
}

/* Of a window: one mean per bin, then that of all positions, then that of the last ones. */
enum { COLUMNS = 2 };

static int64_t column_of(const infer_bins *bins, int bin) {
    return bin >= 0 ? bin : bins->count + (bin == INFER_TAIL);
}

infer_bins infer_bins_by_token(int64_t tokens) {
    ASSERT(tokens >= 1 && tokens <= INFER_MOST_BINS);
    infer_bins bins = {.count = (int)tokens};
    for (int bin = 0; bin <= bins.count; bin++) bins.edge[bin] = bin;
    return bins;
}

/* Memory of one evaluation. */
typedef struct {
    const infer_evaluation *given;
    const infer_model_spec *model;
    infer_losses *losses;
    data_window *window;
    int64_t tokens; /* T */
    int32_t *batch; /* [B, T + 1] */
    void *token_nll, *chunk_loss, *gradient_norm;
} evaluation;

static kern_status allocate(evaluation *e) {
    kern_status status = KERN_OK;
    int64_t columns = e->given->bins.count + COLUMNS, B = e->model->batch;
    size_t reals = (size_t)(B * e->tokens) * kern_dtype_bytes(infer_model_real(e->given->model));
    infer_losses *losses = e->losses = calloc(1, sizeof *losses);
    if (!losses) return kern_fail(KERN_ERR_MEMORY, "no memory for losses");
    TRY(data_source_windows(&e->window, &losses->windows, e->given->source,
                            e->given->per_document));
    int64_t shorter = data_source_length(e->given->source) - e->tokens;
    for (int64_t w = 0; w < losses->windows; w++) e->window[w].begin += shorter;
    losses->bins = e->given->bins;
    size_t windows = (size_t)losses->windows;
    /* Zeros, to which the ranks' are added. */
    TRY(kern_alloc_zero((void **)&losses->document, windows * sizeof *losses->document,
                        "documents"));
    TRY(kern_alloc_zero((void **)&losses->loss, windows * (size_t)columns * sizeof *losses->loss,
                        "losses by window"));
    if (e->given->vocabulary)
        TRY(kern_alloc_zero((void **)&losses->bytes,
                            windows * (size_t)columns * sizeof *losses->bytes, "bytes by window"));
    TRY(kern_alloc((void **)&e->batch, (size_t)(B * (e->tokens + 1)) * sizeof *e->batch,
                   "evaluation windows"));
    /* There are at most as many chunks as tokens. */
    TRY(kern_alloc(&e->token_nll, reals, "losses by token"));
    TRY(kern_alloc(&e->chunk_loss, reals, "losses by chunk"));
    TRY(kern_alloc(&e->gradient_norm, reals, "gradient norms"));
done:
    return status;
}

static kern_status not_finite(const evaluation *e, int64_t window, int64_t t) {
    data_window w = e->window[window];
    return kern_fail(KERN_ERR_NUMERIC,
                     "the loss of token %lld of document %s is not finite; a smaller inner.lr or "
                     "inner.clip may help, if the weights are sound",
                     (long long)(w.begin + t + 1),
                     data_source_document(e->given->source, w.document).name);
}

/* Sums over tokens that count. */
typedef struct {
    double nats, bytes;
    int64_t tokens;
} token_sums;

static int64_t bytes_of(const evaluation *e, int32_t token) {
    const char *text;
    return e->given->vocabulary->decode(&text, e->given->vocabulary, token);
}

/* Adds the positions first <= t < end of window `window`, item b of the batch. */
static kern_status add_up(token_sums *sums, const evaluation *e, int64_t window, int64_t b,
                          int64_t first, int64_t end) {
    const int32_t *target = e->batch + b * (e->tokens + 1) + 1;
    kern_dtype real = infer_model_real(e->given->model);
    for (int64_t t = first; t < end; t++) {
        if (target[t] == e->model->conf->model.bos) continue;
        double nll = kern_real_at(e->token_nll, real, b * e->tokens + t);
        if (!isfinite(nll)) return not_finite(e, window, t);
        sums->nats += nll;
        if (e->given->vocabulary) sums->bytes += (double)bytes_of(e, target[t]);
        sums->tokens++;
    }
    return KERN_OK;
}

static void store(infer_losses *losses, int64_t window, int bin, token_sums sums) {
    int64_t at = window * (losses->bins.count + COLUMNS) + column_of(&losses->bins, bin);
    double tokens = sums.tokens ? (double)sums.tokens : (double)NAN;
    losses->loss[at] = sums.nats / tokens;
    if (losses->bytes) losses->bytes[at] = sums.bytes / tokens;
}

/* Window `window` was item b of the batch: its means by bin. */
static kern_status take(evaluation *e, int64_t window, int64_t b) {
    kern_status status = KERN_OK;
    infer_losses *losses = e->losses;
    const infer_bins *bins = &losses->bins;
    token_sums all = {0}, tail = {0};
    losses->document[window] = e->window[window].document;
    for (int bin = 0; bin < bins->count; bin++) {
        token_sums sums = {0};
        TRY(add_up(&sums, e, window, b, bins->edge[bin], bins->edge[bin + 1]));
        store(losses, window, bin, sums);
        all.nats += sums.nats;
        all.bytes += sums.bytes;
        all.tokens += sums.tokens;
    }
    TRY(add_up(&tail, e, window, b, e->tokens - e->given->tail, e->tokens));
    store(losses, window, INFER_ALL, all);
    store(losses, window, INFER_TAIL, tail);
    losses->tokens += all.tokens;
done:
    return status;
}

/* Windows first, first + 1, ...; where fewer than B are left, the last fills the batch. */
static kern_status run_batch(evaluation *e, int64_t first) {
    kern_status status = KERN_OK;
    int64_t B = e->model->batch, last = e->losses->windows - 1;
    for (int64_t b = 0; b < B; b++) {
        int64_t window = first + b < last ? first + b : last;
        TRY(data_source_read_document(e->batch + b * (e->tokens + 1), e->given->source,
                                      e->window[window].document, e->window[window].begin,
                                      e->tokens + 1));
    }
    infer_batch batch = {.tokens = e->batch,
                         .rate = e->given->rate,
                         .token_nll = e->token_nll,
                         .chunk_loss = e->chunk_loss,
                         .gradient_norm = e->gradient_norm};
    TRY(infer_model_forward(e->given->model, &batch));
    TRY(kern_finish(e->model->device->stream));
    for (int64_t b = 0; b < B && first + b <= last; b++) TRY(take(e, first + b, b));
done:
    return status;
}

/* Each window is one rank's. */
static kern_status gather(infer_losses *losses, const kern_comm *data) {
    kern_status status = KERN_OK;
    int64_t values = losses->windows * (losses->bins.count + COLUMNS);
    if (data->ranks == 1) return status;
    TRY(data->agree_i64(data, losses->document, losses->windows, KERN_SUM));
    TRY(data->agree_i64(data, &losses->tokens, 1, KERN_SUM));
    TRY(data->agree_f64(data, losses->loss, values, KERN_SUM));
    if (losses->bytes) TRY(data->agree_f64(data, losses->bytes, values, KERN_SUM));
done:
    return status;
}

kern_status infer_evaluate(infer_losses **losses, const infer_evaluation *given) {
    kern_status status = KERN_OK;
    evaluation e = {.given = given,
                    .model = infer_model_spec_of(given->model),
                    .tokens = infer_model_spec_of(given->model)->tokens};
    *losses = NULL;
    ASSERT(e.tokens <= data_source_length(given->source) && given->tail <= e.tokens);
    ASSERT(given->bins.edge[given->bins.count] == e.tokens);
    double start = kern_seconds();
    TRY(allocate(&e));
    const kern_comm *data = given->data ? given->data : kern_comm_alone();
    int64_t round = e.model->batch * data->ranks;
    for (int64_t begin = 0; begin < e.losses->windows; begin += round) {
        int64_t own = begin + data->rank * e.model->batch, done = begin + round;
        if (own < e.losses->windows) status = run_batch(&e, own);
        TRY(kern_comm_meet(data, status));
        if (done > e.losses->windows) done = e.losses->windows;
        if (given->seen && !given->seen(given->context, done, e.losses->windows))
            TRY(kern_fail(KERN_ERR_INTERRUPTED, "evaluation stopped after %lld of %lld windows",
                          (long long)done, (long long)e.losses->windows));
    }
    TRY(gather(e.losses, data));
    e.losses->seconds = kern_seconds() - start;
    *losses = e.losses;
    e.losses = NULL;
done:
    infer_losses_destroy(e.losses);
    kern_free(e.window);
    kern_free(e.batch);
    kern_free(e.token_nll);
    kern_free(e.chunk_loss);
    kern_free(e.gradient_norm);
    return status;
}

void infer_losses_destroy(infer_losses *losses) {
    if (!losses) return;
    kern_free(losses->document);
    kern_free(losses->loss);
    kern_free(losses->bytes);
    free(losses);
}

/* x_w, or x_w - y_w where there is a y. */
static double value_of(const infer_losses *x, const infer_losses *y, int64_t window, int bin) {
    int64_t at = window * (x->bins.count + COLUMNS) + column_of(&x->bins, bin);
    return y ? x->loss[at] - y->loss[at] : x->loss[at];
}

static infer_mean mean_of(const infer_losses *x, const infer_losses *y, int64_t document, int bin) {
    infer_mean result = {.mean = (double)NAN, .standard_error = (double)NAN};
    double sum = 0, squares = 0;
    for (int pass = 0; pass < 2; pass++) {
        int64_t n = 0;
        for (int64_t w = 0; w < x->windows; w++) {
            double value = value_of(x, y, w, bin);
            if ((document != INFER_ALL && x->document[w] != document) || isnan(value)) continue;
            n++;
            if (pass == 0)
                sum += value;
            else
                squares += (value - result.mean) * (value - result.mean);
        }
        result.windows = n;
        if (n) result.mean = sum / (double)n;
        if (pass && n > 1) result.standard_error = sqrt(squares / (double)(n - 1) / (double)n);
    }
    return result;
}

infer_mean infer_losses_mean(const infer_losses *losses, int64_t document, int bin) {
    ASSERT(bin < losses->bins.count);
    return mean_of(losses, NULL, document, bin);
}

infer_mean infer_losses_difference(const infer_losses *x, const infer_losses *y, int64_t document,
                                   int bin) {
    ASSERT(x->windows == y->windows && x->bins.count == y->bins.count && bin < x->bins.count);
    return mean_of(x, y, document, bin);
}

infer_mean infer_losses_bits(const infer_losses *x, const infer_losses *y, int64_t document,
                             int bin) {
    infer_mean nats = mean_of(x, y, document, bin);
    double bytes = 0, squares = 0;
    ASSERT(x->bytes && bin < x->bins.count);
    for (int pass = 0; pass < 2; pass++)
        for (int64_t w = 0; w < x->windows; w++) {
            double value = value_of(x, y, w, bin);
            if ((document != INFER_ALL && x->document[w] != document) || isnan(value)) continue;
            double b = x->bytes[w * (x->bins.count + COLUMNS) + column_of(&x->bins, bin)];
            if (pass == 0)
                bytes += b / (double)nats.windows;
            else
                squares += pow(value - nats.mean / bytes * b, 2);
        }
    double n = (double)nats.windows, unit = bytes * log(2);
    return (infer_mean){.mean = unit > 0 ? nats.mean / unit : (double)NAN,
                        .standard_error =
                            unit > 0 && n > 1 ? sqrt(squares / (n - 1) / n) / unit : (double)NAN,
                        .windows = nats.windows};
}
