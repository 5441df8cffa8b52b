/* e^x for the vectors of real_isa.h, for x that the caller knows to be at most about 88:
 * attention's probabilities, whose exponents are at most rounding above 0. */
#ifndef KERNELS_EXP_ISA_H
#define KERNELS_EXP_ISA_H

#include "kernels/real_isa.h"

#ifdef KERN_REAL_IS_DOUBLE
enum { EXP_TERMS = 14, EXP_SHIFT = 52, EXP_BIAS = 1023 };
#define EXP_ROUND 6755399441055744.0 /* 1.5 * 2^52: adding it rounds to an integer */
#define EXP_LOWEST -708.0
#define EXP_LN2_HIGH 0x1.62e42fee00000p-1
#define EXP_LN2_LOW 0x1.a39ef35793c76p-33
static const real exp_terms[EXP_TERMS] = {1.0,
                                          1.0,
                                          0.5,
                                          1.0 / 6,
                                          1.0 / 24,
                                          1.0 / 120,
                                          1.0 / 720,
                                          1.0 / 5040,
                                          1.0 / 40320,
                                          1.0 / 362880,
                                          1.0 / 3628800,
                                          1.0 / 39916800,
                                          1.0 / 479001600,
                                          1.0 / 6227020800};
#else
enum { EXP_TERMS = 7, EXP_SHIFT = 23, EXP_BIAS = 127 };
#define EXP_ROUND 12582912.0f /* 1.5 * 2^23 */
#define EXP_LOWEST -87.0f
#define EXP_LN2_HIGH 0.693359375f
#define EXP_LN2_LOW -2.12194440e-4f
/* (e^r - 1 - r) / r^2 interpolated at Chebyshev nodes of |r| <= ln 2 / 2: off by 2^-26 at most */
static const real exp_terms[EXP_TERMS] = {1.0f,
                                          1.0f,
                                          0.5f,
                                          0.16666576266288757f,
                                          0.04166655242443085f,
                                          0.00836323294788599f,
                                          0.0013926250394433737f};
#endif

/* At most 1 ulp off (1.5 without fused operations); 0 below EXP_LOWEST; NaN stays NaN. */
static inline vec vec_exp(vec x) {
    vec rounded = vec_fused(x, vec_splat((real)1.4426950408889634), vec_splat(EXP_ROUND));
    vec n = rounded - vec_splat(EXP_ROUND);
    vec r = vec_fused(n, vec_splat(-EXP_LN2_HIGH), x);
    r = vec_fused(n, vec_splat(-EXP_LN2_LOW), r);
    vec sum = vec_splat(exp_terms[EXP_TERMS - 1]);
#pragma GCC unroll 14
    for (int i = EXP_TERMS - 2; i >= 0; i--) sum = vec_fused(sum, r, vec_splat(exp_terms[i]));
    /* The low bits of `rounded` are n; the rest of it is shifted out. */
    vec scale = (vec)(((vec_int)rounded + EXP_BIAS) << EXP_SHIFT);
    return vec_select(x < vec_splat(EXP_LOWEST), (vec){0}, sum * scale);
}

#endif
