#include "launch/watch.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "kernels/doing.h"
#include "launch/watch_link.h"

static const double BEAT_SECONDS = 0.5, GRACE_SECONDS = 0.3, LEAVING_SECONDS = 2,
                    LINGER_SECONDS = 3;
enum {
    SILENT_BEATS = 30, /* own beats without one of another: no clock runs while we stand still */
    WAITERS = 2        /* the threads of the two streams (kernels/device.h) */
};

/* What is known of a rank. */
typedef struct {
    watch_message last;
    int64_t heard; /* own beat in which that came */
    double since;  /* when its state changed */
    bool left;
} watched;

/* One watch a process; its thread and the program's own meet in these. */
static struct {
    int rank, ranks;
    watch_link *link;
    watched *of;
    int64_t beat;
    int wake;             /* an eventfd: the thread has something to tell */
    pthread_mutex_t lock; /* own, patience, why, who waits */
    watch_message own;
    int waiters;
    char waits_for[WAITERS][WATCH_TEXT]; /* each thread that has ever waited; "" does not now */
    double patience;
    char why[WATCH_TEXT];
    bool there;
    _Atomic bool ending, told_end; /* there is a reason; the others know it */
    _Atomic bool leaving, told_leaving, over;
    _Atomic bool said; /* the reason is on the screen, or somebody will put it there */
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER, .patience = 300, .ranks = 1};

const char *launch_watch_failure(void) {
    return atomic_load_explicit(&watch.ending, memory_order_acquire) ? watch.why : NULL;
}

void launch_watch_patience(double seconds) {
    pthread_mutex_lock(&watch.lock);
    watch.patience = seconds;
    pthread_mutex_unlock(&watch.lock);
}

void launch_watch_waits(const char *what) {
    static _Thread_local int place = -1;
    pthread_mutex_lock(&watch.lock);
    if (place < 0) place = watch.waiters++;
    ASSERT(place < WAITERS);
    snprintf(watch.waits_for[place], WATCH_TEXT, "%s", what ? what : "");
    int of = 0;
    while (of + 1 < WAITERS && !*watch.waits_for[of]) of++;
    watch.own.state = *watch.waits_for[of] ? WATCH_WAITS : WATCH_WORKS;
    watch.own.change++;
    snprintf(watch.own.text, WATCH_TEXT, "%s", watch.waits_for[of]);
    pthread_mutex_unlock(&watch.lock);
}

/* What this rank tells the others. */
static watch_message own_beat(void) {
    pthread_mutex_lock(&watch.lock);
    watch_message beat = watch.own;
    pthread_mutex_unlock(&watch.lock);
    beat.kind = atomic_load(&watch.leaving) ? WATCH_LEAVES : WATCH_BEAT;
    const char *what = kern_doing_what_long();
    beat.rank = watch.rank;
    beat.step = kern_doing_which_step();
    beat.change += kern_doing_device_changes();
    if (beat.state == WATCH_WORKS && (what || kern_doing_waits_for_device())) {
        beat.state = what ? WATCH_LONG : WATCH_DEVICE;
        snprintf(beat.text, sizeof beat.text, "%s", what ? what : "what the devices do together");
    }
    return beat;
}

/* Whether this rank watches that one: the first watches all, all watch the first. */
static bool watches(int r) {
    return r != watch.rank && (watch.rank == 0 || r == 0);
}

static void send_all(const watch_message *message) {
    for (int r = 0; r < watch.ranks; r++)
        if (watches(r) && watch.link[r].socket >= 0)
            (void)launch_watch_send(&watch.link[r], message); /* who is gone is found by reading */
}

/* The first reason is the one that is told. */
static void end_because(const char *why, bool said) {
    pthread_mutex_lock(&watch.lock);
    if (!atomic_load(&watch.ending)) {
        snprintf(watch.why, sizeof watch.why, "%s", why);
        if (said) atomic_store(&watch.said, true);
        atomic_store_explicit(&watch.ending, true, memory_order_release);
    }
    pthread_mutex_unlock(&watch.lock);
}

/* Ranks go step by step together, so its step is ours where it has told of none for a while. */
static void end_because_of(int r, const char *why) {
    int64_t step = kern_max(watch.of[r].last.step, kern_doing_which_step());
    char text[WATCH_TEXT], at[40] = "";
    if (step) snprintf(at, sizeof at, ", step %lld", (long long)step);
    snprintf(text, sizeof text, "rank %d on %s%s: %.800s", r, watch.link[r].host, at, why);
    end_because(text, false);
}

static void take(int r, const watch_message *message) {
    watched *of = &watch.of[r];
    if (message->change != of->last.change || message->state != of->last.state)
        of->since = kern_seconds();
    of->heard = watch.beat;
    switch (message->kind) {
    case WATCH_END: end_because(message->text, message->said); return;
    case WATCH_LEAVES: of->left = true; break;
    default: break;
    }
    of->last = *message;
}

/* In the end a connection may be cut before it has told that the other rank leaves. */
static void lose(int r) {
    close(watch.link[r].socket);
    watch.link[r].socket = -1;
    double until = kern_seconds() + LEAVING_SECONDS;
    while (atomic_load(&watch.leaving) && !atomic_load(&watch.over) && kern_seconds() < until)
        usleep(10000);
    if (!watch.of[r].left && !atomic_load(&watch.over)) end_because_of(r, "it has died");
}

/* ---- who is missing ---- */

/* A device that is waited for may also work, for as long as it likes. */
static bool waits_for_long(const watched *of, double now) {
    return (of->last.state == WATCH_WAITS || of->last.state == WATCH_DEVICE) && !of->left &&
           now - of->since >= watch.patience;
}

static bool is_missing(const watched *of, double now) {
    return (of->left || of->last.state == WATCH_WORKS) && now - of->since >= watch.patience;
}

/* All wait, each for something else. */
static void end_deadlock(void) {
    char why[WATCH_TEXT];
    int other = 1;
    while (other + 1 < watch.ranks && !strcmp(watch.of[other].last.text, watch.of[0].last.text))
        other++;
    snprintf(why, sizeof why, "all ranks wait for each other: it for %.400s, rank 0 for %.400s",
             watch.of[other].last.text, watch.of[0].last.text);
    end_because_of(other, why);
}

static void look_for_missing(void) {
    double now = kern_seconds();
    int waiting = -1, missing = -1, waits = 0;
    watch_message own = own_beat();
    take(0, &own);
    for (int r = watch.ranks - 1; r >= 0; r--) {
        if (!waits_for_long(&watch.of[r], now)) continue;
        waiting = r;
        waits += watch.of[r].last.state == WATCH_WAITS;
    }
    for (int r = watch.ranks - 1; r >= 0; r--)
        if (is_missing(&watch.of[r], now)) missing = r;
    if (waits == watch.ranks) end_deadlock();
    if (waiting < 0 || missing < 0) return;
    char why[WATCH_TEXT];
    snprintf(why, sizeof why,
             "it lives, but does not come to %.400s, for which rank %d waits since %.0f s "
             "(ranks.timeout)",
             watch.of[waiting].last.text, waiting, now - watch.of[waiting].since);
    end_because_of(missing, why);
}

static void look_for_silent(void) {
    for (int r = 0; r < watch.ranks; r++)
        if (watches(r) && !watch.of[r].left && watch.beat - watch.of[r].heard > SILENT_BEATS)
            end_because_of(r, "it does not answer; it has been stopped, or its machine is gone");
}

/* ---- the thread ---- */

/* Reads what comes until it is time for the next beat. */
static void listen_for(double seconds, struct pollfd *at) {
    double until = kern_seconds() + seconds;
    at[watch.ranks] = (struct pollfd){.fd = watch.wake, .events = POLLIN};
    for (double left = seconds; left > 0 && !launch_watch_failure();
         left = until - kern_seconds()) {
        for (int r = 0; r < watch.ranks; r++)
            at[r] = (struct pollfd){.fd = watches(r) ? watch.link[r].socket : -1, .events = POLLIN};
        if (poll(at, (nfds_t)watch.ranks + 1, (int)(1e3 * left) + 1) <= 0) continue;
        for (int r = 0; r < watch.ranks; r++) {
            watch_message message;
            int got = at[r].revents ? launch_watch_receive(&watch.link[r], &message) : 0;
            if (got > 0) take(r, &message);
            if (got < 0) lose(r);
        }
        eventfd_t woken;
        if (at[watch.ranks].revents && !eventfd_read(watch.wake, &woken)) return;
    }
}

static bool first_is_gone(void) {
    return watch.rank != 0 &&
           (watch.link[0].socket < 0 || watch.beat - watch.of[0].heard > SILENT_BEATS);
}

/* Who is there to say why the job ends: the first rank; the second, where it is the first's fault.
 */
static bool is_speaker(void) {
    return watch.rank == 0 || (watch.rank == 1 && first_is_gone());
}

/* Tells the others, leaves the program a moment to end by itself, and ends it. */
static _Noreturn void end(void) {
    watch_message message = {.kind = WATCH_END, .rank = watch.rank};
    /* The first rank may wake when mpirun ends it, and whoever it hears of then, it says nothing.
     */
    message.said = first_is_gone();
    snprintf(message.text, sizeof message.text, "%s", watch.why);
    send_all(&message);
    atomic_store(&watch.told_end, true);
    usleep((useconds_t)(1e6 * GRACE_SECONDS));
    if (is_speaker() && !atomic_exchange(&watch.said, true))
        dprintf(STDERR_FILENO, "%sttt: %s\n", isatty(STDERR_FILENO) ? "\n" : "", watch.why);
    /* Who exits first has the others killed, so the speaker goes first; it may not know yet. */
    usleep((useconds_t)(1e6 * (is_speaker() ? GRACE_SECONDS : LINGER_SECONDS)));
    _exit(1);
}

static void *run(void *context) {
    struct pollfd *at = context;
    while (!launch_watch_failure() && !atomic_load(&watch.over)) {
        watch_message beat = own_beat();
        send_all(&beat);
        if (beat.kind == WATCH_LEAVES) atomic_store(&watch.told_leaving, true);
        listen_for(BEAT_SECONDS, at);
        watch.beat++;
        look_for_silent();
        if (watch.rank == 0) look_for_missing();
    }
    if (launch_watch_failure()) end();
    free(at);
    return NULL;
}

/* A rank's death makes mpirun end the others by SIGTERM at once; they have a moment to say why.
 * What saves before it ends takes this signal over (train/signals.h). */
static void on_terminate(int number) {
    (void)number;
    alarm(1);
}

kern_status launch_watch_begin(const kern_comm *job) {
    kern_status status = KERN_OK;
    sigset_t all, before;
    struct sigaction action = {.sa_handler = on_terminate, .sa_flags = SA_RESTART};
    watch.rank = job->rank;
    watch.ranks = job->ranks;
    watch.link = kern_array(job->ranks, sizeof *watch.link);
    watch.of = kern_array(job->ranks, sizeof *watch.of);
    TRY(launch_watch_connect(job, watch.link));
    sigemptyset(&action.sa_mask);
    ASSERT(!sigaction(SIGTERM, &action, NULL));
    for (int r = 0; r < job->ranks; r++) watch.of[r].since = kern_seconds();
    sigfillset(&all); /* signals are for threads that know what to do */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    struct pollfd *at = kern_array(job->ranks + 1, sizeof *at);
    pthread_t thread;
    watch.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    watch.there = watch.wake >= 0 && pthread_create(&thread, NULL, run, at) == 0;
    if (watch.there) pthread_detach(thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!watch.there) TRY(kern_fail(KERN_ERR_RANKS, "no thread for the watch of the ranks"));
done:
    return status;
}

bool launch_watch_failed(kern_status status, const char *text) {
    if (!watch.there) return true;
    if (status != KERN_ERR_RANKS || !launch_watch_failure()) end_because_of(watch.rank, text);
    (void)eventfd_write(watch.wake, 1);
    while (!atomic_load(&watch.told_end)) usleep(1000);
    while (!is_speaker()) pause(); /* until the watch ends the process */
    return !atomic_exchange(&watch.said, true);
}

void launch_watch_leave(void) {
    if (!watch.there) return;
    atomic_store(&watch.leaving, true);
    (void)eventfd_write(watch.wake, 1);
    while (!atomic_load(&watch.told_leaving) && !launch_watch_failure()) usleep(1000);
}

void launch_watch_end(void) {
    atomic_store(&watch.over, true);
}
