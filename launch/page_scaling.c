/* Figures of scaling: loss by parameters and by tokens of training, with power laws. */
#include "launch/page.h"

#include "train/files.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FIT_POINTS = 40 };

/* What changes with a model's size; in the second list also what is chosen for it, so that a size
 * may have a length of training of its own. */
static const char *const of_size[] = {"model.dim",    "model.heads",       "model.kv_heads",
                                      "model.mlp",    "model.head_size",   "model.blocks",
                                      "inner.suffix", "inner.fast_blocks", NULL};
static const char *const of_size_tuned[] = {"model.dim",
                                            "model.heads",
                                            "model.kv_heads",
                                            "model.mlp",
                                            "model.head_size",
                                            "model.blocks",
                                            "inner.suffix",
                                            "inner.fast_blocks",
                                            "train.lr",
                                            "train.batch",
                                            "train.steps",
                                            "train.total_steps",
                                            "train.init_from",
                                            "inner.lr",
                                            "train.warmup_steps",
                                            "inner.warmup_steps",
                                            NULL};
static const char *const of_tokens[] = {"train.steps", "train.total_steps", "train.warmup_steps",
                                        "inner.warmup_steps", NULL};

typedef struct {
    const char *kind, *title, *x_label;
    const char *const *but;
    double (*x)(const launch_page_run *run);
} scaling;

static double parameters_of(const launch_page_run *run) {
    return run->parameters;
}

static double tokens_of(const launch_page_run *run) {
    const conf_train *train = &run->conf->train;
    return (double)train->steps * (double)train->batch * (double)train->context;
}

static bool is_head(const launch_page_section *section, int64_t run) {
    const launch_page_run *of = &section->run[run];
    if (!of->conf || of->group != run) return false;
    for (int64_t i = run; i < section->count; i++)
        if (section->run[i].group == run && section->run[i].measured) return true;
    return false;
}

static int by_x(const void *a, const void *b) {
    double x = ((const launch_point_xy *)a)->x, y = ((const launch_point_xy *)b)->x;
    return (x > y) - (x < y);
}

static void add_seeds(launch_figure *figure, const launch_page_section *section, const scaling *of,
                      int64_t group, int color) {
    for (int64_t i = group; i < section->count; i++) {
        const launch_page_run *run = &section->run[i];
        if (run->group != group || !run->measured) continue;
        const launch_saved_model *model = launch_saved_find(&run->saved, section->context);
        infer_mean mean = infer_losses_mean(model->losses, INFER_ALL, INFER_ALL);
        launch_series *dots =
            launch_figure_add(figure, LAUNCH_SERIES_DOTS, color, train_text("%s", run->name));
        dots->run = train_text("%s", run->dir);
        launch_series_add(dots, of->x(run), mean.mean, mean.standard_error, mean.windows);
    }
}

/* Whether runs of one size that the longer list would put into one curve differ. */
static bool differs_at_one_size(const launch_page_section *section) {
    for (int64_t i = 0; i < section->count; i++)
        for (int64_t j = 0; j < i; j++)
            if (is_head(section, i) && is_head(section, j) &&
                section->run[i].parameters == section->run[j].parameters &&
                launch_page_alike(section, i, j, of_size_tuned))
                return true;
    return false;
}

/* The curve of the runs that are like `head`; drawn where it has points of clearly different x. */
static bool add_curve(launch_figure *figure, const launch_page_section *section, const scaling *of,
                      int64_t head, int color, char *label) {
    launch_series *series = launch_figure_add(figure, LAUNCH_SERIES_CURVE, color, label);
    double least = INFINITY, most = 0;
    for (int64_t i = head; i < section->count; i++) {
        if (!is_head(section, i) || !launch_page_alike(section, head, i, of->but)) continue;
        infer_losses *losses = launch_page_losses(section, i, section->context);
        infer_mean mean = infer_losses_mean(losses, INFER_ALL, INFER_ALL);
        infer_losses_destroy(losses);
        double x = of->x(&section->run[i]);
        launch_series_add(series, x, mean.mean, mean.standard_error, mean.windows);
        least = fmin(least, x);
        most = fmax(most, x);
    }
    if (most > 1.2 * least) {
        qsort(series->point, (size_t)series->count, sizeof *series->point, by_x);
        for (int64_t i = head; i < section->count; i++)
            if (is_head(section, i) && launch_page_alike(section, head, i, of->but))
                add_seeds(figure, section, of, i, color);
        return true;
    }
    free(series->label);
    free(series->point);
    figure->count--;
    return false;
}

/* The line of the law, and what it says behind the curve's label. */
static void add_fit(launch_figure *figure, int64_t curve) {
    launch_series *of = &figure->series[curve];
    launch_power_law fit = launch_power_law_fit(of);
    double first = of->point[0].x, last = of->point[of->count - 1].x;
    if (!isfinite(fit.c)) return;
    char *label = isfinite(fit.half)
                      ? train_text("%s: x^-%.4f \u00b1 %.4f", of->label, fit.c, fit.half)
                      : train_text("%s: x^-%.4f", of->label, fit.c);
    free(of->label);
    of->label = label;
    launch_series *line =
        launch_figure_add(figure, LAUNCH_SERIES_LINE, of->color, train_text("%s", ""));
    for (int i = 0; i <= FIT_POINTS; i++) {
        double x = first * pow(last / first, (double)i / FIT_POINTS);
        launch_series_add(line, x, fit.a * pow(x, -fit.c), NAN, 0);
    }
}

static kern_status scale(const launch_page_section *section, const scaling *of,
                         launch_page_take take, void *context) {
    launch_figure figure = {
        .kind = of->kind, .x_label = of->x_label, .y_label = "nats per token", .log_x = true};
    int64_t count = 0, *heads = kern_array(section->count, sizeof *heads);
    const char *command = "";
    for (int64_t i = 0; i < section->count && section->context; i++) {
        bool known = !is_head(section, i);
        for (int64_t h = 0; h < count && !known; h++)
            known = launch_page_alike(section, heads[h], i, of->but);
        if (!known) heads[count++] = i;
    }
    int color = 0;
    for (int64_t h = 0; h < count; h++) {
        int64_t curve = figure.count;
        char *label = launch_page_label(section, heads[h], heads, count, of->but);
        if (!add_curve(&figure, section, of, heads[h], color, label)) continue;
        add_fit(&figure, curve);
        for (int64_t i = heads[h]; i < section->count && !*command; i++)
            if (section->run[i].measured) command = section->run[i].saved.command;
        color++;
    }
    kern_status status = KERN_OK;
    if (figure.count) {
        figure.title = train_text("%s", of->title);
        figure.note =
            train_text("Windows of %lld tokens; bars: the standard error over windows, "
                       "which contains how hard each window is. A law a x^-c is fitted to "
                       "the logarithms of the means by least squares.",
                       (long long)section->context);
        figure.command = train_text("%s   # and likewise of the other runs", command);
        status = take(context, &figure, of->kind);
    }
    launch_figure_clear(&figure);
    free(heads);
    return status;
}

kern_status launch_page_scaling_figures(const launch_page_section *section, launch_page_take take,
                                        void *context) {
    const scaling kinds[] = {
        {"size", "Loss by the size of the model", "parameters",
         differs_at_one_size(section) ? of_size : of_size_tuned, parameters_of},
        {"tokens", "Loss by the tokens of training", "tokens", of_tokens, tokens_of}};
    kern_status status = KERN_OK;
    for (int i = 0; i < 2; i++) TRY(scale(section, &kinds[i], take, context));
done:
    return status;
}
