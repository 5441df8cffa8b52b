#include "train/signals.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Handlers have no argument of their own: the flag has to be global. */
static volatile sig_atomic_t received;

static void on_signal(int number) {
    if (received) {
        /* Blocked while this handler runs, so it is delivered when the handler returns. */
        signal(number, SIG_DFL);
        raise(number);
        return;
    }
    received = number;
    static const char text[] = "\nttt: finishing this step, then saving; the same again ends at "
                               "once, without saving\n";
    int saved_errno = errno;
    ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
    (void)written; /* nothing could be done about a closed stderr */
    errno = saved_errno;
}

void train_signals_install(train_signals *saved) {
    received = 0;
    struct sigaction action, ignore;
    memset(&action, 0, sizeof action);
    memset(&ignore, 0, sizeof ignore);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART; /* a write in progress goes on */
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
}

int train_signals_received(void) {
    return received;
}
