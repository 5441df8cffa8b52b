/* The outer gradient: what reading does, differentiated. Backwards through the suffix's chunks (and
 * so through every inner update), then through the prefix (docs/model.md, the closed form). All
 * local. */
#ifndef TRAIN_GRADIENT_H
#define TRAIN_GRADIENT_H

#include "infer/model.h"

typedef struct train_gradient train_gradient;

/* `model` was created with backward, and must outlive this. Allocates nothing large. */
kern_status train_gradient_create(train_gradient **gradient, infer_model *model);
void train_gradient_destroy(train_gradient *gradient);
/* The cotangents of the fast weights, and the workspace of the plan that sums them. */
size_t train_gradient_bytes(const train_gradient *gradient);
size_t train_gradient_workspace(const train_gradient *gradient);
kern_status train_gradient_allocate(train_gradient *gradient); /* after the model */
/* The plan that ends the suffix's reverse: sums over the batch. */
const ad_plan *train_gradient_plan(const train_gradient *gradient);

/* Makes the calls that read the batch forwards (its losses as in infer_model_forward), then those
 * that add the gradient of loss_scale * sum of chunk losses to `sum`, a flat buffer of the device,
 * of the parameters' layout and real type: first the suffix's part, after which that of the
 * suffix's own blocks is complete, then the prefix's, which tells of which parameters it is
 * (marks->mark [parameters]; NULL: of none); or both. */
enum { TRAIN_LAP_SUFFIX = INFER_LAPS, TRAIN_LAP_PREFIX, TRAIN_LAP_END }; /* the reverses */
kern_status train_gradient_suffix(train_gradient *gradient, void *sum, infer_batch *batch);
kern_status train_gradient_prefix(train_gradient *gradient, const ad_marks *marks);
kern_status train_gradient_add(train_gradient *gradient, void *sum, infer_batch *batch);

/* Makes the call that adds up, over the model's tensor-parallel ranks, those parts of `sum` that
 * are a sum of theirs (INFER_SUMMED): once a step, after the last batch. Collective over them. */
void train_gradient_share(train_gradient *gradient, void *sum);

#endif
