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

/* train.threads, or where that is 0 one for each processor that this process may run on. */
int train_threads(const ttt_conf *conf);

/* Sequences at once before memory is looked at: train.micro_batch, or the smallest divisor of
 * train.batch that gives products of a chunk the machine's product_rows. */
int64_t train_preferred_micro_batch(const ttt_conf *conf, const kern_machine *machine);

/* Creates the step (compiled, not allocated) of a checked configuration that fits into `limit`
 * bytes and executes least: everything kept if that fits, otherwise what a budget buys, and fewer
 * sequences at once where train.micro_batch leaves the choice. *step is the caller's to destroy.
 * KERN_ERR_MEMORY where nothing fits: the message has the least bytes needed, by kind, and the
 * changes of the configuration that would be enough. Then *step is NULL, and *fit holds what was
 * needed. `fit` depends on the limit, so whoever resumes a run bit for bit gives the same limit and
 * micro_batch again. Collective over `comm` (NULL: one rank; the step borrows it): the limit is
 * that of the rank with the least, and all ranks take the same, or none. */
kern_status train_fit_create(train_step **step, train_fit *fit, const ttt_conf *conf, double limit,
                             const kern_comm *comm, int threads, bool debug);

/* The same on a device, but what does not fit is no error: *step is then NULL, *fit the least that
 * was found. Where the device's machine says how fast it is, what takes least of its time is
 * chosen, as train_predict foretells it. */
kern_status train_fit_find(train_step **step, train_fit *fit, const ttt_conf *conf,
                           const kern_device *device, double limit, const kern_comm *comm,
                           int threads, bool debug);

/* "1.21 GB": decimal, three digits. `text` has room for 32. */
void train_bytes_text(char *text, double bytes);

#endif
