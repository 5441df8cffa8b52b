#include "train/signals.h"

#include <errno.h>
#include <omp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What asks to stop. A notice is sent by what owns the machine (a terminal that closes, a queue
 * whose time runs out), often more than once, so only what a person or a queue sends to mean it
 * ends the process the second time. */
static const struct {
    int number;
    bool notice;
} asks[TRAIN_SIGNALS] = {{SIGINT, false}, {SIGTERM, false}, {SIGQUIT, false}, {SIGHUP, true},
                         {SIGUSR1, true}, {SIGUSR2, true},  {SIGXCPU, true}};

/* Handlers have no argument of their own: what they need has to be global. */
static volatile sig_atomic_t received, demanded;
static const char *message;

static void say(const char *text) {
    if (!message) return;
    ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written; /* nothing could be done about a closed stderr */
}

static void on_notice(int number) {
    if (received) return;
    int saved_errno = errno;
    received = number;
    say(message);
    say("\n");
    errno = saved_errno;
}

static void on_demand(int number) {
    if (demanded) {
        /* Blocked while this handler runs, so it is delivered when the handler returns. */
        signal(number, SIG_DFL);
        raise(number);
        return;
    }
    int saved_errno = errno;
    received = demanded = number;
    say(message);
    say("; a second Ctrl-C, SIGTERM or SIGQUIT ends at once\n");
    errno = saved_errno;
}

static void fill_set(sigset_t *set) {
    sigemptyset(set);
    for (int i = 0; i < TRAIN_SIGNALS; i++) sigaddset(set, asks[i].number);
}

enum { STACK_BYTES = 1 << 18 }; /* the frame of a signal holds all vector and tile registers */

static void mask_workers(int how) {
    sigset_t set;
    fill_set(&set);
#pragma omp parallel
    if (omp_get_thread_num()) pthread_sigmask(how, &set, NULL);
}

/* oneDNN's generated code moves the stack pointer into a heap buffer while it multiplies: a handler
 * on the interrupted stack would write over the heap below it. So the handler gets a stack of its
 * own, and as that belongs to one thread, the others do not take the signals. */
static void separate_stack(train_signals *saved) {
    saved->memory = kern_array(STACK_BYTES, 1);
    stack_t stack = {.ss_sp = saved->memory, .ss_size = STACK_BYTES};
    ASSERT(!sigaltstack(&stack, &saved->stack));
    mask_workers(SIG_BLOCK);
}

void train_signals_install(train_signals *saved) {
    train_signals_install_saying(saved, "\nttt: finishing this step, then saving");
}

void train_signals_install_saying(train_signals *saved, const char *text) {
    received = demanded = 0;
    message = text;
    separate_stack(saved);
    struct sigaction action, ignore;
    memset(&action, 0, sizeof action);
    memset(&ignore, 0, sizeof ignore);
    action.sa_flags = SA_RESTART | SA_ONSTACK; /* a write in progress goes on */
    fill_set(&action.sa_mask);
    ignore.sa_handler = SIG_IGN;
    sigemptyset(&ignore.sa_mask);
    for (int i = 0; i < TRAIN_SIGNALS; i++) {
        action.sa_handler = asks[i].notice ? on_notice : on_demand;
        ASSERT(!sigaction(asks[i].number, &action, &saved->asks[i]));
        if (asks[i].number == SIGHUP && saved->asks[i].sa_handler == SIG_IGN) /* nohup */
            ASSERT(!sigaction(SIGHUP, &ignore, NULL));
    }
    ASSERT(!sigaction(SIGXFSZ, &ignore, &saved->file_size));
    ASSERT(!sigaction(SIGPIPE, &ignore, &saved->pipe));
}

void train_signals_restore(const train_signals *saved) {
    for (int i = 0; i < TRAIN_SIGNALS; i++)
        ASSERT(!sigaction(asks[i].number, &saved->asks[i], NULL));
    ASSERT(!sigaction(SIGXFSZ, &saved->file_size, NULL));
    ASSERT(!sigaction(SIGPIPE, &saved->pipe, NULL));
    mask_workers(SIG_UNBLOCK);
    ASSERT(!sigaltstack(&saved->stack, NULL));
    free(saved->memory);
}

int train_signals_received(void) {
    return received;
}
