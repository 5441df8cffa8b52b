/* What ttt eval says: tables, CSV, JSON and pictures of the losses of several models on the same
 * windows, of one length or several that end at the same places. All functions are local. */
#ifndef LAUNCH_EVAL_REPORT_H
#define LAUNCH_EVAL_REPORT_H

#include <jansson.h>

#include "infer/evaluate.h"

/* One model as it was read: a run's weights with inner steps on or off. Owned by the report. */
typedef struct {
    char *label;           /* "e2e", "e2e-off" */
    int64_t run;           /* which of the command line's runs */
    int64_t step;          /* outer steps that its weights have had */
    int64_t chunk;         /* C where it takes inner steps; 0: it takes none */
    infer_losses **losses; /* [lengths] */
} launch_eval_column;

typedef struct {
    int64_t lengths, columns;
    const int64_t *length; /* [lengths] borrowed: T, as asked for */
    int64_t tail;          /* the shortest: the positions of INFER_TAIL */
    launch_eval_column *column;
    const data_source *source; /* borrowed */
} launch_eval_report;

void launch_eval_report_clear(launch_eval_report *report); /* frees the columns */

/* Which number of a column. */
typedef struct {
    int64_t length;   /* index */
    int64_t document; /* index, or INFER_ALL */
    int bin;          /* INFER_ALL, INFER_TAIL */
    bool bits;        /* per byte; else nats per token */
} launch_eval_place;
infer_mean launch_eval_value(const launch_eval_report *report, int64_t column,
                             launch_eval_place place);
/* Column a less column b, paired by window. */
infer_mean launch_eval_difference(const launch_eval_report *report, int64_t a, int64_t b,
                                  launch_eval_place place);

/* The differences that are told: the first column less each other one, each other run with its
 * inner steps less without them, and each other run less the next. Free with free(). */
typedef struct {
    int64_t a, b;
} launch_eval_pair;
launch_eval_pair *launch_eval_pairs(int64_t *count, const launch_eval_report *report);

/* Prints to stdout, in nats per token and bits per byte: the loss by length; with several lengths,
 * of the last tokens of each window, which all lengths predict; with `books` by document;
 * differences of columns. In nats alone: with `by_position`, by bin. */
void launch_eval_print(const launch_eval_report *report, bool books, bool by_position);

/* Writes lines model,bin_start,bin_end,mean,standard_error,count,context to `path`: nats per token
 * in the positions bin_start <= t < bin_end of windows of `context` tokens over `count` windows, by
 * bin and of whole windows; of the columns, then of the pairs, whose `model` is "e2e - swa".
 * Errors: KERN_ERR_FILE. */
kern_status launch_eval_write_csv(const launch_eval_report *report, const char *path);

/* All numbers as a JSON object (the caller's): of the columns of one run, or of all (INFER_ALL). */
json_t *launch_eval_json(const launch_eval_report *report, int64_t run);

/* Draws to `path`, a PNG: with several lengths, the last tokens' loss by length; with one, or with
 * `by_position`, the loss by position in the longest windows. Errors: launch_gnuplot_draw's. */
kern_status launch_eval_draw(const launch_eval_report *report, bool by_position, const char *path);

#endif
