/* NCCL for ranks of this machine, by memory that they share: calls are noted on the stream and run
 * as late as it does, on the second one at once (bench.h); then all ranks of the comm must be at
 * the same call, or the program ends. */
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernels/cuda/device_host.h"
#include "kernels/cuda/nccl.h"
#include "tests/kernels/cuda/bench.h"

enum { RANKS = 16, PIECE = 1 << 16, INVALID = 4, TOLD = 99, SECONDS = 20 };

typedef enum { ALL_REDUCE, REDUCE_SCATTER, ALL_GATHER, BROADCAST, INIT } kind;
static const char *const kinds[] = {"AllReduce", "ReduceScatter", "AllGather", "Broadcast",
                                    "CommInitRank"};

typedef struct {
    int kind, type, how, root; /* how, root: 0 where there is none */
    size_t count;
} call;

typedef struct {
    _Atomic uint64_t turn[RANKS];
    call at[RANKS];
    char data[RANKS][PIECE];
} meeting;

typedef struct {
    int rank, ranks;
    meeting *shared;
} comm;

typedef struct {
    comm *of;
    call what;
    const char *from;
    char *to;
} noted;

#define MAY_FAIL(call)                                                                             \
    if (bench_fails("nccl" #call)) return TOLD

static void meet(const comm *c, const call *what) {
    meeting *m = c->shared;
    char text[200];
    m->at[c->rank] = *what;
    uint64_t turn = atomic_fetch_add(&m->turn[c->rank], 1) + 1;
    double until = kern_seconds() + SECONDS;
    for (int r = 0; r < c->ranks; r++) {
        while (atomic_load(&m->turn[r]) < turn) {
            snprintf(text, sizeof text, "bench: rank %d does not come to nccl%s of %zu", r,
                     kinds[what->kind], what->count);
            if (kern_seconds() > until) kern_assert_failed(text, __FILE__, __LINE__);
            sched_yield();
        }
        const call *other = &m->at[r];
        snprintf(text, sizeof text, "bench: nccl%s of %zu on rank %d, nccl%s of %zu on rank %d",
                 kinds[what->kind], what->count, c->rank, kinds[other->kind], other->count, r);
        if (memcmp(other, what, sizeof *what)) kern_assert_failed(text, __FILE__, __LINE__);
    }
}

/* All have seen what is there. */
static void part(const comm *c) {
    meeting *m = c->shared;
    uint64_t turn = atomic_fetch_add(&m->turn[c->rank], 1) + 1;
    for (int r = 0; r < c->ranks; r++)
        while (atomic_load(&m->turn[r]) < turn) sched_yield();
}

static size_t bytes_of(int type) {
    return type == KERN_NCCL_F64 ? 8 : type == KERN_NCCL_BF16 ? 2 : type == KERN_NCCL_I8 ? 1 : 4;
}

static double element(int type, const char *data, size_t i) {
    if (type == KERN_NCCL_F64) return ((const double *)(const void *)data)[i];
    if (type == KERN_NCCL_F32) return (double)((const float *)(const void *)data)[i];
    if (type == KERN_NCCL_I32) return ((const int32_t *)(const void *)data)[i];
    return (double)kern_from_bits_f32((uint32_t)((const uint16_t *)(const void *)data)[i] << 16);
}

static void put(int type, char *data, size_t i, double value) {
    if (type == KERN_NCCL_F64)
        ((double *)(void *)data)[i] = value;
    else if (type == KERN_NCCL_F32)
        ((float *)(void *)data)[i] = (float)value;
    else if (type == KERN_NCCL_I32)
        ((int32_t *)(void *)data)[i] = (int32_t)value;
    else
        ((uint16_t *)(void *)data)[i] = (uint16_t)kern_bf16_bits((float)value);
}

static void combine(const noted *n, char *to, size_t count) {
    const meeting *m = n->of->shared;
    int type = n->what.type, how = n->what.how;
    for (size_t i = 0; i < count; i++) {
        double sum = element(type, m->data[0], i);
        for (int r = 1; r < n->of->ranks; r++) {
            double other = element(type, m->data[r], i);
            if (how == KERN_NCCL_SUM)
                sum += other;
            else
                sum = (how == KERN_NCCL_MAX) == (other > sum) ? other : sum;
        }
        put(type, to, i, sum);
    }
}

/* A run of `count` elements; `mine`: this rank wants the result. */
static void run_reduce(const noted *n, char *to, const char *from, size_t count, bool mine) {
    size_t element_bytes = bytes_of(n->what.type), most = PIECE / element_bytes;
    for (size_t at = 0; at < count; at += most) {
        size_t some = count - at < most ? count - at : most;
        memcpy(n->of->shared->data[n->of->rank], from + at * element_bytes, some * element_bytes);
        meet(n->of, &n->what);
        if (mine) combine(n, to + at * element_bytes, some);
        part(n->of);
    }
}

static void run_gather(const noted *n, int first, int after) {
    for (size_t at = 0; at < n->what.count; at += PIECE) {
        size_t some = n->what.count - at < PIECE ? n->what.count - at : PIECE;
        if (n->of->rank >= first && n->of->rank < after)
            memcpy(n->of->shared->data[n->of->rank], n->from + at, some);
        meet(n->of, &n->what);
        for (int r = first; r < after; r++)
            memcpy(n->to + (size_t)(r - first) * n->what.count + at, n->of->shared->data[r], some);
        part(n->of);
    }
}

static void run_late(void *arguments) {
    const noted *n = arguments;
    size_t row = n->what.count * bytes_of(n->what.type);
    switch (n->what.kind) {
    case ALL_REDUCE: run_reduce(n, n->to, n->from, n->what.count, true); break;
    case REDUCE_SCATTER:
        for (int r = 0; r < n->of->ranks; r++)
            run_reduce(n, n->to, n->from + (size_t)r * row, n->what.count, r == n->of->rank);
        break;
    case ALL_GATHER: run_gather(n, 0, n->of->ranks); break;
    default: run_gather(n, n->what.root, n->what.root + 1);
    }
}

/* A result that nobody may know yet. */
typedef struct {
    char *to, *result;
    size_t bytes;
} delivery;

static void deliver_late(void *arguments) {
    delivery *d = arguments;
    memcpy(d->to, d->result, d->bytes);
    free(d->result);
}

static void run_now(noted n, void *stream, size_t bytes) {
    delivery late = {n.to, kern_array((int64_t)bytes, 1), bytes};
    n.to = late.result;
    run_late(&n);
    memset(late.to, 0xff, bytes);
    bench_end_now();
    *(delivery *)bench_note(stream, deliver_late, sizeof late) = late;
}

static int note(void *of, void *stream, call what, const void *from, void *to, size_t rows_from,
                size_t rows_to) {
    size_t row = what.count * bytes_of(what.type);
    const char *name = kinds[what.kind];
    if (!what.count) return INVALID;
    bench_check_memory(from, rows_from * row, name);
    bench_check_memory(to, rows_to * row, name);
    noted n = {of, what, from, to};
    if (bench_begin_now(stream))
        run_now(n, stream, rows_to * row);
    else
        *(noted *)bench_note(stream, run_late, sizeof n) = n;
    return 0;
}

static int bench_AllReduce(const void *from, void *to, size_t count, int type, int how, void *of,
                           void *stream) {
    MAY_FAIL(AllReduce);
    return note(of, stream, (call){ALL_REDUCE, type, how, 0, count}, from, to, 1, 1);
}

static int bench_ReduceScatter(const void *from, void *to, size_t count, int type, int how,
                               void *of, void *stream) {
    MAY_FAIL(ReduceScatter);
    return note(of, stream, (call){REDUCE_SCATTER, type, how, 0, count}, from, to,
                (size_t)((comm *)of)->ranks, 1);
}

static int bench_AllGather(const void *from, void *to, size_t count, int type, void *of,
                           void *stream) {
    MAY_FAIL(AllGather);
    if (type != KERN_NCCL_I8) return INVALID;
    return note(of, stream, (call){ALL_GATHER, type, 0, 0, count}, from, to, 1,
                (size_t)((comm *)of)->ranks);
}

static int bench_Broadcast(const void *from, void *to, size_t count, int type, int root, void *of,
                           void *stream) {
    MAY_FAIL(Broadcast);
    if (type != KERN_NCCL_I8) return INVALID;
    return note(of, stream, (call){BROADCAST, type, 0, root, count}, from, to, 1, 1);
}

static int bench_GetUniqueId(kern_nccl_id *id) {
    static int count;
    MAY_FAIL(GetUniqueId);
    snprintf(id->bytes, sizeof id->bytes, "/ttt-nccl-%d-%d", (int)getpid(), count++);
    return 0;
}

static int bench_CommInitRank(void **made, int ranks, kern_nccl_id id, int rank) {
    MAY_FAIL(CommInitRank);
    if (ranks > RANKS || rank < 0 || rank >= ranks) return INVALID;
    int file = shm_open(id.bytes, O_CREAT | O_RDWR, 0600);
    if (file < 0 || ftruncate(file, sizeof(meeting))) return INVALID;
    comm *c = kern_array(1, sizeof *c);
    *c = (comm){rank, ranks, NULL};
    c->shared = mmap(NULL, sizeof(meeting), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (c->shared == MAP_FAILED) return INVALID;
    meet(c, &(call){.kind = INIT, .count = (size_t)ranks});
    part(c);
    if (rank == 0) shm_unlink(id.bytes);
    *made = c;
    return 0;
}

static int bench_CommDestroy(void *of) {
    comm *c = of;
    munmap(c->shared, sizeof(meeting));
    free(c);
    return 0;
}

static const char *bench_error(int status) {
    return status == TOLD ? "told to fail by TTT_BENCH_FAIL" : "invalid argument";
}

kern_status kern_nccl_open(kern_nccl *table) {
#define FILL(name, arguments) .name = bench_##name,
    *table = (kern_nccl){KERN_NCCL(FILL).error = bench_error};
    return KERN_OK;
}
