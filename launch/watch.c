#include "launch/watch.h"

const char *launch_watch_failure(void) {
    return NULL;
}

void launch_watch_waits(const char *what) {
    (void)what;
}
