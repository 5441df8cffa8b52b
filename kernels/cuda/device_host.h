/* kernels/cuda/device.h for an ordinary C compiler. A kernel becomes an object that a block's
 * threads can be run from, one after another on stacks of their own; whoever runs them (tests do)
 * defines the functions that are only declared here. `file` and `line` say where a collective
 * stands. */
#ifndef KERNELS_CUDA_DEVICE_HOST_H
#define KERNELS_CUDA_DEVICE_HOST_H

#include <stdbool.h>
#include <stddef.h>

#define DEVICE static inline __attribute__((unused))
#define KERN_DEVICE DEVICE
#define UNROLL

#include "kernels/vector_math.h"

/* A kernel, as its address is handed to a launch. */
typedef struct kern_block_kernel {
    const char *name;
    void (*thread)(const void *args); /* one thread of a block */
    size_t args;                      /* bytes */
    int threads;                      /* at most, in a block */
} kern_block_kernel;

#define KERNEL_DECLARE(name) extern const kern_block_kernel name;
#define KERNEL(name, type, threads) KERN_KERNEL(name, type, threads)
#define KERN_KERNEL(name, type, threads)                                                           \
    static void name##_body(const type args);                                                      \
    static void name##_thread(const void *args) {                                                  \
        name##_body(*(const type *)args);                                                          \
    }                                                                                              \
    const kern_block_kernel name = {#name, name##_thread, sizeof(type), threads};                  \
    static void name##_body(const type args)

/* Where the thread that runs is. */
typedef struct {
    int thread, threads, block[3];
    void *shared;
} kern_block_place;
extern _Thread_local kern_block_place kern_place;

DEVICE int thread_x(void) {
    return kern_place.thread;
}

DEVICE int threads_x(void) {
    return kern_place.threads;
}

DEVICE int lane(void) {
    return kern_place.thread & 31;
}

DEVICE int block_x(void) {
    return kern_place.block[0];
}

DEVICE int block_y(void) {
    return kern_place.block[1];
}

DEVICE int block_z(void) {
    return kern_place.block[2];
}

DEVICE void *shared_memory(void) {
    return kern_place.shared;
}

void kern_sync_block(const char *file, int line);
void kern_sync_warp(const char *file, int line);
uint64_t kern_warp_shuffle(uint64_t bits, int from, const char *file, int line);
uint32_t kern_warp_ballot(bool condition, const char *file, int line);
void kern_mma_bf16(float *d, const uint32_t *a, const uint32_t *b, const char *file, int line);
void kern_load_matrix(uint32_t *to, const void *row, bool transposed, const char *file, int line);
void kern_copy_async(void *shared, const void *global, bool valid);
void kern_copy_async_commit(void);
void kern_copy_async_wait(int last);
void kern_check_pack(const void *at); /* where a GPU faults */

#define sync_block() kern_sync_block(__FILE__, __LINE__)
#define sync_warp() kern_sync_warp(__FILE__, __LINE__)
#define warp_ballot(condition) kern_warp_ballot(condition, __FILE__, __LINE__)
#define mma_16x8x16_bf16(d, a, b) kern_mma_bf16(d, a, b, __FILE__, __LINE__)
#define load_matrix_x4(to, row) kern_load_matrix(to, row, false, __FILE__, __LINE__)
#define load_matrix_x4_trans(to, row) kern_load_matrix(to, row, true, __FILE__, __LINE__)
#define copy_async_16(shared, global, valid) kern_copy_async(shared, global, valid)
#define copy_async_commit() kern_copy_async_commit()
#define copy_async_wait(n) kern_copy_async_wait(n)

DEVICE int kern_lane_below(int by) {
    return lane() + by > 31 ? lane() : lane() + by;
}

#define kern_shuffle_f32(x, from)                                                                  \
    kern_from_bits_f32((uint32_t)kern_warp_shuffle(kern_bits_f32(x), from, __FILE__, __LINE__))
#define kern_shuffle_f64(x, from)                                                                  \
    kern_from_bits_f64(kern_warp_shuffle(kern_bits_f64(x), from, __FILE__, __LINE__))
#define warp_shfl(x, from) kern_shuffle_f32(x, from)
#define warp_shfl_f64(x, from) kern_shuffle_f64(x, from)
#define warp_xor(x, bits) kern_shuffle_f32(x, lane() ^ (bits))
#define warp_xor_f64(x, bits) kern_shuffle_f64(x, lane() ^ (bits))
#define warp_down(x, by) kern_shuffle_f32(x, kern_lane_below(by))
#define warp_down_f64(x, by) kern_shuffle_f64(x, kern_lane_below(by))

DEVICE float fma_f32(float a, float b, float c) {
    return fmaf(a, b, c);
}

DEVICE double fma_f64(double a, double b, double c) {
    return fma(a, b, c);
}

DEVICE float sqrt_f32(float a) {
    return sqrtf(a);
}

DEVICE double sqrt_f64(double a) {
    return sqrt(a);
}

DEVICE float exp2_fast(float a) {
    return a < -126 ? 0 : exp2f(a);
}

typedef struct __attribute__((aligned(16))) {
    uint32_t word[4];
} pack_16;

/* One access each, as on a GPU, where accesses are counted. */
typedef uint32_t kern_words __attribute__((vector_size(16), may_alias));

DEVICE pack_16 load_16(const void *from) {
    kern_check_pack(from);
    kern_words words = *(const kern_words *)from;
    pack_16 p;
    memcpy(&p, &words, sizeof p);
    return p;
}

DEVICE void store_16(void *to, pack_16 p) {
    kern_check_pack(to);
    kern_words words;
    memcpy(&words, &p, sizeof words);
    *(kern_words *)to = words;
}

/* NaN as a GPU has it. */
DEVICE uint32_t kern_bf16_bits(float x) {
    return x != x ? 0x7fffu : kern_bf16_from_f32(x);
}

DEVICE uint32_t bf16_pack(float low, float high) {
    return kern_bf16_bits(high) << 16 | kern_bf16_bits(low);
}

#endif
