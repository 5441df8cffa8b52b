/* ttt eval: how well runs predict held-out texts, with inner steps on and off. */
#include <stdlib.h>

#include "launch/commands.h"
#include "launch/eval.h"
#include "launch/outputs.h"
#include "launch/report.h"

static const char about_eval[] =
    "Measures how well trained runs predict texts that they have not seen. Of each\n"
    "document, windows are read from start to end, each from fresh weights: after every\n"
    "chunk a run with an inner loop takes one gradient step, and is then evaluated a\n"
    "second time without these steps (its name with -off). A token's loss is always the\n"
    "one before the step on its own chunk.\n"
    "\n"
    "RUN is a run directory, whose newest checkpoint is taken, or one of its checkpoints:\n"
    "    ttt eval runs/e2e runs/swa --data valid.h5,test.h5 --context 512,2048\n"
    "    ttt eval runs/e2e/checkpoints/step-00000300 --data 'shards/test-*.h5'\n"
    "Without --data the shards are those of the run's data.test, which several runs must\n"
    "name alike.\n"
    "All runs read the same windows, so they are also compared window by window: the\n"
    "standard error of a difference leaves out how hard each window is by itself.\n"
    "\n"
    "Several runs need the same vocabulary. Windows are as long as the first run's\n"
    "training context, or as --context says (each a multiple of every inner.chunk).\n"
    "Windows of several lengths end at the same places, where the longest do; documents\n"
    "shorter than that are left out of all. So the last tokens of windows, as many as\n"
    "the shortest has, are the same for every length, with more or less text read before\n"
    "them: they are told apart, and compare lengths fairly. --place T puts shorter\n"
    "windows where those of T tokens end, as in a list that has T.\n"
    "The CSV has lines model,bin_start,bin_end,mean,standard_error,count,context: nats\n"
    "per token at positions bin_start <= t < bin_end, over `count` windows; from 0 to\n"
    "`context` in whole windows; of each model, then of each difference ('e2e - swa').\n"
    "The picture needs gnuplot; it is of positions, of lengths where there are several,\n"
    "or of both.\n"
    "\n"
    "    ttt eval runs/e2e --text book.txt --sum\n"
    "reads a whole text from its first token to its last, with inner steps unless --off\n"
    "is given, and prints a JSON line for each token, or with --sum for the text:\n"
    "log-probabilities in nats. FILE - is the standard input. --text may be repeated;\n"
    "each text begins with fresh weights.\n"
    "\n"
    "    ttt eval runs/e2e --decode 1024 --judge runs/full --windows 8\n"
    "reads the beginnings of held-out texts, writes on with inner steps on its own tokens\n"
    "too, and has another run of the same vocabulary score that.";

/* How --decode samples unless it is said. */
static const infer_sampling WRITTEN = {.repetition_penalty = 1.1, .temperature = 1, .top_p = 0.95};

static kern_status check(const launch_eval_choices *chosen, int runs) {
    bool text = chosen->text.count > 0;
    if (chosen->data && text)
        return kern_fail(KERN_ERR_USAGE, "--data reads windows of shards, --text whole texts: one "
                                         "at a time");
    if (text && (chosen->csv || chosen->png || chosen->books || chosen->by_position ||
                 chosen->by_token || chosen->save || chosen->place))
        return kern_fail(KERN_ERR_USAGE,
                         "--text prints JSON lines; --csv, --png, --books, "
                         "--by-position, --by-token, --place and --save go with --data");
    if (!text && chosen->sum)
        return kern_fail(KERN_ERR_USAGE, "--sum goes with --text; --data prints means anyway");
    if (text && runs > 1)
        return kern_fail(KERN_ERR_USAGE,
                         "--text reads with one run at a time, not with %d; a "
                         "second text needs a --text of its own",
                         runs);
    const infer_sampling *sampling = &chosen->sampling;
    if (!chosen->decode && (chosen->prompt_tokens || sampling->temperature != WRITTEN.temperature ||
                            sampling->top_p != WRITTEN.top_p || sampling->seed != WRITTEN.seed ||
                            sampling->repetition_penalty != WRITTEN.repetition_penalty))
        return kern_fail(KERN_ERR_USAGE, "--prompt-tokens, --temperature, --top-p, "
                                         "--repetition-penalty and --seed go with --decode");
    if (!chosen->decode != !chosen->judge)
        return kern_fail(KERN_ERR_USAGE, "--decode N, tokens to write, and --judge RUN, who scores "
                                         "them, go together");
    if (chosen->decode &&
        (runs > 1 || text || chosen->csv || chosen->png || chosen->books || chosen->by_position ||
         chosen->by_token || chosen->place || chosen->off || chosen->context))
        return kern_fail(KERN_ERR_USAGE,
                         "--decode is of one run, with --data, --windows, --prompt-tokens, what "
                         "samples, --save and --json alone");
    return KERN_OK;
}

static kern_status run(const launch_eval_choices *chosen, char *const *words, int count) {
    kern_status status = KERN_OK;
    TRY(check(chosen, count));
    TRY(chosen->decode       ? launch_eval_decoding(chosen, words[0])
        : chosen->text.count ? launch_eval_texts(chosen, words[0])
                             : launch_eval_shards(chosen, words, count));
done:
    return status;
}

int launch_eval(int argc, char **argv) {
    launch_eval_choices chosen = {.device = "cpu", .windows = 24, .tensor = 1, .sampling = WRITTEN};
    const launch_option options[] = {
        {"data", LAUNCH_TEXT, &chosen.data, "SHARDS",
         "paths or globs, with commas; left out: the runs' data.test"},
        {"windows", LAUNCH_COUNT, &chosen.windows, "N",
         "windows of each document, evenly placed; 0: all (24)"},
        {"context", LAUNCH_TEXT, &chosen.context, "T,T,...", "tokens of a window, or several such"},
        {"place", LAUNCH_COUNT, &chosen.place, "T", "windows end where those of T tokens do"},
        {"books", LAUNCH_FLAG, &chosen.books, NULL, "also by document"},
        {"by-position", LAUNCH_FLAG, &chosen.by_position, NULL,
         "also by position in the window, in log-spaced bins"},
        {"by-token", LAUNCH_FLAG, &chosen.by_token, NULL,
         "a bin for each position, in short windows"},
        {"csv", LAUNCH_TEXT, &chosen.csv, "FILE", "write the loss by position"},
        {"png", LAUNCH_TEXT, &chosen.png, "FILE", "draw the loss by position or length"},
        {"off", LAUNCH_FLAG, &chosen.off, NULL, "with inner steps off only"},
        {"save", LAUNCH_FLAG, &chosen.save, NULL, "also write RUN/eval/step-NUMBER.json"},
        LAUNCH_FORCE(&chosen.force),
        {"text", LAUNCH_TEXTS, &chosen.text, "FILE", "read this text instead of shards"},
        {"sum", LAUNCH_FLAG, &chosen.sum, NULL, "of a text, one line instead of one per token"},
        {"decode", LAUNCH_COUNT, &chosen.decode, "N",
         "write N tokens behind each text's beginning"},
        {"judge", LAUNCH_TEXT, &chosen.judge, "RUN", "the run that scores what was written"},
        {"prompt-tokens", LAUNCH_COUNT, &chosen.prompt_tokens, "P",
         "tokens that are read first; the run's context"},
        {"temperature", LAUNCH_REAL, &chosen.sampling.temperature, "T",
         "of what is written, as for ttt infer (1)"},
        {"top-p", LAUNCH_REAL, &chosen.sampling.top_p, "P", "likewise (0.95)"},
        {"repetition-penalty", LAUNCH_REAL, &chosen.sampling.repetition_penalty, "X",
         "likewise, of all that was read (1.1)"},
        {"seed", LAUNCH_SEED, &chosen.sampling.seed, "N", "likewise (0)"},
        LAUNCH_DEVICE(&chosen.device),
        {"tensor", LAUNCH_COUNT, &chosen.tensor, "N",
         "of several ranks so many share each window (1); of a text all do"},
        LAUNCH_JSON(&chosen.json),
        {0},
    };
    const launch_syntax syntax = {"eval", "RUN...", about_eval, options, 1, -1};
    char *command = launch_command_text(argc, argv);
    chosen.command = command;
    int code = launch_parse(&syntax, &argc, argv);
    if (code < 0) code = launch_report("eval", run(&chosen, argv + 1, argc - 1));
    free(command);
    free(chosen.text.item);
    return code;
}
