/* AdamW on flat buffers, with clipping by the global norm. All local but train_optimizer_norm. */
#ifndef TRAIN_OPTIMIZER_H
#define TRAIN_OPTIMIZER_H

#include "autodiff/plan.h"
#include "configs/conf.h"
#include "kernels/comm.h"
#include "train/shard.h"

typedef struct train_optimizer train_optimizer;

/* For buffers of the device (NULL: the CPU) of `dtype` f32 or f64, of which `shard` says what this
 * rank updates; `comm` (borrowed) has the ranks whose parts are one gradient. Allocates nothing
 * large. */
kern_status train_optimizer_create(train_optimizer **optimizer, const conf_train *conf,
                                   const kern_device *device, const kern_comm *comm,
                                   kern_dtype dtype, const train_shard *shard, int threads);
void train_optimizer_destroy(train_optimizer *optimizer);
size_t train_optimizer_bytes(const train_optimizer *optimizer); /* of its workspace */
kern_status train_optimizer_allocate(train_optimizer *optimizer);
/* The plans of the norm and of the update; how many these are. */
enum { TRAIN_OPTIMIZER_PLANS = TRAIN_COUNTED + TRAIN_RANGES };
int train_optimizer_plans(const train_optimizer *optimizer,
                          const ad_plan *plan[TRAIN_OPTIMIZER_PLANS]);

/* |g| of the whole, after waiting for the device. Collective: all ranks get the same number.
 * KERN_ERR_NUMERIC where it is not finite. */
kern_status train_optimizer_norm(train_optimizer *optimizer, double *norm, const void *gradient);

/* Makes the calls of update `step` (0, 1, ...), bias corrected with step + 1, on the own parts of
 * weights, moments and gradient, which lie as the shard says, in place, given |g|:
 *     g' = g min(1, clip / |g|);  m = b1 m + (1 - b1) g';  v = b2 v + (1 - b2) g'^2
 *     p -= lr (m / (1 - b1^(step+1)) / (sqrt(v / (1 - b2^(step+1))) + eps) + decay p) */
kern_status train_optimizer_update(train_optimizer *optimizer, double norm, void *parameters,
                                   void *m, void *v, const void *gradient, int64_t step, double lr);

#endif
