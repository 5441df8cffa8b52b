/* ttt report: runs turned into one page of figures (docs/studies.md). A section is a study, or runs
 * that were named; its runs are of one vocabulary. Losses are those that ttt eval --save kept, and
 * their means are taken by what takes them there. All functions are local. */
#ifndef LAUNCH_PAGE_H
#define LAUNCH_PAGE_H

#include "configs/conf.h"
#include "configs/options.h"
#include "launch/eval_saved.h"

#include <jansson.h>
#include <stdio.h>

/* ---- runs (launch/page_runs.c) ---- */

enum { LAUNCH_CURVE_POINTS = 400 };
typedef struct {
    int64_t count;
    double step[LAUNCH_CURVE_POINTS], loss[LAUNCH_CURVE_POINTS];
    int64_t last; /* step of the last line; 0: there is none */
} launch_curve;

typedef struct {
    char *name, *dir;
    ttt_conf *conf;
    double parameters;
    char *problem; /* why it is not in the figures, or not whole; NULL */
    bool measured; /* `saved` is there, and of the section's windows */
    launch_saved saved;
    json_t *needle, *latency, *decoding; /* {command, step, result}, or NULL */
    launch_curve curve;
    int64_t group; /* index of the first run that is the same but for its seed */
} launch_page_run;

typedef struct {
    char *title;
    bool matched; /* model.mlp follows from the other options */
    int64_t count, capacity;
    launch_page_run *run;
    int64_t context; /* the longest windows that all measured runs have read; 0: none */
} launch_page_section;

/* Adds what a directory is: the points of a study, a run, or the runs that lie in it. Errors:
 * KERN_ERR_USAGE where it is none of these, and those of reading a study. */
kern_status launch_page_add(launch_page_section *section, const char *dir);
/* When all are there: groups, and the windows that are compared. KERN_ERR_USAGE where runs are of
 * different vocabularies, which are named. */
kern_status launch_page_settle(launch_page_section *section);
void launch_page_clear(launch_page_section *section);

/* The losses in metrics.jsonl, at most LAUNCH_CURVE_POINTS, of a longer file the least and the
 * greatest of each stretch. No file is an empty curve. (launch/page_curve.c) */
void launch_curve_read(launch_curve *curve, const char *path);

/* ---- groups (launch/page_groups.c) ---- */

/* Whether an option says nothing about what a run is: its seed, directory, threads, ... */
bool launch_page_ignores(const launch_page_section *section, const conf_option *option);
/* Whether two runs are equal in all that is not ignored, but for the options in `but`, names that
 * end with NULL. */
bool launch_page_alike(const launch_page_section *section, int64_t a, int64_t b,
                       const char *const *but);
/* The fewest options, in the order of their table, that tell a run from the `count` other ones:
 * "mode e2e, chunk 64"; free(). */
char *launch_page_label(const launch_page_section *section, int64_t run, const int64_t *others,
                        int64_t count, const char *const *but);
/* The mean over the seeds of the run's group of the losses of each window, of windows of `context`
 * tokens; NULL where a run was not measured so. infer_losses_destroy. */
infer_losses *launch_page_losses(const launch_page_section *section, int64_t group,
                                 int64_t context);

/* ---- figures ---- */

typedef struct {
    double x, y, error; /* error: NAN where there is none */
    int64_t windows;    /* 0: not known */
} launch_point_xy;

typedef enum { LAUNCH_SERIES_CURVE, LAUNCH_SERIES_DOTS, LAUNCH_SERIES_LINE } launch_series_style;

typedef struct {
    char *label, *run; /* run: a path, where its points are of one run; NULL */
    launch_series_style style;
    int color;
    int64_t count, capacity;
    launch_point_xy *point;
} launch_series;

typedef struct {
    const char *kind; /* in the CSV: "window" */
    char *title, *note, *command;
    const char *x_label, *y_label;
    bool log_x, names; /* names: x is the number of a series, from 1 */
    const char *map;   /* a title: points are boxes with `error` as their colour */
    int64_t count, capacity;
    launch_series *series;
} launch_figure;

launch_series *launch_figure_add(launch_figure *figure, launch_series_style style, int color,
                                 char *label);
void launch_series_add(launch_series *series, double x, double y, double error, int64_t windows);
void launch_figure_clear(launch_figure *figure);

/* The colour that a series is drawn in, as CSS has it. */
const char *launch_series_color(const launch_series *series);

/* SVG of the figure, without a key; free(). Errors: those of launch_gnuplot_svg.
 * (launch/page_draw.c) */
kern_status launch_figure_svg(char **svg, const launch_figure *figure, int id);

/* Makes the figures that a section has runs for, and gives each to `take`, which borrows it.
 * `paper`: names the paper's counterpart, or NULL. (launch/page_figures.c, launch/page_more.c) */
typedef kern_status (*launch_page_take)(void *context, const launch_figure *figure,
                                        const char *paper);
kern_status launch_page_losses_figures(const launch_page_section *section, launch_page_take take,
                                       void *context);
kern_status launch_page_scaling_figures(const launch_page_section *section, launch_page_take take,
                                        void *context);
kern_status launch_page_other_figures(const launch_page_section *section, launch_page_take take,
                                      void *context);

/* The paper's values for the axis of that name, as a figure; false where it has none.
 * (launch/page_paper.c) */
bool launch_paper_figure(launch_figure *figure, const char *name);

/* The least-squares fit log y = log a - c log x, and the half of c's 95 % interval (NAN for fewer
 * than three points). (launch/page_fit.c) */
typedef struct {
    double a, c, half;
    int64_t points;
} launch_power_law;
launch_power_law launch_power_law_fit(const launch_series *series);

/* The page and its table. `command`: what made it. Errors: those of gnuplot and of writing.
 * (launch/page_html.c) */
kern_status launch_page_write(const launch_page_section *sections, int64_t count,
                              const char *command, const char *html, const char *csv);

#endif
