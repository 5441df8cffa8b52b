/* One outer step: the gradient of a batch, micro-batch by micro-batch, then AdamW. Of the job's
 * batch each data rank reads its own sequences; their gradients are added up over the ranks, of
 * which each updates its part of the weights (train/shard.h) and gets the others'. All local but
 * train_step_run and train_step_gather. */
#ifndef TRAIN_STEP_H
#define TRAIN_STEP_H

#include "infer/model.h"
#include "kernels/comm.h"
#include "train/weights.h"

typedef struct {
    const ttt_conf *conf;      /* checked; must outlive the step */
    int64_t micro_batch;       /* sequences at once; divides train_sequences() */
    double budget;             /* bytes for saved carries and kept values */
    const kern_device *device; /* NULL: the CPU */
    const kern_ranks *ranks;   /* whose steps are one; NULL: this is all; borrowed */
    int threads;
    bool debug; /* check every value; see ad_plan_spec */
} train_step_spec;

typedef struct train_step train_step;

/* Sequences of the batch that a rank reads: train.batch, which the data ranks divide. */
int64_t train_sequences(const ttt_conf *conf, const kern_ranks *ranks);

/* Compiles the plans; allocates nothing large. */
kern_status train_step_create(train_step **step, const train_step_spec *spec);

/* The same in parts, for whoever tries several budgets, as infer_model_build and its like. Before
 * plans are compiled train_step_plan() lacks what they take and execute. */
kern_status train_step_build(train_step **step, const train_step_spec *spec);
void train_step_choose(train_step *step, double budget);
kern_status train_step_compile(train_step *step);
void train_step_destroy(train_step *step);

/* Bytes by kind, and what one step executes. */
typedef struct {
    size_t parameters, gradient, moments, product_weights /* rounded copies */,
        carries /* saved fast weights and their cotangents */, slots /* kept values */,
        history /* keys, values, their cotangents */, activations /* rows, losses, tables */,
        workspace, program /* graphs and plans, about what libraries take; 0: not on this device */,
        total;
    double executed_flops;
    double row_bytes;     /* moved by row programs; products and attention not counted */
    double moved;         /* about, by copies between plans */
    double kept_fraction; /* of the suffix's forward FLOPs: not repeated in reverse */
    int64_t every;        /* a carry is saved for every `every`-th chunk */
} train_step_memory;
train_step_memory train_step_plan(const train_step *step);
/* What the step was created from. */
const train_step_spec *train_step_spec_of(const train_step *step);
/* How the ranks divide the update, and where the weights are; they belong to the step. */
const train_shard *train_step_shard(const train_step *step);
const train_weights *train_step_weights(const train_step *step);
/* The model inside, for profiles and descriptions; it belongs to the step. */
const infer_model *train_step_model(const train_step *step);

/* Allocates everything. Parameters are zero: initialise or load them. */
kern_status train_step_allocate(train_step *step);

/* The device's buffers, as the shard says: weights [shard->weights], the gradient [shard->flat],
 * which begins as the parameters' layout says, and moments [shard->elements]; with one rank all are
 * of that layout. And losses of the last step's own sequences in the host's memory. */
typedef struct {
    const kern_device *device;
    kern_dtype dtype;
    const infer_parameters *layout;
    const train_shard *shard;
    const train_weights *weights; /* in `parameters` */
    int64_t sequences;            /* that this rank reads in a step */
    bool spare;                   /* another rank has the same moments and weights */
    void *parameters, *gradient, *m, *v;
    void *token_nll;     /* [sequences, T] */
    void *chunk_loss;    /* [sequences / micro_batch, n, micro_batch] */
    void *gradient_norm; /* the same: |g_i| where a step was taken */
    int64_t chunks;
} train_step_buffers;
train_step_buffers train_step_memory_of(train_step *step);

enum { TRAIN_PREFIX, TRAIN_SUFFIX, TRAIN_SUFFIX_VJP, TRAIN_PREFIX_VJP, TRAIN_UPDATE, TRAIN_PHASES };
extern const char *const train_phase_name[TRAIN_PHASES];

/* Tells of each run of a plan that one step makes: its phase, the rows of the sequence before its
 * chunk, and how often the step makes it. */
typedef void (*train_step_visit)(void *context, int phase, const ad_plan *plan, int64_t before,
                                 double times);
void train_step_visit_runs(const train_step *step, train_step_visit visit, void *context);

typedef struct {
    double loss;            /* mean over sequences of mean over chunks */
    double outer_grad_norm; /* before clipping */
    double inner_grad_norm; /* mean of |g_i|; 0 without inner steps */
    int64_t tokens;         /* that were read */
    double learning_rate, inner_multiplier;
    double seconds[TRAIN_PHASES]; /* that the device has finished */
} train_step_result;

/* work(context) is called once in each step, while the device computes: the time to read the next
 * batch. What it puts, the first tokens of the next run of the step, are on the device when that
 * begins; they fail as that run would, and nothing is put then. work NULL: none. */
void train_step_meanwhile(train_step *step, void (*work)(void *context), void *context);
kern_status train_step_put(train_step *step, const int32_t *tokens);

/* Random weights, as the configuration says. Collective. */
void train_step_start(train_step *step);

/* Makes the calls that give every rank the parts of the weights that the others have: after each
 * has filled its own. Collective. */
void train_step_gather(train_step *step);

/* Outer step `number` (from 0) on tokens [sequences, T + 1], the host's. Collective: loss, norms
 * and tokens are the whole job's, the same on all ranks. Waits for the device once, for losses and
 * norms; the update may still be running. KERN_ERR_NUMERIC where loss or gradient is not finite;
 * parameters and moments are then as before, on all ranks. */
kern_status train_step_run(train_step *step, train_step_result *result, const int32_t *tokens,
                           int64_t number);

/* What the paper's convention counts for one step (docs/costs.md): each weight product 3, 6 or 9
 * times its forward, attention by visible pairs; the same whatever is executed. */
double train_model_flops(const ttt_conf *conf);

#endif
