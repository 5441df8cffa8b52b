/* Ranks on GPUs, one each: collectives by NCCL on the device's stream, so that they are recorded
 * with what is around them, or on the second one; agreement on the host. */
#include "kernels/comm.h"

#include <stdlib.h>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/nccl.h"

static kern_nccl nccl; /* once it is open */

/* The library's second stream, and what each of the two waits for. It goes first where both have
 * something to run: other ranks wait for it. */
static void *beside, *ordered[2];
enum { BESIDE_PRIORITY = -1 };

typedef struct {
    const kern_comm *host;
    void *comm;
} gpu_comm;

static kern_status check(int result, const char *call) {
    if (!result) return KERN_OK;
    return kern_fail(KERN_ERR_RANKS, "%s on %s: %s (error %d); NCCL_DEBUG=WARN says more", call,
                     kern_cuda_gpu.name, nccl.error(result), result);
}

#define NCCL(name, ...) check(nccl.name(__VA_ARGS__), "nccl" #name)

static const gpu_comm *of(const kern_comm *comm) {
    return comm->context;
}

static int type_of(kern_dtype dtype) {
    static const int types[KERN_DTYPES] = {[KERN_F32] = KERN_NCCL_F32,
                                           [KERN_F64] = KERN_NCCL_F64,
                                           [KERN_BF16] = KERN_NCCL_BF16,
                                           [KERN_I32] = KERN_NCCL_I32};
    return types[dtype];
}

static int how_of(kern_reduction how) {
    return how == KERN_SUM ? KERN_NCCL_SUM : how == KERN_MAX ? KERN_NCCL_MAX : KERN_NCCL_MIN;
}

static void *library_stream(const kern_stream *stream) {
    return stream == stream->device->beside ? beside : kern_cuda_stream;
}

void kern_cuda_order(kern_stream *later, kern_stream *earlier) {
    bool first = earlier == earlier->device->beside;
    void *event = ordered[first];
    ON_STREAM(earlier, RUNTIME(EventRecord, event, library_stream(earlier)));
    ON_STREAM(later, RUNTIME(StreamWaitEvent, library_stream(later), event, 0));
    if (!first) return;
    ON_STREAM(later, earlier->status);
    earlier->status = KERN_OK;
}

static kern_status create_beside(void) {
    kern_status status = KERN_OK;
    if (beside) return status;
    TRY(RUNTIME(StreamCreateWithPriority, &beside, KERN_CUDA_NON_BLOCKING, BESIDE_PRIORITY));
    for (int i = 0; i < 2; i++) TRY(RUNTIME(EventCreateWithFlags, &ordered[i], 0));
done:
    return status;
}

static void reduce(const kern_comm *comm, kern_stream *stream, void *to, const void *from,
                   int64_t count, kern_dtype dtype, kern_reduction how) {
    if (!count) return;
    ON_STREAM(stream, NCCL(AllReduce, from, to, (size_t)count, type_of(dtype), how_of(how),
                           of(comm)->comm, library_stream(stream)));
}

static void reduce_scatter(const kern_comm *comm, kern_stream *stream, void *to, const void *from,
                           int64_t count, kern_dtype dtype, kern_reduction how) {
    if (!count) return;
    ON_STREAM(stream, NCCL(ReduceScatter, from, to, (size_t)count, type_of(dtype), how_of(how),
                           of(comm)->comm, library_stream(stream)));
}

static void all_gather(const kern_comm *comm, kern_stream *stream, void *to, const void *from,
                       size_t bytes) {
    if (!bytes) return;
    ON_STREAM(stream, NCCL(AllGather, from, to, bytes, KERN_NCCL_I8, of(comm)->comm,
                           library_stream(stream)));
}

static void broadcast(const kern_comm *comm, kern_stream *stream, void *at, size_t bytes,
                      int root) {
    if (!bytes) return;
    ON_STREAM(stream, NCCL(Broadcast, at, at, bytes, KERN_NCCL_I8, root, of(comm)->comm,
                           library_stream(stream)));
}

static kern_status agree_i64(const kern_comm *comm, int64_t *value, int64_t count,
                             kern_reduction how) {
    return of(comm)->host->agree_i64(of(comm)->host, value, count, how);
}

static kern_status agree_f64(const kern_comm *comm, double *value, int64_t count,
                             kern_reduction how) {
    return of(comm)->host->agree_f64(of(comm)->host, value, count, how);
}

static kern_status tell(const kern_comm *comm, void *at, size_t bytes, int root) {
    return of(comm)->host->tell(of(comm)->host, at, bytes, root);
}

kern_status kern_cuda_join(kern_comm *comm, const kern_comm *host) {
    kern_status status = KERN_OK;
    gpu_comm *made = kern_array(1, sizeof *made);
    kern_nccl_id id = {{0}};
    made->host = host;
    *comm = (kern_comm){.rank = host->rank,
                        .ranks = host->ranks,
                        .reduce = reduce,
                        .reduce_scatter = reduce_scatter,
                        .all_gather = all_gather,
                        .broadcast = broadcast,
                        .agree_i64 = agree_i64,
                        .agree_f64 = agree_f64,
                        .tell = tell,
                        .context = made};
    TRY(create_beside());
    if (!nccl.error) TRY(kern_nccl_open(&nccl));
    if (host->rank == 0) TRY(NCCL(GetUniqueId, &id));
    TRY(host->tell(host, &id, sizeof id, 0));
    TRY(NCCL(CommInitRank, &made->comm, host->ranks, id, host->rank));
done:
    if (status != KERN_OK) free(made);
    return status;
}

void kern_cuda_leave(kern_comm *comm) {
    gpu_comm *made = comm->context;
    (void)NCCL(CommDestroy, made->comm); /* what failed was told by the stream */
    free(made);
}
