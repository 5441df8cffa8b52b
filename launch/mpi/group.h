/* A comm of MPI ranks from inside. On a node its ranks share memory, a window, in which each has
 * two slots that it uses in turn: what is reduced or gathered goes through the slots in pieces, and
 * what all ranks need of the result through two slots that belong to all. Between nodes, MPI
 * carries bytes. MPI never waits for anybody: all waiting is in wait.c. A group is used by one
 * thread at a time, but another thread may use another group meanwhile.
 *
 *     n ranks of the group;  N nodes;  l ranks on this node;  S lanes = least l of any node
 *
 * Lane s is a rank of each node, those whose local number is s: it does a share of the node's sums
 * and speaks with lane s of the other nodes. Every number is computed once and copied, and sums run
 * over the local ranks in order and then over the nodes in order: all ranks have the same bits,
 * always. Internal. */
#ifndef LAUNCH_MPI_GROUP_H
#define LAUNCH_MPI_GROUP_H

#include <mpi.h>
#include <stdatomic.h>

#include "kernels/comm.h"

enum {
    MPI_SLOT = 512 << 10, /* bytes of a slot: those of a few ranks stay in a core's cache */
    MPI_SMALL = 4 << 10,  /* bytes that each rank sums by itself, so that all wait only once */
    MPI_LOCALS = 512,     /* most ranks of a node */
    MPI_NODES = 1024,     /* most nodes */
    MPI_I64 = KERN_DTYPES /* a type of elements more, for agree_i64 */
};

typedef enum { MPI_REDUCE, MPI_REDUCE_SCATTER, MPI_ALL_GATHER, MPI_BROADCAST } mpi_kind;

/* A collective as all ranks must call it. */
typedef struct {
    mpi_kind kind;
    int dtype, how, root;
    int64_t count; /* elements; bytes where there is no dtype */
} mpi_call;

/* A rank's place in the window: which piece it has put into its slot, and of which it has computed
 * its share. Pieces are numbered from 1 over the group's life. */
typedef struct {
    _Alignas(64) _Atomic uint64_t put;
    _Atomic uint64_t done;
    mpi_call call[2];
} mpi_seat;

typedef struct {
    kern_comm comm; /* first: a kern_comm of ours is a mpi_group */
    MPI_Comm mpi, on_node;
    MPI_Win win;
    int nodes, node, locals, local, lanes;
    int *node_of, *local_of; /* [n] */
    int *lane;               /* [N, S]: rank in `mpi` of lane s on node i */
    mpi_seat *seat;          /* [l] in the window */
    char *slots, *results;   /* [2, l, MPI_SLOT], [2, MPI_SLOT] in the window */
    char *received;          /* [N, MPI_SLOT] of this lane */
    MPI_Request *request;    /* [n + N * l] */
    mpi_call *heard;         /* [N]: what this lane calls on each node, for the piece under way */
    MPI_Request *hearing;    /* [2 N] */
    int hearings;            /* of them that are to be waited for */
    uint64_t piece;          /* the newest that this rank has begun */
    _Atomic int beside;      /* calls on the second stream that are still to be made */
} mpi_group;

static inline mpi_group *mpi_group_of(const kern_comm *comm) {
    return (mpi_group *)(uintptr_t)comm;
}

/* The slot of a local rank, and the common one, for a piece. */
static inline char *mpi_slot(const mpi_group *g, uint64_t piece, int local) {
    return g->slots + ((piece & 1) * (uint64_t)g->locals + (uint64_t)local) * MPI_SLOT;
}
static inline char *mpi_result(const mpi_group *g, uint64_t piece) {
    return g->results + (piece & 1) * MPI_SLOT;
}

size_t launch_mpi_element(int dtype);

/* to[i] = the reduction over s < sources of from[s][i]; `to` may be one of them. */
void launch_mpi_combine(void *to, const void *const *from, int sources, int64_t count, int dtype,
                        kern_reduction how);

/* The entries of the group's comm. */
void launch_mpi_fill(kern_comm *comm);

/* "reduce sum of 37 f32" */
void launch_mpi_describe(char text[96], const mpi_call *call);

/* Waits: until all local ranks have put a piece, which checks that they make the same call, and
 * begins to tell the other nodes; until they have done their shares of it; until the nodes are
 * known to make the same call, and the first `count` requests are complete. KERN_ERR_RANKS: a rank
 * has failed, or calls something else. */
kern_status launch_mpi_all_put(mpi_group *g, uint64_t piece);
kern_status launch_mpi_all_done(const mpi_group *g, uint64_t piece);
kern_status launch_mpi_requests(mpi_group *g, int count);

/* Begins to tell the same lane of other nodes what is called, and to hear it of them. */
void launch_mpi_between_call(mpi_group *g, const mpi_call *call);

/* Between nodes. The lane's share of the node's sums, `count` elements at `own`, becomes that of
 * all nodes. */
kern_status launch_mpi_between_reduce(mpi_group *g, void *own, int64_t count, const mpi_call *call);
/* Row r of [n, row bytes] at `rows`, the sums of this node for rank r, goes to the node of r, whose
 * lane adds those of all nodes up at the same place. Each lane has the rows of its own. */
kern_status launch_mpi_between_scatter(mpi_group *g, char *rows, int64_t count,
                                       const mpi_call *call);
/* Row r of [n, bytes] at `rows`, which is there on the node of r, comes to all nodes. */
kern_status launch_mpi_between_gather(mpi_group *g, char *rows, size_t bytes);
/* `at` comes from the root's node to all nodes. */
kern_status launch_mpi_between_broadcast(mpi_group *g, char *at, size_t bytes, int root);

/* MPI is called by one thread at a time. */
void launch_mpi_lock(void);
void launch_mpi_unlock(void);

/* Which lane serves a rank. */
static inline int mpi_lane_of(const mpi_group *g, int rank) {
    return g->local_of[rank] % g->lanes;
}

#endif
