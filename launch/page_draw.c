/* A figure as a script of gnuplot that draws SVG. Ink and grid have colours that the page's style
 * sheet knows and replaces, so that one picture does on white and on black. */
#include "launch/page.h"

#include "launch/gnuplot.h"
#include "train/files.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 600, HEIGHT = 380, COLORS = 8 };

#define INK "#010203"
#define GRID "#040506"

static const char *const color[COLORS] = {"#4a7fd0", "#cc4455", "#2a9d55", "#e08214",
                                          "#9467bd", "#17a2b8", "#b5871f", "#d6559f"};

launch_series *launch_figure_add(launch_figure *figure, launch_series_style style, int of_color,
                                 char *label) {
    figure->series =
        kern_grow(figure->series, &figure->capacity, figure->count + 1, sizeof *figure->series);
    figure->series[figure->count] =
        (launch_series){.label = label, .style = style, .color = of_color};
    return &figure->series[figure->count++];
}

void launch_series_add(launch_series *series, double x, double y, double error, int64_t windows) {
    series->point =
        kern_grow(series->point, &series->capacity, series->count + 1, sizeof *series->point);
    series->point[series->count++] = (launch_point_xy){x, y, error, windows};
}

void launch_figure_clear(launch_figure *figure) {
    for (int64_t i = 0; i < figure->count; i++) {
        free(figure->series[i].label);
        free(figure->series[i].run);
        free(figure->series[i].point);
    }
    free(figure->series);
    free(figure->title);
    free(figure->note);
    free(figure->command);
    *figure = (launch_figure){.kind = NULL};
}

const char *launch_series_color(const launch_series *series) {
    return color[series->color % COLORS];
}

static double greatest_x(const launch_figure *figure) {
    double most = 0;
    for (int64_t i = 0; i < figure->count; i++)
        for (int64_t p = 0; p < figure->series[i].count; p++)
            most = fmax(most, figure->series[i].point[p].x);
    return most;
}

static void put_style(FILE *to, const launch_figure *figure) {
    fprintf(to,
            "set terminal svg size %d,%d dynamic font 'sans,15'\n"
            "set border 3 linewidth 1.2 linecolor rgb '" INK "'\n"
            "set xtics nomirror out textcolor rgb '" INK "'\n"
            "set ytics nomirror out textcolor rgb '" INK "'\n"
            "set grid linetype 1 linewidth 1 linecolor rgb '" GRID "'\n"
            "set key off\n"
            "set offsets %s, graph 0.06, graph 0.06\n",
            WIDTH, HEIGHT, figure->log_x || figure->names ? "graph 0.04, graph 0.04" : "0, 0");
    if (figure->log_x) fprintf(to, "set logscale x 2\n");
    if (greatest_x(figure) >= 1e6) fprintf(to, "set format x '%%.0s%%c'\n");
    fprintf(to,
            "set xlabel \"%s\" textcolor rgb '" INK "'\nset ylabel \"%s\" textcolor rgb '" INK
            "'\n",
            figure->x_label, figure->y_label);
}

/* Numbers of series as tics; the page's key has their names. */
static void put_numbers(FILE *to, const launch_figure *figure) {
    int64_t next = 0;
    fprintf(to, "set xtics (");
    for (int64_t i = 0; i < figure->count; i++)
        if (figure->series[i].style != LAUNCH_SERIES_DOTS) {
            fprintf(to, "%s'%lld' %lld", next ? ", " : "", (long long)next + 1,
                    (long long)next + 1);
            next++;
        }
    fprintf(to, ")\n");
}

static void put_data(FILE *to, const launch_series *series, int64_t i) {
    fprintf(to, "$d%lld << EOD\n", (long long)i);
    int64_t points = 0;
    for (int64_t p = 0; p < series->count; p++) {
        const launch_point_xy *at = &series->point[p];
        if (!isfinite(at->x) || !isfinite(at->y)) continue;
        fprintf(to, "%.9g %.9g %.9g\n", at->x, at->y, isnan(at->error) ? 0 : at->error);
        points++;
    }
    if (!points) fprintf(to, "NaN NaN NaN\n");
    fprintf(to, "EOD\n");
}

static void put_series(FILE *to, const launch_figure *figure, int64_t i) {
    static const char *const with[] = {
        [LAUNCH_SERIES_CURVE] =
            "using 1:2:3 with yerrorlines linewidth 2 pointtype 7 pointsize 0.6",
        [LAUNCH_SERIES_DOTS] = "using 1:2 with points pointtype 6 pointsize 0.7 linewidth 2",
        [LAUNCH_SERIES_LINE] = "using 1:2 with lines linewidth 1.5",
    };
    const launch_series *s = &figure->series[i];
    fprintf(to, "%s$d%lld %s linecolor rgb '%s'", i ? ", \\\n    " : "plot ", (long long)i,
            with[s->style], launch_series_color(s));
}

/* Boxes at x and y, whose `error` is shown: columns are as wide as each other. */
static void put_map(FILE *to, const launch_series *s) {
    double height = 100;
    fprintf(to, "$map << EOD\n");
    for (int64_t i = 0; i < s->count; i++) {
        int64_t column = 0;
        for (int64_t j = 0; j < s->count; j++) {
            bool first = true;
            for (int64_t k = 0; k < j; k++) first &= s->point[k].x != s->point[j].x;
            column += first && s->point[j].x < s->point[i].x;
            double apart = fabs(s->point[i].y - s->point[j].y);
            if (apart > 0 && apart < height) height = apart;
        }
        fprintf(to, "%lld %.9g %.9g %.0f\n", (long long)column, s->point[i].y, s->point[i].error,
                s->point[i].x);
    }
    fprintf(to,
            "EOD\nset palette defined (0 '#b2182b', 0.5 '#d9c9a0', 1 '#2166ac')\n"
            "set cbrange [0:1]\nset cbtics textcolor rgb '" INK "'\n"
            "set cblabel 'accuracy' textcolor rgb '" INK "'\nset style fill solid\n"
            "unset logscale x\nset offsets 0, 0, 0, 0\nset yrange [*:*] reverse\nunset grid\n"
            "plot $map using 1:2:(0.5):(%.9g):3:xticlabels(4) with boxxyerror linecolor palette\n",
            height / 2);
}

static void put_figure(FILE *to, const launch_figure *figure) {
    put_style(to, figure);
    if (figure->map) {
        put_map(to, &figure->series[0]);
        return;
    }
    for (int64_t i = 0; i < figure->count; i++) put_data(to, &figure->series[i], i);
    if (figure->names) put_numbers(to, figure);
    for (int64_t i = 0; i < figure->count; i++) put_series(to, figure, i);
    fprintf(to, "\n");
}

/* `text` with `from` replaced by `to` everywhere; frees `text`. */
static char *replace(char *text, const char *from, const char *to) {
    char *result = NULL, *next;
    size_t bytes = 0, length = strlen(from);
    FILE *out = open_memstream(&result, &bytes);
    ASSERT(out);
    const char *at = text;
    for (; (next = strstr(at, from)); at = next + length)
        fprintf(out, "%.*s%s", (int)(next - at), at, to);
    fputs(at, out);
    ASSERT(!fclose(out));
    free(text);
    return result;
}

kern_status launch_figure_svg(char **svg, const launch_figure *figure, int id) {
    char *script = NULL, prefix[4][48];
    size_t bytes = 0;
    FILE *to = open_memstream(&script, &bytes);
    ASSERT(to);
    put_figure(to, figure);
    ASSERT(!fclose(to));
    kern_status status = launch_gnuplot_svg(svg, script);
    free(script);
    if (status != KERN_OK) return status;
    /* Names within one page must differ. */
    snprintf(prefix[0], sizeof *prefix, "id='f%d-", id);
    snprintf(prefix[1], sizeof *prefix, "id=\"f%d-", id);
    snprintf(prefix[2], sizeof *prefix, "href='#f%d-", id);
    *svg = replace(*svg, "id='", prefix[0]);
    *svg = replace(*svg, "id=\"", prefix[1]);
    *svg = replace(*svg, "href='#", prefix[2]);
    return KERN_OK;
}
