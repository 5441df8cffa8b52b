/* Pictures of launch/eval_report.h: a script for gnuplot that carries its numbers. */
#include "launch/eval_report.h"
#include "launch/gnuplot.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { PANEL_WIDTH = 1200, PANEL_HEIGHT = 800, COLORS = 8, CURVES_BESIDE_KEY = 4 };

static const char *const style =
    "set border 3 linewidth 1.5\n"
    "set xtics nomirror out\n"
    "set ytics nomirror out\n"
    "set grid xtics ytics linetype 1 linewidth 1 linecolor rgb '#e4e4e4'\n"
    "set logscale x 2\n"
    "set rmargin 4\n"
    "set key top right reverse Left samplen 4 spacing 1.3 noenhanced\n"
    "set offsets graph 0.03, graph 0.03, graph 0.08, graph 0.05\n"
    "set ylabel 'nats per token'\n";

static void write_point(FILE *script, double x, infer_mean mean) {
    if (isnan(mean.mean)) return;
    fprintf(script, "%.9g %.9g %.9g\n", x, mean.mean,
            isnan(mean.standard_error) ? 0 : mean.standard_error);
}

static void write_positions(FILE *script, const launch_eval_report *report, int64_t column,
                            int64_t length) {
    const infer_bins *bins = &report->column[column].losses[length]->bins;
    for (int bin = 0; bin < bins->count; bin++)
        write_point(
            script, (double)(bins->edge[bin] + bins->edge[bin + 1]) / 2,
            launch_eval_value(report, column, (launch_eval_place){length, INFER_ALL, bin, false}));
}

static void write_lengths(FILE *script, const launch_eval_report *report, int64_t column) {
    for (int64_t i = 0; i < report->lengths; i++) {
        int64_t l = 0; /* the one that i others are shorter than */
        for (int64_t candidate = 0; candidate < report->lengths; candidate++) {
            int64_t shorter = 0;
            for (int64_t other = 0; other < report->lengths; other++)
                shorter += report->length[other] < report->length[candidate];
            if (shorter == i) l = candidate;
        }
        write_point(script, (double)report->length[l],
                    launch_eval_value(report, column,
                                      (launch_eval_place){l, INFER_ALL, INFER_TAIL, false}));
    }
}

/* One curve per column from the data blocks named PREFIX0, PREFIX1, ...: a run has a colour, and
 * broken lines where its inner steps are off. */
static void plot_columns(FILE *script, const launch_eval_report *report, char prefix) {
    static const char *const color[COLORS] = {"#2166ac", "#b2182b", "#1b7837", "#e08214",
                                              "#762a83", "#7f7f7f", "#01665e", "#c51b7d"};
    for (int64_t i = 0; i < report->columns; i++) {
        const launch_eval_column *c = &report->column[i];
        bool second = i > 0 && report->column[i - 1].run == c->run;
        fprintf(script,
                "%s $%c%lld using 1:2:3 with yerrorlines linewidth 2.5 dashtype %d pointtype %d "
                "pointsize 1.4 linecolor rgb '%s' title ",
                i ? ", \\\n    " : "plot", prefix, (long long)i, second ? 2 : 1, second ? 6 : 7,
                color[c->run % COLORS]);
        launch_gnuplot_quote(script, c->label);
    }
    fprintf(script, "\n");
}

static int64_t longest(const launch_eval_report *report) {
    int64_t best = 0;
    for (int64_t l = 1; l < report->lengths; l++)
        if (report->length[l] > report->length[best]) best = l;
    return best;
}

static void write_script(FILE *script, const launch_eval_report *report, bool by_position) {
    bool lengths = report->lengths > 1, positions = by_position || !lengths;
    int64_t length = longest(report);
    for (int64_t i = 0; i < report->columns; i++) {
        fprintf(script, "$p%lld << EOD\n", (long long)i);
        write_positions(script, report, i, length);
        fprintf(script, "EOD\n$c%lld << EOD\n", (long long)i);
        write_lengths(script, report, i);
        fprintf(script, "EOD\n");
    }
    fprintf(script,
            "set terminal pngcairo size %d,%d enhanced font 'sans,18' background rgb 'white'\n%s",
            PANEL_WIDTH * (lengths + positions), PANEL_HEIGHT, style);
    if (report->columns > CURVES_BESIDE_KEY) fprintf(script, "unset rmargin\nset key outside\n");
    if (lengths && positions) fprintf(script, "set multiplot layout 1,2\n");
    if (positions) {
        fprintf(script,
                "set title 'Loss by position in windows of %lld tokens'\n"
                "set xlabel 'position (tokens, logarithmic)'\n",
                (long long)report->length[length]);
        plot_columns(script, report, 'p');
    }
    if (lengths) {
        fprintf(script,
                "set title 'Loss of the same %lld tokens by the length of their windows'\n"
                "set xlabel 'length of the window (tokens, logarithmic)'\n",
                (long long)report->tail);
        plot_columns(script, report, 'c');
    }
    if (lengths && positions) fprintf(script, "unset multiplot\n");
}

kern_status launch_eval_draw(const launch_eval_report *report, bool by_position, const char *path) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *script = open_memstream(&text, &bytes);
    ASSERT(script);
    write_script(script, report, by_position);
    ASSERT(!fclose(script));
    kern_status status = launch_gnuplot_draw(path, text);
    free(text);
    return status;
}
