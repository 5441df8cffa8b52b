/* Figures of losses: by an option, by position in the window, by the length of windows, and of all
 * points side by side. */
#include "launch/page.h"

#include "train/files.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_CURVES = 12, MOST_POINTS = 16 };

/* A list of runs that stand for their groups. */
typedef struct {
    int64_t count, capacity, *run;
} list;

static void add(list *to, int64_t run) {
    to->run = kern_grow(to->run, &to->capacity, to->count + 1, sizeof *to->run);
    to->run[to->count++] = run;
}

static bool is_head(const launch_page_section *section, int64_t run) {
    return section->run[run].conf && section->run[run].group == run;
}

/* Whether some run of the group was measured. */
static bool is_measured(const launch_page_section *section, int64_t group) {
    for (int64_t i = group; i < section->count; i++)
        if (section->run[i].group == group && section->run[i].measured) return true;
    return false;
}

static list measured_groups(const launch_page_section *section) {
    list groups = {0};
    for (int64_t i = 0; i < section->count; i++)
        if (is_head(section, i) && section->context && is_measured(section, i)) add(&groups, i);
    return groups;
}

/* The command that measured the first of the runs; what measured the others is like it. */
static char *command_of(const launch_page_section *section) {
    int64_t measured = 0;
    const char *command = "";
    for (int64_t i = 0; i < section->count; i++) {
        if (!section->run[i].measured) continue;
        if (!measured++) command = section->run[i].saved.command;
    }
    if (measured < 2) return train_text("%s", command);
    return train_text("%s   # and likewise of %lld other runs", command, (long long)measured - 1);
}

/* Each seed's own loss: a series of dots for each run of the group. */
static void add_seeds(launch_figure *figure, const launch_page_section *section, int64_t group,
                      int color, double x, int64_t context, int bin) {
    for (int64_t i = group; i < section->count; i++) {
        const launch_page_run *run = &section->run[i];
        if (run->group != group || !run->measured) continue;
        const launch_saved_model *model = launch_saved_find(&run->saved, context);
        if (!model) continue;
        infer_mean mean = infer_losses_mean(model->losses, INFER_ALL, bin);
        launch_series *dots =
            launch_figure_add(figure, LAUNCH_SERIES_DOTS, color, train_text("%s", run->name));
        dots->run = train_text("%s", run->dir);
        launch_series_add(dots, x, mean.mean, mean.standard_error, mean.windows);
    }
}

/* The mean of a group's losses, whose error is that of the difference from `first`, paired by
 * window; of `first` itself there is none. */
static void add_paired(launch_figure *figure, int64_t series, double x, const infer_losses *losses,
                       const infer_losses *first, int bin) {
    infer_mean mean = infer_losses_mean(losses, INFER_ALL, bin);
    double error = NAN;
    if (first && losses->windows == first->windows && losses->bins.count == first->bins.count)
        error = infer_losses_difference(losses, first, INFER_ALL, bin).standard_error;
    launch_series_add(&figure->series[series], x, mean.mean, error, mean.windows);
}

/* ---- by an option ---- */

typedef struct {
    const char *option, *kind, *title, *x_label;
    const char *with; /* what may change with it: the tokens of a step stay the same */
} ablation;

static const ablation ablations[] = {
    {"model.window", "window", "Loss by the window of attention", "window (tokens)", NULL},
    {"inner.chunk", "chunk", "Loss by the mini-batch of an inner step", "chunk (tokens)", NULL},
    {"inner.suffix", "layers", "Loss by the number of blocks that are updated",
     "blocks with fast weights", NULL},
    {"inner.lr", "inner_rate", "Loss by the inner learning rate", "inner learning rate", NULL},
    {"train.context", "trained_context", "Loss by the context of training", "context (tokens)",
     "train.batch"},
};

static double option_value(const ttt_conf *conf, const char *name) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&text, &bytes);
    ASSERT(to);
    conf_option_print(to, conf, conf_option_find(name));
    ASSERT(!fclose(to));
    double value = strtod(text, NULL);
    free(text);
    return value;
}

/* The groups that differ from `head` in the option (and what goes with it) alone, by rising value.
 */
static list along(const launch_page_section *section, const list *groups, int64_t head,
                  const ablation *of) {
    const char *const but[] = {of->option, of->with, NULL};
    list found = {0};
    for (int64_t i = 0; i < groups->count; i++) {
        int64_t run = groups->run[i], at;
        if (!launch_page_alike(section, head, run, but)) continue;
        add(&found, run);
        double value = option_value(section->run[run].conf, of->option);
        for (at = found.count - 1;
             at > 0 && option_value(section->run[found.run[at - 1]].conf, of->option) > value; at--)
            found.run[at] = found.run[at - 1];
        found.run[at] = run;
    }
    return found;
}

static void add_curve(launch_figure *figure, const launch_page_section *section, const list *points,
                      const char *option, int color, char *label) {
    infer_losses *first = NULL;
    launch_figure_add(figure, LAUNCH_SERIES_CURVE, color, label);
    int64_t series = figure->count - 1;
    for (int64_t i = 0; i < points->count; i++) {
        int64_t run = points->run[i];
        double x = option_value(section->run[run].conf, option);
        infer_losses *losses = launch_page_losses(section, run, section->context);
        if (!losses) continue;
        add_paired(figure, series, x, losses, first, INFER_ALL);
        add_seeds(figure, section, run, color, x, section->context, INFER_ALL);
        if (first) infer_losses_destroy(losses);
        if (!first) first = losses;
    }
    infer_losses_destroy(first);
}

/* Only where some run differs from another in this option alone. */
static kern_status by_option(const launch_page_section *section, const list *groups,
                             const ablation *of, launch_page_take take, void *context) {
    const char *const but[] = {of->option, of->with, NULL};
    list heads = {0};
    launch_figure figure = {
        .kind = of->kind, .x_label = of->x_label, .y_label = "nats per token", .log_x = true};
    for (int64_t i = 0; i < groups->count; i++) {
        list points = along(section, groups, groups->run[i], of);
        bool known = false;
        for (int64_t h = 0; h < heads.count; h++)
            known |= launch_page_alike(section, heads.run[h], groups->run[i], but);
        if (!known && points.count > 1) add(&heads, groups->run[i]);
        free(points.run);
    }
    for (int64_t h = 0; h < heads.count; h++) {
        list points = along(section, groups, heads.run[h], of);
        char *label = launch_page_label(section, heads.run[h], heads.run, heads.count, but);
        add_curve(&figure, section, &points, of->option, (int)h, label);
        free(points.run);
    }
    kern_status status = KERN_OK;
    if (heads.count) {
        figure.title = train_text("%s", of->title);
        figure.note = train_text(
            "Windows of %lld tokens. A curve is the mean over seeds, small circles are single "
            "seeds. Bars: the standard error of the difference from the curve's first point, "
            "paired by window.",
            (long long)section->context);
        figure.command = command_of(section);
        status = take(context, &figure, of->kind);
    }
    launch_figure_clear(&figure);
    free(heads.run);
    return status;
}

/* ---- all points ---- */

static kern_status all_points(const launch_page_section *section, const list *groups,
                              launch_page_take take, void *context) {
    static const char *const nothing[] = {NULL};
    launch_figure figure = {
        .kind = "points", .x_label = "", .y_label = "nats per token", .names = true};
    infer_losses *first = NULL;
    if (groups->count < 2 || groups->count > MOST_POINTS) return KERN_OK;
    for (int64_t i = 0; i < groups->count; i++) {
        int64_t run = groups->run[i];
        infer_losses *losses = launch_page_losses(section, run, section->context);
        char *label = launch_page_label(section, run, groups->run, groups->count, nothing);
        launch_figure_add(&figure, LAUNCH_SERIES_CURVE, (int)i,
                          train_text("%lld: %s", (long long)i + 1, label));
        free(label);
        add_paired(&figure, figure.count - 1, (double)i + 1, losses, first, INFER_ALL);
        add_seeds(&figure, section, run, (int)i, (double)i + 1, section->context, INFER_ALL);
        if (first) infer_losses_destroy(losses);
        if (!first) first = losses;
    }
    infer_losses_destroy(first);
    figure.title = train_text("%s", "All points");
    figure.note = train_text("Windows of %lld tokens. Small circles: single seeds. Bars: the "
                             "standard error of the difference from the first point, paired by "
                             "window.",
                             (long long)section->context);
    figure.command = command_of(section);
    kern_status status = take(context, &figure, NULL);
    launch_figure_clear(&figure);
    return status;
}

/* ---- by position, by length ---- */

static char *curves_note(const char *what, int64_t drawn, int64_t of) {
    if (drawn == of) return train_text("%s", what);
    return train_text("%s Of %lld groups of runs the first %lld are shown.", what, (long long)of,
                      (long long)drawn);
}

static kern_status by_position(const launch_page_section *section, const list *groups,
                               launch_page_take take, void *context) {
    static const char *const nothing[] = {NULL};
    launch_figure figure = {.kind = "position",
                            .x_label = "position in the window (tokens)",
                            .y_label = "nats per token",
                            .log_x = true};
    infer_losses *first = NULL;
    int64_t drawn = kern_min(groups->count, MOST_CURVES);
    for (int64_t i = 0; i < drawn; i++) {
        int64_t run = groups->run[i];
        infer_losses *losses = launch_page_losses(section, run, section->context);
        if (losses->bins.count > 1) {
            launch_figure_add(&figure, LAUNCH_SERIES_CURVE, (int)i,
                              launch_page_label(section, run, groups->run, groups->count, nothing));
            for (int bin = 0; bin < losses->bins.count; bin++)
                add_paired(&figure, figure.count - 1,
                           (double)(losses->bins.edge[bin] + losses->bins.edge[bin + 1]) / 2,
                           losses, first, bin);
        }
        if (first) infer_losses_destroy(losses);
        if (!first) first = losses;
    }
    infer_losses_destroy(first);
    kern_status status = KERN_OK;
    if (figure.count) {
        figure.title = train_text("Loss by token index in windows of %lld tokens",
                                  (long long)section->context);
        figure.note = curves_note("Means over seeds; a bin stands at its middle. Bars: the "
                                  "standard error of the difference from the first curve, paired "
                                  "by window.",
                                  drawn, groups->count);
        figure.command = command_of(section);
        status = take(context, &figure, "position");
    }
    launch_figure_clear(&figure);
    return status;
}

/* The lengths of windows that a run was measured with, rising; [*count], free(). */
static int64_t *lengths_of(const launch_page_run *run, int64_t *count) {
    int64_t *lengths = kern_array(run->saved.count, sizeof *lengths);
    *count = 0;
    for (int64_t m = 0; m < run->saved.count; m++) {
        int64_t length = run->saved.model[m].context, at = *count;
        bool known = false;
        for (int64_t i = 0; i < *count; i++) known |= lengths[i] == length;
        if (known) continue;
        for (; at > 0 && lengths[at - 1] > length; at--) lengths[at] = lengths[at - 1];
        lengths[at] = length;
        ++*count;
    }
    return lengths;
}

static void add_lengths(launch_figure *figure, const launch_page_section *section, int64_t run,
                        int color, char *label) {
    int64_t count;
    const launch_page_run *of = &section->run[run];
    for (int64_t i = run; !of->measured; i++)
        if (section->run[i].group == run && section->run[i].measured) of = &section->run[i];
    int64_t *lengths = lengths_of(of, &count);
    infer_losses *first = NULL;
    launch_figure_add(figure, LAUNCH_SERIES_CURVE, color, label);
    int64_t series = figure->count - 1;
    for (int64_t l = 0; l < count && count > 1; l++) {
        infer_losses *losses = launch_page_losses(section, run, lengths[l]);
        infer_mean mean = infer_losses_mean(losses, INFER_ALL, INFER_TAIL);
        double error = NAN;
        if (first &&
            first->windows == losses->windows) { /* their bins differ, their tails do not */
            infer_losses a = *losses, b = *first;
            double *tails = kern_array(4 * a.windows, sizeof *tails);
            for (int64_t w = 0; w < a.windows; w++) {
                tails[2 * w] = a.loss[(w + 1) * (a.bins.count + 2) - 1];
                tails[2 * (a.windows + w)] = b.loss[(w + 1) * (b.bins.count + 2) - 1];
            }
            a.loss = tails;
            b.loss = tails + 2 * a.windows;
            a.bins.count = b.bins.count = 0;
            error = infer_losses_difference(&a, &b, INFER_ALL, INFER_ALL).standard_error;
            free(tails);
        }
        launch_series_add(&figure->series[series], (double)lengths[l], mean.mean, error,
                          mean.windows);
        add_seeds(figure, section, run, color, (double)lengths[l], lengths[l], INFER_TAIL);
        if (first) infer_losses_destroy(losses);
        if (!first) first = losses;
    }
    infer_losses_destroy(first);
    free(lengths);
}

static kern_status by_length(const launch_page_section *section, const list *groups,
                             launch_page_take take, void *context) {
    static const char *const nothing[] = {NULL};
    launch_figure figure = {.kind = "context",
                            .x_label = "length of the window (tokens)",
                            .y_label = "nats per token",
                            .log_x = true};
    int64_t drawn = kern_min(groups->count, MOST_CURVES), points = 0;
    for (int64_t i = 0; i < drawn; i++)
        add_lengths(
            &figure, section, groups->run[i], (int)i,
            launch_page_label(section, groups->run[i], groups->run, groups->count, nothing));
    for (int64_t i = 0; i < figure.count; i++) points += figure.series[i].count;
    kern_status status = KERN_OK;
    if (points) {
        figure.title = train_text("%s", "Loss of the same tokens by the length of their windows");
        figure.note = curves_note("The last tokens of each window, which every length predicts. "
                                  "Small circles: single seeds. Bars: the standard error of the "
                                  "difference from the shortest length, paired by window.",
                                  drawn, groups->count);
        figure.command = command_of(section);
        status = take(context, &figure, "context");
    }
    launch_figure_clear(&figure);
    return status;
}

kern_status launch_page_losses_figures(const launch_page_section *section, launch_page_take take,
                                       void *context) {
    kern_status status = KERN_OK;
    list groups = measured_groups(section);
    TRY(all_points(section, &groups, take, context));
    for (size_t i = 0; i < sizeof ablations / sizeof *ablations; i++)
        TRY(by_option(section, &groups, &ablations[i], take, context));
    TRY(by_position(section, &groups, take, context));
    TRY(by_length(section, &groups, take, context));
done:
    free(groups.run);
    return status;
}
