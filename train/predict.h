/* How long a step will take on a machine that is known by its figures: by the list of calls that
 * its plans make, each as slow as the slower of what it computes and what it moves (docs/costs.md,
 * Time). All local. */
#ifndef TRAIN_PREDICT_H
#define TRAIN_PREDICT_H

#include "kernels/machine.h"
#include "train/step.h"

/* The assumptions: which part of a machine's figures calls reach. */
#define TRAIN_PRODUCT_REACHES 0.70
#define TRAIN_ATTENTION_REACHES 0.45
#define TRAIN_ATTENTION_VJP_REACHES 0.35
enum { TRAIN_TILE = 128 }; /* rows and columns of a product's result that one processor makes */

/* Of one step. */
typedef struct {
    double seconds; /* all that follow: */
    double kind_seconds[AD_CALL_KINDS], launch_seconds;
    double launches, flops, row_bytes;
} train_time;

typedef struct {
    train_time phase[TRAIN_PHASES], step; /* their sum */
} train_prediction;

/* Whether the machine's figures say how fast it is. */
bool train_can_predict(const kern_machine *machine);

/* For the machine of the step's device. Of copies between plans the bytes are counted. */
train_prediction train_predict(const train_step *step);

/* Seconds of one call without its launches. */
double train_call_seconds(const kern_machine *machine, const ad_plan_step_cost *call);

#endif
