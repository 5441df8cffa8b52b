#include "launch/progress_line.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "train/terminal.h"

/* Seconds of work that tell its speed; the first piece alone also makes threads and touches memory.
 */
static const double TELLING = 1;

/* Prints label and counts in `room` columns; what does not fit is left out: of the label its
 * beginning, then the time, then the end of the counts. */
static void print(const launch_progress_line *line, int64_t done, int64_t all, double left,
                  int room) {
    enum { LEAST_LABEL = 6 };
    char counts[128], time[64] = "", gap[8] = "";
    char *plain = train_terminal_plain(line->label);
    const char *label = plain;
    if (all)
        snprintf(counts, sizeof counts, ": %lld/%lld %s", (long long)done, (long long)all,
                 line->unit);
    else
        snprintf(counts, sizeof counts, ": %lld %s", (long long)done, line->unit);
    if (left >= 0) snprintf(time, sizeof time, "  %.0f s left", left);
    int wanted = train_terminal_columns(label), have = room - train_terminal_columns(counts);
    int short_label = wanted < LEAST_LABEL ? wanted : LEAST_LABEL;
    if (have - (int)strlen(time) < short_label) *time = 0;
    have -= (int)strlen(time);
    if (wanted > have) {
        snprintf(gap, sizeof gap, "%s", have > 3 ? "..." : "");
        label = train_terminal_tail(label, have > 3 ? have - 3 : 0);
    }
    fprintf(stderr, "%s%s%s%s", gap, label, train_terminal_cut(counts, room), time);
    free(plain);
}

void launch_progress_show(launch_progress_line *line, int64_t done, int64_t all) {
    double now = kern_seconds();
    bool terminal = isatty(STDERR_FILENO), finished = all && done >= all;
    bool again = finished && line->finished;
    line->finished = finished;
    if (again || (!finished && now - line->shown < (terminal ? 0.1 : 10))) return;
    line->shown = now;
    double taken = now - line->began, left = -1;
    if (all && (finished || taken >= TELLING)) left = taken / (double)done * (double)(all - done);
    if (terminal) fputc('\r', stderr);
    print(line, done, all, left, train_terminal_room(stderr));
    fputs(terminal ? "\033[K" : "\n", stderr);
    if (finished) launch_progress_clear(line);
    fflush(stderr);
}

void launch_progress_clear(const launch_progress_line *line) {
    if (line->shown > 0 && isatty(STDERR_FILENO)) fprintf(stderr, "\r\033[K");
}
