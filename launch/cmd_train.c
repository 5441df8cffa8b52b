/* ttt train: a new run from a configuration, or on with one that stopped. */
#include "infer/mixer.h"
#include "launch/agree.h"
#include "launch/arguments.h"
#include "launch/commands.h"
#include "launch/outputs.h"
#include "launch/ranks.h"
#include "train/files.h"
#include "train/history.h"
#include "train/loop.h"

#include <stdlib.h>

static kern_status train_new(int words, char **word) {
    kern_status status = KERN_OK;
    ttt_conf *conf = NULL;
    const kern_ranks *ranks = NULL;
    char *dir = NULL;
    TRY(infer_load(&conf, word[0], words - 1, (const char *const *)word + 1));
    dir = *conf->run.dir ? train_text("%s", conf->run.dir) : train_text("runs/%s", conf->name);
    TRY(launch_outputs_check_folder(dir));
    TRY(launch_agree_and_open(&ranks, conf));
    TRY(train_loop_new(conf, ranks));
done:
    launch_ranks_close(ranks);
    free(dir);
    conf_destroy(conf);
    return status;
}

/* The ranks are those that the run's configuration asks for. */
static kern_status train_on(const char *source, int words, char **word) {
    kern_status status = KERN_OK;
    const char *const *override = (const char *const *)word;
    ttt_conf *conf = NULL;
    const kern_ranks *ranks = NULL;
    char *dir = NULL, *config = NULL;
    TRY(train_history_run(&dir, source));
    config = train_text("%s/config.yaml", dir);
    TRY(infer_load(&conf, config, words, override));
    TRY(launch_agree_and_open(&ranks, conf));
    TRY(train_loop_resume(source, words, override, ranks));
done:
    launch_ranks_close(ranks);
    free(config);
    free(dir);
    conf_destroy(conf);
    return status;
}

int launch_train(int argc, char **argv) {
    const char *resume = NULL;
    const launch_option accepted[] = {
        {"resume", LAUNCH_TEXT, &resume, "RUN",
         "go on with this run, or from this checkpoint of it"},
        {NULL, LAUNCH_FLAG, NULL, NULL, NULL},
    };
    const launch_syntax syntax = {
        "train",
        "CONFIG [key=value...] | --resume RUN [key=value...]",
        "Trains a model. CONFIG is a name that ttt configs lists, or a path; key=value overrides\n"
        "single options (ttt configs --options explains them all):\n"
        "    ttt train quickstart train.steps=1000 run.dir=runs/longer\n"
        "The run directory gets the resolved configuration, metrics.jsonl, TensorBoard events and\n"
        "checkpoints. Ctrl-C saves and stops; --resume goes on and gives the same numbers, bit "
        "for\n"
        "bit, as if nothing had happened. With --resume, key=value may change what does not "
        "change\n"
        "the course: train.device, train.threads, train.memory_limit, where the data lie\n"
        "(data.train, data.valid, data.test), run.* but run.dir, ranks.*, and train.steps where\n"
        "train.total_steps is set. To fine-tune, start a new run with train.init_from=RUN.",
        accepted,
        0,
        -1};
    int code = launch_parse(&syntax, &argc, argv);
    if (code >= 0) return code;
    kern_status status;
    if (resume)
        status = train_on(resume, argc - 1, argv + 1);
    else if (argc < 2)
        status =
            kern_fail(KERN_ERR_USAGE, "name a configuration, for example: ttt train quickstart");
    else
        status = train_new(argc - 1, argv + 1);
    return launch_report(syntax.command, status);
}
