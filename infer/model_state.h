/* What infer/model.c (graphs and scans) and infer/model_run.c (memory and running) share. Internal.
 */
#ifndef INFER_MODEL_STATE_H
#define INFER_MODEL_STATE_H

#include "infer/body.h"
#include "infer/model.h"

enum { MODEL_SLICES = 9 };

/* One of the two scans, with its body and the places of its inputs. */
typedef struct {
    infer_part body;
    ad_scan *scan;
    ad_scan_slice slice[MODEL_SLICES];
    int slices;
    ad_scan_carry *carry;                                   /* [body.carries] */
    int cosine_slice[INFER_KINDS], sine_slice[INFER_KINDS]; /* -1: none */
} model_part;

/* Memory of a model beside that of its scans. */
typedef enum {
    MODEL_ARENA,
    MODEL_ROWS,
    MODEL_CT_ROWS,
    MODEL_REPLICAS, /* theta_0 for each item, or where it is only in a file */
    MODEL_ROUNDED,  /* own bf16 copies, the parameters' layout */
    MODEL_INPUT,
    MODEL_TARGET,
    MODEL_WEIGHT, /* of losses */
    /* With several ranks: which inputs and targets the rank has, and columns that nobody has. */
    MODEL_INPUT_HERE,
    MODEL_TARGET_HERE,
    MODEL_MISSING,
    MODEL_NLL,
    MODEL_CHUNK_LOSS,
    MODEL_NORM,
    MODEL_TABLES, /* cosine, then sine; one more buffer for the other kind */
    MODEL_BUFFERS = MODEL_TABLES + 2 * INFER_KINDS
} model_buffer;

struct infer_model {
    infer_model_spec spec;
    kern_dtype real, product;
    infer_parameters *parameters;
    model_part prefix, suffix;
    int tokens_slice, rows_slice, target_slice, weight_slice;
    ad_value rate;
    size_t arena_bytes;
    /* allocated, by model_bytes() */
    kern_buffer memory[MODEL_BUFFERS];
    void *staging; /* the host's: inputs, targets and loss weights on their way */
    /* [suffix.body.carries] where the first and the last are; NULL for states of mixers */
    const void **first_carry;
    void **last_carry;
    int *fast_parameter; /* [suffix.body.fast] */
    const void **exact;  /* [parameters] where they are; without spec.values */
};

size_t infer_model_rows_bytes(const infer_model *model); /* [B, T, D] */

#endif
