/* What this process is at, for ranks that wait for it (kernels/comm.h): told by the thread that
 * does it, read by one that tells others. Local, costs nothing. */
#ifndef KERNELS_DOING_H
#define KERNELS_DOING_H

#include <stdbool.h>
#include <stdint.h>

/* The outer step that is running, from 1; 0: none. */
void kern_doing_step(int64_t step);
int64_t kern_doing_which_step(void);

/* Work begins ("saving a checkpoint"; a text that stays) that others may have to wait for longer
 * than ranks.timeout allows; NULL: it has ended. Not nested. */
void kern_doing_long(const char *what);
const char *kern_doing_what_long(void);

/* Begins and ends to wait for a device's stream, in which other ranks may have a part; whether it
 * is waited for, and how often this has changed. */
void kern_doing_device(bool waits);
bool kern_doing_waits_for_device(void);
int64_t kern_doing_device_changes(void);

#endif
