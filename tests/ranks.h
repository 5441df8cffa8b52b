/* Ranks that are threads: a comm over shared memory, for tests. Each call is a meeting at which all
 * ranks must want the same; who is alone there, because another wants something else, has left or
 * does not come for 20 seconds, gets an error. OpenMP has one thread in each rank, and each rank
 * has a stream of its own on the device that the test runs on. In these threads only ASSERT may
 * fail. */
#ifndef TESTS_RANKS_H
#define TESTS_RANKS_H

#include <inttypes.h>
#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/comm.h"
#include "tests/device.h"

enum { RANKS_MOST = 4, RANKS_SECONDS = 20, RANKS_I64 = KERN_DTYPES };

typedef struct {
    const char *kind;
    int64_t count;
    int dtype, how, root;
    const void *from;
} ranks_call;

static const char *const ranks_how[] = {"sum", "max", "min"};

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int ranks, arrived;
    int64_t turn;
    bool broken;
    ranks_call call[RANKS_MOST];
} ranks_meeting;

/* Until all are there; false where somebody will not come. */
static inline bool ranks_wait(ranks_meeting *m) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += RANKS_SECONDS;
    pthread_mutex_lock(&m->lock);
    int64_t turn = m->turn;
    if (++m->arrived == m->ranks) {
        m->arrived = 0;
        m->turn++;
        pthread_cond_broadcast(&m->changed);
    }
    while (m->turn == turn && !m->broken)
        if (pthread_cond_timedwait(&m->changed, &m->lock, &until)) m->broken = true;
    bool fine = m->turn != turn;
    if (!fine) pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    return fine;
}

static inline void ranks_leave(ranks_meeting *m) {
    pthread_mutex_lock(&m->lock);
    m->broken = true;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
}

/* Shows the others what this rank wants; fails where they want something else. */
static inline kern_status ranks_meet(const kern_comm *comm, ranks_call call) {
    ranks_meeting *m = comm->context;
    m->call[comm->rank] = call;
    if (!ranks_wait(m))
        return kern_fail(KERN_ERR_GRAPH, "rank %d: another rank does not come to %s", comm->rank,
                         call.kind);
    for (int r = 0; r < m->ranks; r++) {
        ranks_call *a = &m->call[0], *b = &m->call[r];
        if (!strcmp(a->kind, b->kind) && a->count == b->count && a->dtype == b->dtype &&
            a->how == b->how && a->root == b->root)
            continue;
        return kern_fail(KERN_ERR_GRAPH,
                         "rank 0 calls %s %s of %" PRId64 " and rank %d %s %s of %" PRId64, a->kind,
                         ranks_how[a->how], a->count, r, b->kind, ranks_how[b->how], b->count);
    }
    return KERN_OK;
}

static inline size_t ranks_element(int dtype) {
    return dtype == RANKS_I64 ? sizeof(int64_t) : kern_dtype_bytes((kern_dtype)dtype);
}

static inline double ranks_number(const void *from, int dtype, int64_t i) {
    if (dtype == KERN_I32) return ((const int32_t *)from)[i];
    if (dtype != KERN_BF16) return kern_real_at(from, (kern_dtype)dtype, i);
    uint32_t bits = (uint32_t)((const uint16_t *)from)[i] << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return (double)value;
}

static inline void ranks_put(void *to, int dtype, int64_t i, double value) {
    float narrow = (float)value;
    uint32_t bits;
    memcpy(&bits, &narrow, sizeof bits);
    if (dtype == KERN_I32)
        ((int32_t *)to)[i] = (int32_t)value;
    else if (dtype == KERN_BF16)
        ((uint16_t *)to)[i] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    else
        kern_real_put(to, (kern_dtype)dtype, i, value);
}

static inline int64_t ranks_whole(int64_t a, int64_t b, kern_reduction how) {
    return how == KERN_SUM ? a + b : how == KERN_MAX ? kern_max(a, b) : kern_min(a, b);
}

static inline double ranks_real(double a, double b, kern_reduction how) {
    return how == KERN_SUM ? a + b : (how == KERN_MAX) == (a > b) ? a : b;
}

/* Elements first .. first + count - 1 of all ranks' calls, reduced, into `to`. */
static inline void ranks_combine(const ranks_meeting *m, void *to, int64_t first, int64_t count,
                                 int dtype, kern_reduction how) {
    for (int64_t i = 0; i < count; i++) {
        if (dtype == RANKS_I64) {
            int64_t *sum = (int64_t *)to + i;
            *sum = ((const int64_t *)m->call[0].from)[first + i];
            for (int r = 1; r < m->ranks; r++)
                *sum = ranks_whole(*sum, ((const int64_t *)m->call[r].from)[first + i], how);
            continue;
        }
        double sum = ranks_number(m->call[0].from, dtype, first + i);
        for (int r = 1; r < m->ranks; r++)
            sum = ranks_real(sum, ranks_number(m->call[r].from, dtype, first + i), how);
        ranks_put(to, dtype, i, sum);
    }
}

/* scatter: `from` has a row for each rank, and each gets its own. */
static inline kern_status ranks_reduce_into(const kern_comm *comm, const char *kind, void *to,
                                            const void *from, int64_t count, int dtype,
                                            kern_reduction how, bool scatter) {
    ranks_call call = {.kind = kind, .count = count, .dtype = dtype, .how = (int)how, .from = from};
    kern_status status = ranks_meet(comm, call);
    if (status != KERN_OK) return status;
    size_t bytes = (size_t)count * ranks_element(dtype);
    void *sum = malloc(bytes + 1);
    ASSERT(sum);
    ranks_combine(comm->context, sum, scatter ? comm->rank * count : 0, count, dtype, how);
    bool fine = ranks_wait(comm->context); /* all have read */
    memcpy(to, sum, bytes);
    free(sum);
    return fine ? KERN_OK : kern_fail(KERN_ERR_GRAPH, "another rank left %s", kind);
}

static inline void ranks_note(kern_stream *stream, kern_status status) {
    if (stream->status == KERN_OK) stream->status = status;
}

static inline void ranks_reduce(const kern_comm *comm, kern_stream *stream, void *to,
                                const void *from, int64_t count, kern_dtype dtype,
                                kern_reduction how) {
    ranks_note(stream, ranks_reduce_into(comm, "reduce", to, from, count, (int)dtype, how, false));
}

static inline void ranks_reduce_scatter(const kern_comm *comm, kern_stream *stream, void *to,
                                        const void *from, int64_t count, kern_dtype dtype,
                                        kern_reduction how) {
    ranks_note(stream,
               ranks_reduce_into(comm, "reduce_scatter", to, from, count, (int)dtype, how, true));
}

static inline void ranks_all_gather(const kern_comm *comm, kern_stream *stream, void *to,
                                    const void *from, size_t bytes) {
    ranks_meeting *m = comm->context;
    ranks_call call = {.kind = "all_gather", .count = (int64_t)bytes, .from = from};
    kern_status status = ranks_meet(comm, call);
    for (int r = 0; r < m->ranks && status == KERN_OK; r++) {
        char *row = (char *)to + (size_t)r * bytes;
        if (row != m->call[r].from) memcpy(row, m->call[r].from, bytes);
    }
    if (status == KERN_OK && !ranks_wait(m))
        status = kern_fail(KERN_ERR_GRAPH, "another rank left all_gather");
    ranks_note(stream, status);
}

static inline kern_status ranks_tell(const kern_comm *comm, void *at, size_t bytes, int root) {
    ranks_meeting *m = comm->context;
    ranks_call call = {.kind = "broadcast", .count = (int64_t)bytes, .root = root, .from = at};
    kern_status status = ranks_meet(comm, call);
    if (status != KERN_OK) return status;
    if (comm->rank != root) memcpy(at, m->call[root].from, bytes);
    return ranks_wait(m) ? KERN_OK : kern_fail(KERN_ERR_GRAPH, "another rank left broadcast");
}

static inline void ranks_broadcast(const kern_comm *comm, kern_stream *stream, void *at,
                                   size_t bytes, int root) {
    ranks_note(stream, ranks_tell(comm, at, bytes, root));
}

static inline kern_status ranks_agree_i64(const kern_comm *comm, int64_t *value, int64_t count,
                                          kern_reduction how) {
    return ranks_reduce_into(comm, "agree_i64", value, value, count, RANKS_I64, how, false);
}

static inline kern_status ranks_agree_f64(const kern_comm *comm, double *value, int64_t count,
                                          kern_reduction how) {
    return ranks_reduce_into(comm, "agree_f64", value, value, count, KERN_F64, how, false);
}

/* What a rank does; comms are for memory of the device. */
typedef void (*ranks_body)(const kern_comm *comm, const kern_device *device, void *context);
typedef void (*ranks_mesh_body)(const kern_ranks *ranks, const kern_device *device, void *context);

enum { RANKS_JOB, RANKS_DATA, RANKS_TENSOR, RANKS_COMMS };
typedef struct {
    pthread_t thread;
    kern_comm comm[RANKS_COMMS];
    ranks_body body; /* or: */
    ranks_mesh_body mesh;
    void *context;
} ranks_thread;

static inline void *ranks_begin(void *argument) {
    ranks_thread *own = argument;
    omp_set_num_threads(1);
    kern_device device = *test_device();
    kern_stream stream = {.device = &device}, beside = {.device = &device};
    device.stream = &stream;
    device.beside = &beside;
    kern_comm checked[RANKS_COMMS];
    const kern_comm *comm[RANKS_COMMS];
    for (int i = 0; i < RANKS_COMMS; i++) {
        checked[i] = kern_comm_check(&own->comm[i]);
        comm[i] = device.host ? &own->comm[i] : &checked[i];
    }
    const kern_ranks ranks = {
        .job = comm[RANKS_JOB], .data = comm[RANKS_DATA], .tensor = comm[RANKS_TENSOR]};
    if (own->body)
        own->body(ranks.job, &device, own->context);
    else
        own->mesh(&ranks, &device, own->context);
    for (int i = 0; i < RANKS_COMMS; i++) ranks_leave(own->comm[i].context);
    return NULL;
}

static inline kern_comm ranks_comm(ranks_meeting *meeting, int rank) {
    return (kern_comm){.rank = rank,
                       .ranks = meeting->ranks,
                       .reduce = ranks_reduce,
                       .reduce_scatter = ranks_reduce_scatter,
                       .all_gather = ranks_all_gather,
                       .broadcast = ranks_broadcast,
                       .agree_i64 = ranks_agree_i64,
                       .agree_f64 = ranks_agree_f64,
                       .tell = ranks_tell,
                       .context = meeting};
}

/* Runs `begin` on a mesh of ranks, each with its `item` bytes of context, and waits for them. */
static inline void ranks_run_threads(int ranks, int tensor, const ranks_thread *begin,
                                     void *context, size_t item) {
    ranks_meeting meeting[RANKS_COMMS][RANKS_MOST]; /* by group */
    const int size[RANKS_COMMS] = {ranks, ranks / tensor, tensor};
    ranks_thread thread[RANKS_MOST];
    ASSERT(ranks <= RANKS_MOST && ranks % tensor == 0);
    for (int i = 0; i < RANKS_COMMS; i++)
        for (int group = 0; group < ranks; group++)
            meeting[i][group] = (ranks_meeting){.lock = PTHREAD_MUTEX_INITIALIZER,
                                                .changed = PTHREAD_COND_INITIALIZER,
                                                .ranks = size[i]};
    for (int r = 0; r < ranks; r++) {
        thread[r] = *begin;
        thread[r].context = (char *)context + (size_t)r * item;
        thread[r].comm[RANKS_JOB] = ranks_comm(&meeting[RANKS_JOB][0], r);
        thread[r].comm[RANKS_DATA] = ranks_comm(&meeting[RANKS_DATA][r % tensor], r / tensor);
        thread[r].comm[RANKS_TENSOR] = ranks_comm(&meeting[RANKS_TENSOR][r / tensor], r % tensor);
        ASSERT(!pthread_create(&thread[r].thread, NULL, ranks_begin, &thread[r]));
    }
    for (int r = 0; r < ranks; r++) pthread_join(thread[r].thread, NULL);
}

static inline void ranks_run(int ranks, ranks_body body, void *context, size_t item) {
    ranks_run_threads(ranks, 1, &(ranks_thread){.body = body}, context, item);
}

/* Of `ranks` ranks each group of `tensor` shares its work. */
static inline void ranks_run_mesh(int ranks, int tensor, ranks_mesh_body body, void *context,
                                  size_t item) {
    ranks_run_threads(ranks, tensor, &(ranks_thread){.mesh = body}, context, item);
}

#endif
