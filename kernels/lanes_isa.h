/* Sums across the lanes of vectors, several vectors at a time, and bf16 as vectors. */
#ifndef KERNELS_LANES_ISA_H
#define KERNELS_LANES_ISA_H

#include "kernels/real_isa.h"

#include <stdbool.h>

typedef uint16_t half_vec __attribute__((vector_size(2 * LANES), may_alias, aligned(2)));
typedef uint32_t wide_vec __attribute__((vector_size(4 * LANES)));

/* bf16 is the upper half of f32. */
static inline __attribute__((always_inline)) vec widened(half_vec x) {
#ifdef KERN_REAL_IS_DOUBLE
    return __builtin_convertvector(x, vec); /* never used: doubles have no bf16 operands */
#else
    return (vec)(__builtin_convertvector(x, wide_vec) << 16);
#endif
}

/* Lane l: of x if l has no bit `half`, else of y; the lane itself plus its neighbour l ^ half. */
static inline __attribute__((always_inline)) vec add_neighbours(vec x, vec y, int half) {
    static const real_int iota[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    vec_int lane;
    memcpy(&lane, iota, sizeof lane);
    vec_int of_y = ((lane & half) != 0) & LANES;
    return __builtin_shuffle(x, y, lane + of_y) + __builtin_shuffle(x, y, (lane ^ half) + of_y);
}

/* Lane l < count: the sum of all lanes of x[l], in the same order whatever the count (a power of
 * two, at most LANES). Overwrites x. */
static inline __attribute__((always_inline)) vec sums_of_lanes(vec *x, int count) {
#pragma GCC unroll 4
    for (int half = 1; half < (int)LANES; half *= 2) {
        if (count == 1) {
            x[0] = add_neighbours(x[0], x[0], half);
            continue;
        }
        count /= 2;
#pragma GCC unroll 8
        for (int i = 0; i < count; i++) x[i] = add_neighbours(x[2 * i], x[2 * i + 1], half);
    }
    return x[0];
}

#endif
