/* Starts MPI, and makes groups of its ranks. */
#include "launch/mpi/plugin.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "launch/mpi/group.h"

/* As if a node held no more than so many ranks: 0 is as it is. A way to try what goes between nodes
 * on one. */
static int ranks_of_a_node(void) {
    const char *text = getenv("TTT_RANKS_NODE");
    return text ? atoi(text) : 0;
}

static kern_status ask(int code, const char *what) {
    char text[MPI_MAX_ERROR_STRING] = "";
    int length;
    if (code == MPI_SUCCESS) return KERN_OK;
    MPI_Error_string(code, text, &length);
    return kern_fail(KERN_ERR_RANKS, "MPI: %s: %s", what, text);
}

static kern_status split_by_node(MPI_Comm *on_node, MPI_Comm mpi) {
    kern_status status = KERN_OK;
    int rank, local, few = ranks_of_a_node();
    MPI_Comm all;
    MPI_Comm_rank(mpi, &rank);
    TRY(ask(MPI_Comm_split_type(mpi, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &all), "nodes"));
    *on_node = all;
    if (few < 1) goto done;
    MPI_Comm_rank(all, &local);
    TRY(ask(MPI_Comm_split(all, local / few, local, on_node), "nodes"));
    MPI_Comm_free(&all);
done:
    return status;
}

/* Who is where: nodes in the order of their first ranks. */
static kern_status find_places(mpi_group *g) {
    kern_status status = KERN_OK;
    int n = g->comm.ranks, mine[2] = {g->comm.rank, g->local}, *least = NULL;
    int *place = kern_array(n, sizeof mine), *first = kern_array(n, sizeof *first);
    TRY(ask(MPI_Bcast(&mine[0], 1, MPI_INT, 0, g->on_node), "places")); /* the node's first rank */
    TRY(ask(MPI_Allgather(mine, 2, MPI_INT, place, 2, MPI_INT, g->mpi), "places"));
    g->node_of = kern_array(n, sizeof *g->node_of);
    g->local_of = kern_array(n, sizeof *g->local_of);
    least = kern_array(n, sizeof *least);
    for (int r = 0; r < n; r++) {
        if (place[2 * r] == r) first[g->nodes++] = r;
        for (int i = 0; i < g->nodes; i++)
            if (first[i] == place[2 * r]) g->node_of[r] = i;
        g->local_of[r] = place[2 * r + 1];
        least[g->node_of[r]]++;
    }
    g->node = g->node_of[g->comm.rank];
    g->lanes = n;
    for (int i = 0; i < g->nodes; i++) g->lanes = (int)kern_min(g->lanes, least[i]);
    g->lane = kern_array(g->nodes * g->lanes, sizeof *g->lane);
    for (int r = 0; r < n; r++)
        if (g->local_of[r] < g->lanes) g->lane[g->node_of[r] * g->lanes + g->local_of[r]] = r;
    if (g->nodes > MPI_NODES || g->locals > MPI_LOCALS)
        TRY(kern_fail(KERN_ERR_RANKS,
                      "%d nodes, %d ranks on one; at most %d and %d can work together", g->nodes,
                      g->locals, MPI_NODES, MPI_LOCALS));
done:
    free(least);
    free(first);
    free(place);
    return status;
}

/* The node's first rank brings the memory of all. */
static kern_status share_window(mpi_group *g) {
    kern_status status = KERN_OK;
    size_t seats = kern_align((size_t)g->locals * sizeof(mpi_seat));
    size_t bytes = seats + 2 * (size_t)(g->locals + 1) * MPI_SLOT;
    void *base;
    MPI_Aint size;
    int unit;
    TRY(ask(MPI_Win_allocate_shared(g->local ? 0 : (MPI_Aint)(bytes + 64), 1, MPI_INFO_NULL,
                                    g->on_node, &base, &g->win),
            "memory that ranks of a node share"));
    TRY(ask(MPI_Win_shared_query(g->win, 0, &size, &unit, &base), "shared memory"));
    char *begin = (char *)(((uintptr_t)base + 63) / 64 * 64);
    g->seat = (mpi_seat *)(void *)begin;
    g->slots = begin + seats;
    g->results = g->slots + 2 * (size_t)g->locals * MPI_SLOT;
    memset(&g->seat[g->local], 0, sizeof *g->seat);
    TRY(ask(MPI_Barrier(g->on_node), "shared memory"));
done:
    return status;
}

static void release(const kern_comm *part) {
    mpi_group *g = mpi_group_of(part);
    if (!part) return;
    if (g->win != MPI_WIN_NULL) MPI_Win_free(&g->win);
    MPI_Comm_free(&g->on_node);
    MPI_Comm_free(&g->mpi);
    free(g->node_of);
    free(g->local_of);
    free(g->lane);
    kern_free(g->received);
    free(g->request);
    free(g->heard);
    free(g->hearing);
    free(g);
}

static kern_status split(const kern_comm **part, int color) {
    kern_status status = KERN_OK;
    int rank;
    mpi_group *g = kern_array(1, sizeof *g);
    g->win = MPI_WIN_NULL;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    TRY(ask(MPI_Comm_split(MPI_COMM_WORLD, color, rank, &g->mpi), "parts of the job"));
    MPI_Comm_set_errhandler(g->mpi, MPI_ERRORS_RETURN);
    MPI_Comm_rank(g->mpi, &g->comm.rank);
    MPI_Comm_size(g->mpi, &g->comm.ranks);
    TRY(split_by_node(&g->on_node, g->mpi));
    MPI_Comm_set_errhandler(g->on_node, MPI_ERRORS_RETURN);
    MPI_Comm_rank(g->on_node, &g->local);
    MPI_Comm_size(g->on_node, &g->locals);
    TRY(find_places(g));
    TRY(share_window(g));
    g->request = kern_array(g->comm.ranks + g->nodes * g->locals, sizeof(MPI_Request));
    g->heard = kern_array(g->nodes, sizeof *g->heard);
    g->hearing = kern_array(2 * g->nodes, sizeof *g->hearing);
    if (g->nodes > 1)
        TRY(kern_alloc((void **)&g->received, (size_t)g->nodes * MPI_SLOT, "what nodes send"));
    launch_mpi_fill(&g->comm);
done:
    *part = status == KERN_OK ? &g->comm : NULL; /* what failed is left: the job ends */
    return status;
}

/* Whether all ranks of the node may use the same processors. */
static kern_status compare_processors(bool *same, MPI_Comm on_node) {
    kern_status status = KERN_OK;
    cpu_set_t own, first;
    int differs;
    CPU_ZERO(&own);
    (void)sched_getaffinity(0, sizeof own, &own);
    first = own;
    TRY(ask(MPI_Bcast(&first, sizeof first, MPI_BYTE, 0, on_node), "processors"));
    differs = !CPU_EQUAL(&own, &first);
    TRY(ask(MPI_Allreduce(MPI_IN_PLACE, &differs, 1, MPI_INT, MPI_MAX, on_node), "processors"));
    *same = !differs;
done:
    return status;
}

static void finalize(void) {
    MPI_Finalize();
}

__attribute__((visibility("default"))) kern_status launch_mpi_open(launch_mpi *mpi) {
    kern_status status = KERN_OK;
    MPI_Comm on_node;
    int level;
#ifdef OPEN_MPI /* which would end the process, with advice for those who build it */
    if (getenv("SLURM_STEP_ID") && !getenv("OMPI_COMM_WORLD_SIZE") && !getenv("PMIX_RANK"))
        TRY(kern_fail(KERN_ERR_RANKS, "srun has started the ranks without PMIx, by which Open MPI "
                                      "finds them; use srun --mpi=pmix (srun --mpi=list says "
                                      "whether there is one), or mpirun"));
#endif
    TRY(ask(MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level), "start"));
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    if (level < MPI_THREAD_SERIALIZED)
        TRY(kern_fail(KERN_ERR_RANKS, "MPI: this one is for programs of one thread; one with "
                                      "MPI_THREAD_SERIALIZED is needed"));
    MPI_Comm_rank(MPI_COMM_WORLD, &mpi->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &mpi->ranks);
    TRY(split_by_node(&on_node, MPI_COMM_WORLD));
    MPI_Comm_rank(on_node, &mpi->local);
    MPI_Comm_size(on_node, &mpi->locals);
    TRY(compare_processors(&mpi->whole_node, on_node));
    MPI_Comm_free(&on_node);
    mpi->split = split;
    mpi->release = release;
    mpi->finalize = finalize;
done:
    return status;
}
