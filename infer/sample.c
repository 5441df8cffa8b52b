#include "infer/sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    double weight; /* exp(score - best) */
    int32_t token;
} candidate;

struct infer_sampler {
    infer_sampling how;
    int64_t tokens, draws;
    double *score;         /* [tokens] after the penalty and the temperature */
    candidate *candidates; /* [tokens] */
    int32_t *recent;       /* [repetition_window] a ring */
    int64_t seen;
    bool *penalised; /* [tokens] scratch, all false between calls */
};

enum { MOST_RECENT = 1 << 24 };

static kern_status check(const infer_sampling *how) {
    if (!(how->temperature >= 0))
        return kern_fail(KERN_ERR_USAGE, "the temperature is %g; it is at least 0 (0: greedy)",
                         how->temperature);
    if (!(how->top_p > 0 && how->top_p <= 1))
        return kern_fail(KERN_ERR_USAGE, "top-p is %g; it lies above 0 and at most at 1",
                         how->top_p);
    if (!(how->min_p >= 0 && how->min_p <= 1))
        return kern_fail(KERN_ERR_USAGE, "min-p is %g; it lies between 0 and 1", how->min_p);
    if (!(how->repetition_penalty > 0))
        return kern_fail(KERN_ERR_USAGE,
                         "the repetition penalty is %g; it is above 0 (1: none, 1.1: a little)",
                         how->repetition_penalty);
    if (how->repetition_window > MOST_RECENT)
        return kern_fail(KERN_ERR_USAGE, "the repetition window is %lld tokens; at most %d",
                         (long long)how->repetition_window, MOST_RECENT);
    return KERN_OK;
}

kern_status infer_sampler_create(infer_sampler **result, const infer_sampling *sampling,
                                 int64_t tokens) {
    *result = NULL;
    kern_status status = check(sampling);
    if (status != KERN_OK) return status;
    infer_sampler *s = kern_array(1, sizeof *s);
    s->how = *sampling;
    s->tokens = tokens;
    s->score = calloc((size_t)tokens, sizeof *s->score);
    s->candidates = calloc((size_t)tokens, sizeof *s->candidates);
    s->recent = calloc((size_t)sampling->repetition_window + 1, sizeof *s->recent);
    s->penalised = calloc((size_t)tokens, sizeof *s->penalised);
    if (s->score && s->candidates && s->recent && s->penalised) {
        *result = s;
        return KERN_OK;
    }
    infer_sampler_destroy(s);
    return kern_fail(
        KERN_ERR_MEMORY,
        "no memory for sampling from %lld tokens with a window of %lld for repetitions",
        (long long)tokens, (long long)sampling->repetition_window);
}

void infer_sampler_destroy(infer_sampler *s) {
    if (!s) return;
    free(s->score);
    free(s->candidates);
    free(s->recent);
    free(s->penalised);
    free(s);
}

void infer_sampler_seen(infer_sampler *s, int32_t token) {
    if (s->how.repetition_window > 0) s->recent[s->seen++ % s->how.repetition_window] = token;
}

static void penalise(infer_sampler *s) {
    int64_t count = s->seen < s->how.repetition_window ? s->seen : s->how.repetition_window;
    double penalty = s->how.repetition_penalty;
    if (penalty == 1) return;
    for (int64_t i = 0; i < count; i++) {
        int32_t token = s->recent[i];
        if (token < 0 || token >= s->tokens || s->penalised[token]) continue;
        s->penalised[token] = true;
        s->score[token] *= s->score[token] > 0 ? 1 / penalty : penalty;
    }
    for (int64_t i = 0; i < count; i++)
        if (s->recent[i] >= 0 && s->recent[i] < s->tokens) s->penalised[s->recent[i]] = false;
}

/* -1: there is none, because a score is not finite. */
static int32_t best(const infer_sampler *s) {
    int32_t token = 0;
    for (int32_t i = 0; i < s->tokens; i++) {
        if (!isfinite(s->score[i])) return -1;
        if (s->score[i] > s->score[token]) token = i;
    }
    return token;
}

/* From [0, 1): splitmix64 of the seed and the number of the draw. */
static double uniform(const infer_sampler *s) {
    uint64_t x = s->how.seed + 0x9e3779b97f4a7c15u * ((uint64_t)s->draws + 1);
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (double)((x ^ x >> 31) >> 11) * 0x1p-53;
}

static int more_probable(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    if (x->weight != y->weight) return x->weight > y->weight ? -1 : 1;
    return x->token < y->token ? -1 : 1;
}

/* The k-th largest weight of `count` > k candidates: the root of a heap of the k largest so far. */
static double weight_of_rank(infer_sampler *s, int64_t count, int64_t k) {
    double *heap = s->score;          /* the scores are used up */
    for (int64_t i = 0; i < k; i++) { /* sift up */
        int64_t at = i;
        double weight = s->candidates[i].weight;
        for (; at > 0 && heap[(at - 1) / 2] > weight; at = (at - 1) / 2)
            heap[at] = heap[(at - 1) / 2];
        heap[at] = weight;
    }
    for (int64_t i = k; i < count; i++) { /* replace the root, sift down */
        double weight = s->candidates[i].weight;
        int64_t at = 0;
        if (weight <= heap[0]) continue;
        for (int64_t child = 1; child < k; child = 2 * at + 1) {
            if (child + 1 < k && heap[child + 1] < heap[child]) child++;
            if (heap[child] >= weight) break;
            heap[at] = heap[child];
            at = child;
        }
        heap[at] = weight;
    }
    return heap[0];
}

static int64_t keep_above(infer_sampler *s, int64_t count, double weight) {
    int64_t kept = 0;
    for (int64_t c = 0; c < count; c++)
        if (s->candidates[c].weight >= weight) s->candidates[kept++] = s->candidates[c];
    return kept;
}

/* Leaves the candidates that the filters allow; their number. */
static int64_t filter(infer_sampler *s, int64_t count) {
    const infer_sampling *how = &s->how;
    bool some = how->top_k > 0 && how->top_k < count;
    double sum = 0, part = 0;
    if (!some && how->top_p >= 1 && how->min_p <= 0) return count;
    if (some) {
        count = keep_above(s, count, weight_of_rank(s, count, how->top_k));
        qsort(s->candidates, (size_t)count, sizeof *s->candidates, more_probable);
        if (count > how->top_k) count = how->top_k;
    }
    for (int64_t c = 0; c < count; c++) sum += s->candidates[c].weight;
    /* All that are less probable than this are together less than what top-p leaves out. */
    count = keep_above(s, count, fmax(how->min_p, (1 - how->top_p) * sum / (double)count / 2));
    if (!some) qsort(s->candidates, (size_t)count, sizeof *s->candidates, more_probable);
    for (int64_t c = 0; c < count; c++) {
        part += s->candidates[c].weight;
        if (part >= how->top_p * sum) return c + 1;
    }
    return count;
}

int32_t infer_sampler_choose(infer_sampler *s, const float *score) {
    for (int64_t i = 0; i < s->tokens; i++) s->score[i] = (double)score[i];
    penalise(s);
    int32_t greedy = best(s);
    if (greedy < 0 || s->how.temperature == 0) return greedy;
    double most = s->score[greedy], sum = 0;
    for (int32_t i = 0; i < s->tokens; i++)
        s->candidates[i] = (candidate){exp((s->score[i] - most) / s->how.temperature), i};
    int64_t count = filter(s, s->tokens);
    for (int64_t c = 0; c < count; c++) sum += s->candidates[c].weight;
    double left = uniform(s) * sum;
    s->draws++;
    for (int64_t c = 0; c < count; c++) {
        left -= s->candidates[c].weight;
        if (left < 0) return s->candidates[c].token;
    }
    return s->candidates[count - 1].token;
}
