/* What ttt eval says: tables, CSV and JSON of the losses of several models on the same windows. All
 * functions are local. */
#ifndef LAUNCH_EVAL_REPORT_H
#define LAUNCH_EVAL_REPORT_H

#include <jansson.h>

#include "infer/evaluate.h"

/* One model as it was read: a run's weights with inner steps on or off. Owned by the report. */
typedef struct {
    char *label;   /* "e2e", "e2e-off" */
    int64_t run;   /* which of the command line's runs */
    int64_t step;  /* outer steps that its weights have had */
    int64_t chunk; /* C where it takes inner steps; 0: it takes none */
    infer_losses *losses;
} launch_eval_column;

typedef struct {
    int64_t columns;
    launch_eval_column *column;
    const data_source *source; /* borrowed */
} launch_eval_report;

void launch_eval_report_clear(launch_eval_report *report); /* frees the columns */

/* Prints to stdout: the loss by document; where the vocabulary is of bytes, in bits per byte too;
 * with `by_position`, by bin of positions; and differences between columns, paired by window: the
 * first column less each other one, and each other run with its inner steps less without them. */
void launch_eval_print(const launch_eval_report *report, bool by_position);

/* Writes lines model,bin_start,bin_end,mean,standard_error,count, nats per token in the positions
 * bin_start <= t < bin_end over `count` windows, to `path`. Errors: KERN_ERR_FILE. */
kern_status launch_eval_write_csv(const launch_eval_report *report, const char *path);

/* All numbers as a JSON object (the caller's): of the columns of one run, or of all (INFER_ALL). */
json_t *launch_eval_json(const launch_eval_report *report, int64_t run);

#endif
