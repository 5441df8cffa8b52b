/* What memory gives: the bound of everything that reads its operands once. */
#ifndef KERNELS_BANDWIDTH_H
#define KERNELS_BANDWIDTH_H

#include "kernels/base.h"

/* Bytes that `threads` (>= 1) threads together read per second from memory, each a run of its own:
 * the best of 16 slices of a buffer that is larger than the last-level cache (256 MiB to 512 MiB)
 * and was written in full before. Takes about 0.3 s; measured anew at each call. 0 if there is no
 * memory for the buffer. */
double kern_read_bandwidth(int threads);

#endif
