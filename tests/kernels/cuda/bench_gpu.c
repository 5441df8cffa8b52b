/* What the stand-in for the CUDA runtime says of its GPUs. */
#include "tests/kernels/cuda/bench_gpu.h"

#include <stdio.h>

#include "kernels/cuda/libraries.h"
#include "tests/kernels/cuda/emulator.h"

int bench_GetDeviceCount(int *count) {
    MAY_FAIL(GetDeviceCount);
    if (!bench_number("TTT_BENCH_DRIVER", 1)) return KERN_CUDA_OLD_DRIVER;
    *count = (int)bench_number("TTT_BENCH_COUNT", 1);
    return *count ? 0 : KERN_CUDA_NO_DEVICE;
}

int bench_SetDevice(int index) {
    MAY_FAIL(SetDevice);
    emulator_seed(bench_number("TTT_BENCH_SEED", 0));
    return index < (int)bench_number("TTT_BENCH_COUNT", 1) ? 0 : INVALID;
}

int bench_GetDeviceProperties(void *properties, int index) {
    MAY_FAIL(GetDeviceProperties);
    snprintf(properties, 256, "cuda-bench %d", index);
    return 0;
}

int bench_DeviceGetAttribute(int *value, int attribute, int index) {
    MAY_FAIL(DeviceGetAttribute);
    (void)index;
    *value = attribute == KERN_CUDA_MAJOR          ? (int)bench_number("TTT_BENCH_MAJOR", 8)
             : attribute == KERN_CUDA_MINOR        ? 6
             : attribute == KERN_CUDA_SHARED_BYTES ? (int)bench_most_shared()
                                                   : 2;
    return 0;
}

int bench_GetLastError(void) {
    return 0;
}

const char *bench_error(int status) {
    return status == UNKNOWN            ? "told to fail by TTT_BENCH_FAIL"
           : status == KERN_CUDA_MEMORY ? "out of memory"
                                        : "invalid";
}
