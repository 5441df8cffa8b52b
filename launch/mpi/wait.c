/* How ranks wait for each other: a little while without letting go of the processor, then by
 * yielding it, then by sleeping for a twentieth of what they have waited; so that a rank that waits
 * for long takes nothing from those that work, and one that waits briefly loses nothing. */
#include <inttypes.h>
#include <pthread.h>
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

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void launch_mpi_lock(void) {
    pthread_mutex_lock(&lock);
}

void launch_mpi_unlock(void) {
    pthread_mutex_unlock(&lock);
}

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

static bool are_same(const mpi_call *a, const mpi_call *b) {
    return a->kind == b->kind && a->dtype == b->dtype && a->how == b->how && a->root == b->root &&
           a->count == b->count;
}

/* Names both where they do not make the same call, the lower rank first. */
static kern_status compare(int rank, const mpi_call *call, int other_rank, const mpi_call *other) {
    if (are_same(call, other)) return KERN_OK;
    if (other_rank < rank) return compare(other_rank, other, rank, call);
    char text[2][96];
    launch_mpi_describe(text[0], call);
    launch_mpi_describe(text[1], other);
    return kern_fail(KERN_ERR_RANKS, "rank %d calls %s and rank %d %s", rank, text[0], other_rank,
                     text[1]);
}

kern_status launch_mpi_all_put(mpi_group *g, uint64_t piece) {
    kern_status status = KERN_OK;
    const mpi_call *own = &g->seat[g->local].call[piece & 1];
    waiting w = {.call = own};
    for (int l = 0; l < g->locals; l++)
        while (atomic_load_explicit(&g->seat[l].put, memory_order_acquire) < piece)
            if (!turn(&w)) return in_vain(&w);
    end(&w);
    for (int l = 0; l < g->locals && status == KERN_OK; l++)
        status = compare(g->comm.rank, own, rank_of(g, l), &g->seat[l].call[piece & 1]);
    if (status == KERN_OK && g->nodes > 1 && g->local < g->lanes) launch_mpi_between_call(g, own);
    return status;
}

kern_status launch_mpi_all_done(const mpi_group *g, uint64_t piece) {
    waiting w = {.call = &g->seat[g->local].call[piece & 1]};
    for (int l = 0; l < g->locals; l++)
        while (atomic_load_explicit(&g->seat[l].done, memory_order_acquire) < piece)
            if (!turn(&w)) return in_vain(&w);
    end(&w);
    return KERN_OK;
}

static kern_status complete(const mpi_group *g, MPI_Request *request, int count) {
    waiting w = {.call = &g->seat[g->local].call[g->piece & 1]};
    for (int done = 0; !done;) {
        launch_mpi_lock();
        int code = MPI_Testall(count, request, &done, MPI_STATUSES_IGNORE);
        launch_mpi_unlock();
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

kern_status launch_mpi_requests(mpi_group *g, int count) {
    kern_status status = KERN_OK;
    int hearings = g->hearings;
    g->hearings = 0;
    TRY(complete(g, g->hearing, hearings));
    for (int i = 0; i < g->nodes && hearings; i++)
        TRY(compare(g->comm.rank, &g->heard[g->node], g->lane[i * g->lanes + g->local],
                    &g->heard[i]));
    TRY(complete(g, g->request, count));
done:
    return status;
}
