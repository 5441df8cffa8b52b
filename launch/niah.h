/* What ttt niah asks, and what it found. All functions are local. */
#ifndef LAUNCH_NIAH_H
#define LAUNCH_NIAH_H

#include <jansson.h>

#include "infer/needle.h"

/* A row of the table: samples of one task and length, made here or of one of RULER's files. */
typedef struct {
    char *label;    /* "1"; a file's path */
    int task;       /* 0: a file */
    int64_t length; /* tokens of prompt and answer: what was asked for; a file's longest */
    int64_t samples;
} launch_niah_group;

/* How the samples of own tasks are made. */
typedef struct {
    const char *text; /* path; NULL: none */
    const int64_t *tasks, *lengths;
    int64_t task_count, length_count, samples;
    int64_t depths; /* sample i is at depth i mod depths; of files, rows of the map */
    uint64_t seed;
} launch_niah_plan;

typedef struct launch_niah_samples launch_niah_samples;

/* The samples of the plan or, where there are paths [count], those of these files, all of which are
 * read here once, so that nothing is found wrong with them after hours. `spec` is borrowed, and so
 * are plan and paths. Errors: those of data/needle.h, KERN_ERR_DATA where a file has no sample. */
kern_status launch_niah_samples_create(launch_niah_samples **samples, const launch_niah_plan *plan,
                                       const char *const *paths, int64_t count,
                                       const infer_needle_spec *spec);
void launch_niah_samples_destroy(launch_niah_samples *samples); /* NULL is fine */

int64_t launch_niah_groups(const launch_niah_samples *samples);
const launch_niah_group *launch_niah_group_of(const launch_niah_samples *samples, int64_t group);

/* Sample i of the group, in the order 0, 1, ...; *depth receives which of the depths is nearest, or
 * `depths` where nobody knows. */
kern_status launch_niah_sample(data_needle *sample, int64_t *depth, launch_niah_samples *samples,
                               int64_t group, int64_t i);

/* Writes all samples as RULER's lines: aside, then renamed. Errors: as above; KERN_ERR_FILE. */
kern_status launch_niah_write(launch_niah_samples *samples, const char *path);

/* Sums over the scores of a cell. */
typedef struct {
    double sum, squares;
    int64_t count;
} launch_niah_scores;

/* A run with inner steps on or off. */
typedef struct {
    char *label;
    int64_t step;
    bool inner;
    launch_niah_scores *scores; /* [groups, depths + 1]; the last of a row: depth not known */
} launch_niah_column;

typedef struct {
    const launch_niah_samples *samples;
    const launch_niah_plan *plan;
    const infer_needle_spec *spec;
    int64_t columns;
    launch_niah_column *column;
} launch_niah_report;

/* The scores of a group at a depth, or at `depths`: not known. */
launch_niah_scores *launch_niah_cell(const launch_niah_report *report, int64_t column,
                                     int64_t group, int64_t depth);
double launch_niah_mean(launch_niah_scores scores); /* NAN where there are none */
/* A label in one line, of one that is too long for a table the end; free(). */
char *launch_niah_shortened(const char *label);

/* Adds a score to the last column. */
void launch_niah_add(launch_niah_report *report, int64_t group, int64_t depth, double score);

/* Prints the accuracy of each column by task and length, with its standard error over samples, and
 * by depth: of all tasks and lengths, in five bands, where needles lie in more than one. */
void launch_niah_print(const launch_niah_report *report);

/* All numbers as an object (the caller's). */
json_t *launch_niah_json(const launch_niah_report *report);

/* Writes lines model,task,length,depth,samples,accuracy, one a cell with samples; the depth in
 * percent, empty where it is not known. Errors: KERN_ERR_FILE. */
kern_status launch_niah_write_csv(const launch_niah_report *report, const char *path);

/* Draws the accuracy by depth and length, a map for each column and task. Errors: those of
 * launch_gnuplot_draw. */
kern_status launch_niah_draw(const launch_niah_report *report, const char *path);

#endif
