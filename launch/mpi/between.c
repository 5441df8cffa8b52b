/* What the lanes of a group's nodes send each other: every node to every other one, each a part. */
#include <string.h>

#include "launch/mpi/group.h"

/* Tags: what is called, a reduction's two rounds, and from ROWS on the numbers of rows. */
enum { CALL, PARTIAL, WHOLE, ROWS };

static int rank_on(const mpi_group *g, int node) {
    return g->lane[node * g->lanes + g->local];
}

/* Calls of MPI only begin something: their failure shows in what is begun. */
static void send(const mpi_group *g, int *requests, const void *from, size_t bytes, int to,
                 int tag) {
    if (!bytes) return;
    launch_mpi_lock();
    MPI_Isend(from, (int)bytes, MPI_BYTE, to, tag, g->mpi, &g->request[(*requests)++]);
    launch_mpi_unlock();
}

static void receive(const mpi_group *g, int *requests, void *to, size_t bytes, int from, int tag) {
    if (!bytes) return;
    launch_mpi_lock();
    MPI_Irecv(to, (int)bytes, MPI_BYTE, from, tag, g->mpi, &g->request[(*requests)++]);
    launch_mpi_unlock();
}

void launch_mpi_between_call(mpi_group *g, const mpi_call *call) {
    g->heard[g->node] = *call;
    launch_mpi_lock();
    for (int i = 0; i < g->nodes; i++) {
        if (i == g->node) continue;
        MPI_Irecv(&g->heard[i], sizeof *call, MPI_BYTE, rank_on(g, i), CALL, g->mpi,
                  &g->hearing[g->hearings++]);
        MPI_Isend(&g->heard[g->node], sizeof *call, MPI_BYTE, rank_on(g, i), CALL, g->mpi,
                  &g->hearing[g->hearings++]);
    }
    launch_mpi_unlock();
}

static char *received_from(const mpi_group *g, int node) {
    return g->received + (size_t)node * MPI_SLOT;
}

/* `to` = the reduction over nodes, in their order, of what came from them; of this one it is `to`.
 */
static void combine_nodes(const mpi_group *g, char *to, size_t offset, int64_t count,
                          const mpi_call *call) {
    const void *from[MPI_NODES];
    memcpy(received_from(g, g->node) + offset, to, (size_t)count * launch_mpi_element(call->dtype));
    for (int i = 0; i < g->nodes; i++) from[i] = received_from(g, i) + offset;
    launch_mpi_combine(to, from, g->nodes, count, call->dtype, (kern_reduction)call->how);
}

kern_status launch_mpi_between_reduce(mpi_group *g, void *own, int64_t count,
                                      const mpi_call *call) {
    kern_status status = KERN_OK;
    size_t element = launch_mpi_element(call->dtype);
    int requests = 0;
    int64_t first = count * g->node / g->nodes, after = count * (g->node + 1) / g->nodes;
    char *part = (char *)own + (size_t)first * element;
    size_t bytes = (size_t)(after - first) * element;
    for (int i = 0; i < g->nodes; i++) {
        int64_t begin = count * i / g->nodes, end = count * (i + 1) / g->nodes;
        if (i == g->node) continue;
        receive(g, &requests, received_from(g, i), bytes, rank_on(g, i), PARTIAL);
        send(g, &requests, (char *)own + (size_t)begin * element, (size_t)(end - begin) * element,
             rank_on(g, i), PARTIAL);
    }
    TRY(launch_mpi_requests(g, requests));
    combine_nodes(g, part, 0, after - first, call);
    requests = 0;
    for (int i = 0; i < g->nodes; i++) {
        int64_t begin = count * i / g->nodes, end = count * (i + 1) / g->nodes;
        if (i == g->node) continue;
        receive(g, &requests, (char *)own + (size_t)begin * element,
                (size_t)(end - begin) * element, rank_on(g, i), WHOLE);
        send(g, &requests, part, bytes, rank_on(g, i), WHOLE);
    }
    TRY(launch_mpi_requests(g, requests));
done:
    return status;
}

kern_status launch_mpi_between_scatter(mpi_group *g, char *rows, int64_t count,
                                       const mpi_call *call) {
    kern_status status = KERN_OK;
    size_t bytes = (size_t)count * launch_mpi_element(call->dtype);
    int requests = 0;
    for (int r = 0; r < g->comm.ranks; r++) {
        if (mpi_lane_of(g, r) != g->local) continue;
        if (g->node_of[r] != g->node)
            send(g, &requests, rows + (size_t)r * bytes, bytes, rank_on(g, g->node_of[r]),
                 ROWS + r);
        for (int i = 0; i < g->nodes && g->node_of[r] == g->node; i++)
            if (i != g->node)
                receive(g, &requests, received_from(g, i) + (size_t)r * bytes, bytes, rank_on(g, i),
                        ROWS + r);
    }
    TRY(launch_mpi_requests(g, requests));
    for (int r = 0; r < g->comm.ranks; r++)
        if (g->node_of[r] == g->node && mpi_lane_of(g, r) == g->local)
            combine_nodes(g, rows + (size_t)r * bytes, (size_t)r * bytes, count, call);
done:
    return status;
}

kern_status launch_mpi_between_gather(mpi_group *g, char *rows, size_t bytes) {
    int requests = 0;
    for (int r = 0; r < g->comm.ranks; r++) {
        char *row = rows + (size_t)r * bytes;
        if (mpi_lane_of(g, r) != g->local) continue;
        if (g->node_of[r] != g->node)
            receive(g, &requests, row, bytes, rank_on(g, g->node_of[r]), ROWS + r);
        for (int i = 0; i < g->nodes && g->node_of[r] == g->node; i++)
            if (i != g->node) send(g, &requests, row, bytes, rank_on(g, i), ROWS + r);
    }
    return launch_mpi_requests(g, requests);
}

kern_status launch_mpi_between_broadcast(mpi_group *g, char *at, size_t bytes, int root) {
    int requests = 0;
    if (g->nodes == 1) return KERN_OK;
    for (int i = 0; i < g->nodes && g->comm.rank == root; i++)
        if (i != g->node) send(g, &requests, at, bytes, g->lane[i * g->lanes], WHOLE);
    if (g->node_of[root] != g->node && g->local == 0) receive(g, &requests, at, bytes, root, WHOLE);
    return launch_mpi_requests(g, requests);
}
