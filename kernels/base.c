#include "kernels/base.h"

#include <omp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE_BYTES = 2048, HUGE_PAGE = 2 << 20, SHARED_BYTES = 16 << 20 };
static _Thread_local char message[MESSAGE_BYTES];

kern_status kern_fail(kern_status status, const char *format, ...) {
    ASSERT(status != KERN_OK);
    char text[MESSAGE_BYTES]; /* arguments may point into `message` */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    memcpy(message, text, sizeof text);
    return status;
}

kern_status kern_fail_context(kern_status status, const char *format, ...) {
    ASSERT(status != KERN_OK);
    char text[MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int used = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (used >= 0 && used < MESSAGE_BYTES &&
        snprintf(text + used, (size_t)(MESSAGE_BYTES - used), ": %s", message) < 0)
        text[used] = 0;
    memcpy(message, text, sizeof text);
    return status;
}

const char *kern_error(void) {
    return message;
}

_Noreturn void kern_assert_failed(const char *condition, const char *file, int line) {
    fflush(NULL);
    dprintf(STDERR_FILENO, "ttt: internal error: %s:%d: %s\n", file, line, condition);
    abort();
}

size_t kern_dtype_bytes(kern_dtype dtype) {
    static const size_t bytes[KERN_DTYPES] = {4, 8, 2, 4};
    ASSERT((unsigned)dtype < KERN_DTYPES);
    return bytes[dtype];
}

const char *kern_dtype_name(kern_dtype dtype) {
    static const char *const names[KERN_DTYPES] = {"f32", "f64", "bf16", "i32"};
    ASSERT((unsigned)dtype < KERN_DTYPES);
    return names[dtype];
}

kern_status kern_alloc(void **memory, size_t bytes, const char *what) {
    size_t rounded = kern_align(bytes), huge = bytes / HUGE_PAGE * HUGE_PAGE;
    *memory = NULL;
    if (rounded < bytes || posix_memalign(memory, huge ? HUGE_PAGE : 64, rounded ? rounded : 64)) {
        *memory = NULL;
        return kern_fail(KERN_ERR_MEMORY, "no memory for %s (%.1f MB)", what, (double)bytes * 1e-6);
    }
    /* Rows of large matrices lie on many pages, more than the processor remembers the places of.
     * The end stays on small ones, so that no more is resident than was asked for. */
    if (huge) (void)madvise(*memory, huge, MADV_HUGEPAGE); /* refused where there are none */
    return KERN_OK;
}

kern_status kern_alloc_zero(void **memory, size_t bytes, const char *what) {
    kern_status status = kern_alloc(memory, bytes, what);
    if (status != KERN_OK) return status;
    int shares = bytes < SHARED_BYTES ? 1 : omp_get_max_threads();
#pragma omp parallel for schedule(static) if (shares > 1)
    for (int share = 0; share < shares; share++) {
        size_t begin = bytes / (size_t)shares * (size_t)share;
        size_t end = share + 1 < shares ? begin + bytes / (size_t)shares : bytes;
        memset((char *)*memory + begin, 0, end - begin);
    }
    return status;
}

void kern_free(void *memory) {
    free(memory);
}

static void *need(void *memory, int64_t count, size_t item) {
    if (memory) return memory;
    fflush(NULL);
    dprintf(STDERR_FILENO,
            "ttt: out of memory (%lld items of %zu bytes); is there a limit (ulimit -v, -d)?\n",
            (long long)count, item);
    _exit(1); /* what libraries do at an exit needs memory, too: HDF5 crashed */
}

void *kern_array(int64_t count, size_t item) {
    return need(calloc(count ? (size_t)count : 1, item), count, item);
}

void *kern_grow(void *memory, int64_t *capacity, int64_t needed, size_t item) {
    if (needed <= *capacity) return memory;
    int64_t wanted = *capacity ? *capacity : 16;
    while (wanted < needed) wanted *= 2;
    *capacity = wanted;
    return need(realloc(memory, (size_t)wanted * item), wanted, item);
}

double kern_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static size_t status_field(const char *name) {
    FILE *file = fopen("/proc/self/status", "r");
    if (!file) return 0;
    char line[256];
    size_t kilobytes = 0;
    while (fgets(line, sizeof line, file))
        if (!strncmp(line, name, strlen(name))) {
            kilobytes = strtoull(line + strlen(name), NULL, 10);
            break;
        }
    fclose(file);
    return kilobytes * 1024;
}

size_t kern_resident_bytes(void) {
    return status_field("VmRSS:");
}
size_t kern_peak_resident_bytes(void) {
    return status_field("VmHWM:");
}
