#include "train/schedule.h"

#include <math.h>

double train_learning_rate(const train_schedule *schedule, int64_t step) {
    ASSERT(step >= 0);
    int64_t warmup = schedule->warmup_steps, total = schedule->total_steps;
    if (step < warmup) return schedule->lr * (double)step / (double)warmup;
    if (step >= total) return schedule->end_lr;
    const double pi = 3.14159265358979323846;
    double done = (double)(step - warmup) / (double)(total - warmup);
    return schedule->end_lr + (schedule->lr - schedule->end_lr) * 0.5 * (1 + cos(pi * done));
}

double train_inner_multiplier(double from, int64_t warmup_steps, int64_t step) {
    ASSERT(step >= 0);
    if (warmup_steps <= 0 || step + 1 >= warmup_steps) return 1;
    return from + (1 - from) * ((double)(step + 1) / (double)warmup_steps);
}
