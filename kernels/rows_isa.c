/* Arithmetic of row programs, compiled for each instruction set: tables of functions that run one
 * step on one tile. Their bits are the same on all of them. */
#include "kernels/isa.h"
#include "kernels/rows_plan.h"
#include "kernels/vector_math.h"

#define INLINE inline __attribute__((always_inline))
/* Iterations of the loop that follows do not wait for each other. */
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif

static inline int64_t row_offset(const kern_row_step *s, const int64_t *index) {
    int64_t offset = 0;
    for (int axis = 0; axis < KERN_ROW_LEAD; axis++) offset += index[axis] * s->stride[axis];
    return offset;
}

static inline void next_row(int64_t *index, const kern_row_shape *shape) {
    for (int axis = shape->axes - 1; axis >= 0; axis--) {
        if (++index[axis] < shape->lead[axis]) return;
        index[axis] = 0;
    }
}

/* Vectors as wide as the registers; as many sums at a time as those hold. */
#if defined(__AVX512F__)
enum { VECTOR_BYTES = 64, SUMS = 16 };
#elif defined(__AVX2__)
enum { VECTOR_BYTES = 32, SUMS = 8 };
#else
enum { VECTOR_BYTES = 16, SUMS = 8 };
#endif
typedef float vector_f32 __attribute__((vector_size(VECTOR_BYTES)));
typedef int32_t mask_f32 __attribute__((vector_size(VECTOR_BYTES)));
typedef double vector_f64 __attribute__((vector_size(VECTOR_BYTES)));
typedef int64_t mask_f64 __attribute__((vector_size(VECTOR_BYTES)));

#define REAL float
#define VECTOR vector_f32
#define VECTOR_MASK mask_f32
#define ROOT(x) sqrtf(x)
#define TYPED(name) name##_f32
#include "kernels/rows_tile.h"
#undef REAL
#undef VECTOR
#undef VECTOR_MASK
#undef ROOT
#undef TYPED

#define REAL double
#define VECTOR vector_f64
#define VECTOR_MASK mask_f64
#define ROOT(x) sqrt(x)
#define TYPED(name) name##_f64
#include "kernels/rows_tile.h"

const kern_row_arithmetic KERN_ISA(kern_row_arithmetic_f32) = {kernel_f32, store_run_f32,
                                                               add_rows_f32, halve_lead_f32};
const kern_row_arithmetic KERN_ISA(kern_row_arithmetic_f64) = {kernel_f64, store_run_f64,
                                                               add_rows_f64, halve_lead_f64};
