/* Losses on held-out text, by window, document and position: what training watches and ttt eval
 * prints. Each window is T tokens read from fresh weights, and a token's loss is the one before any
 * step on its own chunk. Nothing is kept of a window but one mean per bin of positions, so that two
 * models can be compared window by window. All functions are local. */
#ifndef INFER_EVALUATE_H
#define INFER_EVALUATE_H

#include "data/source.h"
#include "data/vocabulary.h"
#include "infer/model.h"

/* Bin b holds the positions edge[b] <= t < edge[b + 1] of a window; all bins together hold each of
 * 0 .. T-1 once. */
enum { INFER_MOST_BINS = 128, INFER_BIN_TOKENS = 64 };
typedef struct {
    int count;
    int64_t edge[INFER_MOST_BINS + 1];
} infer_bins;

/* Two bins an octave, of at least 64 positions each (one bin where T is smaller): with u positions
 * in the first bin, edges at 0, u, 2u, 3u, 4u, 6u, 8u, 12u, ... T. u is a multiple of C, or C is u
 * times a power of two, so that a bin lies inside a chunk or is made of whole ones (the last
 * apart). C is `chunk`; 1 where there are no chunks. */
infer_bins infer_bins_create(int64_t tokens, int64_t chunk);

/* Position `at`, 1 .. T-1, begins a bin: the one that held it and others becomes two. */
void infer_bins_split(infer_bins *bins, int64_t at);

/* A bin for each position: T of them, at most INFER_MOST_BINS. */
infer_bins infer_bins_by_token(int64_t tokens);

/* Called after each batch with the windows done, of how many; false stops the evaluation. */
typedef bool (*infer_evaluation_seen)(void *context, int64_t done, int64_t windows);

typedef struct {
    infer_model *model;                /* allocated, its parameters set; reads B windows at once */
    data_source *source;               /* its windows are of the model's T tokens at least */
    int64_t per_document;              /* windows of each document (data_source_windows); 0: all */
    double rate;                       /* eta; 0: no inner steps */
    infer_bins bins;                   /* of T */
    int64_t tail;                      /* last positions whose mean is kept too; 0 .. T */
    const data_vocabulary *vocabulary; /* of the source: counts bytes; NULL: they stay unknown */
    infer_evaluation_seen seen;        /* NULL: nobody watches */
    void *context;
    const kern_comm *data; /* ranks that divide the windows; NULL: one */
} infer_evaluation;

/* Arrays are kern_alloc's or kern_array's. */
typedef struct {
    infer_bins bins;
    int64_t windows, tokens; /* tokens: predictions that count */
    int64_t *document;       /* [windows] index in the source */
    /* [windows, bins + 2] mean nats per token that counts in the bin; the last two columns: in the
     * window, and in its last `tail` positions. NAN where none counts. */
    double *loss;
    double *bytes; /* the same of the bytes that these tokens stand for; NULL: unknown */
    double seconds;
} infer_losses;

/* Evaluates. Where the source's windows are longer than T, their last T + 1 tokens are read: so
 * windows of several lengths end at the same places. A token whose target is the model's
 * begin-of-document token does not count. Memory grows with windows times bins. Errors: those of
 * data_source_windows and infer_model_forward; KERN_ERR_NUMERIC where a loss is not finite;
 * KERN_ERR_INTERRUPTED where `seen` said so. *losses is then NULL. Collective over `data`:
 * its ranks take turns, batch by batch, say the same in `seen`, and get all losses. */
kern_status infer_evaluate(infer_losses **losses, const infer_evaluation *evaluation);
void infer_losses_destroy(infer_losses *losses); /* NULL is fine */

/* The mean over windows of their means x_w, and its standard error s / sqrt(n) with
 * s^2 = sum (x_w - mean)^2 / (n - 1). Windows without a counted token in the bin are left out. mean
 * is NAN where n is 0, standard_error where n is below 2. */
typedef struct {
    double mean, standard_error;
    int64_t windows; /* n */
} infer_mean;

enum { INFER_ALL = -1, INFER_TAIL = -2 };

/* Over the windows of a document (INFER_ALL: of all), in a bin (INFER_ALL: in the whole window,
 * INFER_TAIL: in its last positions). */
infer_mean infer_losses_mean(const infer_losses *losses, int64_t document, int bin);

/* The same of the differences x_w - y_w between two models on the same windows with the same bins:
 * the paired difference, whose standard error does not contain how hard each window is. */
infer_mean infer_losses_difference(const infer_losses *x, const infer_losses *y, int64_t document,
                                   int bin);

/* Bits per byte: the quotient of the mean nats (of x, or of x less y where there is a y) and the
 * mean bytes of the same tokens, over ln 2; with its standard error as a quotient of two means,
 * sqrt(sum (x_w - q b_w)^2 / (n - 1) / n) / (mean b). x->bytes must be known. */
infer_mean infer_losses_bits(const infer_losses *x, const infer_losses *y, int64_t document,
                             int bin);

#endif
