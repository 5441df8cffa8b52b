/* What ttt eval was asked for, and its two ways to read: windows of shards, and whole texts. All
 * functions are local. */
#ifndef LAUNCH_EVAL_H
#define LAUNCH_EVAL_H

#include "infer/sample.h"
#include "launch/arguments.h"
#include "launch/trained.h"

typedef struct {
    const char *data, *device;       /* NULL: what the runs' data.test names */
    const char *context, *csv, *png; /* as written; NULL: not given */
    const char *command;             /* line, for what is saved */
    launch_texts text;
    const char *judge;             /* a run; NULL: not given */
    int64_t decode, prompt_tokens; /* to write, 0: nothing; to read before, 0: the context */
    infer_sampling sampling;       /* of what is written */
    int64_t windows, place, tensor;
    bool books, by_position, by_token, off, save, force, json, sum;
} launch_eval_choices;

/* Reads the windows of shards with all runs and prints, writes and draws their losses. Nothing is
 * printed or written unless all was read; what cannot be written is refused before. Errors:
 * KERN_ERR_USAGE, those of opening runs and shards, of infer_evaluate, of writing (all numbers have
 * been printed then); KERN_ERR_INTERRUPTED after Ctrl-C. */
kern_status launch_eval_shards(const launch_eval_choices *chosen, char *const *words,
                               int64_t count);

/* Reads texts with one run, each from fresh weights, and prints JSON lines: one per token, or with
 * `sum` one per text. Memory does not depend on a text's length. Errors: as above, and those of
 * infer_session; whole lines have been printed then. */
kern_status launch_eval_texts(const launch_eval_choices *chosen, const char *word);

/* Has one run read the beginnings of held-out texts and write on, and another one score that, token
 * by token; prints the loss by position. Errors: as above; KERN_ERR_USAGE where the vocabularies
 * differ. */
kern_status launch_eval_decoding(const launch_eval_choices *chosen, const char *word);

/* The lengths that --context names: "512,2048" -> [2], in that order, free with free(); none where
 * `text` is NULL. Errors: KERN_ERR_USAGE. */
kern_status launch_eval_lengths(int64_t **lengths, int64_t *count, const char *text);

bool launch_eval_has_inner(const launch_trained *run);

/* Between these two, the first Ctrl-C (or SIGTERM) asks to stop at the next place where nothing is
 * half done, which train_signals_received() tells; the second ends the process. To be begun when
 * the number of threads is set. Not nested. */
void launch_eval_signals_begin(void);
void launch_eval_signals_end(void);

#endif
