#include "train/sums.h"

#include <inttypes.h>
#include <stdio.h>

kern_status train_sums_same(const train_sums *sums, int64_t micro_batch, int64_t micro_batches) {
    char text[(TRAIN_PIECES + 2) * 64], *at = text;
    at += sprintf(at, "sequences at once: %" PRId64 "\nturns: %" PRId64 "\n", micro_batch,
                  micro_batches);
    for (int i = 0; i < sums->shard->pieces; i++)
        at += sprintf(at, "elements of piece %d: %" PRId64 "\n", i, sums->shard->piece[i].share);
    return kern_comm_same(sums->data, text);
}

void train_sums_begin(const train_sums *sums, void *gradient, int turn) {
    const kern_comm *data = sums->data;
    const train_shard *shard = sums->shard;
    kern_stream *beside = sums->device->beside;
    if (data->ranks == 1) return;
    sums->device->order(beside, sums->device->stream);
    for (int i = 0; i < shard->pieces; i++) {
        const train_piece *p = &shard->piece[i];
        size_t element = kern_dtype_bytes(sums->dtype);
        char *piece = (char *)gradient + (size_t)p->first * element;
        char *own = piece + (size_t)(shard->rank * p->share) * element;
        if (p->turn != turn || !p->share) continue;
        if (shard->ranks == 1) /* every rank updates everything */
            data->reduce(data, beside, piece, piece, p->share, sums->dtype, KERN_SUM);
        else
            data->reduce_scatter(data, beside, own, piece, p->share, sums->dtype, KERN_SUM);
    }
}

void train_sums_end(const train_sums *sums) {
    if (sums->data->ranks > 1) sums->device->order(sums->device->stream, sums->device->beside);
}
