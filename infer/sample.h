/* Choosing the next token from its scores. All functions are local. */
#ifndef INFER_SAMPLE_H
#define INFER_SAMPLE_H

#include "kernels/base.h"

/* In the order in which they act. A value at which one does nothing is in brackets. */
typedef struct {
    /* Scores of the last `repetition_window` tokens are divided by this where they are positive and
     * multiplied where not (arXiv 1909.05858) [1]. */
    double repetition_penalty;
    int64_t repetition_window;
    double temperature; /* divides the scores [1]; 0: the best one, always (greedy) */
    int64_t top_k;      /* the k most probable only [0] */
    double top_p;       /* the fewest most probable that make up this probability [1] */
    double min_p;       /* those at least this fraction as probable as the best [0] */
    uint64_t seed;
} infer_sampling;

typedef struct infer_sampler infer_sampler;

/* Chooses among tokens 0 .. tokens - 1. KERN_ERR_USAGE where a number is out of range, with its
 * name; *sampler is then NULL. */
kern_status infer_sampler_create(infer_sampler **sampler, const infer_sampling *sampling,
                                 int64_t tokens);
void infer_sampler_destroy(infer_sampler *sampler); /* NULL is fine */

/* A token was read: for the repetition penalty. */
void infer_sampler_seen(infer_sampler *sampler, int32_t token);

/* A token for these scores [tokens]; -1 where one of them is not finite. Equal scores: the lower
 * number is taken to be better. The n-th choice depends on the seed, n, the scores and what was
 * seen alone. */
int32_t infer_sampler_choose(infer_sampler *sampler, const float *score);

#endif
