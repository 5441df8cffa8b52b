#include "launch/eval_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/files.h"

enum { NAME_WIDTH = 28, CELL_WIDTH = 17 };

void launch_eval_report_clear(launch_eval_report *report) {
    for (int64_t i = 0; i < report->columns; i++) {
        free(report->column[i].label);
        infer_losses_destroy(report->column[i].losses);
    }
    free(report->column);
    *report = (launch_eval_report){.columns = 0};
}

/* Column a less column b. */
typedef struct {
    int64_t a, b;
} eval_pair;

/* pairs [columns * 2]; their number. */
static int64_t list_pairs(eval_pair *pairs, const launch_eval_report *report) {
    int64_t count = 0;
    for (int64_t i = 1; i < report->columns; i++) pairs[count++] = (eval_pair){0, i};
    for (int64_t i = 1; i + 1 < report->columns; i++)
        if (report->column[i].run == report->column[i + 1].run)
            pairs[count++] = (eval_pair){i, i + 1};
    return count;
}

static eval_pair *create_pairs(int64_t *count, const launch_eval_report *report) {
    eval_pair *pairs = calloc((size_t)(2 * report->columns), sizeof *pairs);
    ASSERT(pairs);
    *count = list_pairs(pairs, report);
    return pairs;
}

/* "  1.5403 ±0.0121", CELL_WIDTH columns wide on a screen. */
static void print_cell(infer_mean mean) {
    if (isnan(mean.mean))
        printf("%*s", CELL_WIDTH, "-");
    else if (isnan(mean.standard_error))
        printf("%*.4f        ", CELL_WIDTH - 8, mean.mean);
    else
        printf("%*.4f \u00b1%6.4f", CELL_WIDTH - 8, mean.mean, mean.standard_error);
}

static void print_head(const launch_eval_report *report, const char *what) {
    printf("%-*s", NAME_WIDTH, what);
    for (int64_t i = 0; i < report->columns; i++)
        printf(" %*s", CELL_WIDTH - 1, report->column[i].label);
    printf("\n");
}

/* The name of the document, cut to its column; INFER_ALL: of all. */
static void print_document(const launch_eval_report *report, int64_t document) {
    const char *name = "all documents";
    if (document != INFER_ALL) name = data_source_document(report->source, document).name;
    printf("%-*.*s", NAME_WIDTH, NAME_WIDTH, name);
}

static void print_documents(const launch_eval_report *report) {
    int64_t documents = data_source_documents(report->source);
    print_head(report, "document");
    for (int64_t row = 0; row <= documents; row++) {
        int64_t document = row < documents ? row : INFER_ALL;
        print_document(report, document);
        for (int64_t i = 0; i < report->columns; i++)
            print_cell(infer_losses_mean(report->column[i].losses, document, INFER_ALL));
        printf("\n");
    }
}

/* A token of the byte vocabulary is a byte. */
static bool tokens_are_bytes(const launch_eval_report *report) {
    return !strcmp(data_source_tokenizer(report->source), "byte");
}

static double bits(double nats) {
    return nats / log(2);
}

static void print_bits(const launch_eval_report *report) {
    int64_t documents = data_source_documents(report->source);
    printf("\n");
    print_head(report, "the same in bits per byte");
    for (int64_t row = 0; row <= documents; row++) {
        int64_t document = row < documents ? row : INFER_ALL;
        print_document(report, document);
        for (int64_t i = 0; i < report->columns; i++) {
            infer_mean mean = infer_losses_mean(report->column[i].losses, document, INFER_ALL);
            mean.mean = bits(mean.mean);
            mean.standard_error = bits(mean.standard_error);
            print_cell(mean);
        }
        printf("\n");
    }
}

static void print_bin(const infer_bins *bins, int bin) {
    char text[64] = "whole window";
    if (bin != INFER_ALL)
        snprintf(text, sizeof text, "%lld to %lld", (long long)bins->edge[bin],
                 (long long)bins->edge[bin + 1] - 1);
    printf("%-*s", NAME_WIDTH, text);
}

static void print_positions(const launch_eval_report *report) {
    const infer_bins *bins = &report->column[0].losses->bins;
    printf("\n");
    print_head(report, "position, all documents");
    for (int bin = 0; bin < bins->count; bin++) {
        print_bin(bins, bin);
        for (int64_t i = 0; i < report->columns; i++)
            print_cell(infer_losses_mean(report->column[i].losses, INFER_ALL, bin));
        printf("\n");
    }
}

static infer_mean difference(const launch_eval_report *report, eval_pair pair, int bin) {
    return infer_losses_difference(report->column[pair.a].losses, report->column[pair.b].losses,
                                   INFER_ALL, bin);
}

/* How often the first of a pair is better by more than chance where inner steps had time to teach:
 * behind its first two chunks. */
static void print_verdict(const launch_eval_report *report, eval_pair pair) {
    const launch_eval_column *a = &report->column[pair.a];
    const infer_bins *bins = &a->losses->bins;
    int better = 0, of = 0;
    for (int bin = 0; bin < bins->count; bin++) {
        if (bins->edge[bin] < 2 * a->chunk) continue;
        infer_mean mean = difference(report, pair, bin);
        better += mean.mean < -mean.standard_error;
        of++;
    }
    if (of)
        printf("%s is lower than %s by more than the standard error in %d of the %d bins from "
               "position %lld on\n",
               a->label, report->column[pair.b].label, better, of, 2 * (long long)a->chunk);
}

static void print_difference(const launch_eval_report *report, eval_pair pair, bool by_position) {
    const infer_bins *bins = &report->column[pair.a].losses->bins;
    printf("%-*s", NAME_WIDTH, "position, all documents");
    printf("  %s - %s\n", report->column[pair.a].label, report->column[pair.b].label);
    for (int row = 0; row <= bins->count; row++) {
        int bin = row < bins->count ? row : INFER_ALL;
        if (bin != INFER_ALL && !by_position) continue;
        print_bin(bins, bin);
        print_cell(difference(report, pair, bin));
        printf("\n");
    }
    if (by_position) print_verdict(report, pair);
}

void launch_eval_print(const launch_eval_report *report, bool by_position) {
    const infer_losses *losses = report->column[0].losses;
    printf(
        "loss in nats per token \u00b1 standard error over windows: %lld windows of %lld tokens, "
        "%lld predictions\n\n",
        (long long)losses->windows, (long long)data_source_length(report->source),
        (long long)losses->tokens);
    print_documents(report);
    if (tokens_are_bytes(report)) print_bits(report);
    if (by_position) print_positions(report);
    int64_t count;
    eval_pair *pairs = create_pairs(&count, report);
    if (count)
        printf("\ndifferences on the same windows \u00b1 their standard error, paired by window\n");
    for (int64_t i = 0; i < count; i++) {
        printf("\n");
        print_difference(report, pairs[i], by_position);
    }
    free(pairs);
}

/* A field of a CSV line; quoted where it has to be. */
static void write_field(FILE *file, const char *text) {
    if (!strpbrk(text, ",\"\n\r")) {
        fputs(text, file);
        return;
    }
    fputc('"', file);
    for (; *text; text++) {
        if (*text == '"') fputc('"', file);
        fputc(*text, file);
    }
    fputc('"', file);
}

kern_status launch_eval_write_csv(const launch_eval_report *report, const char *path) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *file = open_memstream(&text, &bytes);
    ASSERT(file);
    fprintf(file, "model,bin_start,bin_end,mean,standard_error,count\n");
    for (int64_t i = 0; i < report->columns; i++) {
        const infer_losses *losses = report->column[i].losses;
        for (int bin = 0; bin < losses->bins.count; bin++) {
            infer_mean mean = infer_losses_mean(losses, INFER_ALL, bin);
            write_field(file, report->column[i].label);
            fprintf(file, ",%lld,%lld,%.9g,%.9g,%lld\n", (long long)losses->bins.edge[bin],
                    (long long)losses->bins.edge[bin + 1], mean.mean, mean.standard_error,
                    (long long)mean.windows);
        }
    }
    ASSERT(!fclose(file));
    kern_status status = train_write_file(path, text, bytes);
    free(text);
    return status;
}

/* JSON has no NAN: null stands for it. */
static json_t *number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *json_mean(infer_mean mean) {
    return json_pack("{s:o, s:o, s:I}", "mean", number(mean.mean), "standard_error",
                     number(mean.standard_error), "windows", (json_int_t)mean.windows);
}

static json_t *json_bin(const infer_bins *bins, int bin, infer_mean mean) {
    json_t *object = json_mean(mean);
    json_object_set_new(object, "begin", json_integer(bins->edge[bin]));
    json_object_set_new(object, "end", json_integer(bins->edge[bin + 1]));
    return object;
}

static json_t *json_column(const launch_eval_report *report, const launch_eval_column *column) {
    const infer_losses *losses = column->losses;
    infer_mean all = infer_losses_mean(losses, INFER_ALL, INFER_ALL);
    json_t *object = json_mean(all), *documents = json_array(), *positions = json_array();
    for (int64_t d = 0; d < data_source_documents(report->source); d++) {
        json_t *row = json_mean(infer_losses_mean(losses, d, INFER_ALL));
        data_document document = data_source_document(report->source, d);
        json_object_set_new(row, "name", json_string(document.name));
        json_object_set_new(row, "split", json_string(document.split));
        json_array_append_new(documents, row);
    }
    for (int bin = 0; bin < losses->bins.count; bin++)
        json_array_append_new(
            positions, json_bin(&losses->bins, bin, infer_losses_mean(losses, INFER_ALL, bin)));
    if (tokens_are_bytes(report))
        json_object_set_new(object, "bits_per_byte", number(bits(all.mean)));
    json_object_set_new(object, "model", json_string(column->label));
    json_object_set_new(object, "step", json_integer(column->step));
    json_object_set_new(object, "inner_steps", json_boolean(column->chunk > 0));
    json_object_set_new(object, "seconds", number(losses->seconds));
    json_object_set_new(object, "documents", documents);
    json_object_set_new(object, "positions", positions);
    return object;
}

static json_t *json_difference(const launch_eval_report *report, eval_pair pair) {
    const infer_bins *bins = &report->column[pair.a].losses->bins;
    json_t *object = json_mean(difference(report, pair, INFER_ALL)), *positions = json_array();
    for (int bin = 0; bin < bins->count; bin++)
        json_array_append_new(positions, json_bin(bins, bin, difference(report, pair, bin)));
    json_object_set_new(object, "model", json_string(report->column[pair.a].label));
    json_object_set_new(object, "less", json_string(report->column[pair.b].label));
    json_object_set_new(object, "positions", positions);
    return object;
}

json_t *launch_eval_json(const launch_eval_report *report, int64_t run) {
    json_t *models = json_array(), *differences = json_array();
    for (int64_t i = 0; i < report->columns; i++)
        if (run == INFER_ALL || report->column[i].run == run)
            json_array_append_new(models, json_column(report, &report->column[i]));
    int64_t count;
    eval_pair *pairs = create_pairs(&count, report);
    for (int64_t i = 0; i < count; i++) {
        const launch_eval_column *a = &report->column[pairs[i].a], *b = &report->column[pairs[i].b];
        if (run == INFER_ALL || (a->run == run && b->run == run))
            json_array_append_new(differences, json_difference(report, pairs[i]));
    }
    free(pairs);
    return json_pack("{s:I, s:s, s:o, s:o}", "context",
                     (json_int_t)data_source_length(report->source), "tokenizer",
                     data_source_tokenizer(report->source), "models", models, "differences",
                     differences);
}
