/* What a kernel is written in: the only header of a kernel's source, for nvcc, NVRTC, Clang's CUDA
 * mode and, in tests, an ordinary C compiler. Everything that is not plain C stands behind it.
 *
 * KERNEL(name, type, threads) { ... } is a kernel of blocks of at most `threads` threads (a
 * multiple of 32), with one struct of arguments, `args`. DEVICE marks what it calls, UNROLL a loop
 * whose length is known: arrays indexed by it lie in registers. All threads of
 * a block reach every sync_block and, of a warp, every other collective (named warp_, sync_warp,
 * mma_, load_matrix_): no return before the last one, none under a condition that differs by
 * thread.
 *
 * kernels/vector_math.h gives a number's bits, bf16, exp and log.
 *
 *   thread_x() threads_x() lane()      in the block; lane: in the warp of 32
 *   block_x() block_y() block_z()      in the grid
 *   shared_memory()                    what LAUNCH asked for, aligned to 16, undefined
 *   sync_block() sync_warp()           order memory; nothing else does
 *   warp_shfl(x, from) warp_xor(x, bits) warp_down(x, by)   float; each has a form _f64
 *   warp_ballot(condition)             bit i: lane i's
 *   fma_f32 fma_f64 sqrt_f32 sqrt_f64  rounded once
 *   exp2_fast(x)                       2^x within 2^-22, 0 below 2^-126, by the GPU's own table
 *   SHARED                             before an array of the block's (row programs; not in C)
 *   load_16 store_16                   of a pack_16, at addresses aligned to 16
 *   bf16_pack(low, high) bf16_low(x) bf16_high(x)   two bf16 in 32 bits, to nearest even
 *   mma_16x8x16_bf16(d, a, b)          d [4] += a [4] b [2], fragments as PTX lays them out
 *   load_matrix_x4[_trans](to, row)    four 8 x 8 matrices of 2 bytes; lane i gives a row of matrix
 *                                      i / 8, 16 bytes of shared memory
 *   copy_async_16(shared, global, valid)   16 bytes, or zeros; there after copy_async_commit() and
 *   copy_async_wait(n)                     this: all but the thread's last n commits (a literal) */
#ifndef KERNELS_CUDA_DEVICE_H
#define KERNELS_CUDA_DEVICE_H

#if !defined(__CUDACC__) && !defined(__CUDA__)
#include "kernels/cuda/device_host.h"
#else /* a GPU: PTX for sm_80 and later */

#ifdef __CUDACC_RTC__
typedef signed char int8_t;
typedef int int32_t;
typedef long long int64_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
#else
#include <stddef.h>
#include <stdint.h>
#endif

#ifndef __CUDACC__ /* Clang without the toolkit's headers */
#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
#define __launch_bounds__(threads, blocks) __attribute__((launch_bounds(threads, blocks)))
#define ARGUMENT
#define memcpy __builtin_memcpy
#define fabsf __builtin_fabsf
#define fabs __builtin_fabs
#else
#define ARGUMENT __grid_constant__ /* its address may be taken */
#endif
#ifndef INFINITY /* NVRTC and Clang have no headers */
#define INFINITY kern_from_bits_f32(0x7f800000u)
#define NAN kern_from_bits_f32(0x7fc00000u)
#endif

#define DEVICE static inline __attribute__((always_inline)) __device__
#define UNROLL _Pragma("unroll")
#define KERNEL(name, type, threads)                                                                \
    extern "C" __global__ void __launch_bounds__(threads, 1) name(const ARGUMENT type args)
#define KERNEL_DECLARE(name)
#define SHARED __shared__ __attribute__((aligned(16)))

#define KERN_DEVICE DEVICE
#include "kernels/vector_math.h"

#define KERN_REGISTER(name, text)                                                                  \
    DEVICE int name(void) {                                                                        \
        int x;                                                                                     \
        asm("mov.u32 %0, %" text ";" : "=r"(x));                                                   \
        return x;                                                                                  \
    }
KERN_REGISTER(thread_x, "%tid.x")
KERN_REGISTER(threads_x, "%ntid.x")
KERN_REGISTER(block_x, "%ctaid.x")
KERN_REGISTER(block_y, "%ctaid.y")
KERN_REGISTER(block_z, "%ctaid.z")
#undef KERN_REGISTER

DEVICE int lane(void) {
    return thread_x() & 31;
}

extern __shared__ __attribute__((aligned(16))) unsigned char kern_shared[];

DEVICE void *shared_memory(void) {
    return kern_shared;
}

DEVICE void sync_block(void) {
    asm volatile("bar.sync 0;" ::: "memory");
}

DEVICE void sync_warp(void) {
    asm volatile("bar.warp.sync 0xffffffff;" ::: "memory");
}

DEVICE uint32_t kern_shuffle(uint32_t x, int from) {
    uint32_t y;
    asm volatile("shfl.sync.idx.b32 %0, %1, %2, 31, 0xffffffff;" : "=r"(y) : "r"(x), "r"(from));
    return y;
}

DEVICE float warp_shfl(float x, int from) {
    return kern_from_bits_f32(kern_shuffle(kern_bits_f32(x), from));
}

DEVICE double warp_shfl_f64(double x, int from) {
    uint64_t bits = kern_bits_f64(x);
    uint32_t low = kern_shuffle((uint32_t)bits, from);
    return kern_from_bits_f64((uint64_t)kern_shuffle((uint32_t)(bits >> 32), from) << 32 | low);
}

DEVICE float warp_xor(float x, int bits) {
    return warp_shfl(x, lane() ^ bits);
}

DEVICE double warp_xor_f64(double x, int bits) {
    return warp_shfl_f64(x, lane() ^ bits);
}

/* The last lanes keep their own. */
DEVICE float warp_down(float x, int by) {
    return warp_shfl(x, lane() + by > 31 ? lane() : lane() + by);
}

DEVICE double warp_down_f64(double x, int by) {
    return warp_shfl_f64(x, lane() + by > 31 ? lane() : lane() + by);
}

DEVICE uint32_t warp_ballot(bool condition) {
    uint32_t y;
    asm volatile("{ .reg .pred p; setp.ne.u32 p, %1, 0; vote.sync.ballot.b32 %0, p, 0xffffffff; }"
                 : "=r"(y)
                 : "r"((uint32_t)condition));
    return y;
}

DEVICE float fma_f32(float a, float b, float c) {
    float d;
    asm("fma.rn.f32 %0, %1, %2, %3;" : "=f"(d) : "f"(a), "f"(b), "f"(c));
    return d;
}

DEVICE double fma_f64(double a, double b, double c) {
    double d;
    asm("fma.rn.f64 %0, %1, %2, %3;" : "=d"(d) : "d"(a), "d"(b), "d"(c));
    return d;
}

DEVICE float sqrt_f32(float a) {
    float d;
    asm("sqrt.rn.f32 %0, %1;" : "=f"(d) : "f"(a));
    return d;
}

DEVICE double sqrt_f64(double a) {
    double d;
    asm("sqrt.rn.f64 %0, %1;" : "=d"(d) : "d"(a));
    return d;
}

DEVICE float exp2_fast(float a) {
    float d;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(d) : "f"(a));
    return d;
}

typedef struct __attribute__((aligned(16))) {
    uint32_t word[4];
} pack_16;

DEVICE pack_16 load_16(const void *from) {
    pack_16 p;
    asm volatile("ld.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(p.word[0]), "=r"(p.word[1]), "=r"(p.word[2]), "=r"(p.word[3])
                 : "l"(from)
                 : "memory");
    return p;
}

DEVICE void store_16(void *to, pack_16 p) {
    asm volatile("st.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(p.word[0]), "r"(p.word[1]),
                 "r"(p.word[2]), "r"(p.word[3])
                 : "memory");
}

DEVICE uint32_t bf16_pack(float low, float high) {
    uint32_t d;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(high), "f"(low));
    return d;
}

DEVICE void mma_16x8x16_bf16(float *d, const uint32_t *a, const uint32_t *b) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* The compiler sees through this, so that loads of one tile differ in a constant. */
DEVICE uint32_t kern_shared_address(const void *shared) {
#ifdef __CUDACC__
    return (uint32_t)__cvta_generic_to_shared(shared);
#else
    return (uint32_t)(uint64_t)(const __attribute__((address_space(3))) void *)shared;
#endif
}

DEVICE void load_matrix_x4(uint32_t *to, const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(kern_shared_address(row))
                 : "memory");
}

DEVICE void load_matrix_x4_trans(uint32_t *to, const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(kern_shared_address(row))
                 : "memory");
}

/* What is not valid is not read: no byte of it is asked for. */
DEVICE void copy_async_16(void *shared, const void *global, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(kern_shared_address(shared)),
                 "l"(global), "r"(valid ? 16 : 0)
                 : "memory");
}

DEVICE void copy_async_commit(void) {
    asm volatile("cp.async.commit_group;" ::: "memory");
}

#define copy_async_wait(n) asm volatile("cp.async.wait_group " #n ";" ::: "memory")

#endif

DEVICE float bf16_low(uint32_t x) {
    return kern_from_bits_f32(x << 16);
}

DEVICE float bf16_high(uint32_t x) {
    return kern_from_bits_f32(x & 0xffff0000u);
}

#endif
