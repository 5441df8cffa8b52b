/* Ranks on the check device: each collective is noted with real addresses, and is due when somebody
 * waits; the ranks then do it on the host. On the second stream they do it at once. */
#include "kernels/comm.h"
#include "kernels/device_check.h"

typedef enum { REDUCE, REDUCE_SCATTER, ALL_GATHER, BROADCAST } collective;

typedef struct {
    const kern_comm *host;
    kern_stream *stream;
    collective kind;
    void *to;
    const void *from;
    int64_t count;
    kern_dtype dtype;
    kern_reduction how;
    size_t bytes;
    int root;
} comm_call;

static void run_late(void *arguments) {
    const comm_call *c = arguments;
    kern_stream at = {.device = kern_device_cpu()};
    if (c->stream->status != KERN_OK) return; /* the first error is the one that is told */
    switch (c->kind) {
    case REDUCE: c->host->reduce(c->host, &at, c->to, c->from, c->count, c->dtype, c->how); break;
    case REDUCE_SCATTER:
        c->host->reduce_scatter(c->host, &at, c->to, c->from, c->count, c->dtype, c->how);
        break;
    case ALL_GATHER: c->host->all_gather(c->host, &at, c->to, c->from, c->bytes); break;
    case BROADCAST: c->host->broadcast(c->host, &at, c->to, c->bytes, c->root); break;
    }
    c->stream->status = at.status;
}

static void run_beside(comm_call call, size_t to_bytes) {
    void *to = call.to;
    ASSERT(call.kind != BROADCAST); /* whose memory is both */
    call.to = kern_array((int64_t)to_bytes, 1);
    run_late(&call);
    kern_check_keep(to, call.to, to_bytes);
}

static void note(comm_call call, size_t to_bytes, size_t from_bytes) {
    call.to = kern_check_real(call.to, to_bytes);
    call.from = kern_check_real(call.from, from_bytes);
    if (call.stream == call.stream->device->beside) {
        run_beside(call, to_bytes);
        return;
    }
    *(comm_call *)kern_check_note(run_late, sizeof call) = call;
}

static const kern_comm *host_of(const kern_comm *comm) {
    return comm->context;
}

static void reduce(const kern_comm *comm, kern_stream *stream, void *to, const void *from,
                   int64_t count, kern_dtype dtype, kern_reduction how) {
    size_t bytes = (size_t)count * kern_dtype_bytes(dtype);
    note((comm_call){.host = host_of(comm),
                     .stream = stream,
                     .kind = REDUCE,
                     .to = to,
                     .from = from,
                     .count = count,
                     .dtype = dtype,
                     .how = how},
         bytes, bytes);
}

static void reduce_scatter(const kern_comm *comm, kern_stream *stream, void *to, const void *from,
                           int64_t count, kern_dtype dtype, kern_reduction how) {
    size_t bytes = (size_t)count * kern_dtype_bytes(dtype);
    note((comm_call){.host = host_of(comm),
                     .stream = stream,
                     .kind = REDUCE_SCATTER,
                     .to = to,
                     .from = from,
                     .count = count,
                     .dtype = dtype,
                     .how = how},
         bytes, (size_t)comm->ranks * bytes);
}

static void all_gather(const kern_comm *comm, kern_stream *stream, void *to, const void *from,
                       size_t bytes) {
    note((comm_call){.host = host_of(comm),
                     .stream = stream,
                     .kind = ALL_GATHER,
                     .to = to,
                     .from = from,
                     .bytes = bytes},
         (size_t)comm->ranks * bytes, bytes);
}

static void broadcast(const kern_comm *comm, kern_stream *stream, void *at, size_t bytes,
                      int root) {
    note((comm_call){.host = host_of(comm),
                     .stream = stream,
                     .kind = BROADCAST,
                     .to = at,
                     .bytes = bytes,
                     .root = root},
         bytes, 0);
}

static kern_status agree_i64(const kern_comm *comm, int64_t *value, int64_t count,
                             kern_reduction how) {
    return host_of(comm)->agree_i64(host_of(comm), value, count, how);
}

static kern_status agree_f64(const kern_comm *comm, double *value, int64_t count,
                             kern_reduction how) {
    return host_of(comm)->agree_f64(host_of(comm), value, count, how);
}

static kern_status tell(const kern_comm *comm, void *at, size_t bytes, int root) {
    return host_of(comm)->tell(host_of(comm), at, bytes, root);
}

kern_comm kern_comm_check(const kern_comm *host) {
    return (kern_comm){.rank = host->rank,
                       .ranks = host->ranks,
                       .reduce = reduce,
                       .reduce_scatter = reduce_scatter,
                       .all_gather = all_gather,
                       .broadcast = broadcast,
                       .agree_i64 = agree_i64,
                       .agree_f64 = agree_f64,
                       .tell = tell,
                       .context = (void *)(uintptr_t)host};
}
