/* What the two benchmarks share. Internal to launch/. */
#ifndef LAUNCH_BENCH_H
#define LAUNCH_BENCH_H

#include "kernels/device.h"

/* Deterministic token ids below `vocabulary`, never `skip`. */
void launch_bench_tokens(int32_t *tokens, int64_t count, int64_t vocabulary, int64_t skip,
                         uint64_t seed);

/* "2 threads", or the device's name: what speeds are those of. */
void launch_computed_with(char *text, size_t size, const kern_device *device, int threads);

/* ttt bench ops: prints each op's time and fraction of its bound. */
kern_status launch_bench_ops(const kern_device *device, int threads, bool json);

/* ttt bench infer. */
typedef struct {
    int words; /* CONFIG [key=value...] */
    char *const *word;
    bool force; /* the picture may replace another file */
    const kern_device *device;
    const char *contexts, *png; /* "1024,2048"; NULL: no picture */
    int64_t tokens;             /* read one by one at each length */
    bool json, profile;
} launch_bench_infer;
kern_status launch_bench_reading(const launch_bench_infer *given);

#endif
