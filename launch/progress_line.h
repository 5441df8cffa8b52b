/* A line on stderr that tells how far long work is and when it will end: rewritten on a terminal,
 * no wider than that is, printed now and then elsewhere. */
#ifndef LAUNCH_PROGRESS_LINE_H
#define LAUNCH_PROGRESS_LINE_H

#include "kernels/base.h"

typedef struct {
    const char *label, *unit; /* "e2e", "windows" */
    double began, shown;      /* began: kern_seconds() at the start; shown: 0 */
    bool finished;            /* false */
} launch_progress_line;

/* `done` > 0 units of `all` are done; all 0: nobody knows of how many. That all are is told once,
 * however often it is said. */
void launch_progress_show(launch_progress_line *line, int64_t done, int64_t all);

/* Removes the line from a terminal, so that what follows begins a line. */
void launch_progress_clear(const launch_progress_line *line);

#endif
