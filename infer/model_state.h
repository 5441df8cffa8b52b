/* What infer/model.c (graphs and scans) and infer/model_run.c (memory and running) share. Internal.
 */
#ifndef INFER_MODEL_STATE_H
#define INFER_MODEL_STATE_H

#include "infer/body.h"
#include "infer/model.h"

enum { MODEL_SLICES = 8 };

/* One of the two scans, with its body and the places of its inputs. */
typedef struct {
    infer_part body;
    ad_scan *scan;
    ad_scan_slice slice[MODEL_SLICES];
    int slices;
    int cosine_slice[INFER_KINDS], sine_slice[INFER_KINDS]; /* -1: none */
} model_part;

struct infer_model {
    infer_model_spec spec;
    kern_dtype real, product;
    infer_parameters *parameters;
    model_part prefix, suffix;
    int tokens_slice, rows_slice, target_slice, weight_slice;
    ad_value rate;
    size_t arena_bytes;
    /* allocated */
    void *arena, *rows, *ct_rows, *replicas /* theta_0 for each item, B > 1 */, *weight;
    void *cosine[INFER_KINDS], *sine[INFER_KINDS];
    uint16_t *rounded; /* own bf16 copies, the parameters' layout; NULL: none are needed */
    int32_t *input, *target;
    const void **first_carry; /* [fast] */
    double rate_f64;
    float rate_f32;
};

size_t infer_model_rows_bytes(const infer_model *model); /* [B, T, D] */

#endif
