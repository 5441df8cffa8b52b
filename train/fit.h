/* The training step that fits the memory there is: how many sequences at once, what is kept. */
#ifndef TRAIN_FIT_H
#define TRAIN_FIT_H

#include "train/predict.h"

typedef struct {
    double limit;        /* bytes that the step may take */
    int64_t micro_batch; /* sequences at once */
    double budget;       /* bytes offered for saved carries and kept values; HUGE_VAL: no bound */
    train_step_memory memory;
} train_fit;

/* Bytes that this process may still take: what the machine has available, or the control group that
 * the process is in still allows, or its own limits on address space and data (ulimit -v, -d), less
 * a twentieth left for everyone else. 0 if unknown. Where such limits are, OpenMP's threads are
 * begun, so their number is to be set before. */
double train_free_memory(void);

/* train.memory_limit, or where that is 0 the memory of a device that has its own, else
 * train_free_memory(), or HUGE_VAL if that is unknown. */
double train_memory_limit(const ttt_conf *conf, const kern_device *device);
/* The same for one of a job's ranks: those on one machine divide what it has free. */
double train_rank_limit(const ttt_conf *conf, const kern_device *device, const kern_ranks *ranks);

/* train.threads, or where that is 0 one for each processor that this process may run on. */
int train_threads(const ttt_conf *conf);

/* Of the `sequences` that a rank reads in a step so many at once before memory is looked at:
 * train.micro_batch, or the largest divisor that is no more; or where that is 0 the smallest that
 * gives products of a chunk the machine's product_rows. */
int64_t train_preferred_micro_batch(const ttt_conf *conf, int64_t sequences,
                                    const kern_machine *machine);

/* Creates the step (compiled, not allocated) of a checked configuration that fits into `limit`
 * bytes and executes least: everything kept if that fits, otherwise what a budget buys, and fewer
 * sequences at once where train.micro_batch leaves the choice. *step is the caller's to destroy.
 * KERN_ERR_MEMORY where nothing fits: the message has the least bytes needed, by kind, and the
 * changes of the configuration that would be enough. Then *step is NULL, and *fit holds what was
 * needed. `fit` depends on the limit, so whoever resumes a run bit for bit gives the same limit and
 * micro_batch again. KERN_ERR_CONFIG where the data ranks do not divide the batch. Collective (the
 * step borrows `ranks`): the limit is that of the rank with the least, and all take the same step,
 * or none. */
kern_status train_fit_create(train_step **step, train_fit *fit, const ttt_conf *conf, double limit,
                             const kern_ranks *ranks, int threads, bool debug);

/* The same on a device, but what does not fit is no error: *step is then NULL, *fit the least that
 * was found. Where the device's machine says how fast it is, what takes least of its time is
 * chosen, as train_predict foretells it. */
kern_status train_fit_find(train_step **step, train_fit *fit, const ttt_conf *conf,
                           const kern_device *device, double limit, const kern_ranks *ranks,
                           int threads, bool debug);

/* The same within several limits, one after the other: what is known of a step is kept, so that
 * none is compiled twice but one that is taken. What is given to create is borrowed. `within` as
 * train_fit_find; step NULL: nobody wants it, only *fit, which is within the limit if
 * fit->memory.total is no more than fit->limit. */
typedef struct train_search train_search;
train_search *train_search_create(const ttt_conf *conf, const kern_device *device,
                                  const kern_ranks *ranks, int threads, bool debug);
kern_status train_search_within(train_search *search, train_step **step, train_fit *fit,
                                double limit);
void train_search_destroy(train_search *search);

/* "1.21 GB": decimal, three digits. `text` has room for 32. */
void train_bytes_text(char *text, double bytes);

#endif
