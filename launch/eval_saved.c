#include "launch/eval_saved.h"

#include "launch/report.h"
#include "train/files.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LOSSES = 100000 /* of a model and length */, MOST_BYTES = 1 << 28 };

/* The two means behind the bins always, the bins unless they are too many. */
static json_t *losses_json(const infer_losses *losses, int64_t tail) {
    int columns = losses->bins.count + 2;
    int first = losses->windows * columns > MOST_LOSSES ? losses->bins.count : 0;
    json_t *edges = json_array(), *documents = json_array(), *rows = json_array();
    for (int bin = 0; bin <= losses->bins.count && !first; bin++)
        launch_json_add(edges, json_integer(losses->bins.edge[bin]));
    for (int64_t w = 0; w < losses->windows; w++) {
        json_t *row = json_array();
        for (int c = first; c < columns; c++)
            launch_json_add(row, launch_json_number(losses->loss[w * columns + c]));
        launch_json_add(rows, row);
        launch_json_add(documents, json_integer(losses->document[w]));
    }
    return launch_json("{s:o,s:I,s:o,s:o}", "edges", edges, "tail", (json_int_t)tail, "document",
                       documents, "loss", rows);
}

json_t *launch_saved_json(const launch_eval_report *report, int64_t run, const char *command,
                          int64_t per_document) {
    json_t *object = launch_eval_json(report, run), *context;
    size_t l;
    launch_json_set(object, "command", launch_json_text(command));
    launch_json_set(object, "data", json_integer(data_source_fingerprint(report->source)));
    launch_json_set(object, "windows_per_document", json_integer(per_document));
    json_array_foreach(json_object_get(object, "contexts"), l, context) {
        json_t *models = json_object_get(context, "models");
        size_t next = 0;
        for (int64_t i = 0; i < report->columns; i++)
            if (report->column[i].run == run)
                launch_json_set(json_array_get(models, next++), "losses",
                                losses_json(report->column[i].losses[l], report->tail));
    }
    return object;
}

static double number_of(const json_t *value) {
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* NULL where the object is not what losses_json makes. */
static infer_losses *read_losses(const json_t *object) {
    const json_t *edges = json_object_get(object, "edges"), *rows = json_object_get(object, "loss");
    const json_t *documents = json_object_get(object, "document");
    size_t windows = json_array_size(rows), count = json_array_size(edges);
    if (!windows || json_array_size(documents) != windows || count > INFER_MOST_BINS + 1 ||
        count == 1)
        return NULL;
    infer_losses *losses = kern_array(1, sizeof *losses);
    losses->windows = (int64_t)windows;
    losses->bins.count = count ? (int)count - 1 : 0;
    size_t columns = (size_t)losses->bins.count + 2;
    for (size_t e = 0; e < count; e++)
        losses->bins.edge[e] = json_integer_value(json_array_get(edges, e));
    losses->document = kern_array(losses->windows, sizeof *losses->document);
    losses->loss = kern_array((int64_t)(windows * columns), sizeof *losses->loss);
    for (size_t w = 0; w < windows; w++) {
        const json_t *row = json_array_get(rows, w);
        losses->document[w] = json_integer_value(json_array_get(documents, w));
        for (size_t c = 0; c < columns; c++)
            losses->loss[w * columns + c] = number_of(json_array_get(row, c));
    }
    return losses;
}

static void add_model(launch_saved *saved, int64_t context, const json_t *model) {
    const json_t *object = json_object_get(model, "losses");
    infer_losses *losses = read_losses(object);
    if (!losses) return;
    saved->model[saved->count++] =
        (launch_saved_model){.context = context,
                             .tail = json_integer_value(json_object_get(object, "tail")),
                             .inner = json_is_true(json_object_get(model, "inner_steps")),
                             .losses = losses};
    saved->step = json_integer_value(json_object_get(model, "step"));
}

kern_status launch_saved_read(launch_saved *saved, const char *path) {
    kern_status status = KERN_OK;
    char *text = NULL;
    size_t bytes = 0, c, m;
    json_t *object = NULL, *context, *model;
    TRY(train_read_file(&text, &bytes, path, MOST_BYTES));
    object = json_loadb(text, bytes, 0, NULL);
    const json_t *contexts = json_object_get(object, "contexts");
    const char *command = json_string_value(json_object_get(object, "command"));
    const char *tokenizer = json_string_value(json_object_get(object, "tokenizer"));
    saved->model = kern_array(2 * (int64_t)json_array_size(contexts), sizeof *saved->model);
    json_array_foreach(contexts, c, context) {
        int64_t length = json_integer_value(json_object_get(context, "context"));
        const json_t *models = json_object_get(context, "models");
        json_array_foreach(models, m, model) if (m < 2) add_model(saved, length, model);
    }
    if (!saved->count || !command || !tokenizer)
        TRY(kern_fail(KERN_ERR_DATA,
                      "%s has no losses of windows; measure the run again: ttt eval RUN --save",
                      path));
    saved->command = train_text("%s", command);
    saved->tokenizer = train_text("%s", tokenizer);
    saved->windows =
        train_text("%lld %lld %lld", (long long)json_integer_value(json_object_get(object, "data")),
                   (long long)json_integer_value(json_object_get(object, "place")),
                   (long long)json_integer_value(json_object_get(object, "windows_per_document")));
done:
    free(text);
    json_decref(object);
    return status;
}

void launch_saved_clear(launch_saved *saved) {
    for (int64_t i = 0; i < saved->count; i++) infer_losses_destroy(saved->model[i].losses);
    free(saved->model);
    free(saved->command);
    free(saved->tokenizer);
    free(saved->windows);
    *saved = (launch_saved){.count = 0};
}

const launch_saved_model *launch_saved_find(const launch_saved *saved, int64_t context) {
    const launch_saved_model *found = NULL;
    for (int64_t i = 0; i < saved->count; i++)
        if (saved->model[i].context == context && (!found || saved->model[i].inner))
            found = &saved->model[i];
    return found;
}

kern_status launch_saved_measure(const char *run, const char *measure, const char *command,
                                 int64_t step, json_t *result) {
    kern_status status = KERN_OK;
    json_t *object = launch_json("{s:o,s:I,s:O}", "command", launch_json_text(command), "step",
                                 (json_int_t)step, "result", result);
    char *text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(17));
    char *folder = train_text("%s/eval", run), *path = train_text("%s/%s.json", folder, measure);
    ASSERT(text);
    TRY(train_make_directory(folder));
    TRY(train_write_file(path, text, strlen(text)));
done:
    json_decref(object);
    free(text);
    free(folder);
    free(path);
    return status;
}
