/* One rank: what all ranks have together is what it has; and what is the same for any number. */
#include "kernels/comm.h"

#include <stdio.h>

static void put(kern_stream *stream, void *to, const void *from, size_t bytes) {
    if (to != from && bytes) stream->device->copy(stream, to, bytes, from, bytes, bytes, 1);
}

static void reduce(const kern_comm *comm, kern_stream *stream, void *to, const void *from,
                   int64_t count, kern_dtype dtype, kern_reduction how) {
    (void)comm, (void)how;
    put(stream, to, from, (size_t)count * kern_dtype_bytes(dtype));
}

static void all_gather(const kern_comm *comm, kern_stream *stream, void *to, const void *from,
                       size_t bytes) {
    (void)comm;
    put(stream, to, from, bytes);
}

static void broadcast(const kern_comm *comm, kern_stream *stream, void *at, size_t bytes,
                      int root) {
    (void)stream, (void)at, (void)bytes;
    ASSERT(root == comm->rank);
}

static kern_status agree_i64(const kern_comm *comm, int64_t *value, int64_t count,
                             kern_reduction how) {
    (void)comm, (void)value, (void)count, (void)how;
    return KERN_OK;
}

static kern_status agree_f64(const kern_comm *comm, double *value, int64_t count,
                             kern_reduction how) {
    (void)comm, (void)value, (void)count, (void)how;
    return KERN_OK;
}

static kern_status tell(const kern_comm *comm, void *at, size_t bytes, int root) {
    (void)at, (void)bytes;
    ASSERT(root == comm->rank);
    return KERN_OK;
}

static const kern_comm one_rank = {.ranks = 1,
                                   .reduce = reduce,
                                   .reduce_scatter = reduce,
                                   .all_gather = all_gather,
                                   .broadcast = broadcast,
                                   .agree_i64 = agree_i64,
                                   .agree_f64 = agree_f64,
                                   .tell = tell};

const kern_comm *kern_comm_alone(void) {
    return &one_rank;
}

const kern_ranks *kern_ranks_alone(void) {
    static const kern_ranks alone = {.job = &one_rank, .data = &one_rank, .tensor = &one_rank};
    return &alone;
}

kern_status kern_comm_meet(const kern_comm *comm, kern_status status) {
    struct {
        kern_status status;
        char text[2048];
    } first = {.status = status};
    if (comm->ranks == 1) return status;
    int64_t rank = status == KERN_OK ? comm->ranks : comm->rank;
    if (status != KERN_OK)
        snprintf(first.text, sizeof first.text, "rank %d: %s", comm->rank, kern_error());
    kern_status met = comm->agree_i64(comm, &rank, 1, KERN_MIN);
    if (met == KERN_OK && rank < comm->ranks)
        met = comm->tell(comm, &first, sizeof first, (int)rank);
    if (met != KERN_OK) return status == KERN_OK ? met : status;
    return rank == comm->ranks ? KERN_OK : kern_fail(first.status, "%s", first.text);
}
