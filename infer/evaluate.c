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
    int64_t columns = e->given->bins.count + 1, B = e->model->batch;
    size_t reals = (size_t)(B * e->tokens) * kern_dtype_bytes(infer_model_real(e->given->model));
    infer_losses *losses = e->losses = calloc(1, sizeof *losses);
    if (!losses) return kern_fail(KERN_ERR_MEMORY, "no memory for losses");
    TRY(data_source_windows(&e->window, &losses->windows, e->given->source,
                            e->given->per_document));
    losses->bins = e->given->bins;
    size_t windows = (size_t)losses->windows;
    TRY(kern_alloc((void **)&losses->document, windows * sizeof *losses->document, "documents"));
    TRY(kern_alloc((void **)&losses->loss, windows * (size_t)columns * sizeof *losses->loss,
                   "losses by window"));
    TRY(kern_alloc((void **)&e->batch, (size_t)(B * (e->tokens + 1)) * sizeof *e->batch,
                   "evaluation windows"));
    /* There are at most as many chunks as tokens. */
    TRY(kern_alloc(&e->token_nll, reals, "losses by token"));
    TRY(kern_alloc(&e->chunk_loss, reals, "losses by chunk"));
    TRY(kern_alloc(&e->gradient_norm, reals, "gradient norms"));
done:
    return status;
}

static double nll_of(const evaluation *e, int64_t i) {
    if (infer_model_real(e->given->model) == KERN_F64) return ((const double *)e->token_nll)[i];
    return (double)((const float *)e->token_nll)[i];
}

static kern_status not_finite(const evaluation *e, int64_t window, int64_t t) {
    data_window w = e->window[window];
    return kern_fail(KERN_ERR_NUMERIC,
                     "the loss of token %lld of document %s is not finite; a smaller inner.lr or "
                     "inner.clip may help, if the weights are sound",
                     (long long)(w.begin + t + 1),
                     data_source_document(e->given->source, w.document).name);
}

/* Window `window` was item b of the batch: its means by bin. */
static kern_status take(evaluation *e, int64_t window, int64_t b) {
    infer_losses *losses = e->losses;
    const infer_bins *bins = &losses->bins;
    const int32_t *target = e->batch + b * (e->tokens + 1) + 1;
    double *mean = losses->loss + window * (bins->count + 1), all = 0;
    int64_t all_counted = 0;
    losses->document[window] = e->window[window].document;
    for (int bin = 0; bin < bins->count; bin++) {
        double sum = 0;
        int64_t counted = 0;
        for (int64_t t = bins->edge[bin]; t < bins->edge[bin + 1]; t++) {
            if (target[t] == e->model->conf->model.bos) continue;
            double nll = nll_of(e, b * e->tokens + t);
            if (!isfinite(nll)) return not_finite(e, window, t);
            sum += nll;
            counted++;
        }
        mean[bin] = counted ? sum / (double)counted : (double)NAN;
        all += sum;
        all_counted += counted;
    }
    mean[bins->count] = all_counted ? all / (double)all_counted : (double)NAN;
    losses->tokens += all_counted;
    return KERN_OK;
}

/* Windows first, first + 1, ...; where fewer than B are left, the last fills the batch. */
static kern_status run_batch(evaluation *e, int64_t first) {
    kern_status status = KERN_OK;
    int64_t B = e->model->batch, last = e->losses->windows - 1;
    for (int64_t b = 0; b < B; b++) {
        int64_t window = first + b < last ? first + b : last;
        TRY(data_source_read_window(e->batch + b * (e->tokens + 1), e->given->source,
                                    e->window[window]));
    }
    infer_batch batch = {.tokens = e->batch,
                         .rate = e->given->rate,
                         .token_nll = e->token_nll,
                         .chunk_loss = e->chunk_loss,
                         .gradient_norm = e->gradient_norm};
    TRY(infer_model_forward(e->given->model, &batch));
    for (int64_t b = 0; b < B && first + b <= last; b++) TRY(take(e, first + b, b));
done:
    return status;
}

kern_status infer_evaluate(infer_losses **losses, const infer_evaluation *given) {
    kern_status status = KERN_OK;
    evaluation e = {.given = given,
                    .model = infer_model_spec_of(given->model),
                    .tokens = data_source_length(given->source)};
    *losses = NULL;
    ASSERT(e.model->tokens == e.tokens && given->bins.edge[given->bins.count] == e.tokens);
    double start = kern_seconds();
    TRY(allocate(&e));
    for (int64_t first = 0; first < e.losses->windows; first += e.model->batch) {
        TRY(run_batch(&e, first));
        int64_t done = first + e.model->batch;
        if (done > e.losses->windows) done = e.losses->windows;
        if (given->seen && !given->seen(given->context, done, e.losses->windows))
            TRY(kern_fail(KERN_ERR_INTERRUPTED, "evaluation stopped after %lld of %lld windows",
                          (long long)done, (long long)e.losses->windows));
    }
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
    free(losses);
}

/* x_w, or x_w - y_w where there is a y. */
static double value_of(const infer_losses *x, const infer_losses *y, int64_t window, int bin) {
    int64_t at = window * (x->bins.count + 1) + (bin == INFER_ALL ? x->bins.count : bin);
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
