/* How ranks wait for each other: a little while without letting go of the processor, then by
 * yielding it, then by sleeping for a twentieth of what they have waited; so that a rank that waits
 * for long takes nothing from those that work, and one that waits briefly loses nothing. */
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "launch/mpi/group.h"
#include "launch/watch.h"

static const double YIELDING = 1e-3, LONGEST = 1e-3; /* seconds */
enum { SPINS = 100 };

typedef struct {
    int turns;
    double since;
    const mpi_call *call;
    bool told;
} waiting;

void launch_mpi_describe(char text[96], const mpi_call *call) {
    static const char *const kinds[] = {"reduce", "reduce_scatter", "all_gather", "broadcast"};
    static const char *const hows[] = {"sum", "max", "min"};
    long long count = (long long)call->count;
    if (call->kind >= MPI_ALL_GATHER)
        snprintf(text, 96, "%s of %lld bytes", kinds[call->kind], count);
    else
        snprintf(text, 96, "%s %s of %lld %s", kinds[call->kind], hows[call->how], count,
                 call->dtype == MPI_I64 ? "i64" : kern_dtype_name((kern_dtype)call->dtype));
    if (call->kind == MPI_BROADCAST)
        snprintf(text + strlen(text), 96 - strlen(text), " from %d", call->root);
}

static void end(waiting *w) {
    if (w->told) launch_watch_waits(NULL);
}

/* Once around; false: it is in vain. */
static bool turn(waiting *w) {
    if (++w->turns < SPINS) return true;
    if (launch_watch_failure()) return false;
    double now = kern_seconds();
    if (w->turns == SPINS) w->since = now;
    double waited = now - w->since;
    if (waited < YIELDING) {
        sched_yield();
        return true;
    }
    if (!w->told) {
        char text[96];
        launch_mpi_describe(text, w->call);
        launch_watch_waits(text);
        w->told = true;
    }
    double pause = waited / 20 < LONGEST ? waited / 20 : LONGEST;
    nanosleep(&(struct timespec){.tv_nsec = (long)(1e9 * pause)}, NULL);
    return true;
}

static kern_status in_vain(waiting *w) {
    end(w);
    return kern_fail(KERN_ERR_RANKS, "%s", launch_watch_failure());
}

/* The group's rank of a local one. */
static int rank_of(const mpi_group *g, int local) {
    int r = 0;
    while (g->node_of[r] != g->node || g->local_of[r] != local) r++;
    return r;
}

static kern_status compare(const mpi_group *g, uint64_t piece) {
    const mpi_call *mine = &g->seat[g->local].call[piece & 1];
    for (int l = 0; l < g->locals; l++) {
        const mpi_call *call = &g->seat[l].call[piece & 1];
        if (call->kind == mine->kind && call->dtype == mine->dtype && call->how == mine->how &&
            call->root == mine->root && call->count == mine->count)
            continue;
        char text[2][96];
        int first = l < g->local ? l : g->local, second = l < g->local ? g->local : l;
        launch_mpi_describe(text[0], &g->seat[first].call[piece & 1]);
        launch_mpi_describe(text[1], &g->seat[second].call[piece & 1]);
        return kern_fail(KERN_ERR_RANKS, "rank %d calls %s and rank %d %s", rank_of(g, first),
                         text[0], rank_of(g, second), text[1]);
    }
    return KERN_OK;
}

kern_status launch_mpi_all_put(const mpi_group *g, uint64_t piece) {
    waiting w = {.call = &g->seat[g->local].call[piece & 1]};
    for (int l = 0; l < g->locals; l++)
        while (atomic_load_explicit(&g->seat[l].put, memory_order_acquire) < piece)
            if (!turn(&w)) return in_vain(&w);
    end(&w);
    return compare(g, piece);
}

kern_status launch_mpi_all_done(const mpi_group *g, uint64_t piece) {
    waiting w = {.call = &g->seat[g->local].call[piece & 1]};
    for (int l = 0; l < g->locals; l++)
        while (atomic_load_explicit(&g->seat[l].done, memory_order_acquire) < piece)
            if (!turn(&w)) return in_vain(&w);
    end(&w);
    return KERN_OK;
}

kern_status launch_mpi_requests(const mpi_group *g, int count) {
    waiting w = {.call = &g->seat[g->local].call[g->piece & 1]};
    for (int done = 0; !done;) {
        int code = MPI_Testall(count, g->request, &done, MPI_STATUSES_IGNORE);
        if (code != MPI_SUCCESS) {
            char text[MPI_MAX_ERROR_STRING] = "";
            int length;
            MPI_Error_string(code, text, &length);
            end(&w);
            return kern_fail(KERN_ERR_RANKS, "MPI: %s", text);
        }
        if (!done && !turn(&w)) return in_vain(&w);
    }
    end(&w);
    return KERN_OK;
}
