/* Ranks that watch each other, so that none waits for one that will not come. A thread of each rank
 * has a connection to that of the first rank, by which it tells twice a second that it lives and
 * what it is at. So the first rank sees at once that another has died, after some seconds that one
 * has been stopped or has lost its machine, after ranks.timeout that one is missing from a
 * collective; the others see the same of the first. Then the job ends: the first rank says why, or
 * the second where the first is gone, and every rank ends itself, whatever it was doing. */
#ifndef LAUNCH_WATCH_H
#define LAUNCH_WATCH_H

#include "kernels/comm.h"

/* Begins to watch; once a process. Collective over `job`, a comm for the host's memory, which is
 * used here alone. KERN_ERR_RANKS: a rank cannot reach the first one. */
kern_status launch_watch_begin(const kern_comm *job);

/* How long others may wait for a rank that is alive; 300 s at first. */
void launch_watch_patience(double seconds);

/* Why the job is at its end, NULL while it is not: what waits for other ranks gives up then. */
const char *launch_watch_failure(void);

/* This thread waits for other ranks, in a collective that `what` describes; NULL: no longer. */
void launch_watch_waits(const char *what);

/* This rank has failed, for the reason that the text is; or, where its status is KERN_ERR_RANKS,
 * has learned that another one has. Returns when the others have been told, and whether the reason
 * is still to be put on the screen; but on ranks that have none, not at all: the watch ends them.
 */
bool launch_watch_failed(kern_status status, const char *text);

/* This rank has done its part and will not be missed; all have. */
void launch_watch_leave(void);
void launch_watch_end(void);

#endif
