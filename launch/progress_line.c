#include "launch/progress_line.h"

#include <stdio.h>
#include <unistd.h>

/* Seconds of work that tell its speed; the first piece alone also makes threads and touches memory.
 */
static const double TELLING = 1;

void launch_progress_show(launch_progress_line *line, int64_t done, int64_t all) {
    double now = kern_seconds();
    bool terminal = isatty(STDERR_FILENO), finished = all && done >= all;
    bool again = finished && line->finished;
    line->finished = finished;
    if (again || (!finished && now - line->shown < (terminal ? 0.1 : 10))) return;
    line->shown = now;
    fprintf(stderr, "%s%s: %lld", terminal ? "\r" : "", line->label, (long long)done);
    if (all) {
        double taken = now - line->began, left = taken / (double)done * (double)(all - done);
        fprintf(stderr, "/%lld %s", (long long)all, line->unit);
        if (finished || taken >= TELLING) fprintf(stderr, "  %.0f s left", left);
    } else {
        fprintf(stderr, " %s", line->unit);
    }
    fprintf(stderr, "%s", terminal ? "\033[K" : "\n");
    if (finished) launch_progress_clear(line);
    fflush(stderr);
}

void launch_progress_clear(const launch_progress_line *line) {
    if (line->shown > 0 && isatty(STDERR_FILENO)) fprintf(stderr, "\r\033[K");
}
