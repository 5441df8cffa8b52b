/* What changes from outer step to outer step: the learning rate and the multiplier m of the inner
 * rate. Pure functions of the step, counted from 0, so that resuming needs the step alone. */
#ifndef TRAIN_SCHEDULE_H
#define TRAIN_SCHEDULE_H

#include "kernels/base.h"

typedef struct {
    double lr, end_lr;
    int64_t warmup_steps, total_steps;
} train_schedule;

/* The outer learning rate of step s:
 *     s < warmup_steps               lr s / warmup_steps
 *     warmup_steps <= s < total      end_lr + (lr - end_lr) (1 + cos(pi u)) / 2,
 *                                    u = (s - warmup_steps) / (total_steps - warmup_steps)
 *     s >= total_steps               end_lr
 * The first row that applies wins, so a warm-up longer than the schedule is still finished. Without
 * warm-up step 0 has the rate lr; with it step 0 has the rate 0 and moves nothing but the moments.
 */
double train_learning_rate(const train_schedule *schedule, int64_t step);

/* m(s) = from + (1 - from) min(1, (s + 1) / warmup_steps); 1 where warmup_steps is 0. */
double train_inner_multiplier(double from, int64_t warmup_steps, int64_t step);

#endif
