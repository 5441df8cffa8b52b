/* What memory gives: the bound of everything that reads its operands once. */
#ifndef KERNELS_BANDWIDTH_H
#define KERNELS_BANDWIDTH_H

#include "kernels/base.h"

/* Bytes that `threads` (>= 1) threads together read per second from memory, each a run of its own:
 * the best of five passes over a buffer that was written in full before. The buffer is twice the
 * last-level cache, but between 256 and 512 MiB: with a cache beyond 256 MiB a part of it may be
 * read from there. Takes about 0.3 s; measured anew at each call. 0 if there is no memory for the
 * buffer. */
double kern_read_bandwidth(int threads);

#endif
