/* How long a step would take on a machine, as ttt plan prints it. Local. */
#ifndef LAUNCH_PLAN_TIME_H
#define LAUNCH_PLAN_TIME_H

#include "train/predict.h"

#include <jansson.h>

/* Seconds of each phase by what bounds them, tokens/s, fraction of peak, for one of so many ranks
 * and without what they send; and the assumptions. */
void launch_plan_time_print(const ttt_conf *conf, const kern_machine *machine,
                            const train_prediction *time, int ranks);

/* Adds the same to `object`. */
void launch_plan_time_json(json_t *object, const ttt_conf *conf, const kern_machine *machine,
                           const train_prediction *time, int ranks);

#endif
