/* A job of ranks of which one does what it should not: ranks_fail WHAT RANK [PATIENCE]. The others
 * do collectives, as in training, a hundred steps of 20 ms. WHAT is nothing      all goes well dies
 * it is killed           stops     it stands still fails        it meets an error      asserts   it
 * breaks a promise sleeps       it does not come       works     it does not come, but says why,
 * and then does other        it calls another collective computes     it dies while the others are
 * busy for seconds */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/doing.h"
#include "launch/arguments.h"
#include "launch/ranks.h"
#include "launch/watch.h"

enum { STEPS = 100, WHEN = 17, COUNT = 1000 };

static bool is(const char *what, const char *name) {
    return !strcmp(what, name);
}

static void busy(double seconds) {
    for (double until = kern_seconds() + seconds; kern_seconds() < until;) {
    }
}

/* What the odd one does in its step. */
static kern_status be_odd(const kern_comm *job, const char *what) {
    int64_t number = 1;
    if (is(what, "dies") || is(what, "computes")) raise(SIGKILL);
    if (is(what, "stops")) raise(SIGSTOP);
    if (is(what, "fails")) return kern_fail(KERN_ERR_NUMERIC, "the loss is not finite");
    ASSERT(!is(what, "asserts"));
    if (is(what, "sleeps")) sleep(60);
    if (is(what, "other")) return job->agree_i64(job, &number, 1, KERN_MAX);
    if (is(what, "works")) {
        kern_doing_long("saving a checkpoint");
        sleep(4);
        kern_doing_long(NULL);
    }
    return KERN_OK;
}

static kern_status run(const kern_comm *job, const char *what, int odd) {
    kern_status status = KERN_OK;
    static float sum[COUNT];
    kern_stream stream = {.device = kern_device_cpu()};
    for (int step = 1; step <= STEPS; step++) {
        kern_doing_step(step);
        if (step == WHEN && job->rank == odd) TRY(be_odd(job, what));
        if (step == WHEN && job->rank != odd && is(what, "computes")) busy(10);
        usleep(20000);
        job->reduce(job, &stream, sum, sum, COUNT, KERN_F32, KERN_MAX);
        TRY(stream.status);
    }
done:
    return status;
}

int main(int argc, char **argv) {
    const kern_ranks *ranks;
    kern_status status = launch_ranks_begin();
    if (argc < 3) return 2;
    if (argc > 3) launch_watch_patience(atof(argv[3]));
    if (status == KERN_OK) status = launch_ranks_open(&ranks, kern_device_cpu(), 1);
    if (status == KERN_OK) status = run(ranks->job, argv[1], atoi(argv[2]));
    if (status == KERN_OK) {
        launch_ranks_close(ranks);
        printf("all is well\n");
        fflush(stdout);
    }
    return launch_ranks_end(launch_report("ranks", status));
}
