#include "kernels/gather.h"

#include <omp.h>
#include <string.h>

enum { PARALLEL_BYTES = 32768, SLICE = 64 };

static void fill_nan(kern_dtype dtype, void *row, int64_t width) {
    for (int64_t j = 0; j < width; j++)
        if (dtype == KERN_F32)
            ((float *)row)[j] = __builtin_nanf("");
        else if (dtype == KERN_F64)
            ((double *)row)[j] = __builtin_nan("");
        else
            ((uint16_t *)row)[j] = 0x7FC0u;
}

void kern_gather(kern_dtype dtype, void *out, const void *table, const int32_t *index, int64_t rows,
                 int64_t vocab, int64_t width) {
    ASSERT(dtype == KERN_F32 || dtype == KERN_F64 || dtype == KERN_BF16);
    size_t bytes = (size_t)width * kern_dtype_bytes(dtype);
    bool parallel = rows * (int64_t)bytes > PARALLEL_BYTES;
#pragma omp parallel for schedule(static) if (parallel)
    for (int64_t i = 0; i < rows; i++) {
        char *row = (char *)out + (size_t)i * bytes;
        if (index[i] >= 0 && index[i] < vocab)
            memcpy(row, (const char *)table + (size_t)index[i] * bytes, bytes);
        else
            fill_nan(dtype, row, width);
    }
}

/* A rectangle of the table: the rows in [row_begin, row_end), the columns in [begin, end). */
typedef struct {
    int64_t row_begin, row_end, begin, end;
} region;

static void add_f32(float *table, const float *row, const int32_t *index, int64_t rows,
                    int64_t width, region r) {
    for (int64_t i = 0; i < rows; i++) {
        if (index[i] < r.row_begin || index[i] >= r.row_end) continue;
        float *restrict d = table + index[i] * width;
        const float *restrict a = row + i * width;
        for (int64_t j = r.begin; j < r.end; j++) d[j] += a[j];
    }
}

static void add_f64(double *table, const double *row, const int32_t *index, int64_t rows,
                    int64_t width, region r) {
    for (int64_t i = 0; i < rows; i++) {
        if (index[i] < r.row_begin || index[i] >= r.row_end) continue;
        double *restrict d = table + index[i] * width;
        const double *restrict a = row + i * width;
        for (int64_t j = r.begin; j < r.end; j++) d[j] += a[j];
    }
}

/* Each element is added to by one thread, in ascending order of i, so any partition gives the same
 * bits: columns if there are enough for all threads, else ranges of table rows. */
void kern_scatter_add(kern_dtype dtype, void *table, const void *row, const int32_t *index,
                      int64_t rows, int64_t vocab, int64_t width) {
    ASSERT(dtype == KERN_F32 || dtype == KERN_F64);
    int64_t bytes = rows * width * (int64_t)kern_dtype_bytes(dtype);
    int threads = bytes > PARALLEL_BYTES ? omp_get_max_threads() : 1;
    int64_t slices = kern_divide_up(width, SLICE);
    bool by_column = slices >= threads;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t t = 0; t < threads; t++) {
        region r = {0, vocab, 0, width};
        if (by_column) {
            int64_t end = (t + 1) * slices / threads * SLICE;
            r.begin = t * slices / threads * SLICE;
            r.end = end < width ? end : width;
        } else {
            r.row_begin = t * vocab / threads;
            r.row_end = (t + 1) * vocab / threads;
        }
        if (dtype == KERN_F32)
            add_f32(table, row, index, rows, width, r);
        else
            add_f64(table, row, index, rows, width, r);
    }
}
