/* Vectors of real_isa.h: parts of them, bf16 read as them, and sums across lanes. */
#ifndef KERNELS_LANES_ISA_H
#define KERNELS_LANES_ISA_H

#include "kernels/real_isa.h"

#include <stdbool.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

typedef uint16_t half_vec __attribute__((vector_size(2 * LANES), may_alias, aligned(2)));
typedef uint32_t wide_vec __attribute__((vector_size(4 * LANES)));

/* bf16 is the upper half of f32. */
static inline __attribute__((always_inline)) vec widened(half_vec x) {
#ifdef KERN_REAL_IS_DOUBLE
    return __builtin_convertvector(x, vec); /* never used: doubles have no bf16 operands */
#else
#if defined(__AVX512F__) /* in one instruction; compilers take halves */
    wide_vec wide = (wide_vec)_mm512_cvtepu16_epi32((__m256i)x);
#elif defined(__AVX2__)
    wide_vec wide = (wide_vec)_mm256_cvtepu16_epi32((__m128i)x);
#else
    wide_vec wide = __builtin_convertvector(x, wide_vec);
#endif
    return (vec)(wide << 16);
#endif
}

static inline vec_int vec_lanes(void) { /* 0, 1, 2, ... */
    static const real_int iota[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    vec_int lane;
    memcpy(&lane, iota, sizeof lane);
    return lane;
}

/* The vector at element `at`, zeros from the count-th lane on. */
static inline __attribute__((always_inline)) vec vec_load_some(const void *data, int64_t at,
                                                               int64_t count, bool bf16) {
    if (bf16) {
        const uint16_t *from = (const uint16_t *)data + at;
        if (count >= LANES) return widened(*(const half_vec *)from);
        uint16_t lanes[LANES] = {0};
        for (int64_t i = 0; i < count; i++) lanes[i] = from[i];
        return widened(*(const half_vec *)lanes);
    }
    const real *from = (const real *)data + at;
    if (count >= LANES) return vec_load(from);
    real lanes[LANES] = {0};
    for (int64_t i = 0; i < count; i++) lanes[i] = from[i];
    return vec_load(lanes);
}

static inline __attribute__((always_inline)) void vec_store_some(real *to, vec x, int64_t count) {
    if (count >= LANES) {
        vec_store(to, x);
        return;
    }
    real lanes[LANES];
    vec_store(lanes, x);
    for (int64_t i = 0; i < count; i++) to[i] = lanes[i];
}

/* Lane l: lane from[l] of x, or from LANES on of y. `from` is known when this is compiled; Clang
 * makes one instruction of the loop then and has no __builtin_shuffle, GCC before 12 nothing but
 * that. */
static inline __attribute__((always_inline)) vec vec_shuffle(vec x, vec y, vec_int from) {
#if defined(__clang__)
    vec shuffled = x;
#pragma GCC unroll 16
    for (int l = 0; l < (int)LANES; l++)
        shuffled[l] = from[l] < (real_int)LANES ? x[from[l]] : y[from[l] - (real_int)LANES];
    return shuffled;
#else
    return __builtin_shuffle(x, y, from);
#endif
}

/* Lane l: of x if l has no bit `half`, else of y; the lane itself plus its neighbour l ^ half. */
static inline __attribute__((always_inline)) vec add_neighbours(vec x, vec y, int half) {
    vec_int lane = vec_lanes();
    vec_int of_y = ((lane & half) != 0) & LANES;
    return vec_shuffle(x, y, lane + of_y) + vec_shuffle(x, y, (lane ^ half) + of_y);
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

/* The largest lane, in all lanes; NaN if any is. */
static inline vec largest_lane(vec x) {
    vec_int lane = vec_lanes();
#pragma GCC unroll 4
    for (int half = 1; half < (int)LANES; half *= 2) {
        vec other = vec_shuffle(x, x, lane ^ half);
        x = vec_select(x != x, x, vec_max(x, other));
    }
    return x;
}

#endif
