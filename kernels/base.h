/* What every room stands on: status and error text, always-on assertions, aligned memory, element
 * types, time. The only header of kernels/ that data/ and configs/ may include.
 * All functions are local (no rank but the caller's takes part) and thread-safe. */
#ifndef KERNELS_BASE_H
#define KERNELS_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Faults of the caller or the world. Our own bugs are ASSERTs. */
typedef enum {
    KERN_OK = 0,
    KERN_ERR_USAGE,       /* wrong command line or argument */
    KERN_ERR_CONFIG,      /* a configuration that cannot be */
    KERN_ERR_FILE,        /* the operating system refused: missing, no permission, disk full */
    KERN_ERR_DATA,        /* a file's contents are torn, foreign or out of bounds */
    KERN_ERR_MEMORY,      /* does not fit */
    KERN_ERR_NUMERIC,     /* a value that must be finite is not */
    KERN_ERR_DEVICE,      /* a call of a device failed; what it computed is not to be used */
    KERN_ERR_GRAPH,       /* a graph that could not be built or compiled */
    KERN_ERR_INTERRUPTED, /* a signal asked to stop; work was saved */
    KERN_ERR_RANKS,       /* another rank failed or is missing, or ranks do not agree */
} kern_status;

/* Remembers a message (one per thread: cause, then hint) and returns `status`. The message is
 * truncated at 2047 bytes. Never returns KERN_OK. */
kern_status kern_fail(kern_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Puts "format: " before the message that is there and returns `status`. */
kern_status kern_fail_context(kern_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The calling thread's last message; "" before the first. Valid until the next failure. */
const char *kern_error(void);

/* In a function with `kern_status status = KERN_OK` and one `done:` exit that frees what it owns.
 */
#define TRY(call)                                                                                  \
    do {                                                                                           \
        status = (call);                                                                           \
        if (status != KERN_OK) goto done;                                                          \
    } while (0)

/* A broken promise of our own code: prints place and condition, aborts. Never compiled out. */
#define ASSERT(condition)                                                                          \
    ((condition) ? (void)0 : kern_assert_failed(#condition, __FILE__, __LINE__))
_Noreturn void kern_assert_failed(const char *condition, const char *file, int line);

/* Element types of tensors that are computed with. */
typedef enum { KERN_F32, KERN_F64, KERN_BF16, KERN_I32, KERN_DTYPES } kern_dtype;
size_t kern_dtype_bytes(kern_dtype dtype);
const char *kern_dtype_name(kern_dtype dtype); /* "f32" */

/* Element i of a buffer of f64, or else of f32. */
static inline double kern_real_at(const void *buffer, kern_dtype dtype, int64_t i) {
    return dtype == KERN_F64 ? ((const double *)buffer)[i] : (double)((const float *)buffer)[i];
}
static inline void kern_real_put(void *buffer, kern_dtype dtype, int64_t i, double value) {
    if (dtype == KERN_F64)
        ((double *)buffer)[i] = value;
    else
        ((float *)buffer)[i] = (float)value;
}

static inline int64_t kern_min(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static inline int64_t kern_max(int64_t a, int64_t b) {
    return a > b ? a : b;
}
static inline size_t kern_max_bytes(size_t a, size_t b) {
    return a > b ? a : b;
}
/* a / by, rounded up, of numbers that are not negative; and a up to a multiple of `by`. */
static inline int64_t kern_divide_up(int64_t a, int64_t by) {
    return (a + by - 1) / by;
}
static inline int64_t kern_round_up(int64_t a, int64_t by) {
    return kern_divide_up(a, by) * by;
}

/* `bytes` rounded up to whole cache lines. */
static inline size_t kern_align(size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

/* `bytes` of memory aligned to 64 bytes, contents undefined; `what` names it in the error. Free
 * with kern_free (NULL is fine). Zero bytes give a valid pointer. */
kern_status kern_alloc(void **memory, size_t bytes, const char *what);
/* Large memory is zeroed by OpenMP's threads, each a run of it in order, as kern_rows_run shares
 * its elements: where memory is near some processors, a thread's run is near the thread. */
kern_status kern_alloc_zero(void **memory, size_t bytes, const char *what);
void kern_free(void *memory);

/* Small things: freed with free(); running out of memory for them ends the program with a message.
 * `count` zeroed items of `item` bytes each (none give a valid pointer): */
void *kern_array(int64_t count, size_t item);
/* `memory` of *capacity items grown to hold at least `needed`, doubling; contents kept: */
void *kern_grow(void *memory, int64_t *capacity, int64_t needed, size_t item);

double kern_seconds(void); /* monotonic clock */

/* Bytes of this process that are resident now / at most so far (VmRSS, VmHWM). 0 if unknown. */
size_t kern_resident_bytes(void);
size_t kern_peak_resident_bytes(void);

#endif
