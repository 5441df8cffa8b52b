/* What ttt eval --save keeps of a run, RUN/eval/step-NUMBER.json: beside all means the losses of
 * every window, so that runs which were evaluated one by one can be compared window by window. All
 * functions are local. */
#ifndef LAUNCH_EVAL_SAVED_H
#define LAUNCH_EVAL_SAVED_H

#include "launch/eval_report.h"

/* The object (the caller's) that is saved of a run: launch_eval_json's, the command, and what tells
 * whether other losses are of the same windows. Where bins and windows are very many, losses of
 * whole windows and of their last tokens alone are kept. */
json_t *launch_saved_json(const launch_eval_report *report, int64_t run, const char *command,
                          int64_t per_document);

/* The run's weights on the windows of one length, with inner steps or without. */
typedef struct {
    int64_t context, tail;
    bool inner;
    infer_losses *losses; /* without bytes; bins.count 0: whole windows and last tokens alone */
} launch_saved_model;

/* Begins as zeros. */
typedef struct {
    char *command, *tokenizer;
    char *windows; /* the same text: the same data, places and number of windows */
    int64_t step, count;
    launch_saved_model *model;
} launch_saved;

/* Reads such a file. Errors: KERN_ERR_FILE; KERN_ERR_DATA: it is none, or of an earlier program
 * that kept no losses of windows. launch_saved_clear is due in any case. */
kern_status launch_saved_read(launch_saved *saved, const char *path);
void launch_saved_clear(launch_saved *saved);

/* That of windows of `context` tokens, with inner steps where there are such; NULL: none. */
const launch_saved_model *launch_saved_find(const launch_saved *saved, int64_t context);

/* Writes {command, step, result} to RUN/eval/MEASURE.json: what ttt report finds there. Errors:
 * KERN_ERR_FILE. */
kern_status launch_saved_measure(const char *run, const char *measure, const char *command,
                                 int64_t step, json_t *result);

#endif
