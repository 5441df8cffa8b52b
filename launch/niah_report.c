#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/niah.h"
#include "launch/report.h"
#include "train/files.h"
#include "train/terminal.h"

enum { NAME_WIDTH = 20, CELL_WIDTH = 17, BANDS = 5, PERCENTS = 101 };

launch_niah_scores *launch_niah_cell(const launch_niah_report *report, int64_t column,
                                     int64_t group, int64_t depth) {
    return &report->column[column].scores[group * (report->plan->depths + 1) + depth];
}

void launch_niah_add(launch_niah_report *report, int64_t group, int64_t depth, double score) {
    launch_niah_scores *scores = launch_niah_cell(report, report->columns - 1, group, depth);
    scores->sum += score;
    scores->squares += score * score;
    scores->count++;
}

static void add_scores(launch_niah_scores *to, const launch_niah_scores *more) {
    to->sum += more->sum;
    to->squares += more->squares;
    to->count += more->count;
}

static launch_niah_scores all_depths(const launch_niah_report *report, int64_t column,
                                     int64_t group) {
    launch_niah_scores all = {.count = 0};
    for (int64_t d = 0; d <= report->plan->depths; d++)
        add_scores(&all, launch_niah_cell(report, column, group, d));
    return all;
}

/* Of all tasks and lengths, at the depths in a band of the table: 0 to 20 percent, 21 to 40, ... */
static launch_niah_scores in_band(const launch_niah_report *report, int64_t column, int band) {
    launch_niah_scores all = {.count = 0};
    for (int64_t g = 0; g < launch_niah_groups(report->samples); g++)
        for (int64_t d = 0; d < report->plan->depths; d++)
            if (data_needle_depth_of(d, report->plan->depths) * BANDS / PERCENTS == band)
                add_scores(&all, launch_niah_cell(report, column, g, d));
    return all;
}

double launch_niah_mean(launch_niah_scores s) {
    return s.count ? s.sum / (double)s.count : NAN;
}

/* Of the mean; NAN where one sample alone says nothing about it. */
static double standard_error(launch_niah_scores s) {
    double n = (double)s.count;
    if (s.count < 2) return NAN;
    double variance = (s.squares - s.sum * s.sum / n) / (n - 1);
    return sqrt(fmax(variance, 0) / n);
}

static void print_cell(launch_niah_scores s) {
    if (s.count == 0)
        printf("%*s", CELL_WIDTH, "-");
    else if (s.count == 1)
        printf("%*.4f        ", CELL_WIDTH - 8, launch_niah_mean(s));
    else
        printf("%*.4f \u00b1%6.4f", CELL_WIDTH - 8, launch_niah_mean(s), standard_error(s));
}

char *launch_niah_shortened(const char *label) {
    char *plain = train_terminal_plain(label);
    char *end = train_text("%s", train_terminal_tail(plain, NAME_WIDTH));
    free(plain);
    return end;
}

static void print_head(const launch_niah_report *report, const char *first, const char *second) {
    printf("%-*s %8s %8s", NAME_WIDTH, first, second, "samples");
    for (int64_t c = 0; c < report->columns; c++) {
        putchar(' ');
        launch_print_name(report->column[c].label, -(CELL_WIDTH - 1));
    }
    printf("\n");
}

/* Where needles lie in more than one of the bands. */
static void print_bands(const launch_niah_report *report) {
    int bands = 0;
    for (int band = 0; band < BANDS; band++) bands += in_band(report, 0, band).count > 0;
    if (bands < 2) return;
    printf("\n");
    print_head(report, "depth in percent", "");
    for (int band = 0; band < BANDS; band++) {
        launch_niah_scores first = in_band(report, 0, band);
        char text[32];
        if (first.count == 0) continue;
        snprintf(text, sizeof text, "%d to %d", (band * PERCENTS + BANDS - 1) / BANDS,
                 ((band + 1) * PERCENTS - 1) / BANDS);
        printf("%-*s %8s %8lld", NAME_WIDTH, text, "", (long long)first.count);
        for (int64_t c = 0; c < report->columns; c++) print_cell(in_band(report, c, band));
        printf("\n");
    }
}

void launch_niah_print(const launch_niah_report *report) {
    print_head(report, "task", "length");
    for (int64_t g = 0; g < launch_niah_groups(report->samples); g++) {
        const launch_niah_group *group = launch_niah_group_of(report->samples, g);
        char *label = launch_niah_shortened(group->label);
        launch_print_name(label, NAME_WIDTH);
        free(label);
        printf(" %8lld %8lld", (long long)group->length, (long long)group->samples);
        for (int64_t c = 0; c < report->columns; c++) print_cell(all_depths(report, c, g));
        printf("\n");
    }
    print_bands(report);
}

static json_t *group_json(const launch_niah_report *report, int64_t column, int64_t g) {
    const launch_niah_group *group = launch_niah_group_of(report->samples, g);
    launch_niah_scores all = all_depths(report, column, g);
    json_t *depths = json_array();
    for (int64_t d = 0; d <= report->plan->depths; d++) {
        const launch_niah_scores *s = launch_niah_cell(report, column, g, d);
        if (s->count == 0) continue;
        json_t *depth = d < report->plan->depths
                            ? json_integer(data_needle_depth_of(d, report->plan->depths))
                            : json_null();
        launch_json_add(depths, launch_json("{s:o, s:I, s:f}", "depth", depth, "samples",
                                            (json_int_t)s->count, "mean", launch_niah_mean(*s)));
    }
    return launch_json("{s:o, s:I, s:I, s:o, s:o, s:o}", "task", launch_json_text(group->label),
                       "length", (json_int_t)group->length, "samples", (json_int_t)all.count,
                       "mean", launch_json_number(launch_niah_mean(all)), "standard_error",
                       launch_json_number(standard_error(all)), "depths", depths);
}

json_t *launch_niah_json(const launch_niah_report *report) {
    json_t *models = json_array();
    for (int64_t c = 0; c < report->columns; c++) {
        const launch_niah_column *column = &report->column[c];
        json_t *results = json_array();
        for (int64_t g = 0; g < launch_niah_groups(report->samples); g++)
            launch_json_add(results, group_json(report, c, g));
        launch_json_add(models, launch_json("{s:o, s:I, s:b, s:o}", "model",
                                            launch_json_text(column->label), "step",
                                            (json_int_t)column->step, "inner_steps",
                                            (int)column->inner, "results", results));
    }
    return launch_json("{s:o, s:I, s:o}", "seed", launch_json_seed(report->plan->seed),
                       "answer_tokens", (json_int_t)report->spec->answer_tokens, "models", models);
}

kern_status launch_niah_write_csv(const launch_niah_report *report, const char *path) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *file = open_memstream(&text, &bytes);
    ASSERT(file);
    fputs("model,task,length,depth,samples,accuracy\n", file);
    for (int64_t c = 0; c < report->columns; c++)
        for (int64_t g = 0; g < launch_niah_groups(report->samples); g++)
            for (int64_t d = 0; d <= report->plan->depths; d++) {
                const launch_niah_group *group = launch_niah_group_of(report->samples, g);
                const launch_niah_scores *s = launch_niah_cell(report, c, g, d);
                if (s->count == 0) continue;
                launch_csv_field(file, report->column[c].label);
                fputc(',', file);
                launch_csv_field(file, group->label);
                fprintf(file, ",%lld,", (long long)group->length);
                if (d < report->plan->depths)
                    fprintf(file, "%d", data_needle_depth_of(d, report->plan->depths));
                fprintf(file, ",%lld,%.6f\n", (long long)s->count, launch_niah_mean(*s));
            }
    ASSERT(!fclose(file));
    kern_status status = train_write_file(path, text, bytes);
    free(text);
    return status;
}
