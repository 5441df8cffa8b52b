/* What infer/model.c (graphs and scans) and infer/model_run.c (memory and running) share. Internal.
 */
#ifndef INFER_MODEL_STATE_H
#define INFER_MODEL_STATE_H

#include "infer/block.h"
#include "infer/model.h"

enum { MODEL_SLICES = 8, MODEL_TABLES = 2 };

/* One of the two scans, with its graph and the places of its inputs. */
typedef struct {
    ad_graph *graph;
    ad_scan *scan;
    infer_context context;
    int64_t chunk;
    ad_scan_slice slice[MODEL_SLICES];
    int slices;
    int cosine_slice[MODEL_TABLES], sine_slice[MODEL_TABLES]; /* -1: none */
    ad_scan_history *history;
    int histories;
    ad_value *constant; /* differentiable inputs */
    int constants;
    int *constant_of;     /* [parameters] or -1 */
    kern_dtype *dtype_of; /* [parameters] of the constant */
} model_part;

struct infer_model {
    infer_model_spec spec;
    kern_dtype real, product;
    infer_parameters *parameters;
    model_part prefix, suffix;
    int tokens_slice, rows_slice, target_slice, weight_slice;
    ad_value rate;
    int fast, *fast_parameter; /* carried: [fast] */
    ad_graph *round_graph;     /* parameters -> bf16 copies, where products are in bf16 */
    ad_plan *round;
    ad_value round_input;
    size_t arena_bytes;
    /* allocated */
    void *arena, *rows, *ct_rows, *replicas /* theta_0 for each item, B > 1 */, *weight;
    void *cosine[MODEL_TABLES], *sine[MODEL_TABLES];
    uint16_t *rounded; /* bf16 copies, the parameters' layout */
    int32_t *input, *target;
    const void **first_carry; /* [fast] */
    double rate_f64;
    float rate_f32;
};

size_t infer_model_rows_bytes(const infer_model *model); /* [B, T, D] */

/* infer/body.c. The prefix: embedding and blocks 0 .. blocks - 1, tokens i32 [R] -> rows [R, D]. */
ad_value infer_build_prefix(infer_model *model, int blocks, ad_value tokens);

/* The suffix: blocks first .. blocks - 1, head and loss of rows h [R, D] with targets i32 [R, 1]
 * whose losses weigh weight [R, 1]; and, where fast weights are carried, the step on them. Fills
 * carry. */
typedef struct {
    ad_value nll;           /* [R, 1] */
    ad_value loss;          /* [B, 1]: l_i */
    ad_value gradient_norm; /* [B, 1]: |g_i|; AD_NONE without a step */
} infer_body;
infer_body infer_build_body(infer_model *model, int first, int blocks, ad_scan_carry *carry,
                            ad_value h, ad_value target, ad_value weight);

#endif
