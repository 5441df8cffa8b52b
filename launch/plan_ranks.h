/* What a job of several ranks would need and how fast it would be, as ttt plan prints it. Local. */
#ifndef LAUNCH_PLAN_RANKS_H
#define LAUNCH_PLAN_RANKS_H

#include "configs/conf.h"
#include "kernels/comm.h"
#include "train/predict_ranks.h"

#include <jansson.h>

/* A job that is not here: the first of its ranks, which computes nothing. */
typedef struct {
    kern_comm comm[3];
    kern_ranks ranks;
    double network; /* bytes/s of a rank's port */
} launch_paper_ranks;

/* `ranks` ranks, `tensor` of them on the tensor axis; network: "400Gb" (bits) or "50GB" a second.
 * KERN_ERR_USAGE where these cannot be. */
kern_status launch_paper_ranks_open(launch_paper_ranks *job, int64_t ranks, int64_t tensor,
                                    const char *network);

/* What is sent by kind, the time of a step, tokens/s of a rank; `alone`: seconds of a step of one
 * rank that has memory enough, or 0. And the assumptions. */
void launch_plan_ranks_print(const ttt_conf *conf, const launch_paper_ranks *job,
                             const train_step *step, double compute, double alone);
/* Adds the same to `object`. */
void launch_plan_ranks_json(json_t *object, const ttt_conf *conf, const launch_paper_ranks *job,
                            const train_step *step, double compute, double alone);

/* Lines of a table over 8 .. 1024 ranks: memory, bytes, time, efficiency. */
kern_status launch_plan_scaling(const ttt_conf *conf, const kern_device *device, int64_t tensor,
                                const char *network, double alone);

#endif
