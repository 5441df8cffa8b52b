/* Threads that share a processor wait for each other; kern_waiting_seconds() tells, and what
 * watches it has OpenMP's threads sleep for as long as it is so. */
#include "kernels/crowding.h"

#include <dirent.h>
#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { THREADS = 2 };
static atomic_bool stopped;

static void *spin_on_one_processor(void *context) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t) * (int *)context, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    while (!atomic_load(&stopped)) {
    }
    return NULL;
}

static void start(pthread_t *threads) {
    static int processor;
    processor = sched_getcpu();
    atomic_store(&stopped, false);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, spin_on_one_processor, &processor), 0);
}

static void stop(pthread_t *threads) {
    atomic_store(&stopped, true);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
}

static void pause_for(double seconds) {
    nanosleep(&(struct timespec){(time_t)seconds, (long)(1e9 * (seconds - (double)(long)seconds))},
              NULL);
}

/* For how much of `seconds` its threads waited, summed over them. */
static double waiting_share(double seconds) {
    double waited = kern_waiting_seconds(), began = kern_seconds();
    pause_for(seconds);
    return (kern_waiting_seconds() - waited) / (kern_seconds() - began);
}

/* Where other programs run, the system tells late who waited, and this one waits, too: it is looked
 * at again. */
static void test_waiting_is_seen(void **state) {
    (void)state;
    enum { TRIES = 50 };
    pthread_t threads[THREADS];
    double crowded = 0, alone = 1;
    start(threads);
    pause_for(0.05); /* both have moved to their processor */
    /* One of the two waits at any time. */
    for (int i = 0; i < TRIES && crowded <= 0.8; i++) crowded = waiting_share(0.2);
    stop(threads);
    assert_true(crowded > 0.8);
    for (int i = 0; i < TRIES && alone >= 0.5; i++) alone = waiting_share(0.1);
    assert_true(alone < 0.5);
}

static int64_t count_threads(void) {
    int64_t count = 0;
    DIR *folder = opendir("/proc/self/task");
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder));) count += entry->d_name[0] != '.';
    closedir(folder);
    return count;
}

static bool comes_to(int64_t threads) {
    double end = kern_seconds() + 30;
    while (kern_seconds() < end && count_threads() != threads) pause_for(0.02);
    return count_threads() == threads;
}

static void test_team_sleeps_while_crowded(void **state) {
    (void)state;
    pthread_t threads[THREADS];
    unsetenv("OMP_WAIT_POLICY");
    unsetenv("GOMP_SPINCOUNT");
    int64_t before = count_threads();
    kern_watch_crowding();
    assert_int_equal(count_threads(), before + 1);
#if defined(__clang__)
    int64_t kept = omp_get_num_procs(); /* LLVM's OpenMP keeps a team's threads for the next one */
#else
    int64_t kept = 0;
#endif
    for (int i = 0; i < 2; i++) {
        start(threads);
        /* More threads of OpenMP than processors, in a thread that waits for them. */
        assert_true(comes_to(before + 1 + THREADS + omp_get_num_procs() + 1));
        stop(threads);
        assert_true(comes_to(before + 1 + kept));
    }
}

static void test_what_the_user_says_holds(void **state) {
    (void)state;
    int64_t before = count_threads();
    setenv("OMP_WAIT_POLICY", "active", 1);
    kern_watch_crowding();
    assert_int_equal(count_threads(), before);
    unsetenv("OMP_WAIT_POLICY");
}

int main(void) {
    if (access("/proc/self/schedstat", R_OK)) {
        printf("skipped: this kernel does not say how long threads wait\n");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waiting_is_seen),
        cmocka_unit_test(test_what_the_user_says_holds),
        cmocka_unit_test(test_team_sleeps_while_crowded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
