/* The page, and the table of its numbers. */
#include "launch/page.h"

#include "launch/report.h"
#include "train/files.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* While the page is written. */
typedef struct {
    FILE *html, *csv;
    const launch_page_section *section;
    int figures;
} page;

static const char style[] =
    ":root{color-scheme:light dark;--ink:#1c1c1e;--grid:#dcdcdf;--paper:#fff;--faint:#66666d}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e8e8ea;--grid:#3c3c42;--paper:#17171a;"
    "--faint:#a0a0a8}}"
    "@media print{:root{--ink:#000;--grid:#ccc;--paper:#fff;--faint:#444}"
    "figure{break-inside:avoid}}"
    "body{margin:0 auto;padding:1em;max-width:80em;background:var(--paper);color:var(--ink);"
    "font:16px/1.45 system-ui,sans-serif}"
    "h1{font-size:1.5em}h2{margin-top:2em;border-top:2px solid var(--grid);padding-top:.7em}"
    ".pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,30em),1fr));"
    "gap:1em;margin:2em 0}"
    "figure{margin:0;min-width:0}figure h3{font-size:1.05em;margin:.2em 0}"
    "figure svg{display:block;width:100%;height:auto;max-width:44em}"
    ".key{list-style:none;margin:.2em 0 .6em;padding:0;font-size:.88em;max-width:50em}"
    ".key li{display:inline-block;margin-right:1.4em;padding-left:2em;text-indent:-2em}"
    ".key i{display:inline-block;width:1.5em;margin-right:.5em;vertical-align:middle;"
    "border-top:3px solid}"
    ".faults{max-height:14em;overflow-y:auto;margin:0;padding-left:1.2em}"
    "@media print{.faults{max-height:none}}"
    "figcaption,.faint{color:var(--faint);font-size:.88em}"
    "code{font-size:.9em;overflow-wrap:anywhere}"
    ".wide{overflow-x:auto}table{border-collapse:collapse;font-size:.85em;"
    "font-variant-numeric:tabular-nums}th,td{padding:.15em .7em .15em 0;text-align:left;"
    "border-bottom:1px solid var(--grid)}td.n,th.n{text-align:right;white-space:nowrap}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;border-left:3px solid var(--grid);"
    "padding-left:.8em}"
    "[stroke='rgb(  1,   2,   3)']{stroke:var(--ink)}[stroke='rgb(  4,   5,   6)']"
    "{stroke:var(--grid)}[fill='rgb(1,2,3)']{fill:var(--ink)}";

static void put_text(FILE *to, const char *text) {
    for (; *text; text++) switch (*text) {
        case '<': fputs("&lt;", to); break;
        case '>': fputs("&gt;", to); break;
        case '&': fputs("&amp;", to); break;
        case '"': fputs("&quot;", to); break;
        default: putc((unsigned char)*text < ' ' && *text != '\n' ? ' ' : *text, to);
        }
}

/* 17 digits are all that a double has: the number that ttt eval printed into its files. */
static void put_number(FILE *to, double value, int digits) {
    if (isfinite(value)) fprintf(to, "%.*g", digits, value);
}

static void put_rows(page *to, const launch_figure *figure, bool paper) {
    fprintf(to->html,
            "<details><summary>Numbers</summary><div class=wide><table><tr><th>%s</th>"
            "<th class=n>x</th><th class=n>mean</th><th class=n>&plusmn;</th>"
            "<th class=n>windows</th></tr>\n",
            figure->map ? "map" : "curve");
    for (int64_t i = 0; i < figure->count; i++) {
        const launch_series *s = &figure->series[i];
        const char *name = s->style == LAUNCH_SERIES_DOTS && s->run ? s->run : s->label;
        bool law = s->style == LAUNCH_SERIES_LINE && !s->run;
        bool many = s->style == LAUNCH_SERIES_LINE; /* in the CSV alone */
        for (int64_t p = 0; p < s->count && !law; p++) {
            const launch_point_xy *at = &s->point[p];
            double mean = figure->map ? at->error : at->y, error = figure->map ? NAN : at->error;
            launch_csv_field(to->csv, to->section->title);
            fprintf(to->csv, ",%s,", figure->kind);
            launch_csv_field(to->csv, paper ? "paper" : "");
            putc(',', to->csv);
            launch_csv_field(to->csv, s->label);
            putc(',', to->csv);
            launch_csv_field(to->csv, s->run ? s->run : "");
            fprintf(to->csv, ",%.17g,", at->x);
            if (figure->map) put_number(to->csv, at->y, 17);
            putc(',', to->csv);
            put_number(to->csv, mean, 17);
            putc(',', to->csv);
            put_number(to->csv, error, 17);
            if (at->windows)
                fprintf(to->csv, ",%lld\n", (long long)at->windows);
            else
                fputs(",\n", to->csv);
            if (many) continue;
            fputs("<tr><td>", to->html);
            put_text(to->html, name);
            fprintf(to->html, "</td><td class=n>%.6g", at->x);
            if (figure->map) fprintf(to->html, ", %.4g %%", at->y);
            fputs("</td><td class=n>", to->html);
            put_number(to->html, mean, 17);
            fputs("</td><td class=n>", to->html);
            put_number(to->html, error, 3);
            if (at->windows)
                fprintf(to->html, "</td><td class=n>%lld</td></tr>\n", (long long)at->windows);
            else
                fputs("</td><td></td></tr>\n", to->html);
        }
    }
    fputs("</table></div></details>\n", to->html);
}

static bool is_named(const launch_series *series) {
    return series->style != LAUNCH_SERIES_DOTS && *series->label;
}

/* What the colours mean: text, so that long names wrap. None where there is one curve, or where
 * they are too many to be told apart. */
static void put_key(FILE *to, const launch_figure *figure) {
    enum { MOST_NAMES = 16 };
    int64_t names = 0;
    for (int64_t i = 0; i < figure->count; i++) names += is_named(&figure->series[i]);
    if (names < 2 || names > MOST_NAMES || figure->map) return;
    fputs("<ul class=key>", to);
    for (int64_t i = 0; i < figure->count; i++) {
        const launch_series *s = &figure->series[i];
        if (!is_named(s)) continue;
        fprintf(to, "<li><i style='color:%s'></i>", launch_series_color(s));
        put_text(to, s->label);
        fputs("</li>\n", to);
    }
    fputs("</ul>\n", to);
}

static kern_status put_figure(page *to, const launch_figure *figure, bool paper) {
    kern_status status = KERN_OK;
    char *svg = NULL;
    TRY(launch_figure_svg(&svg, figure, ++to->figures));
    fputs("<figure><h3>", to->html);
    put_text(to->html, figure->title);
    fprintf(to->html, "</h3>\n%s\n", svg);
    put_key(to->html, figure);
    fputs("<figcaption>", to->html);
    put_text(to->html, figure->note);
    if (figure->command) {
        fputs("<br><code>", to->html);
        put_text(to->html, figure->command);
        fputs("</code>", to->html);
    }
    fputs("</figcaption>\n", to->html);
    put_rows(to, figure, paper);
    fputs("</figure>\n", to->html);
done:
    free(svg);
    return status;
}

static kern_status take(void *context, const launch_figure *figure, const char *paper) {
    kern_status status = KERN_OK;
    page *to = context;
    launch_figure theirs = {.kind = NULL};
    fputs("<div class=pair>\n", to->html);
    TRY(put_figure(to, figure, false));
    if (launch_paper_figure(&theirs, paper)) TRY(put_figure(to, &theirs, true));
    fputs("</div>\n", to->html);
done:
    launch_figure_clear(&theirs);
    return status;
}

static void put_run(page *to, const launch_page_run *run) {
    fputs("<tr><td>", to->html);
    put_text(to->html, run->name);
    fprintf(to->html, "</td><td class=n>%.0f</td><td class=n>%lld", run->parameters,
            (long long)run->curve.last);
    if (run->conf) fprintf(to->html, " of %lld", (long long)run->conf->train.steps);
    fputs("</td><td class=n>", to->html);
    const launch_saved_model *model =
        run->measured ? launch_saved_find(&run->saved, to->section->context) : NULL;
    if (model) {
        infer_mean mean = infer_losses_mean(model->losses, INFER_ALL, INFER_ALL);
        fprintf(to->html, "%.4f", mean.mean);
        if (isfinite(mean.standard_error)) fprintf(to->html, " &plusmn; %.4f", mean.standard_error);
    }
    fputs("</td><td>", to->html);
    put_text(to->html, run->problem ? run->problem : "finished");
    fputs("</td></tr>\n", to->html);
}

static void put_runs(page *to) {
    const launch_page_section *section = to->section;
    int64_t problems = 0;
    for (int64_t i = 0; i < section->count; i++) problems += section->run[i].problem != NULL;
    fprintf(to->html, "<p>%lld runs", (long long)section->count);
    if (problems)
        fprintf(to->html, ", <strong>%lld of them not whole</strong>:", (long long)problems);
    fputs("</p>\n", to->html);
    if (problems) fputs("<ul class='faint faults'>\n", to->html);
    for (int64_t i = 0; i < section->count && problems; i++) {
        if (!section->run[i].problem) continue;
        fputs("<li>", to->html);
        put_text(to->html, section->run[i].name);
        fputs(": ", to->html);
        put_text(to->html, section->run[i].problem);
        fputs("</li>\n", to->html);
    }
    if (problems) fputs("</ul>\n", to->html);
    fprintf(to->html,
            "<details><summary>Runs</summary><div class=wide><table><tr><th>run</th>"
            "<th class=n>parameters</th><th class=n>steps</th><th class=n>nats per token, windows "
            "of %lld</th><th>state</th></tr>\n",
            (long long)section->context);
    for (int64_t i = 0; i < section->count; i++) put_run(to, &section->run[i]);
    fputs("</table></div></details>\n", to->html);
}

/* A few texts that runs wrote. */
static void put_samples(page *to) {
    enum { MOST_SAMPLES = 6 };
    int shown = 0;
    for (int64_t i = 0; i < to->section->count && shown < MOST_SAMPLES; i++) {
        const launch_page_run *run = &to->section->run[i];
        const json_t *sample,
            *samples = json_object_get(json_object_get(run->decoding, "result"), "samples");
        size_t s;
        json_array_foreach(samples, s, sample) {
            const char *text = json_string_value(json_object_get(sample, "text"));
            if (!text || s >= 2 || shown++ >= MOST_SAMPLES) continue;
            fputs("<details><summary>What ", to->html);
            put_text(to->html, run->name);
            fputs(" wrote</summary><pre>", to->html);
            put_text(to->html, text);
            fputs("</pre></details>\n", to->html);
        }
    }
}

static kern_status put_section(page *to, const launch_page_section *section) {
    kern_status status = KERN_OK;
    to->section = section;
    fputs("<h2>", to->html);
    put_text(to->html, section->title);
    fputs("</h2>\n", to->html);
    put_runs(to);
    TRY(launch_page_losses_figures(section, take, to));
    TRY(launch_page_scaling_figures(section, take, to));
    TRY(launch_page_other_figures(section, take, to));
    put_samples(to);
done:
    return status;
}

kern_status launch_page_write(const launch_page_section *sections, int64_t count,
                              const char *command, const char *html, const char *csv) {
    kern_status status = KERN_OK;
    char *text = NULL, *table = NULL;
    size_t bytes = 0, table_bytes = 0;
    page to = {.html = open_memstream(&text, &bytes), .csv = open_memstream(&table, &table_bytes)};
    ASSERT(to.html && to.csv);
    fprintf(to.html,
            "<!doctype html>\n<html lang=en><meta charset=utf-8>\n<meta name=viewport "
            "content=\"width=device-width,initial-scale=1\">\n<title>ttt report</title>\n"
            "<style>%s</style>\n<h1>Report</h1>\n<p class=faint>Made by <code>",
            style);
    put_text(to.html, command);
    fputs("</code>; its numbers are in ", to.html);
    put_text(to.html, csv);
    fputs(".</p>\n", to.html);
    fputs("section,figure,of,curve,run,x,y,mean,standard_error,windows\n", to.csv);
    for (int64_t i = 0; i < count && status == KERN_OK; i++)
        status = put_section(&to, &sections[i]);
    fputs("</html>\n", to.html);
    ASSERT(!fclose(to.html) && !fclose(to.csv));
    TRY(status);
    TRY(train_write_file(html, text, bytes));
    TRY(train_write_file(csv, table, table_bytes));
done:
    free(text);
    free(table);
    return status;
}
