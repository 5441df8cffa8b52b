/* The order of samples: a permutation that is computed, not stored, so that resuming needs one
 * integer. All functions are local and thread-safe. */
#ifndef DATA_ORDER_H
#define DATA_ORDER_H

#include "kernels/base.h"

/* Where element i, 0 <= i < n, of 0 .. n-1 stands in the order of (seed, epoch): a bijection of
 * 0 .. n-1, a function of its arguments alone on every machine. A Feistel network over the smallest
 * even number of bits that holds n, followed until the result is below n (less than four rounds of
 * it on average). n <= 2^62. */
int64_t data_order(int64_t i, int64_t n, uint64_t seed, int64_t epoch);

#endif
