/* The stand-in's GPUs, and how its calls fail. */
#ifndef TESTS_KERNELS_CUDA_BENCH_GPU_H
#define TESTS_KERNELS_CUDA_BENCH_GPU_H

#include "tests/kernels/cuda/bench.h"

enum { INVALID = 1, NOT_READY = 600, CAPTURING = 900, UNKNOWN = 999 };

#define MAY_FAIL(call)                                                                             \
    if (bench_fails("cuda" #call)) return UNKNOWN

/* Bytes of shared memory that a block may ask for. */
size_t bench_most_shared(void);

/* Entries of the runtime's table (kernels/cuda/libraries.h). */
int bench_GetDeviceCount(int *count);
int bench_SetDevice(int index);
int bench_GetDeviceProperties(void *properties, int index);
int bench_DeviceGetAttribute(int *value, int attribute, int index);
int bench_GetLastError(void);
const char *bench_error(int status);

#endif
