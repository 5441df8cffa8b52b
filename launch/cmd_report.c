/* ttt report: one page of figures from runs and studies. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launch/arguments.h"
#include "launch/commands.h"
#include "launch/gnuplot.h"
#include "launch/outputs.h"
#include "launch/page.h"
#include "launch/report.h"
#include "train/files.h"
#include "train/terminal.h"

static const char about_report[] =
    "Makes one self-contained page of the figures that there are runs for: loss by window,\n"
    "by chunk, by layers, by token index and by length of context, scaling with size and\n"
    "tokens, training curves, needles, latency, decoding; the paper's values beside ours.\n"
    "    ttt report out/sweeps/window out/sweeps/chunk --out report.html\n"
    "    ttt report runs/e2e runs/swa --out report.html\n"
    "DIR is a study, a run, or a folder of runs. Each study is a section, and all runs\n"
    "that are named are one; a section is of one vocabulary. The losses are those of\n"
    "ttt eval RUN --save, other measures those of ttt sweep. The numbers are in a CSV\n"
    "beside the page. Runs that are missing or not finished are named. Needs gnuplot.";

/* "report.html" -> "report.csv"; free(). */
static char *beside(const char *html) {
    const char *dot = strrchr(html, '.');
    bool ending = dot && !strchr(dot, '/');
    return train_text("%.*s.csv", (int)(ending ? dot - html : (long)strlen(html)), html);
}

static kern_status check_places(const char *html, const char *csv, bool force) {
    launch_outputs outputs = {0};
    launch_outputs_write(&outputs, LAUNCH_PAGE, html);
    launch_outputs_write(&outputs, LAUNCH_PAGE_CSV, csv);
    kern_status status = launch_outputs_check(&outputs, force);
    launch_outputs_clear(&outputs);
    return status;
}

static bool is_study(const char *dir) {
    char *path = train_text("%s/study.yaml", dir);
    bool study = !access(path, F_OK);
    free(path);
    return study;
}

static const char *name_of(const char *dir) {
    const char *slash = strrchr(dir, '/');
    return slash && slash[1] ? slash + 1 : dir;
}

static kern_status run(char *const *words, int64_t count, const char *html, bool force,
                       const char *command) {
    kern_status status = KERN_OK;
    launch_page_section *section = kern_array(count, sizeof *section);
    int64_t sections = 0, runs = -1;
    char *csv = NULL;
    if (!html) TRY(kern_fail(KERN_ERR_USAGE, "where to? name the page: --out report.html"));
    csv = beside(html);
    TRY(launch_gnuplot_check("svg"));
    TRY(check_places(html, csv, force));
    for (int64_t i = 0; i < count; i++) {
        bool study = is_study(words[i]);
        if (study || runs < 0) {
            section[sections].title = train_text("%s", study ? name_of(words[i]) : "runs");
            if (!study) runs = sections;
            sections++;
        }
        TRY(launch_page_add(&section[study ? sections - 1 : runs], words[i]));
    }
    for (int64_t s = 0; s < sections; s++) TRY(launch_page_settle(&section[s]));
    TRY(launch_page_write(section, sections, command, html, csv));
    train_terminal_say(stdout, "%s and %s", html, csv);
done:
    for (int64_t s = 0; s < sections; s++) launch_page_clear(&section[s]);
    free(section);
    free(csv);
    return status;
}

int launch_report_command(int argc, char **argv) {
    const char *html = NULL;
    bool force = false;
    const launch_option options[] = {
        {"out", LAUNCH_TEXT, &html, "FILE", "the page, as report.html; its CSV lies beside it"},
        LAUNCH_FORCE(&force),
        {0},
    };
    const launch_syntax syntax = {"report", "DIR...", about_report, options, 1, -1};
    char *command = launch_command_text(argc, argv);
    int code = launch_parse(&syntax, &argc, argv);
    if (code < 0) code = launch_report("report", run(argv + 1, argc - 1, html, force, command));
    free(command);
    return code;
}
