/* What commands do with several ranks: all of them go the same way through the program, and the
 * first one reads the standard input and writes files. All functions are collective over the job;
 * with one rank they are what that does. */
#ifndef LAUNCH_TOGETHER_H
#define LAUNCH_TOGETHER_H

#include "kernels/base.h"

/* The number of a signal that asked a rank to stop (train/signals.h), or 0. */
int launch_asked_to_stop(void);

/* Whether it is so on all ranks. */
bool launch_all(bool so);

/* `status` of the first rank, with its message; of others it is not looked at. */
kern_status launch_first_says(kern_status status);

/* Bytes that the first rank has, on all: number, or *number bytes that begin at `bytes`. Where a
 * rank dies they are what they were. */
void launch_tell_number(int64_t *number);
void launch_tell_bytes(void *bytes, int64_t number);

#endif
