/* The weights of a step: of a job's data ranks each updates its own parts of them (train/shard.h)
 * and gets those of the others, in the type that is computed with. Where products are in bf16 most
 * of the prefix's weights are on a rank as its own part in f32 and all of them rounded; what is
 * looked at in f32 (norms, fast weights, the embedding's rows) every rank has so. Local but what is
 * said to be collective. */
#ifndef TRAIN_WEIGHTS_H
#define TRAIN_WEIGHTS_H

#include "infer/model.h"
#include "train/shard.h"

typedef struct train_weights train_weights;

/* For the parameters of `model`, which reads them and must outlive this; the shard, too. `data`:
 * the ranks that divide them. Allocates nothing large. */
train_weights *train_weights_create(infer_model *model, const train_shard *shard,
                                    const kern_comm *data);
void train_weights_destroy(train_weights *weights);
size_t train_weights_bytes(const train_weights *weights);
/* Elements that a gather adds up from all ranks, because they are looked at unrounded. */
int64_t train_weights_exact(const train_weights *weights);
kern_status train_weights_allocate(train_weights *weights); /* zeros; after the model */

/* The buffer [shard->weights] of which the own parts are updated, in the model's real type. */
void *train_weights_own(const train_weights *weights);

/* Fills the own parts out of all weights, a flat buffer [shard->flat] of the device. */
void train_weights_take(train_weights *weights, const void *flat);

/* Gives every rank what the others have in their own parts. Collective. */
void train_weights_gather(train_weights *weights);

/* Tells a model of the same parameters where they are; again whenever they changed. */
void train_weights_set(const train_weights *weights, infer_model *model);

#endif
