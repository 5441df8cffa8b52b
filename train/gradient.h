/* The outer gradient: what reading does, differentiated. Backwards through the suffix's chunks (and
 * so through every inner update), then through the prefix (docs/model.md, the closed form). All
 * local. */
#ifndef TRAIN_GRADIENT_H
#define TRAIN_GRADIENT_H

#include "infer/model.h"

typedef struct train_gradient train_gradient;

/* `model` was created with backward and allocated, and must outlive this. */
kern_status train_gradient_create(train_gradient **gradient, infer_model *model);
void train_gradient_destroy(train_gradient *gradient);
/* Bytes that train_gradient_create allocates for such a model. */
size_t train_gradient_bytes(const infer_model *model);

/* Makes the calls that read the batch forwards (its losses as in infer_model_forward), then add the
 * gradient of loss_scale * sum of chunk losses to `sum`, a flat buffer of the device, of the
 * parameters' layout and real type. */
enum { TRAIN_LAP_SUFFIX = INFER_LAPS, TRAIN_LAP_PREFIX, TRAIN_LAP_END }; /* the reverses */
kern_status train_gradient_add(train_gradient *gradient, void *sum, infer_batch *batch);

#endif
