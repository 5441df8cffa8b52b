/* The progress line of a training run. On a terminal one line is rewritten in place, no wider
 * than the terminal is; elsewhere (a file, a pipe) a line is printed now and then, so that a log
 * stays readable. */
#ifndef TRAIN_PROGRESS_H
#define TRAIN_PROGRESS_H

#include <stdio.h>

#include "kernels/base.h"

typedef struct {
    int64_t step, total_steps; /* steps done, of how many */
    double loss;
    double tokens_per_second;
    double peak_fraction; /* of the machine's matrix-product peak, 0..1; below 0: unknown */
    double seconds_left;  /* below 0: unknown */
} train_progress_line;

typedef struct train_progress train_progress;

/* `out` (usually stderr) is borrowed. `first_step`: steps done before this process; `every`:
 * seconds between lines where `out` is no terminal (a terminal gets at most ten a second). */
train_progress *train_progress_create(FILE *out, int64_t first_step, int64_t total_steps,
                                      double every);

/* Ends the line on a terminal; elsewhere prints the last line if it was held back. NULL is fine. */
void train_progress_destroy(train_progress *progress);

/* After each step: `step` steps are done. The time left is the mean time of this process's steps
 * times the steps left. The first and the last step are always shown. */
void train_progress_show(train_progress *progress, int64_t step, double loss,
                         double tokens_per_second, double peak_fraction);

/* Clears the line on a terminal so that other text can be printed; nothing elsewhere. */
void train_progress_clear(train_progress *progress);

/* "step 120/400  loss 2.3456  12.3k tokens/s  61 % of peak  3m 20s left", 0-terminated, cut at
 * `bytes`. Where that is wider than `room` columns it is shortened: without the share of the peak,
 * the speed, the time left, and at last cut. */
void train_progress_format(char *text, size_t bytes, const train_progress_line *line, int room);

#endif
