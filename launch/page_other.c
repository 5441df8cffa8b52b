/* Figures of training, of needles, of latency, of decoding. */
#include "launch/page.h"

#include "train/files.h"
#include "train/terminal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_MAPS = 12, MOST_CURVES = 12 };

static const char *const nothing[] = {NULL};

/* What tells the run from all others, or its name. */
static char *label_of(const launch_page_section *section, int64_t run) {
    int64_t count = 0, *all = kern_array(section->count, sizeof *all);
    for (int64_t i = 0; i < section->count; i++)
        if (section->run[i].conf) all[count++] = i;
    char *label = launch_page_label(section, run, all, count, nothing);
    free(all);
    return label;
}

static double number_of(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static const char *command_of(const json_t *measure) {
    const char *command = json_string_value(json_object_get(measure, "command"));
    return command ? command : "";
}

static kern_status training(const launch_page_section *section, launch_page_take take,
                            void *context) {
    launch_figure figure = {
        .kind = "training", .x_label = "outer step", .y_label = "nats per token, of the batch"};
    int color = 0;
    for (int64_t i = 0; i < section->count; i++) {
        if (!section->run[i].conf || section->run[i].group != i) continue;
        bool labelled = false;
        for (int64_t j = i; j < section->count; j++) {
            const launch_page_run *run = &section->run[j];
            if (run->group != i || !run->conf || !run->curve.count) continue;
            launch_series *line =
                launch_figure_add(&figure, LAUNCH_SERIES_LINE, color,
                                  labelled ? train_text("%s", "") : label_of(section, i));
            line->run = train_text("%s", run->dir);
            labelled = true;
            for (int64_t p = 0; p < run->curve.count; p++)
                launch_series_add(line, run->curve.step[p], run->curve.loss[p], NAN, 0);
        }
        color++;
    }
    kern_status status = KERN_OK;
    if (figure.count) {
        figure.title = train_text("%s", "Training");
        figure.note = train_text("One curve a run, seeds of a point in one colour; of more than %d "
                                 "steps the least and the greatest loss of each stretch.",
                                 LAUNCH_CURVE_POINTS);
        char *word = train_terminal_word(figure.series[0].run);
        figure.command = train_text("ttt train --resume %s   # and likewise of the others; "
                                    "metrics.jsonl",
                                    word);
        free(word);
        status = take(context, &figure, NULL);
    }
    launch_figure_clear(&figure);
    return status;
}

/* One map a run: accuracy of all tasks by length and depth. */
static void add_map(launch_figure *figure, const json_t *model) {
    size_t g, d;
    const json_t *group, *depth;
    launch_series *boxes =
        launch_figure_add(figure, LAUNCH_SERIES_CURVE, 0, train_text("%s", "accuracy"));
    json_array_foreach(json_object_get(model, "results"), g, group) {
        double length = number_of(group, "length");
        json_array_foreach(json_object_get(group, "depths"), d, depth) {
            double at = number_of(depth, "depth"), mean = number_of(depth, "mean");
            double samples = number_of(depth, "samples");
            int64_t same = 0;
            while (same < boxes->count &&
                   !(boxes->point[same].x == length && boxes->point[same].y == at))
                same++;
            if (same == boxes->count) launch_series_add(boxes, length, at, 0, 0);
            launch_point_xy *p = &boxes->point[same];
            p->windows += (int64_t)samples;
            p->error += (mean - p->error) * samples / (double)p->windows;
        }
    }
}

static kern_status needles(const launch_page_section *section, launch_page_take take,
                           void *context) {
    kern_status status = KERN_OK;
    int64_t maps = 0;
    for (int64_t i = 0; i < section->count && maps < MOST_MAPS && status == KERN_OK; i++) {
        const launch_page_run *run = &section->run[i];
        const json_t *models = json_object_get(json_object_get(run->needle, "result"), "models");
        const json_t *model = json_array_get(models, 0);
        if (!model || run->group != i) continue;
        launch_figure figure = {.kind = "needle",
                                .x_label = "length (tokens)",
                                .y_label = "depth of the needle (percent)",
                                .map = "accuracy"};
        add_map(&figure, model);
        figure.series[0].run = train_text("%s", run->dir);
        figure.title = train_text("Needles found: %s", run->name);
        figure.note = train_text("%s", "The mean of all tasks.");
        figure.command = train_text("%s", command_of(run->needle));
        status = take(context, &figure, maps ? NULL : "needle");
        launch_figure_clear(&figure);
        maps++;
    }
    return status;
}

static kern_status latency(const launch_page_section *section, launch_page_take take,
                           void *context) {
    launch_figure figure = {.kind = "latency",
                            .x_label = "length of the text (tokens)",
                            .y_label = "seconds of reading a thousand tokens",
                            .log_x = true};
    const char *command = "";
    int color = 0;
    for (int64_t i = 0; i < section->count && color < MOST_CURVES; i++) {
        const launch_page_run *run = &section->run[i];
        const json_t *rows = json_object_get(json_object_get(run->latency, "result"), "rows"), *row;
        const char *before = "";
        size_t r;
        if (!rows || run->group != i) continue;
        if (!*command) command = command_of(run->latency);
        json_array_foreach(rows, r, row) {
            const char *model = json_string_value(json_object_get(row, "model"));
            double length = number_of(row, "context"), seconds = number_of(row, "read_seconds");
            if (!model) continue;
            if (strcmp(model, before)) {
                char *label = label_of(section, i);
                launch_series *made = launch_figure_add(&figure, LAUNCH_SERIES_CURVE, color++,
                                                        train_text("%s: %s", label, model));
                made->run = train_text("%s", run->dir);
                free(label);
            }
            before = model;
            launch_series_add(&figure.series[figure.count - 1], length, 1000 * seconds / length,
                              NAN, 0);
        }
    }
    kern_status status = KERN_OK;
    if (figure.count) {
        figure.title = train_text("%s", "Time of reading by length");
        figure.note = train_text("%s", "Measured on this machine, once.");
        figure.command = train_text("%s", command);
        status = take(context, &figure, "latency");
    }
    launch_figure_clear(&figure);
    return status;
}

static kern_status decoding(const launch_page_section *section, launch_page_take take,
                            void *context) {
    launch_figure figure = {.kind = "decoding",
                            .x_label = "position (tokens)",
                            .y_label = "the judge's nats per token"};
    const char *command = "", *judge = NULL;
    double prompt = NAN;
    int color = 0;
    for (int64_t i = 0; i < section->count && color < MOST_CURVES; i++) {
        const launch_page_run *run = &section->run[i];
        const json_t *result = json_object_get(run->decoding, "result"), *row;
        const json_t *positions = json_object_get(result, "positions");
        size_t r;
        if (!positions) continue;
        if (!*command) command = command_of(run->decoding);
        if (!judge) judge = json_string_value(json_object_get(result, "judge"));
        prompt = number_of(result, "prompt_tokens");
        char *label = label_of(section, i);
        launch_series *series = launch_figure_add(&figure, LAUNCH_SERIES_CURVE, color++,
                                                  train_text("%s (%s)", label, run->name));
        free(label);
        series->run = train_text("%s", run->dir);
        json_array_foreach(positions, r, row) launch_series_add(
            series, (number_of(row, "begin") + number_of(row, "end")) / 2, number_of(row, "mean"),
            number_of(row, "standard_error"), (int64_t)number_of(row, "windows"));
    }
    kern_status status = KERN_OK;
    if (figure.count) {
        figure.title = train_text("What runs write, scored by %s", judge ? judge : "another run");
        figure.note = train_text("Behind the first %.0f tokens, which are a book's, a run writes "
                                 "itself. Bars: one standard error over texts.",
                                 prompt);
        figure.command = train_text("%s", command);
        status = take(context, &figure, "decoding");
    }
    launch_figure_clear(&figure);
    return status;
}

kern_status launch_page_other_figures(const launch_page_section *section, launch_page_take take,
                                      void *context) {
    kern_status status = KERN_OK;
    TRY(training(section, take, context));
    TRY(needles(section, take, context));
    TRY(latency(section, take, context));
    TRY(decoding(section, take, context));
done:
    return status;
}
