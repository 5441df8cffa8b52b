#include "kernels/crowding.h"

#include <dirent.h>
#include <omp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const double LOOK_SECONDS = 0.1;
static const double NEWEST = 0.2; /* weight of a look in the mean */
/* Seconds of waiting in a second. Beside a program that always runs it is 0.7 or more, whether
 * OpenMP's threads spin or sleep; beside one that runs a fifth of the time spinning is still much
 * better, so there is room between. */
static const double CROWDED = 0.4, CALM = 0.2;

double kern_waiting_seconds(void) {
    double sum = 0;
    DIR *threads = opendir("/proc/self/task");
    for (struct dirent *entry; threads && (entry = readdir(threads));) {
        char path[sizeof "/proc/self/task//schedstat" + sizeof entry->d_name];
        snprintf(path, sizeof path, "/proc/self/task/%s/schedstat", entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (!file) continue;
        unsigned long long ran, waited; /* nanoseconds */
        if (fscanf(file, "%llu %llu", &ran, &waited) == 2) sum += 1e-9 * (double)waited;
        fclose(file);
    }
    if (threads) closedir(threads);
    return sum;
}

/* While OpenMP has more threads than there are processors, those of all its teams sleep soon
 * instead of spinning (libgomp's manual, GOMP_SPINCOUNT). So a team that only sleeps is what lets
 * the others sleep too; one thread's end ends its team. */
typedef struct {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool there, wanted;
} sleepers;

static void *sleep_as_team(void *context) {
    sleepers *team = context;
#pragma omp parallel num_threads(omp_get_num_procs() + 1)
    {
        pthread_mutex_lock(&team->lock);
        while (team->wanted) pthread_cond_wait(&team->changed, &team->lock);
        pthread_mutex_unlock(&team->lock);
    }
    return NULL;
}

static void set_sleepers(sleepers *team, bool wanted) {
    if (team->there == wanted) return;
    pthread_mutex_lock(&team->lock);
    team->wanted = wanted;
    pthread_cond_broadcast(&team->changed);
    pthread_mutex_unlock(&team->lock);
    if (wanted)
        team->there = pthread_create(&team->thread, NULL, sleep_as_team, team) == 0;
    else {
        pthread_join(team->thread, NULL);
        team->there = false;
    }
}

static void *watch(void *context) {
    (void)context;
    sleepers team = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    double waiting = kern_waiting_seconds(), seconds = kern_seconds();
    const struct timespec pause = {.tv_nsec = (long)(1e9 * LOOK_SECONDS)};
    for (double mean = 0;;) {
        nanosleep(&pause, NULL);
        double waiting_now = kern_waiting_seconds(), now = kern_seconds();
        mean += NEWEST * ((waiting_now - waiting) / (now - seconds) - mean);
        if (mean > CROWDED) set_sleepers(&team, true);
        if (mean < CALM) set_sleepers(&team, false);
        waiting = waiting_now;
        seconds = now;
    }
    return NULL;
}

/* Begun once per process, by its main function. */
static bool watching;

int kern_watch_threads(void) {
    return watching ? omp_get_num_procs() + 1 : 0;
}

void kern_watch_crowding(void) {
    pthread_t thread;
    sigset_t all, before;
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT")) return;
    sigfillset(&all); /* signals are for threads that know what to do */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    watching = pthread_create(&thread, NULL, watch, NULL) == 0;
    if (watching) pthread_detach(thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}
