#include "launch/ranks.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/plugin.h"
#include "launch/mpi/plugin.h"
#include "launch/watch.h"

/* One job a process. */
static launch_mpi job = {.ranks = 1};
static const kern_comm *everyone; /* for what the program's own ranks agree on */
static bool joined;

int launch_ranks_rank(void) {
    return job.rank;
}

int launch_ranks_count(void) {
    return job.ranks;
}

const kern_comm *launch_ranks_job(void) {
    return everyone ? everyone : kern_comm_alone();
}

/* How many ranks were started, and which variable says so; 1 where none does. What mpirun says goes
 * before what the queue says that has started it. */
static int started_ranks(const char **variable) {
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS",
                                        "SLURM_NTASKS"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *text = getenv(names[i]);
        *variable = names[i];
        if (!text || (!strcmp(names[i], "SLURM_NTASKS") && !getenv("SLURM_STEP_ID"))) continue;
        return atoi(text);
    }
    return 1;
}

/* The rank's share of the node's processors, where all ranks may use the same ones; what mpirun or
 * a queue has bound stays. Ranks that are more than processors share them. */
static void take_processors(void) {
    cpu_set_t all, own;
    if (sched_getaffinity(0, sizeof all, &all) || !job.whole_node) return;
    int count = CPU_COUNT(&all), share = count / job.locals > 1 ? count / job.locals : 1;
    int first = job.local * share % count, at = 0;
    CPU_ZERO(&own);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &all) && at++ >= first && at <= first + share) CPU_SET(cpu, &own);
    (void)sched_setaffinity(0, sizeof own, &own); /* where that is refused, all is there */
}

/* One rank owns the screen, also before MPI has said which. What ends a process (ASSERT, a
 * sanitizer) is written past these. */
static void be_quiet(void) {
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID"};
    const char *rank = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !rank; i++) rank = getenv(names[i]);
    if (!rank || !atoi(rank)) return;
    FILE *nowhere = fopen("/dev/null", "w");
    ASSERT(nowhere);
    stdout = stderr = nowhere;
}

kern_status launch_ranks_begin(void) {
    static const kern_plugin plugin = {"libttt_mpi.so", "TTT_MPI_PLUGIN", "launch_mpi_open",
                                       "several ranks",
                                       "-DTTT_MPI=ON builds it where there is an MPI"};
    kern_status status = KERN_OK;
    launch_mpi_opener *open_mpi;
    const char *variable;
    int started = started_ranks(&variable);
    if (started <= 1) return KERN_OK;
    be_quiet();
    status = kern_plugin_open(&open_mpi, &plugin);
    if (status != KERN_OK)
        return kern_fail_context(status, "%d ranks were started (%s=%d), which need MPI", started,
                                 variable, started);
    TRY(open_mpi(&job));
    joined = true;
    if (job.ranks != started)
        TRY(kern_fail(KERN_ERR_RANKS,
                      "%d ranks were started (%s=%d), but MPI knows of %d, so each would train by "
                      "itself in the same place; start them with mpirun -n %d of the MPI that "
                      "libttt_mpi.so is built with, or with srun --mpi=pmix",
                      started, variable, started, job.ranks, started));
    take_processors();
    kern_device_cuda_share(job.local);
    TRY(job.split(&everyone, 0));
    TRY(launch_watch_begin(everyone));
done:
    return status;
}

typedef struct {
    kern_ranks ranks; /* first: what is given out */
    const kern_device *device;
    const kern_comm *host[3];
    kern_comm there[3]; /* for memory of the device */
} mesh;

static kern_status join(const kern_comm **comm, mesh *m, int axis, int color) {
    kern_status status = job.split(&m->host[axis], color);
    *comm = m->device->join ? &m->there[axis] : m->host[axis];
    if (status != KERN_OK || !m->device->join) return status;
    return m->device->join(&m->there[axis], m->host[axis]);
}

kern_status launch_ranks_open(const kern_ranks **ranks, const kern_device *device, int64_t tensor) {
    kern_status status = KERN_OK;
    mesh *m = NULL;
    *ranks = kern_ranks_alone();
    if (job.ranks % tensor)
        TRY(kern_fail(KERN_ERR_CONFIG,
                      "ranks.tensor=%lld does not divide the %d rank%s that there %s; start a "
                      "multiple of it with mpirun -n",
                      (long long)tensor, job.ranks, job.ranks == 1 ? "" : "s",
                      job.ranks == 1 ? "is" : "are"));
    if (job.ranks == 1) return KERN_OK;
    m = kern_array(1, sizeof *m);
    m->device = device;
    m->ranks.on_machine = job.locals;
    TRY(join(&m->ranks.job, m, 0, 0));
    TRY(join(&m->ranks.data, m, 1, (int)(job.rank % tensor)));
    TRY(join(&m->ranks.tensor, m, 2, (int)(job.rank / tensor)));
    *ranks = &m->ranks;
done:
    return status; /* what was begun is left where it failed: the job ends */
}

void launch_ranks_close(const kern_ranks *ranks) {
    if (!ranks || ranks == kern_ranks_alone()) return;
    mesh *m = (mesh *)(uintptr_t)ranks;
    for (int i = 0; i < 3; i++) {
        if (m->device->leave) m->device->leave(&m->there[i]);
        job.release(m->host[i]);
    }
    free(m);
}

int launch_ranks_end(int code) {
    if (!joined) return code;
    if (code != 0 && code != 130) {
        char text[40];
        snprintf(text, sizeof text, "it has ended with exit code %d", code);
        (void)launch_watch_failed(KERN_ERR_RANKS, text);
        return code;
    }
    launch_watch_leave();
    job.finalize();
    launch_watch_end();
    return code;
}
