/* Where time goes: the costliest steps of some plans, by op and scope. */
#ifndef LAUNCH_PROFILE_H
#define LAUNCH_PROFILE_H

#include "infer/model.h"
#include "infer/session.h"

enum { LAUNCH_PROFILE_PLANS = 2 * AD_SCAN_PLANS };
typedef struct {
    int count;
    const char *role[LAUNCH_PROFILE_PLANS];
    ad_plan *plan[LAUNCH_PROFILE_PLANS];
} launch_profile;

/* Reset and switch on the clocks of all plans of a model, or of those that read one token. */
void launch_profile_model(launch_profile *profile, const infer_model *model);
void launch_profile_token(launch_profile *profile, const infer_session *session);
/* Switches them off and prints a table to stdout. */
void launch_profile_print(launch_profile *profile);

#endif
