#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/gnuplot.h"
#include "launch/niah.h"
#include "train/files.h"

/* The place of a group's label, or of its length, among the different ones of the groups before it.
 */
static int64_t place_of(const launch_niah_report *report, int64_t group, bool by_label,
                        int64_t *different) {
    int64_t place = -1, count = 0;
    for (int64_t g = 0; g < launch_niah_groups(report->samples); g++) {
        const launch_niah_group *a = launch_niah_group_of(report->samples, g);
        const launch_niah_group *wanted = launch_niah_group_of(report->samples, group);
        bool seen = false;
        for (int64_t h = 0; h < g; h++) {
            const launch_niah_group *b = launch_niah_group_of(report->samples, h);
            seen |= by_label ? !strcmp(a->label, b->label) : a->length == b->length;
        }
        if (seen) continue;
        if (by_label ? !strcmp(a->label, wanted->label) : a->length == wanted->length)
            place = count;
        count++;
    }
    if (different) *different = count;
    return place;
}

/* Half of what a row of the map covers, in percent. */
static double half_row(const launch_niah_report *report) {
    return report->plan->depths > 1 ? 50.0 / (double)(report->plan->depths - 1) : 50;
}

static void put_head(FILE *file, const launch_niah_report *report, int64_t tasks, int64_t lengths) {
    fprintf(file, "set terminal pngcairo size %lld,%lld noenhanced font \"sans,14\"\n",
            (long long)(160 + 420 * report->columns), (long long)(80 + 340 * tasks));
    fputs("set palette defined (0 \"#b2182b\", 0.5 \"#fddbc7\", 1 \"#2166ac\")\n"
          "set cbrange [0:1]\nset cblabel \"accuracy\"\nset key off\nset style fill solid\n"
          "set xlabel \"length in tokens\"\nset ylabel \"depth of the needle (percent)\"\n"
          "set tics out nomirror\n",
          file);
    fprintf(file, "set yrange [%.9g:%.9g] noextend\n",
            (double)(2 * report->plan->depths - 1) * half_row(report), -half_row(report));
    fprintf(file, "set xrange [-0.5:%lld.5]\nset xtics (", (long long)(lengths - 1));
    for (int64_t g = 0, next = 0; g < launch_niah_groups(report->samples); g++) {
        if (place_of(report, g, false, NULL) != next) continue;
        fprintf(file, "%s\"%lld\" %lld", next ? ", " : "",
                (long long)launch_niah_group_of(report->samples, g)->length, (long long)next);
        next++;
    }
    fprintf(file, ")\nset multiplot layout %lld,%lld\n", (long long)tasks,
            (long long)report->columns);
}

/* One map: a box for each length and depth that has samples. */
static void put_map(FILE *file, const launch_niah_report *report, int64_t column, int64_t task) {
    const launch_niah_group *group = NULL;
    int64_t boxes = 0;
    fputs("$map << EOD\n", file);
    for (int64_t g = 0; g < launch_niah_groups(report->samples); g++) {
        if (place_of(report, g, true, NULL) != task) continue;
        group = launch_niah_group_of(report->samples, g);
        for (int64_t d = 0; d < report->plan->depths; d++) {
            const launch_niah_scores *s = launch_niah_cell(report, column, g, d);
            if (s->count == 0) continue;
            fprintf(file, "%lld %.9g %.6f\n", (long long)place_of(report, g, false, NULL),
                    2 * half_row(report) * (double)d, launch_niah_mean(*s));
            boxes++;
        }
    }
    if (boxes == 0) fputs("NaN NaN NaN\n", file);
    char *label = launch_niah_shortened(group->label);
    char *title = train_text("%s, task %s", report->column[column].label, label);
    free(label);
    fputs("EOD\nset title ", file);
    launch_gnuplot_quote(file, title);
    fprintf(file, "\nplot $map using 1:2:(0.5):(%.9g):3 with boxxyerror linecolor palette\n",
            half_row(report));
    free(title);
}

kern_status launch_niah_draw(const launch_niah_report *report, const char *path) {
    char *script = NULL;
    size_t bytes = 0;
    int64_t tasks, lengths;
    FILE *file = open_memstream(&script, &bytes);
    ASSERT(file);
    place_of(report, 0, true, &tasks);
    place_of(report, 0, false, &lengths);
    put_head(file, report, tasks, lengths);
    for (int64_t task = 0; task < tasks; task++)
        for (int64_t c = 0; c < report->columns; c++) put_map(file, report, c, task);
    fputs("unset multiplot\n", file);
    ASSERT(!fclose(file));
    kern_status status = launch_gnuplot_draw(path, script);
    free(script);
    return status;
}
