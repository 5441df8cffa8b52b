/* ttt sweep: runs a study to its end. */
#include "launch/arguments.h"
#include "launch/commands.h"
#include "launch/sweep.h"

#include <string.h>

static const char about_sweep[] =
    "Trains and measures all points of a study: a base configuration, and lists of what\n"
    "points differ in (docs/studies.md). Each point is an ordinary run directory:\n"
    "    ttt sweep window --dry-run\n"
    "    ttt sweep window\n"
    "    ttt sweep status out/sweeps/window\n"
    "STUDY is a YAML file, the name of one in configs/sweeps, or a study's directory.\n"
    "Called again it goes on: finished points are not done again, those that were killed\n"
    "go on from their last checkpoint, those that failed are tried again. Several may run\n"
    "at once in one directory: no two work on one point. Ctrl-C stops all points, which\n"
    "save first. Exit code 1: some points failed, the others are done.";

static kern_status run(const launch_sweep_choices *chosen, bool dry_run, char *const *words,
                       int count) {
    kern_status status = KERN_OK;
    launch_sweep sweep = {0};
    bool ask = !strcmp(words[0], "status");
    if (count != 1 + ask)
        return kern_fail(KERN_ERR_USAGE, "one study at a time: ttt sweep STUDY, ttt sweep status "
                                         "STUDY");
    if (chosen->rate < 0) TRY(kern_fail(KERN_ERR_USAGE, "--rate takes FLOP/s above 0"));
    TRY(launch_sweep_open(&sweep, words[ask]));
    if (chosen->only) TRY(launch_sweep_check(&sweep, chosen->only));
    if (ask)
        TRY(launch_sweep_status(&sweep, chosen));
    else if (dry_run)
        TRY(launch_sweep_dry_run(&sweep, chosen));
    else
        TRY(launch_sweep_run(&sweep, chosen));
done:
    launch_sweep_close(&sweep);
    return status;
}

int launch_sweep_command(int argc, char **argv) {
    launch_sweep_choices chosen = {.jobs = 0};
    bool dry_run = false;
    const launch_option options[] = {
        {"dry-run", LAUNCH_FLAG, &dry_run, NULL, "print every point and what it costs; run none"},
        {"jobs", LAUNCH_COUNT, &chosen.jobs, "N", "points at once, which share cores and memory"},
        {"only", LAUNCH_TEXT, &chosen.only, "PATTERN", "points by number, or by name as a glob"},
        {"rate", LAUNCH_REAL, &chosen.rate, "X", "FLOP/s for expected times; left out: measured"},
        {"launcher", LAUNCH_TEXT, &chosen.launcher, "WORDS",
         "words before each training, as \"srun -n 4\""},
        LAUNCH_JSON(&chosen.json),
        {0},
    };
    const launch_syntax syntax = {"sweep", "[status] STUDY", about_sweep, options, 1, 2};
    int code = launch_parse(&syntax, &argc, argv);
    if (code >= 0) return code;
    return launch_report("sweep", run(&chosen, dry_run, argv + 1, argc - 1));
}
