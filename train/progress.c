#include "train/progress.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "train/terminal.h"

struct train_progress {
    FILE *out;
    bool terminal, pending; /* pending: `line` has not been shown */
    int64_t first_step;
    double began, shown, every; /* seconds */
    train_progress_line line;
};

static const double TERMINAL_SECONDS = 0.1;

train_progress *train_progress_create(FILE *out, int64_t first_step, int64_t total_steps,
                                      double every) {
    int64_t capacity = 0;
    train_progress *progress = kern_grow(NULL, &capacity, 1, sizeof *progress);
    *progress = (train_progress){
        .out = out, .terminal = isatty(fileno(out)), .first_step = first_step, .every = every};
    progress->began = kern_seconds();
    progress->line.total_steps = total_steps;
    if (progress->terminal) progress->every = TERMINAL_SECONDS;
    return progress;
}

static void format_rate(char *text, size_t bytes, double rate) {
    if (rate >= 1e6)
        snprintf(text, bytes, "%.2fM", rate * 1e-6);
    else if (rate >= 1e4)
        snprintf(text, bytes, "%.1fk", rate * 1e-3);
    else
        snprintf(text, bytes, "%.0f", rate);
}

static void format_time(char *text, size_t bytes, double seconds) {
    long long whole = (long long)(seconds + 0.5);
    if (whole >= 86400)
        snprintf(text, bytes, "%lldd %02lldh", whole / 86400, whole / 3600 % 24);
    else if (whole >= 3600)
        snprintf(text, bytes, "%lldh %02lldm", whole / 3600, whole / 60 % 60);
    else if (whole >= 60)
        snprintf(text, bytes, "%lldm %02llds", whole / 60, whole % 60);
    else
        snprintf(text, bytes, "%llds", whole);
}

/* The line without the first `dropped` of what it can best do without: the share of the peak, the
 * speed, the time left. */
static void format(char *text, size_t bytes, const train_progress_line *line, int dropped) {
    char number[32], peak[48] = "", rate[48] = "", left[48] = "";
    if (dropped < 1 && line->peak_fraction >= 0)
        snprintf(peak, sizeof peak, "  %.0f %% of peak", 100 * line->peak_fraction);
    if (dropped < 2) {
        format_rate(number, sizeof number, line->tokens_per_second);
        snprintf(rate, sizeof rate, "  %s tokens/s", number);
    }
    /* A century is no estimate; the bound also keeps the conversion to whole seconds defined. */
    if (dropped < 3 && line->seconds_left >= 0 && line->seconds_left < 3e9) {
        format_time(number, sizeof number, line->seconds_left);
        snprintf(left, sizeof left, "  %s left", number);
    }
    snprintf(text, bytes, "step %lld/%lld  loss %.4f%s%s%s", (long long)line->step,
             (long long)line->total_steps, line->loss, rate, peak, left);
}

void train_progress_format(char *text, size_t bytes, const train_progress_line *line, int room) {
    int dropped = 0;
    do format(text, bytes, line, dropped++);
    while (dropped <= 3 && train_terminal_columns(text) > room);
    train_terminal_cut(text, room);
}

static void print(train_progress *progress) {
    char text[256];
    train_progress_format(text, sizeof text, &progress->line, train_terminal_room(progress->out));
    if (progress->terminal)
        fprintf(progress->out, "\r%s\033[K", text);
    else
        fprintf(progress->out, "%s\n", text);
    fflush(progress->out);
    progress->pending = false;
    progress->shown = kern_seconds();
}

void train_progress_show(train_progress *progress, int64_t step, double loss,
                         double tokens_per_second, double peak_fraction) {
    double now = kern_seconds();
    int64_t done = step - progress->first_step;
    train_progress_line *line = &progress->line;
    bool first = line->step == 0;
    line->step = step;
    line->loss = loss;
    line->tokens_per_second = tokens_per_second;
    line->peak_fraction = peak_fraction;
    line->seconds_left = -1;
    if (done > 0)
        line->seconds_left =
            (now - progress->began) / (double)done * (double)(line->total_steps - step);
    progress->pending = true;
    if (first || step >= line->total_steps || now - progress->shown >= progress->every)
        print(progress);
}

void train_progress_clear(train_progress *progress) {
    if (!progress->terminal) return;
    fprintf(progress->out, "\r\033[K");
    fflush(progress->out);
}

void train_progress_destroy(train_progress *progress) {
    if (!progress) return;
    if (progress->pending) print(progress);
    if (progress->terminal && progress->line.step) fprintf(progress->out, "\n");
    fflush(progress->out);
    free(progress);
}
