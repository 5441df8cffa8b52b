/* How ranks that read different texts add up their gradients: piece by piece (train/shard.h),
 * beside what is computed, each as soon as it is complete. All collective over `data`. */
#ifndef TRAIN_SUMS_H
#define TRAIN_SUMS_H

#include "kernels/comm.h"
#include "train/shard.h"

typedef struct {
    const kern_device *device;
    const kern_comm *data; /* the ranks */
    const train_shard *shard;
    kern_dtype dtype;
} train_sums;

/* KERN_ERR_RANKS, on all of them, where they do not have the same pieces, or read different numbers
 * of sequences at once: names what differs on which rank. They would wait for each other for ever.
 */
kern_status train_sums_same(const train_sums *sums, int64_t micro_batch, int64_t micro_batches);

/* Makes the calls by which the own parts of the pieces of this turn of the gradient [shard->flat]
 * become the sums over the ranks; they run beside what is called next on the device's stream, which
 * leaves those pieces alone until train_sums_end. */
void train_sums_begin(const train_sums *sums, void *gradient, int turn);

/* What is called next runs after them. */
void train_sums_end(const train_sums *sums);

#endif
