/* Ranks that watch each other, so that none waits for one that will not come. Local functions. */
#ifndef LAUNCH_WATCH_H
#define LAUNCH_WATCH_H

#include "kernels/base.h"

/* Why the job is at its end, NULL while it is not: what waits for other ranks gives up then. */
const char *launch_watch_failure(void);

/* This rank waits for others, in a collective that `what` describes; NULL: no longer. */
void launch_watch_waits(const char *what);

#endif
