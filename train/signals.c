#include "train/signals.h"

#include <errno.h>
#include <omp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Handlers have no argument of their own: what they need has to be global. */
static volatile sig_atomic_t received;
static const char *first_message;

static void on_signal(int number) {
    if (received) {
        /* Blocked while this handler runs, so it is delivered when the handler returns. */
        signal(number, SIG_DFL);
        raise(number);
        return;
    }
    received = number;
    int saved_errno = errno;
    ssize_t written = write(STDERR_FILENO, first_message, strlen(first_message));
    (void)written; /* nothing could be done about a closed stderr */
    errno = saved_errno;
}

enum { STACK_BYTES = 1 << 18 }; /* the frame of a signal holds all vector and tile registers */

static void mask_workers(int how) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
#pragma omp parallel
    if (omp_get_thread_num()) pthread_sigmask(how, &set, NULL);
}

/* oneDNN's generated code moves the stack pointer into a heap buffer while it multiplies: a handler
 * on the interrupted stack would write over the heap below it. So the handler gets a stack of its
 * own, and as that belongs to one thread, the others do not take the signals. */
static void separate_stack(train_signals *saved) {
    saved->memory = malloc(STACK_BYTES);
    ASSERT(saved->memory);
    stack_t stack = {.ss_sp = saved->memory, .ss_size = STACK_BYTES};
    ASSERT(!sigaltstack(&stack, &saved->stack));
    mask_workers(SIG_BLOCK);
}

void train_signals_install(train_signals *saved) {
    train_signals_install_saying(saved, "\nttt: finishing this step, then saving; the same again "
                                        "ends at once, without saving\n");
}

void train_signals_install_saying(train_signals *saved, const char *message) {
    received = 0;
    first_message = message;
    separate_stack(saved);
    struct sigaction action, ignore;
    memset(&action, 0, sizeof action);
    memset(&ignore, 0, sizeof ignore);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART | SA_ONSTACK; /* a write in progress goes on */
    sigemptyset(&action.sa_mask);
    ignore.sa_handler = SIG_IGN;
    sigemptyset(&ignore.sa_mask);
    ASSERT(!sigaction(SIGINT, &action, &saved->interrupt));
    ASSERT(!sigaction(SIGTERM, &action, &saved->terminate));
    ASSERT(!sigaction(SIGXFSZ, &ignore, &saved->file_size));
    ASSERT(!sigaction(SIGPIPE, &ignore, &saved->pipe));
}

void train_signals_restore(const train_signals *saved) {
    ASSERT(!sigaction(SIGINT, &saved->interrupt, NULL));
    ASSERT(!sigaction(SIGTERM, &saved->terminate, NULL));
    ASSERT(!sigaction(SIGXFSZ, &saved->file_size, NULL));
    ASSERT(!sigaction(SIGPIPE, &saved->pipe, NULL));
    mask_workers(SIG_UNBLOCK);
    ASSERT(!sigaltstack(&saved->stack, NULL));
    free(saved->memory);
}

int train_signals_received(void) {
    return received;
}
