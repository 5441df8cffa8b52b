/* Where a step's time goes: the costliest steps of a model's plans, by op and scope. */
#ifndef LAUNCH_PROFILE_H
#define LAUNCH_PROFILE_H

#include "infer/model.h"

/* Resets and switches on the clocks of all plans of prefix and suffix. */
void launch_profile_start(const infer_model *model);
/* Switches them off and prints a table to stdout. */
void launch_profile_print(const infer_model *model);

#endif
