/* metrics.jsonl of a run: one JSON object a line, one line per outer step (and one more for an
 * evaluation). Kept so that after a resume the file equals that of an uninterrupted run, apart from
 * times. */
#ifndef TRAIN_METRICS_H
#define TRAIN_METRICS_H

#include "kernels/base.h"

/* A named number. Whole ones (`whole`: counts, at most 2^53) are printed without a point. */
typedef struct {
    const char *name;
    double value;
    bool whole;
} train_value;

typedef struct train_metrics train_metrics;

/* Opens `path` for appending; creates it where it is missing. `done` is how many steps were done (a
 * step's number is how many were done with it, from 1 on): lines whose "step" is beyond belong to
 * steps that will be done again and are dropped, by writing the others aside and renaming. A last
 * line that is torn is dropped too. A file of early programs, which counted from 0, is known by its
 * step 0, and gets the numbers of now. KERN_ERR_DATA if another line is not an object with a whole
 * "step" (file and line are named, the file stays as it is); KERN_ERR_FILE. Close with
 * train_metrics_close. */
kern_status train_metrics_open(train_metrics **metrics, const char *path, int64_t done);
void train_metrics_close(train_metrics *metrics);

/* Whether it was such a file when it was opened. */
bool train_metrics_renumbered(const train_metrics *metrics);

/* Whether `path`, numbered in either way, has a line of that step with that name; a missing file
 * has none. KERN_ERR_FILE. */
kern_status train_metrics_find(bool *found, const char *path, int64_t step, const char *name);

/* Appends {"step": step, name: value, ...} in the order given, with 17 significant digits, and
 * hands the line to the operating system in one write. A value that is not finite is written as
 * null, which is all JSON has. On failure the file ends with the line before. */
kern_status train_metrics_write(train_metrics *metrics, int64_t step, int64_t count,
                                const train_value *values);

/* Writes the line that train_metrics_write could not write last, if there is one, to `path`, where
 * train_metrics_catch_up finds it. KERN_ERR_FILE. */
kern_status train_metrics_leave(const train_metrics *metrics, const char *path);

/* Appends the line that was left at `path`, of step `done`, where metrics.jsonl does not have it by
 * now. A missing file has none. KERN_ERR_FILE. */
kern_status train_metrics_catch_up(train_metrics *metrics, const char *path, int64_t done);

/* Waits until all lines are on the disk: before a checkpoint, so that a resumed run misses none. */
kern_status train_metrics_sync(train_metrics *metrics);

#endif
