/* The collectives of a group, in pieces that its slots hold. */
#include <string.h>

#include "kernels/beside.h"
#include "launch/mpi/group.h"

/* This rank's slot for the next piece, which it may fill: who reads what was there two pieces ago
 * has put a piece since. */
static char *next_slot(mpi_group *g) {
    return mpi_slot(g, ++g->piece, g->local);
}

static void put(mpi_group *g, const mpi_call *call) {
    mpi_seat *seat = &g->seat[g->local];
    seat->call[g->piece & 1] = *call;
    atomic_store_explicit(&seat->put, g->piece, memory_order_release);
}

static void done(mpi_group *g, uint64_t piece) {
    atomic_store_explicit(&g->seat[g->local].done, piece, memory_order_release);
}

/* to = the node's reduction of elements at + 0 .. count - 1 of the slots, of this rank of `own`. */
static void combine_slots(const mpi_group *g, uint64_t piece, void *to, const void *own, int64_t at,
                          int64_t count, const mpi_call *call) {
    const void *from[MPI_LOCALS];
    size_t offset = (size_t)at * launch_mpi_element(call->dtype);
    for (int l = 0; l < g->locals; l++)
        from[l] = l == g->local ? own : mpi_slot(g, piece, l) + offset;
    launch_mpi_combine(to, from, g->locals, count, call->dtype, (kern_reduction)call->how);
}

static void put_copy(mpi_group *g, const char *from, size_t bytes, const mpi_call *call) {
    memcpy(next_slot(g), from, bytes);
    put(g, call);
}

/* A lane's share of a piece's elements begins at a whole cache line; who is none has nothing. */
static int64_t share_begin(const mpi_group *g, int64_t count, int lane) {
    int64_t lanes = kern_min(lane, g->lanes);
    return kern_min(count, kern_round_up(kern_divide_up(count * lanes, g->lanes), 64));
}

/* What others sum; the own share is read where it is. */
static void put_rest(mpi_group *g, const char *from, int64_t count, const mpi_call *call) {
    size_t element = launch_mpi_element(call->dtype);
    size_t begin = (size_t)share_begin(g, count, g->local) * element;
    size_t end = (size_t)share_begin(g, count, g->local + 1) * element;
    char *slot = next_slot(g);
    memcpy(slot, from, begin);
    memcpy(slot + end, from + end, (size_t)count * element - end);
    put(g, call);
}

static kern_status reduce_share(mpi_group *g, uint64_t piece, const char *from, int64_t count,
                                const mpi_call *call) {
    if (g->local >= g->lanes) return KERN_OK;
    int64_t begin = share_begin(g, count, g->local), end = share_begin(g, count, g->local + 1);
    size_t offset = (size_t)begin * launch_mpi_element(call->dtype);
    char *own = mpi_result(g, piece) + offset;
    combine_slots(g, piece, own, from + offset, begin, end - begin, call);
    return g->nodes == 1 ? KERN_OK : launch_mpi_between_reduce(g, own, end - begin, call);
}

/* A piece is put while others still do their shares of the one before it. */
static kern_status reduce_large(mpi_group *g, char *to, const char *from, const mpi_call *call) {
    kern_status status = KERN_OK;
    size_t element = launch_mpi_element(call->dtype);
    int64_t most = (int64_t)(MPI_SLOT / element);
    put_rest(g, from, kern_min(most, call->count), call);
    for (int64_t at = 0; at < call->count; at += most) {
        int64_t count = kern_min(most, call->count - at), next = call->count - at - count;
        uint64_t piece = g->piece;
        TRY(launch_mpi_all_put(g, piece));
        TRY(reduce_share(g, piece, from + (size_t)at * element, count, call));
        done(g, piece);
        if (next > 0)
            put_rest(g, from + (size_t)(at + count) * element, kern_min(most, next), call);
        TRY(launch_mpi_all_done(g, piece));
        memcpy(to + (size_t)at * element, mpi_result(g, piece), (size_t)count * element);
    }
done:
    return status;
}

static kern_status reduce_here(mpi_group *g, void *to, const void *from, const mpi_call *call) {
    size_t bytes = (size_t)call->count * launch_mpi_element(call->dtype);
    if (!bytes) return KERN_OK;
    if (bytes > MPI_SMALL || g->nodes > 1) return reduce_large(g, to, from, call);
    put_copy(g, from, bytes, call);
    kern_status status = launch_mpi_all_put(g, g->piece);
    if (status == KERN_OK)
        combine_slots(g, g->piece, to, mpi_slot(g, g->piece, g->local), 0, call->count, call);
    return status;
}

static kern_status scatter_share(mpi_group *g, uint64_t piece, int64_t count,
                                 const mpi_call *call) {
    size_t row = (size_t)count * launch_mpi_element(call->dtype);
    if (g->local >= g->lanes) return KERN_OK;
    for (int r = 0; r < g->comm.ranks; r++)
        if (mpi_lane_of(g, r) == g->local)
            combine_slots(g, piece, mpi_result(g, piece) + (size_t)r * row,
                          mpi_slot(g, piece, g->local) + (size_t)r * row, r * count, count, call);
    return launch_mpi_between_scatter(g, mpi_result(g, piece), count, call);
}

/* A piece is some columns of all rows. On one node a rank's own row is read where it is. */
static kern_status scatter_here(mpi_group *g, char *to, const char *from, const mpi_call *call) {
    kern_status status = KERN_OK;
    size_t element = launch_mpi_element(call->dtype), row = (size_t)call->count * element;
    int64_t most = (int64_t)(MPI_SLOT / element) / g->comm.ranks;
    for (int64_t at = 0; at < call->count; at += most) {
        int64_t count = kern_min(most, call->count - at);
        size_t offset = (size_t)at * element, bytes = (size_t)count * element;
        char *slot = next_slot(g);
        const char *own = from + (size_t)g->comm.rank * row + offset;
        for (int r = 0; r < g->comm.ranks; r++)
            if (r != g->comm.rank || g->nodes > 1)
                memcpy(slot + (size_t)r * bytes, from + (size_t)r * row + offset, bytes);
        put(g, call);
        TRY(launch_mpi_all_put(g, g->piece));
        if (g->nodes == 1) {
            combine_slots(g, g->piece, to + offset, own, g->comm.rank * count, count, call);
            continue;
        }
        TRY(scatter_share(g, g->piece, count, call));
        done(g, g->piece);
        TRY(launch_mpi_all_done(g, g->piece));
        memcpy(to + offset, mpi_result(g, g->piece) + (size_t)g->comm.rank * bytes, bytes);
    }
done:
    return status;
}

/* Rows of the other ranks from where they lie on this node: in slots, or together. */
static kern_status rows_of_others(mpi_group *g, char *to, size_t pitch, size_t bytes) {
    kern_status status = KERN_OK;
    char *rows = mpi_result(g, g->piece);
    if (g->nodes > 1) {
        for (int r = 0; r < g->comm.ranks && g->local < g->lanes; r++)
            if (g->node_of[r] == g->node && mpi_lane_of(g, r) == g->local)
                memcpy(rows + (size_t)r * bytes, mpi_slot(g, g->piece, g->local_of[r]), bytes);
        if (g->local < g->lanes) TRY(launch_mpi_between_gather(g, rows, bytes));
        done(g, g->piece);
        TRY(launch_mpi_all_done(g, g->piece));
    }
    for (int r = 0; r < g->comm.ranks; r++)
        if (r != g->comm.rank)
            memcpy(to + (size_t)r * pitch,
                   g->nodes > 1 ? rows + (size_t)r * bytes : mpi_slot(g, g->piece, g->local_of[r]),
                   bytes);
done:
    return status;
}

static kern_status gather_here(mpi_group *g, char *to, const char *from, const mpi_call *call) {
    kern_status status = KERN_OK;
    size_t row = (size_t)call->count, most = MPI_SLOT / (g->nodes > 1 ? (size_t)g->comm.ranks : 1);
    char *own = to + (size_t)g->comm.rank * row;
    if (own != from && row) memcpy(own, from, row);
    for (size_t at = 0; at < row; at += most) {
        size_t bytes = row - at < most ? row - at : most;
        put_copy(g, from + at, bytes, call);
        TRY(launch_mpi_all_put(g, g->piece));
        TRY(rows_of_others(g, to + at, row, bytes));
    }
done:
    return status;
}

static kern_status broadcast_here(mpi_group *g, void *at, const mpi_call *call) {
    kern_status status = KERN_OK;
    int root = call->root;
    size_t bytes = (size_t)call->count;
    ASSERT(root >= 0 && root < g->comm.ranks);
    bool near = g->node_of[root] == g->node;
    for (size_t from = 0; from < bytes; from += MPI_SLOT) {
        size_t some = bytes - from < MPI_SLOT ? bytes - from : MPI_SLOT;
        char *slot = next_slot(g), *part = (char *)at + from;
        if (g->comm.rank == root) memcpy(slot, part, some);
        put(g, call);
        TRY(launch_mpi_all_put(g, g->piece));
        char *there = near ? mpi_slot(g, g->piece, g->local_of[root]) : mpi_result(g, g->piece);
        TRY(launch_mpi_between_broadcast(g, there, some, root));
        done(g, g->piece);
        if (!near) TRY(launch_mpi_all_done(g, g->piece));
        if (g->comm.rank != root) memcpy(part, there, some);
    }
done:
    return status;
}

/* ---- the comm ---- */

typedef struct {
    mpi_group *group;
    mpi_call what;
    void *to;
    const void *from;
} collective;

static kern_status make(const collective *c) {
    const mpi_call *what = &c->what;
    switch (what->kind) {
    case MPI_REDUCE: return reduce_here(c->group, c->to, c->from, what);
    case MPI_REDUCE_SCATTER: return scatter_here(c->group, c->to, c->from, what);
    case MPI_ALL_GATHER: return gather_here(c->group, c->to, c->from, what);
    default: return broadcast_here(c->group, c->to, what);
    }
}

static void make_beside(kern_stream *stream, void *arguments) {
    const collective *c = arguments;
    if (stream->status == KERN_OK) stream->status = make(c);
    atomic_fetch_sub(&c->group->beside, 1);
}

/* A group's calls are one after the other: none of another thread is under way. */
static kern_status make_now(const collective *c) {
    ASSERT(atomic_load(&c->group->beside) == 0);
    return make(c);
}

static void call_on(kern_stream *stream, const collective *c) {
    if (stream == stream->device->beside) {
        atomic_fetch_add(&c->group->beside, 1);
        kern_beside(stream, make_beside, c, sizeof *c);
        return;
    }
    kern_status status = make_now(c);
    if (stream->status == KERN_OK) stream->status = status;
}

static void reduce(const kern_comm *comm, kern_stream *stream, void *to, const void *from,
                   int64_t count, kern_dtype dtype, kern_reduction how) {
    call_on(
        stream,
        &(collective){mpi_group_of(comm), {MPI_REDUCE, (int)dtype, (int)how, 0, count}, to, from});
}

static void reduce_scatter(const kern_comm *comm, kern_stream *stream, void *to, const void *from,
                           int64_t count, kern_dtype dtype, kern_reduction how) {
    call_on(stream, &(collective){mpi_group_of(comm),
                                  {MPI_REDUCE_SCATTER, (int)dtype, (int)how, 0, count},
                                  to,
                                  from});
}

static void all_gather(const kern_comm *comm, kern_stream *stream, void *to, const void *from,
                       size_t bytes) {
    mpi_call what = {.kind = MPI_ALL_GATHER, .count = (int64_t)bytes};
    call_on(stream, &(collective){mpi_group_of(comm), what, to, from});
}

static void broadcast(const kern_comm *comm, kern_stream *stream, void *at, size_t bytes,
                      int root) {
    mpi_call what = {.kind = MPI_BROADCAST, .root = root, .count = (int64_t)bytes};
    call_on(stream, &(collective){mpi_group_of(comm), what, at, NULL});
}

static kern_status tell(const kern_comm *comm, void *at, size_t bytes, int root) {
    mpi_call what = {.kind = MPI_BROADCAST, .root = root, .count = (int64_t)bytes};
    return make_now(&(collective){mpi_group_of(comm), what, at, NULL});
}

static kern_status agree(const kern_comm *comm, void *value, int64_t count, int dtype,
                         kern_reduction how) {
    mpi_call what = {MPI_REDUCE, dtype, (int)how, 0, count};
    return make_now(&(collective){mpi_group_of(comm), what, value, value});
}

static kern_status agree_i64(const kern_comm *comm, int64_t *value, int64_t count,
                             kern_reduction how) {
    return agree(comm, value, count, MPI_I64, how);
}

static kern_status agree_f64(const kern_comm *comm, double *value, int64_t count,
                             kern_reduction how) {
    return agree(comm, value, count, KERN_F64, how);
}

void launch_mpi_fill(kern_comm *comm) {
    comm->reduce = reduce;
    comm->reduce_scatter = reduce_scatter;
    comm->all_gather = all_gather;
    comm->broadcast = broadcast;
    comm->agree_i64 = agree_i64;
    comm->agree_f64 = agree_f64;
    comm->tell = tell;
}
