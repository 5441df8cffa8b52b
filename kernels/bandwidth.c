#include "kernels/bandwidth.h"

#include <string.h>
#include <unistd.h>

enum { PASSES = 5, RUNS = 1024 }; /* the buffer is cut into RUNS, which threads take in order */

static size_t buffer_bytes(void) {
    const size_t least = (size_t)256 << 20, most = (size_t)512 << 20;
    size_t bytes = least;
#ifdef _SC_LEVEL3_CACHE_SIZE
    long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    if (cache > 0 && 2 * (size_t)cache > bytes) bytes = 2 * (size_t)cache;
#endif
    return bytes < most ? bytes : most;
}

static uint64_t sum_of(const uint64_t *data, size_t count) {
    uint64_t sum[8] = {0};
    for (size_t i = 0; i + 8 <= count; i += 8)
        for (size_t lane = 0; lane < 8; lane++) sum[lane] += data[i + lane];
    return sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

double kern_read_bandwidth(int threads) {
    size_t run = buffer_bytes() / RUNS / 64 * 64, bytes = run * RUNS;
    char *buffer = NULL;
    if (kern_alloc((void **)&buffer, bytes, "measuring the bandwidth") != KERN_OK) return 0;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int i = 0; i < RUNS; i++) memset(buffer + (size_t)i * run, 1, run);
    double best = 0;
    uint64_t check = 0;
    for (int pass = 0; pass < PASSES; pass++) {
        double start = kern_seconds();
#pragma omp parallel for schedule(static) num_threads(threads) reduction(+ : check)
        for (int i = 0; i < RUNS; i++)
            check += sum_of((const uint64_t *)(buffer + (size_t)i * run), run / sizeof(uint64_t));
        double rate = (double)bytes / (kern_seconds() - start);
        if (rate > best) best = rate;
    }
    kern_free(buffer);
    /* The sum is known, so the reads happened. */
    ASSERT(check == PASSES * bytes / sizeof(uint64_t) * 0x0101010101010101u);
    return best;
}
