/* Vectors of one element type for *_isa.c files that are written once and compiled for float and
 * double: a file that computes in double defines KERN_REAL_IS_DOUBLE before including this. Every
 * operation is IEEE and elementwise; fused() rounds once where the instruction set has the
 * instruction, twice elsewhere, never differently within one variant. */
#ifndef KERNELS_REAL_ISA_H
#define KERNELS_REAL_ISA_H

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#ifdef KERN_REAL_IS_DOUBLE
typedef double real;
typedef int64_t real_int; /* as wide as real */
#else
typedef float real;
typedef int32_t real_int;
#endif

/* TILE_M rows times two vectors of accumulators fit the registers. */
#if defined(__AVX512F__)
enum { VEC_BYTES = 64, TILE_M = 8 };
#elif defined(__AVX2__)
enum { VEC_BYTES = 32, TILE_M = 4 };
#else
enum { VEC_BYTES = 16, TILE_M = 4 };
#endif
enum { LANES = VEC_BYTES / sizeof(real) };

typedef real vec __attribute__((vector_size(VEC_BYTES), may_alias));
typedef real vec_unaligned __attribute__((vector_size(VEC_BYTES), may_alias, aligned(2)));
typedef real_int vec_int __attribute__((vector_size(VEC_BYTES), may_alias));

static inline vec vec_load(const real *p) {
    return *(const vec_unaligned *)p;
}
static inline void vec_store(real *p, vec x) {
    *(vec_unaligned *)p = x;
}
static inline vec vec_splat(real x) {
    return x - (vec){0};
}

/* yes where the lane of `mask` is -1, no where it is 0. */
static inline vec vec_select(vec_int mask, vec yes, vec no) {
    return (vec)((mask & (vec_int)yes) | (~mask & (vec_int)no));
}

/* a b + c */
static inline vec vec_fused(vec a, vec b, vec c) {
#if defined(__AVX512F__) && defined(KERN_REAL_IS_DOUBLE)
    return _mm512_fmadd_pd(a, b, c);
#elif defined(__AVX512F__)
    return _mm512_fmadd_ps(a, b, c);
#elif defined(__FMA__) && defined(KERN_REAL_IS_DOUBLE)
    return _mm256_fmadd_pd(a, b, c);
#elif defined(__FMA__)
    return _mm256_fmadd_ps(a, b, c);
#else
    return a * b + c;
#endif
}

/* The larger; b if either is NaN. */
static inline vec vec_max(vec a, vec b) {
#if defined(__AVX512F__) && defined(KERN_REAL_IS_DOUBLE)
    return _mm512_max_pd(a, b);
#elif defined(__AVX512F__)
    return _mm512_max_ps(a, b);
#else
    return vec_select(a > b, a, b);
#endif
}

#endif
