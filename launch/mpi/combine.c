/* Sums, largest and least of what ranks have, in the order of the ranks. */
#include "launch/mpi/group.h"

#include <string.h>

size_t launch_mpi_element(int dtype) {
    return dtype == MPI_I64 ? sizeof(int64_t) : kern_dtype_bytes((kern_dtype)dtype);
}

/* to[i] = a[i] with b[i], for one type; unsigned sums wrap around. */
#define PAIR(name, type, sum_type)                                                                 \
    static void name(type *to, const type *a, const type *b, int64_t count, kern_reduction how) {  \
        if (how == KERN_SUM)                                                                       \
            for (int64_t i = 0; i < count; i++) to[i] = (type)((sum_type)a[i] + (sum_type)b[i]);   \
        else if (how == KERN_MAX)                                                                  \
            for (int64_t i = 0; i < count; i++) to[i] = a[i] > b[i] ? a[i] : b[i];                 \
        else                                                                                       \
            for (int64_t i = 0; i < count; i++) to[i] = a[i] > b[i] ? b[i] : a[i];                 \
    }
PAIR(pair_f32, float, float)
PAIR(pair_f64, double, double)
PAIR(pair_i32, int32_t, uint32_t)
PAIR(pair_i64, int64_t, uint64_t)

enum { BLOCK = 256 };

static void widen(float *to, const uint16_t *from, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits = (uint32_t)from[i] << 16;
        memcpy(to + i, &bits, sizeof bits);
    }
}

/* To nearest, ties to even; what is no number stays none. */
static void narrow(uint16_t *to, const float *from, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, from + i, sizeof bits);
        bool none = (bits & 0x7fffffff) > 0x7f800000;
        to[i] = (uint16_t)(none ? bits >> 16 | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }
}

static void combine_bf16(uint16_t *to, const void *const *from, int sources, int64_t count,
                         kern_reduction how) {
    float sum[BLOCK], next[BLOCK];
    for (int64_t at = 0; at < count; at += BLOCK) {
        int64_t some = kern_min(BLOCK, count - at);
        widen(sum, (const uint16_t *)from[0] + at, some);
        for (int s = 1; s < sources; s++) {
            widen(next, (const uint16_t *)from[s] + at, some);
            pair_f32(sum, sum, next, some, how);
        }
        narrow(to + at, sum, some);
    }
}

static void pair(void *to, const void *a, const void *b, int64_t count, int dtype,
                 kern_reduction how) {
    switch (dtype) {
    case KERN_F32: pair_f32(to, a, b, count, how); break;
    case KERN_F64: pair_f64(to, a, b, count, how); break;
    case KERN_I32: pair_i32(to, a, b, count, how); break;
    default: pair_i64(to, a, b, count, how);
    }
}

/* The sums of some elements stay in the cache until the last summand. */
void launch_mpi_combine(void *to, const void *const *from, int sources, int64_t count, int dtype,
                        kern_reduction how) {
    _Alignas(64) char sum[BLOCK * sizeof(int64_t)];
    size_t element = launch_mpi_element(dtype);
    if (dtype == KERN_BF16) {
        combine_bf16(to, from, sources, count, how);
        return;
    }
    if (sources == 1 && to != from[0]) memcpy(to, from[0], (size_t)count * element);
    for (int64_t at = 0, some; at < count; at += some) {
        some = sources > 2 ? kern_min(BLOCK, count - at) : count;
        size_t offset = (size_t)at * element;
        for (int s = 1; s < sources; s++)
            pair(s == sources - 1 ? (char *)to + offset : sum,
                 s == 1 ? (const char *)from[0] + offset : sum, (const char *)from[s] + offset,
                 some, dtype, how);
    }
}
