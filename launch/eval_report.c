#include "launch/eval_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/report.h"
#include "train/files.h"
#include "train/terminal.h"

enum { NAME_WIDTH = 28, CELL_WIDTH = 17, HEAD_BYTES = 96 };

void launch_eval_report_clear(launch_eval_report *report) {
    for (int64_t i = 0; i < report->columns; i++) {
        free(report->column[i].label);
        for (int64_t l = 0; l < report->lengths; l++)
            infer_losses_destroy(report->column[i].losses[l]);
        free(report->column[i].losses);
    }
    free(report->column);
    *report = (launch_eval_report){.columns = 0};
}

infer_mean launch_eval_value(const launch_eval_report *report, int64_t column,
                             launch_eval_place place) {
    const infer_losses *losses = report->column[column].losses[place.length];
    if (place.bits) return infer_losses_bits(losses, NULL, place.document, place.bin);
    return infer_losses_mean(losses, place.document, place.bin);
}

infer_mean launch_eval_difference(const launch_eval_report *report, int64_t a, int64_t b,
                                  launch_eval_place place) {
    const infer_losses *x = report->column[a].losses[place.length];
    const infer_losses *y = report->column[b].losses[place.length];
    if (place.bits) return infer_losses_bits(x, y, place.document, place.bin);
    return infer_losses_difference(x, y, place.document, place.bin);
}

launch_eval_pair *launch_eval_pairs(int64_t *count, const launch_eval_report *report) {
    launch_eval_pair *pairs = kern_array(3 * report->columns, sizeof *pairs);
    *count = 0;
    for (int64_t i = 1; i < report->columns; i++) pairs[(*count)++] = (launch_eval_pair){0, i};
    for (int64_t i = 1; i + 1 < report->columns; i++)
        if (report->column[i].run == report->column[i + 1].run)
            pairs[(*count)++] = (launch_eval_pair){i, i + 1};
    for (int64_t i = 1, run = 0, before = 0; i < report->columns; i++) {
        if (report->column[i].run == run) continue;
        if (run > 0) pairs[(*count)++] = (launch_eval_pair){before, i};
        run = report->column[i].run;
        before = i;
    }
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
    printf("\n%-*s", NAME_WIDTH, what);
    for (int64_t i = 0; i < report->columns; i++) {
        putchar(' ');
        launch_print_name(report->column[i].label, -(CELL_WIDTH - 1));
    }
    printf("\n");
}

static void print_row(const launch_eval_report *report, launch_eval_place place) {
    for (int64_t i = 0; i < report->columns; i++) print_cell(launch_eval_value(report, i, place));
    printf("\n");
}

/* The name of the document, cut to its column; INFER_ALL: of all. */
static void print_document(const launch_eval_report *report, int64_t document) {
    const char *name = "all documents";
    if (document != INFER_ALL) name = data_source_document(report->source, document).name;
    char *plain = train_terminal_plain(name);
    launch_print_name(train_terminal_cut(plain, NAME_WIDTH), NAME_WIDTH);
    free(plain);
}

static void print_length(const launch_eval_report *report, int64_t length) {
    char text[HEAD_BYTES];
    snprintf(text, sizeof text, "%lld tokens", (long long)report->length[length]);
    printf("%-*s", NAME_WIDTH, text);
}

/* "document", or "document, windows of 512" where there are several lengths. */
static const char *head_of(char text[HEAD_BYTES], const char *what,
                           const launch_eval_report *report, int64_t length) {
    snprintf(text, HEAD_BYTES, "%s", what);
    if (report->lengths > 1)
        snprintf(text, HEAD_BYTES, "%s, windows of %lld", what, (long long)report->length[length]);
    return text;
}

static void print_lengths(const launch_eval_report *report, const char *head, int bin, bool bits) {
    print_head(report, head);
    for (int64_t l = 0; l < report->lengths; l++) {
        print_length(report, l);
        print_row(report, (launch_eval_place){l, INFER_ALL, bin, bits});
    }
}

static void print_by_length(const launch_eval_report *report, int bin) {
    print_lengths(report, "nats per token", bin, false);
    print_lengths(report, "bits per byte", bin, true);
}

static void print_documents(const launch_eval_report *report, int64_t length, bool bits) {
    char head[HEAD_BYTES];
    int64_t documents = data_source_documents(report->source);
    print_head(report,
               bits ? "the same in bits per byte" : head_of(head, "document", report, length));
    for (int64_t row = 0; row <= documents; row++) {
        int64_t document = row < documents ? row : INFER_ALL;
        print_document(report, document);
        print_row(report, (launch_eval_place){length, document, INFER_ALL, bits});
    }
}

static void print_bin(const infer_bins *bins, int bin) {
    char text[HEAD_BYTES];
    snprintf(text, sizeof text, "%lld to %lld", (long long)bins->edge[bin],
             (long long)bins->edge[bin + 1] - 1);
    printf("%-*s", NAME_WIDTH, text);
}

static void print_positions(const launch_eval_report *report, int64_t length) {
    char head[HEAD_BYTES];
    const infer_bins *bins = &report->column[0].losses[length]->bins;
    print_head(report, head_of(head, "position", report, length));
    for (int bin = 0; bin < bins->count; bin++) {
        print_bin(bins, bin);
        print_row(report, (launch_eval_place){length, INFER_ALL, bin, false});
    }
}

/* How often the first of a pair is better by more than chance where inner steps had time to teach:
 * behind its first two chunks. */
static void print_verdict(const launch_eval_report *report, launch_eval_pair pair, int64_t length) {
    const launch_eval_column *a = &report->column[pair.a];
    const infer_bins *bins = &a->losses[length]->bins;
    int better = 0, of = 0;
    for (int bin = 0; bin < bins->count; bin++) {
        if (bins->edge[bin] < 2 * a->chunk) continue;
        infer_mean mean = launch_eval_difference(
            report, pair.a, pair.b, (launch_eval_place){length, INFER_ALL, bin, false});
        better += mean.mean < -mean.standard_error;
        of++;
    }
    if (!of) return;
    launch_print_name(a->label, 0);
    printf(" is lower than ");
    launch_print_name(report->column[pair.b].label, 0);
    printf(" by more than the standard error in %d of the %d bins from position %lld on\n", better,
           of, 2 * (long long)a->chunk);
}

static void print_pair(const launch_eval_report *report, launch_eval_pair pair,
                       launch_eval_place place) {
    print_cell(launch_eval_difference(report, pair.a, pair.b, place));
    place.bits = true;
    print_cell(launch_eval_difference(report, pair.a, pair.b, place));
    printf("\n");
}

static void print_difference(const launch_eval_report *report, launch_eval_pair pair,
                             bool by_position) {
    putchar('\n');
    launch_print_name(report->column[pair.a].label, 0);
    printf(" - ");
    launch_print_name(report->column[pair.b].label, 0);
    printf("\n%-*s%*s%*s\n", NAME_WIDTH, "whole windows", CELL_WIDTH, "nats per token", CELL_WIDTH,
           "bits per byte");
    for (int64_t l = 0; l < report->lengths; l++) {
        print_length(report, l);
        print_pair(report, pair, (launch_eval_place){l, INFER_ALL, INFER_ALL, false});
    }
    if (report->lengths > 1)
        printf("%s %lld tokens of windows\n", "the last", (long long)report->tail);
    for (int64_t l = 0; l < report->lengths && report->lengths > 1; l++) {
        print_length(report, l);
        print_pair(report, pair, (launch_eval_place){l, INFER_ALL, INFER_TAIL, false});
    }
    for (int64_t l = 0; l < report->lengths && by_position; l++) {
        char head[HEAD_BYTES];
        const infer_bins *bins = &report->column[pair.a].losses[l]->bins;
        printf("%s\n", head_of(head, "position", report, l));
        for (int bin = 0; bin < bins->count; bin++) {
            print_bin(bins, bin);
            print_pair(report, pair, (launch_eval_place){l, INFER_ALL, bin, false});
        }
        print_verdict(report, pair, l);
    }
}

static void print_title(const launch_eval_report *report) {
    const infer_losses *losses = report->column[0].losses[0];
    printf("loss \u00b1 standard error over windows: %lld windows%s of", (long long)losses->windows,
           report->lengths > 1 ? " each" : "");
    for (int64_t l = 0; l < report->lengths; l++)
        printf("%s %lld", l ? "," : "", (long long)report->length[l]);
    printf(" tokens");
    if (report->lengths == 1)
        printf(", %lld predictions\n", (long long)losses->tokens);
    else
        printf(", which end at the same places\n");
}

void launch_eval_print(const launch_eval_report *report, bool books, bool by_position) {
    print_title(report);
    print_by_length(report, INFER_ALL);
    if (report->lengths > 1) {
        printf("\nthe last %lld tokens of each window, which every length predicts\n",
               (long long)report->tail);
        print_by_length(report, INFER_TAIL);
    }
    for (int64_t l = 0; l < report->lengths && books; l++) {
        print_documents(report, l, false);
        print_documents(report, l, true);
    }
    for (int64_t l = 0; l < report->lengths && by_position; l++) print_positions(report, l);
    int64_t count;
    launch_eval_pair *pairs = launch_eval_pairs(&count, report);
    if (count)
        printf("\ndifferences on the same windows \u00b1 their standard error, paired by window\n");
    for (int64_t i = 0; i < count; i++) print_difference(report, pairs[i], by_position);
    free(pairs);
}
