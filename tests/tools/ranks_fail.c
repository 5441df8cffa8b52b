/* A job of ranks of which one does what it should not: ranks_fail WHAT RANK [PATIENCE]. The others
 * do collectives, as in training, a hundred steps of 20 ms. In one step, by the word WHAT, that
 * rank does nothing else (nothing), is killed (dies; computes: while the others are busy for
 * a minute), stands still (stops), meets an error (fails), breaks a promise (asserts), does not
 * come (sleeps), does not come for a while but says why (works), calls another collective (other),
 * or the same of another count (count). */
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
        sleep(3);
        kern_doing_long(NULL);
    }
    return KERN_OK;
}

static kern_status run(const kern_comm *job, const kern_device *device, const char *what, int odd) {
    kern_status status = KERN_OK;
    kern_buffer sum = {0};
    TRY(kern_buffer_create_zero(&sum, device, COUNT * sizeof(float), "sum"));
    for (int step = 1; step <= STEPS; step++) {
        kern_doing_step(step);
        if (step == WHEN && job->rank == odd) TRY(be_odd(job, what));
        if (step == WHEN && job->rank != odd && is(what, "computes")) busy(60);
        usleep(20000);
        bool fewer = step == WHEN && job->rank == odd && is(what, "count");
        job->reduce(job, device->stream, sum.data, sum.data, COUNT - fewer, KERN_F32, KERN_MAX);
        TRY(kern_finish(device->stream));
    }
done:
    if (status == KERN_OK) kern_buffer_destroy(&sum);
    return status;
}

int main(int argc, char **argv) {
    const char *name = getenv("TTT_TEST_DEVICE");
    const kern_ranks *ranks;
    const kern_device *device;
    kern_status status = launch_ranks_begin();
    if (argc < 3) return 2;
    if (argc > 3) launch_watch_patience(atof(argv[3]));
    if (status == KERN_OK) status = kern_device_open(&device, name ? name : "cpu");
    if (status == KERN_OK) status = launch_ranks_open(&ranks, device, 1);
    if (status == KERN_OK) status = run(ranks->job, device, argv[1], atoi(argv[2]));
    if (status == KERN_OK) {
        launch_ranks_close(ranks);
        printf("all is well\n");
        fflush(stdout);
    }
    return launch_ranks_end(launch_report("ranks", status));
}
