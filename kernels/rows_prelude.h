/* What the text of a row program (kernels/rows_text.h) is written in: stands before it, whole, for
 * NVRTC, for Clang's CUDA mode, and for a C compiler, which tests use to see what a GPU would do.
 *
 * A kernel is a list of phases, each run by all threads of a block before the next one begins:
 *     ROWS_KERNEL(name, memories) { ROWS_START(kept type) ...
 *         ROWS_THREADS ... ROWS_BARRIER ... ROWS_END }
 * A GPU has a barrier where a phase ends; C has a loop over the threads there. So C computes what
 * the GPU does exactly if no phase reads what another thread writes in it, and that is found by
 * running the threads in both orders. A thread keeps from phase to phase what lies in KEPT, the
 * block what is declared by ROWS_SHARED; in C both are NaN before they are written.
 *
 * ROWS_MEMORY(i) is the i-th address handed to the kernel, `block` which block of the grid runs. */
#define ROWS_BLOCK_THREADS 256

#if defined(__CUDACC__) || defined(__CUDA__)
#include "kernels/cuda/device.h"

#define ROWS_KERNEL(name, memories)                                                                \
    typedef struct {                                                                               \
        void *memory[memories];                                                                    \
    } name##_arguments;                                                                            \
    KERNEL(name, name##_arguments, ROWS_BLOCK_THREADS)
#define ROWS_MEMORY(i) args.memory[i]
#define ROWS_START(type)                                                                           \
    const int64_t block = block_x();                                                               \
    type kept;
#define ROWS_SHARED(type, name, count) SHARED type name[count];
#define KEPT kept
#define ROWS_THREADS                                                                               \
    {                                                                                              \
        const int thread = thread_x();
#define ROWS_END                                                                                   \
    }                                                                                              \
    sync_block();
#define ROWS_CHECK(condition)

#else
#define KERN_DEVICE static inline __attribute__((unused))
#define UNROLL
#include "kernels/vector_math.h"

int rows_backwards; /* the order in which the threads of a phase run */

KERN_DEVICE float sqrt_f32(float x) {
    return __builtin_sqrtf(x);
}
KERN_DEVICE double sqrt_f64(double x) {
    return __builtin_sqrt(x);
}

#define ROWS_KERNEL(name, memories)                                                                \
    extern const int name##_memories;                                                              \
    const int name##_memories = memories;                                                          \
    void name(void *const *memory, int64_t block);                                                 \
    void name(void *const *memory, int64_t block)
#define ROWS_MEMORY(i) memory[i]
#define ROWS_START(type)                                                                           \
    type kept[ROWS_BLOCK_THREADS];                                                                 \
    memset(kept, 0xFF, sizeof kept);
#define ROWS_SHARED(type, name, count)                                                             \
    type name[count];                                                                              \
    memset(name, 0xFF, sizeof name);
#define KEPT kept[thread]
#define ROWS_THREADS                                                                               \
    for (int turn = 0; turn < ROWS_BLOCK_THREADS; turn++) {                                        \
        const int thread = rows_backwards ? ROWS_BLOCK_THREADS - 1 - turn : turn;
#define ROWS_END }
#define ROWS_CHECK(condition) ((condition) ? (void)0 : __builtin_trap())
#endif
#define ROWS_BARRIER ROWS_END ROWS_THREADS
#define ROWS_FOR4 UNROLL for (int c = 0; c < 4; c++)

typedef struct __attribute__((aligned(16))) {
    float x[4];
} rows_f32_4;
typedef struct __attribute__((aligned(16))) {
    double x[2];
} rows_f64_2;
typedef struct __attribute__((aligned(16))) {
    int32_t x[4];
} rows_i32_4;
typedef struct __attribute__((aligned(8))) {
    uint16_t x[4];
} rows_bf16_4;

KERN_DEVICE int rows_aligned(const void *address, int bytes) {
    return (uint64_t)address % (uint64_t)bytes == 0;
}

KERN_DEVICE int64_t rows_least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* How many of the four columns from `column` on lie before `limit`. */
KERN_DEVICE int rows_left(int64_t limit, int64_t column) {
    int64_t left = limit - column;
    return left < 0 ? 0 : left < 4 ? (int)left : 4;
}

/* One element; four of them, zeros from the left-th on. `whole`: four lie aligned. */
#define ROWS_LOAD(real, suffix, type, dtype, pack, convert)                                        \
    KERN_DEVICE real rows_load_##dtype##_##suffix(const void *base, int64_t at) {                  \
        return (real)convert(((const type *)base)[at]);                                            \
    }                                                                                              \
    KERN_DEVICE void rows_load4_##dtype##_##suffix(real *d, const void *base, int64_t at,          \
                                                   int left, int whole) {                          \
        const type *from = (const type *)base + at;                                                \
        if (whole && left == 4) {                                                                  \
            enum { EACH = sizeof(pack) / sizeof(type) };                                           \
            ROWS_CHECK(rows_aligned(from, (int)sizeof(pack)));                                     \
            UNROLL for (int i = 0; i < 4; i += EACH) {                                             \
                const pack four = *(const pack *)(from + i);                                       \
                UNROLL for (int c = 0; c < EACH; c++) d[i + c] = (real)convert(four.x[c]);         \
            }                                                                                      \
        } else {                                                                                   \
            ROWS_FOR4 d[c] = c < left ? (real)convert(from[c]) : 0;                                \
        }                                                                                          \
    }
#define ROWS_STORE(real, suffix, type, dtype, pack, convert)                                       \
    KERN_DEVICE void rows_store_##dtype##_##suffix(void *base, int64_t at, real value) {           \
        ((type *)base)[at] = (type)convert(value);                                                 \
    }                                                                                              \
    KERN_DEVICE void rows_store4_##dtype##_##suffix(void *base, int64_t at, const real *a,         \
                                                    int left, int whole) {                         \
        type *to = (type *)base + at;                                                              \
        if (whole && left == 4) {                                                                  \
            enum { EACH = sizeof(pack) / sizeof(type) };                                           \
            ROWS_CHECK(rows_aligned(to, (int)sizeof(pack)));                                       \
            UNROLL for (int i = 0; i < 4; i += EACH) {                                             \
                pack four;                                                                         \
                UNROLL for (int c = 0; c < EACH; c++) four.x[c] = (type)convert(a[i + c]);         \
                *(pack *)(to + i) = four;                                                          \
            }                                                                                      \
        } else {                                                                                   \
            ROWS_FOR4 if (c < left) to[c] = (type)convert(a[c]);                                   \
        }                                                                                          \
    }
/* 4 `quarter` lanes halved twice, as far as lane `at`; all halvings of at most 32. */
#define ROWS_HALF(half, join)                                                                      \
    if (half < count) UNROLL                                                                       \
    for (int i = 0; i < half; i++) x[i] = join(x[i], x[i + half]);
#define ROWS_HALVE(real, name, join)                                                               \
    KERN_DEVICE real rows_fold_##name(const real *lane, int quarter, int at) {                     \
        const real a = lane[at], b = lane[at + quarter];                                           \
        const real c = lane[at + 2 * quarter], d = lane[at + 3 * quarter];                         \
        return join(join(a, c), join(b, d));                                                       \
    }                                                                                              \
    KERN_DEVICE real rows_tree_##name(const real *lane, int count) {                               \
        real x[32];                                                                                \
        UNROLL for (int i = 0; i < 32; i++) if (i < count) x[i] = lane[i];                         \
        ROWS_HALF(16, join)                                                                        \
        ROWS_HALF(8, join)                                                                         \
        ROWS_HALF(4, join)                                                                         \
        ROWS_HALF(2, join)                                                                         \
        ROWS_HALF(1, join)                                                                         \
        return x[0];                                                                               \
    }
#define ROWS_AS_IS(x) (x)
#define ROWS_ADD(a, b) ((a) + (b))
#define ROWS_REAL(real, suffix)                                                                    \
    ROWS_LOAD(real, suffix, float, f32, rows_f32_4, ROWS_AS_IS)                                    \
    ROWS_LOAD(real, suffix, double, f64, rows_f64_2, ROWS_AS_IS)                                   \
    ROWS_LOAD(real, suffix, int32_t, i32, rows_i32_4, ROWS_AS_IS)                                  \
    ROWS_LOAD(real, suffix, uint16_t, bf16, rows_bf16_4, kern_bf16_to_f32)                         \
    ROWS_STORE(real, suffix, float, f32, rows_f32_4, ROWS_AS_IS)                                   \
    ROWS_STORE(real, suffix, double, f64, rows_f64_2, ROWS_AS_IS)                                  \
    ROWS_STORE(real, suffix, uint16_t, bf16, rows_bf16_4, kern_bf16_from_##suffix)                 \
    KERN_DEVICE real rows_max_##suffix(real a, real b) {                                           \
        return a > b || a != a ? a : b;                                                            \
    }                                                                                              \
    KERN_DEVICE real rows_abs_##suffix(real a) {                                                   \
        return a < 0 ? -a : a + 0;                                                                 \
    }                                                                                              \
    ROWS_HALVE(real, sum_##suffix, ROWS_ADD)                                                       \
    ROWS_HALVE(real, max_##suffix, rows_max_##suffix)
ROWS_REAL(float, f32)
ROWS_REAL(double, f64)
