#include "kernels/device_speed.h"

#include <math.h>
#include <string.h>

#include "kernels/bandwidth.h"

/* Runs of a call between two waits; a machine's library is asked for products of this size. */
enum { RUNS = 5, ROWS = 4096, BRIEF_ROWS = 64, READ_BYTES = 1 << 30, BRIEF_BYTES = 1 << 16 };

/* Whether it computes beside the processor and not on it. */
static bool is_apart(const kern_device *device) {
    return device->machine->memory > 0;
}

typedef struct {
    kern_stream *stream;
    const void *product; /* NULL: a copy */
    char *memory;        /* a, b, c; or from, to: each `each` bytes */
    size_t each;
    void *workspace;
} work;

static kern_status run(const work *w) {
    const kern_device *device = w->stream->device;
    for (int i = 0; i < RUNS; i++)
        if (w->product)
            device->matmul->run(w->stream, w->product, w->memory + 2 * w->each, w->memory,
                                w->memory + w->each, w->workspace);
        else
            device->copy(w->stream, w->memory + w->each, w->each, w->memory, w->each, w->each, 1);
    return kern_finish(w->stream);
}

/* Of one run; the best of a tenth of a second. */
static kern_status best_seconds(double *best, const work *w) {
    kern_status status = KERN_OK;
    double budget = kern_is_brief() ? 0 : 0.1;
    *best = HUGE_VAL;
    TRY(run(w)); /* what is made at first use */
    for (double begin = kern_seconds(), end = begin; end - begin <= budget;) {
        double start = kern_seconds();
        TRY(run(w));
        end = kern_seconds();
        *best = fmin(*best, (end - start) / RUNS);
        if (budget == 0) break;
    }
done:
    return status;
}

/* 0.01 in every dtype. */
static kern_status fill(const kern_buffer *to, size_t bytes) {
    void *numbers;
    kern_status status = kern_alloc(&numbers, bytes, "measuring the peak");
    if (status != KERN_OK) return status;
    memset(numbers, 0x3c, bytes);
    kern_upload(to->device, to->data, numbers, bytes);
    kern_free(numbers);
    return KERN_OK;
}

static kern_status measure_product(double *flops, const kern_device *device, kern_dtype dtype,
                                   int threads) {
    kern_status status = KERN_OK;
    int64_t n = kern_is_brief() ? BRIEF_ROWS : ROWS;
    kern_matmul_shape shape = {.dtype = dtype, .batch = 1, .m = n, .n = n, .k = n};
    kern_buffer memory = {0}, workspace = {0};
    void *product = NULL;
    size_t each = (size_t)(n * n) * 8, bytes = 0;
    double seconds;
    TRY(device->matmul->create(&product, &shape, threads, &bytes));
    TRY(kern_buffer_create(&memory, device, 3 * each, "measuring the peak"));
    TRY(kern_buffer_create(&workspace, device, bytes, "measuring the peak"));
    TRY(fill(&memory, 2 * each));
    work w = {device->stream, product, memory.data, each, workspace.data};
    TRY(best_seconds(&seconds, &w));
    *flops = 2 * (double)n * (double)n * (double)n / seconds;
done:
    device->matmul->destroy(product);
    kern_buffer_destroy(&memory);
    kern_buffer_destroy(&workspace);
    return status;
}

kern_status kern_product_speed(double *flops, const kern_device *device, kern_dtype dtype,
                               int threads) {
    if (is_apart(device)) return measure_product(flops, device, dtype, threads);
    *flops = kern_matmul_peak(dtype, threads);
    return KERN_OK;
}

static kern_status measure_copy(double *rate, const kern_device *device, size_t bytes) {
    kern_status status = KERN_OK;
    kern_buffer memory = {0};
    size_t each = kern_align(bytes / 2 + 1);
    double seconds;
    TRY(kern_buffer_create_zero(&memory, device, 2 * each, "a copy"));
    work w = {device->stream, NULL, memory.data, each, NULL};
    TRY(best_seconds(&seconds, &w));
    *rate = 2 * (double)each / seconds;
done:
    kern_buffer_destroy(&memory);
    return status;
}

static kern_status copy_on_threads(double *rate, size_t bytes, int threads) {
    kern_status status = KERN_OK;
    size_t half = kern_align(bytes / 2 / (size_t)threads); /* of a thread */
    void *from = NULL, *to = NULL;
    double best = HUGE_VAL;
    TRY(kern_alloc_zero(&from, half * (size_t)threads, "a copy"));
    TRY(kern_alloc_zero(&to, half * (size_t)threads, "a copy"));
    for (double begin = kern_seconds(); kern_seconds() - begin < 0.02;) {
        double start = kern_seconds();
#pragma omp parallel for schedule(static) num_threads(threads)
        for (int t = 0; t < threads; t++)
            memcpy((char *)to + (size_t)t * half, (char *)from + (size_t)t * half, half);
        best = fmin(best, kern_seconds() - start);
    }
    *rate = 2 * (double)half * threads / best;
done:
    kern_free(from);
    kern_free(to);
    return status;
}

kern_status kern_copy_speed(double *rate, const kern_device *device, size_t bytes, int threads) {
    if (is_apart(device)) return measure_copy(rate, device, bytes);
    return copy_on_threads(rate, bytes, threads);
}

/* That of a copy, elsewhere than on a processor: what is read is stored again. */
kern_status kern_read_speed(double *rate, const kern_device *device, int threads) {
    if (is_apart(device))
        return measure_copy(rate, device, kern_is_brief() ? BRIEF_BYTES : READ_BYTES);
    *rate = kern_read_bandwidth(threads);
    return *rate > 0 ? KERN_OK : kern_fail(KERN_ERR_MEMORY, "no memory to read; free some");
}
