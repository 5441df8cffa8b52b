/* A model that reads sequences: two scans over chunks. The prefix maps tokens to rows of the
 * residual stream; the suffix maps those to losses and takes an inner step on the fast weights
 * after each chunk (docs/model.md). Training asks for their reverse; reading and evaluating does
 * not. All local but infer_model_allocate and what runs. The method is that of arXiv 2512.23675. */
#ifndef INFER_MODEL_H
#define INFER_MODEL_H

#include "autodiff/scan.h"
#include "infer/values.h"

typedef struct {
    const ttt_conf *conf; /* checked; must outlive the model */
    int64_t batch;        /* B: sequences read at once */
    int64_t tokens;       /* T */
    bool inner;           /* take inner steps */
    bool first_order;     /* no gradient through the inner gradient */
    bool backward;        /* compile and keep what ad_scan_backward needs */
    double loss_scale;    /* cotangent of each chunk loss: 1 / (chunks * sequences in a step) */
    double budget;        /* bytes for saved carries and kept values */
    const kern_device *device; /* NULL: the CPU; all memory is its, unless said otherwise */
    /* The ranks that share the work on each sequence, on memory of the device; as many as
     * infer_check_ranks allows; borrowed; NULL: one. Parameters are then the rank's parts. Nothing
     * is called before infer_model_allocate: a plan needs the numbers alone. */
    const kern_comm *tensor;
    int threads;
    bool debug;
    /* NULL: infer_model_set_parameters says where parameters are. Else they are these, which must
     * outlive the model and be for a reader as it is; not with backward. */
    const infer_values *values;
} infer_model_spec;

typedef struct infer_model infer_model;

/* C: the tokens that the suffix reads at a time. Without inner steps any T is allowed; where C does
 * not divide it, the whole sequence is one chunk. */
int64_t infer_chunk(const ttt_conf *conf, int64_t tokens);

/* Compiles; allocates nothing large. KERN_ERR_GRAPH where a graph cannot be built or
 * differentiated, or the error of a kernel that refuses its shapes; *model is then NULL. */
kern_status infer_model_create(infer_model **model, const infer_model_spec *spec);

/* The same in parts, for whoever tries several budgets: all but plans, for spec->budget; then any
 * number of times another budget, for which nothing is compiled yet, and the plans of the last one.
 * Before they are compiled infer_model_plan() has no workspace and no FLOPs. After a failure the
 * model can only be destroyed. */
kern_status infer_model_build(infer_model **model, const infer_model_spec *spec);
void infer_model_choose(infer_model *model, double budget);
kern_status infer_model_compile(infer_model *model);
void infer_model_destroy(infer_model *model);

/* Bytes by kind. */
typedef struct {
    size_t carries, slots, history, activations /* rows between prefix and suffix, tables */,
        workspace /* the arena */, product_weights /* rounded copies of its own */;
    double prefix_flops, body_flops, body_vjp_flops, prefix_vjp_flops; /* of one batch of B */
    int64_t every;                                                     /* saved carries */
} infer_model_memory;
infer_model_memory infer_model_plan(const infer_model *model);
/* Collective over spec.tensor: KERN_ERR_GRAPH where the ranks' plans would not meet. */
kern_status infer_model_allocate(infer_model *model);

/* The element type of parameters and their gradients: f32 (f64 in f64 runs). */
kern_dtype infer_model_real(const infer_model *model);
const infer_parameters *infer_model_parameters(const infer_model *model);
/* What it was created from. */
const infer_model_spec *infer_model_spec_of(const infer_model *model);

/* Tells the model where the parameters are (flat, infer_parameters' layout; borrowed). To be called
 * again whenever they changed: rounded copies are made here. Not with spec.values. */
void infer_model_set_parameters(infer_model *model, const void *parameters);

/* The same where each parameter lies by itself: exact[i], NULL where products alone read it,
 * rounded. All rounded copies [infer_parameters.elements] are the caller's to make before, in the
 * model's memory; NULL: products are not in bf16. */
void infer_model_set_places(infer_model *model, const void *const *exact);
void *infer_model_rounded(const infer_model *model);

/* Losses of one batch. Buffers are the caller's; f32 or f64 as the model's real type. The results
 * are in the host's memory, there after kern_finish(); NULL: not wanted. */
typedef struct {
    /* the host's [B, T + 1]: inputs [.., :-1], targets [.., 1:]; NULL: of infer_model_put */
    const int32_t *tokens;
    double rate;      /* eta * m */
    void *token_nll;  /* [B, T]: also where the target does not count */
    void *chunk_loss; /* [n, B] */
    void
        *gradient_norm; /* [n, B]: |g_i| of the inner gradient, 0 without a step; only with inner */
    void *const *fast;  /* NULL, or per fast parameter (in order) the device's [B, in, out]:
                           theta_n, the rank's parts; only without backward */
} infer_batch;
/* Takes the tokens of the next batch now, so that they are on the device when it is done with what
 * it has to do. Fails on tokens outside the vocabulary; nothing is put then. */
kern_status infer_model_put(infer_model *model, const int32_t *tokens);
enum { INFER_LAP_PREFIX, INFER_LAP_SUFFIX, INFER_LAPS }; /* of the device's stream */
/* Makes the calls of prefix and suffix over the batch. Collective over spec.tensor: all its ranks
 * read the same tokens, and losses and norms are the same on all. Fails in debug models on values
 * that are not finite, and on tokens outside the vocabulary. */
kern_status infer_model_forward(infer_model *model, infer_batch *batch);

/* For training: the scans, their arena and what connects them. */
typedef struct {
    ad_scan *prefix, *suffix;
    void *arena;
    const int *prefix_constant, *suffix_constant; /* [parameters] index of its constant, or -1 */
    int fast;                                     /* fast parameters that are carried */
    const int *fast_parameter;                    /* [fast] */
    int64_t batch;
    const kern_device *device;
    int threads;
} infer_model_parts;
infer_model_parts infer_model_internals(const infer_model *model);

#endif
