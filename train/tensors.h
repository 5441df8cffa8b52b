/* The flat buffers of a training step as named tensors, for checkpoints. */
#ifndef TRAIN_TENSORS_H
#define TRAIN_TENSORS_H

#include "train/checkpoint.h"
#include "train/step.h"

/* model.safetensors: parameters by name; optimizer.safetensors: "m.NAME" and "v.NAME". */
typedef struct {
    train_tensors parameters, moments;
    train_tensor *items; /* of both */
    char (*names)[80];   /* of the moments */
} train_checkpoint_tensors;

/* The tensors point into the buffers, which must outlive them; of both they have the parts that
 * this rank updates, so after loading train_step_gather() is due. */
train_checkpoint_tensors *train_checkpoint_tensors_create(const train_step_buffers *buffers);
/* *name: of the first tensor whose own parts hold a value that is not finite, or NULL. Errors: the
 * device's. */
kern_status train_checkpoint_tensors_not_finite(const char **name,
                                                const train_checkpoint_tensors *tensors);
void train_checkpoint_tensors_destroy(train_checkpoint_tensors *tensors);

#endif
