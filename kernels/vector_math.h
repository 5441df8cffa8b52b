/* Elementary functions for loops that the compiler vectorises: free of branches, tables and calls,
 * so that vector body and scalar tail give the same bits, on every instruction set (no contraction
 * is used). exp and log are within 1 ulp in f64 and 2 in f32, subnormal results included; sigmoid
 * within 3. For files NAME_isa.c, and part of kernels/cuda/device.h, which defines KERN_DEVICE: a
 * GPU has no headers. */
#ifndef KERNELS_VECTOR_MATH_H
#define KERNELS_VECTOR_MATH_H

#ifndef KERN_DEVICE
#define KERN_DEVICE static inline
#endif
#if !defined(__CUDACC__) && !defined(__CUDA__)
#include <math.h>
#include <stdint.h>
#include <string.h>
#endif

KERN_DEVICE uint32_t kern_bits_f32(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

KERN_DEVICE float kern_from_bits_f32(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

KERN_DEVICE uint64_t kern_bits_f64(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

KERN_DEVICE double kern_from_bits_f64(uint64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

KERN_DEVICE float kern_bf16_to_f32(uint16_t x) {
    return kern_from_bits_f32((uint32_t)x << 16);
}

/* Round to nearest even; NaN stays NaN. */
KERN_DEVICE uint16_t kern_bf16_from_f32(float x) {
    uint32_t bits = kern_bits_f32(x);
    uint32_t rounded = bits + 0x7FFFu + ((bits >> 16) & 1u);
    return (uint16_t)((x != x ? bits | 0x400000u : rounded) >> 16);
}

/* One rounding only: the step through f32 rounds to odd, which keeps what the second one needs. */
KERN_DEVICE uint16_t kern_bf16_from_f64(double x) {
    float near = (float)x;
    uint32_t bits = kern_bits_f32(near);
    double back = (double)near;
    uint32_t too_large = fabs(back) > fabs(x) ? 1u : 0u;
    uint32_t odd = (bits - too_large) | 1u;
    return kern_bf16_from_f32(kern_from_bits_f32(back != x ? odd : bits));
}

/* e^x = 2^n e^r with n = round(x / ln 2) and r = x - n ln 2, |r| <= 0.347, ln 2 in two pieces whose
 * first product with n is exact. 2^n is applied as two factors, so that results below the normal
 * range are rounded once and those above become infinite. NaN passes the limits and stays. */
KERN_DEVICE float kern_exp_f32(float x) {
    float y = x > 89.0f ? 89.0f : x;
    y = y < -104.0f ? -104.0f : y;
    const float shift = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    float z = y * 1.44269504f + shift;
    float n = z - shift;
    float r = (y - n * 0.693359375f) - n * -2.12194440e-4f;
    float q = 1.0f / 5040.0f;
    q = q * r + 1.0f / 720.0f;
    q = q * r + 1.0f / 120.0f;
    q = q * r + 1.0f / 24.0f;
    q = q * r + 1.0f / 6.0f;
    q = q * r + 0.5f;
    float p = 1.0f + (r + (r * r) * q);
    uint32_t u = kern_bits_f32(z) - 0x4B400000u + 256u; /* n + 256 */
    uint32_t half = u >> 1;
    return (p * kern_from_bits_f32((half - 1u) << 23)) * kern_from_bits_f32((u - half - 1u) << 23);
}

KERN_DEVICE double kern_exp_f64(double x) {
    double y = x > 710.0 ? 710.0 : x;
    y = y < -746.0 ? -746.0 : y;
    const double shift = 6755399441055744.0; /* 1.5 * 2^52 */
    double z = y * 1.4426950408889634 + shift;
    double n = z - shift;
    double r = (y - n * 0x1.62e42fee00000p-1) - n * 0x1.a39ef35793c76p-33;
    double q = 1.0 / 6227020800.0;
    q = q * r + 1.0 / 479001600.0;
    q = q * r + 1.0 / 39916800.0;
    q = q * r + 1.0 / 3628800.0;
    q = q * r + 1.0 / 362880.0;
    q = q * r + 1.0 / 40320.0;
    q = q * r + 1.0 / 5040.0;
    q = q * r + 1.0 / 720.0;
    q = q * r + 1.0 / 120.0;
    q = q * r + 1.0 / 24.0;
    q = q * r + 1.0 / 6.0;
    q = q * r + 0.5;
    double p = 1.0 + (r + (r * r) * q);
    uint64_t u = kern_bits_f64(z) - 0x4338000000000000u + 2048u; /* n + 2048 */
    uint64_t half = u >> 1;
    return (p * kern_from_bits_f64((half - 1u) << 52)) * kern_from_bits_f64((u - half - 1u) << 52);
}

/* ln x = k ln 2 + ln(1 + f) with 1 + f in [sqrt(1/2), sqrt 2), and with s = f / (2 + f):
 * ln(1 + f) = f - f^2/2 + s (f^2/2 + R), R = 2/3 s^2 + 2/5 s^4 + ... */
KERN_DEVICE float kern_log_f32(float x) {
    uint32_t small = x < 0x1p-126f ? 1u : 0u; /* below the normal range: scaled up */
    uint32_t u = kern_bits_f32(small ? x * 0x1p23f : x) - 0x3F3504F3u;
    float k = (float)((int32_t)u >> 23) - (small ? 23.0f : 0.0f);
    float f = kern_from_bits_f32((u & 0x7FFFFFu) + 0x3F3504F3u) - 1.0f;
    float s = f / (2.0f + f), t = s * s;
    float r = 2.0f / 11.0f;
    r = r * t + 2.0f / 9.0f;
    r = r * t + 2.0f / 7.0f;
    r = r * t + 2.0f / 5.0f;
    r = r * t + 2.0f / 3.0f;
    r = r * t;
    float h = 0.5f * f * f;
    float y = k * 0.693359375f - ((h - (s * (h + r) + k * -2.12194440e-4f)) - f);
    y = x == INFINITY ? INFINITY : y;
    float special = x == 0.0f ? -INFINITY : NAN;
    return x > 0.0f ? y : special;
}

KERN_DEVICE double kern_log_f64(double x) {
    uint64_t small = x < 0x1p-1022 ? 1u : 0u;
    uint64_t u = kern_bits_f64(small ? x * 0x1p52 : x) - 0x3FE6A09E667F3BCDu;
    /* k + 2048 as the low bits of 2^52 + k + 2048 */
    uint64_t biased = ((u + 0x8000000000000000u) >> 52) | 0x4330000000000000u;
    double k = kern_from_bits_f64(biased) - (0x1p52 + 2048.0) - (small ? 52.0 : 0.0);
    double f = kern_from_bits_f64((u & 0xFFFFFFFFFFFFFu) + 0x3FE6A09E667F3BCDu) - 1.0;
    double s = f / (2.0 + f), t = s * s;
    double r = 2.0 / 25.0;
    r = r * t + 2.0 / 23.0;
    r = r * t + 2.0 / 21.0;
    r = r * t + 2.0 / 19.0;
    r = r * t + 2.0 / 17.0;
    r = r * t + 2.0 / 15.0;
    r = r * t + 2.0 / 13.0;
    r = r * t + 2.0 / 11.0;
    r = r * t + 2.0 / 9.0;
    r = r * t + 2.0 / 7.0;
    r = r * t + 2.0 / 5.0;
    r = r * t + 2.0 / 3.0;
    r = r * t;
    double h = 0.5 * f * f;
    double y = k * 0x1.62e42fee00000p-1 - ((h - (s * (h + r) + k * 0x1.a39ef35793c76p-33)) - f);
    y = x == (double)INFINITY ? (double)INFINITY : y;
    double special = x == 0.0 ? -(double)INFINITY : (double)NAN;
    return x > 0.0 ? y : special;
}

/* 1 / (1 + e^-x) from e^-|x| <= 1, which cannot overflow. */
KERN_DEVICE float kern_sigmoid_f32(float x) {
    float e = kern_exp_f32(-fabsf(x));
    return (x >= 0.0f ? 1.0f : e) / (1.0f + e);
}

KERN_DEVICE double kern_sigmoid_f64(double x) {
    double e = kern_exp_f64(-fabs(x));
    return (x >= 0.0 ? 1.0 : e) / (1.0 + e);
}

#endif
