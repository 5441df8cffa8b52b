#include "launch/together.h"

#include "launch/ranks.h"
#include "train/signals.h"

int launch_asked_to_stop(void) {
    const kern_comm *job = launch_ranks_job();
    int64_t received = train_signals_received();
    /* A rank that cannot ask the others any more stops, too. */
    return job->agree_i64(job, &received, 1, KERN_MAX) == KERN_OK ? (int)received : SIGTERM;
}

bool launch_all(bool so) {
    const kern_comm *job = launch_ranks_job();
    int64_t all = so;
    return job->agree_i64(job, &all, 1, KERN_MIN) == KERN_OK && all;
}

kern_status launch_first_says(kern_status status) {
    return kern_comm_meet(launch_ranks_job(), launch_ranks_rank() ? KERN_OK : status);
}

void launch_tell_number(int64_t *number) {
    launch_tell_bytes(number, sizeof *number);
}

void launch_tell_bytes(void *bytes, int64_t number) {
    const kern_comm *job = launch_ranks_job();
    if (number) (void)job->tell(job, bytes, (size_t)number, 0);
}
