/* CSV and JSON of launch/eval_report.h. */
#include "launch/eval_report.h"
#include "launch/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/files.h"

/* The mean of column a or of a less b. */
static infer_mean mean_of(const launch_eval_report *report, launch_eval_pair pair,
                          launch_eval_place place) {
    return pair.a == pair.b ? launch_eval_value(report, pair.a, place)
                            : launch_eval_difference(report, pair.a, pair.b, place);
}

/* A line each bin, and one of whole windows where they are not a bin. 17 digits are all that a
 * double has, so whoever rounds them to fewer gets what rounding the double gives. */
static void write_lines(FILE *file, const launch_eval_report *report, launch_eval_pair pair,
                        int64_t length) {
    const launch_eval_column *a = &report->column[pair.a], *b = &report->column[pair.b];
    char *label = a == b ? train_text("%s", a->label) : train_text("%s - %s", a->label, b->label);
    const infer_bins *bins = &a->losses[length]->bins;
    for (int row = 0; row < bins->count + (bins->count > 1); row++) {
        int bin = row < bins->count ? row : INFER_ALL;
        infer_mean mean = mean_of(report, pair, (launch_eval_place){length, INFER_ALL, bin, false});
        launch_csv_field(file, label);
        fprintf(file, ",%lld,%lld,%.17g,%.17g,%lld,%lld\n",
                bin == INFER_ALL ? 0 : (long long)bins->edge[bin],
                (long long)bins->edge[bin == INFER_ALL ? bins->count : bin + 1], mean.mean,
                mean.standard_error, (long long)mean.windows, (long long)report->length[length]);
    }
    free(label);
}

kern_status launch_eval_write_csv(const launch_eval_report *report, const char *path) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *file = open_memstream(&text, &bytes);
    ASSERT(file);
    int64_t count;
    launch_eval_pair *pairs = launch_eval_pairs(&count, report);
    fprintf(file, "model,bin_start,bin_end,mean,standard_error,count,context\n");
    for (int64_t l = 0; l < report->lengths; l++) {
        for (int64_t i = 0; i < report->columns; i++)
            write_lines(file, report, (launch_eval_pair){i, i}, l);
        for (int64_t i = 0; i < count; i++) write_lines(file, report, pairs[i], l);
    }
    free(pairs);
    ASSERT(!fclose(file));
    kern_status status = train_write_file(path, text, bytes);
    free(text);
    return status;
}

/* One mean, of column a or of a less b, in both units. */
static json_t *json_mean(const launch_eval_report *report, launch_eval_pair pair,
                         launch_eval_place place) {
    infer_mean mean = mean_of(report, pair, place);
    json_t *object =
        launch_json("{s:o, s:o, s:I}", "mean", launch_json_number(mean.mean), "standard_error",
                    launch_json_number(mean.standard_error), "windows", (json_int_t)mean.windows);
    place.bits = true;
    mean = mean_of(report, pair, place);
    launch_json_set(object, "bits_per_byte", launch_json_number(mean.mean));
    launch_json_set(object, "bits_per_byte_standard_error",
                    launch_json_number(mean.standard_error));
    return object;
}

static json_t *json_positions(const launch_eval_report *report, launch_eval_pair pair,
                              int64_t length) {
    const infer_bins *bins = &report->column[pair.a].losses[length]->bins;
    json_t *positions = json_array();
    for (int bin = 0; bin < bins->count; bin++) {
        json_t *row = json_mean(report, pair, (launch_eval_place){length, INFER_ALL, bin, false});
        launch_json_set(row, "begin", json_integer(bins->edge[bin]));
        launch_json_set(row, "end", json_integer(bins->edge[bin + 1]));
        launch_json_add(positions, row);
    }
    return positions;
}

static json_t *json_documents(const launch_eval_report *report, launch_eval_pair pair,
                              int64_t length) {
    json_t *documents = json_array();
    for (int64_t d = 0; d < data_source_documents(report->source); d++) {
        data_document document = data_source_document(report->source, d);
        json_t *row = json_mean(report, pair, (launch_eval_place){length, d, INFER_ALL, false});
        launch_json_set(row, "name", launch_json_text(document.name));
        launch_json_set(row, "split", launch_json_text(document.split));
        launch_json_add(documents, row);
    }
    return documents;
}

/* What columns and differences have in common. */
static json_t *json_part(const launch_eval_report *report, launch_eval_pair pair, int64_t length) {
    json_t *object =
        json_mean(report, pair, (launch_eval_place){length, INFER_ALL, INFER_ALL, false});
    json_t *last =
        json_mean(report, pair, (launch_eval_place){length, INFER_ALL, INFER_TAIL, false});
    launch_json_set(last, "tokens", json_integer(report->tail));
    launch_json_set(object, "last", last);
    launch_json_set(object, "model", launch_json_text(report->column[pair.a].label));
    launch_json_set(object, "positions", json_positions(report, pair, length));
    return object;
}

static json_t *json_column(const launch_eval_report *report, int64_t column, int64_t length) {
    const launch_eval_column *c = &report->column[column];
    launch_eval_pair itself = {column, column};
    json_t *object = json_part(report, itself, length);
    launch_json_set(object, "step", json_integer(c->step));
    launch_json_set(object, "inner_steps", json_boolean(c->chunk > 0));
    launch_json_set(object, "seconds", launch_json_number(c->losses[length]->seconds));
    launch_json_set(object, "documents", json_documents(report, itself, length));
    return object;
}

static json_t *json_length(const launch_eval_report *report, int64_t length, int64_t run) {
    json_t *models = json_array(), *differences = json_array();
    for (int64_t i = 0; i < report->columns; i++)
        if (run == INFER_ALL || report->column[i].run == run)
            launch_json_add(models, json_column(report, i, length));
    int64_t count;
    launch_eval_pair *pairs = launch_eval_pairs(&count, report);
    for (int64_t i = 0; i < count; i++) {
        const launch_eval_column *a = &report->column[pairs[i].a], *b = &report->column[pairs[i].b];
        if (run != INFER_ALL && (a->run != run || b->run != run)) continue;
        json_t *difference = json_part(report, pairs[i], length);
        launch_json_set(difference, "less", launch_json_text(b->label));
        launch_json_add(differences, difference);
    }
    free(pairs);
    return launch_json("{s:I, s:o, s:o}", "context", (json_int_t)report->length[length], "models",
                       models, "differences", differences);
}

json_t *launch_eval_json(const launch_eval_report *report, int64_t run) {
    json_t *contexts = json_array();
    for (int64_t l = 0; l < report->lengths; l++)
        launch_json_add(contexts, json_length(report, l, run));
    return launch_json("{s:o, s:I, s:o}", "tokenizer",
                       launch_json_text(data_source_tokenizer(report->source)), "place",
                       (json_int_t)data_source_length(report->source), "contexts", contexts);
}
