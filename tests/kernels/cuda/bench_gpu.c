/* Which GPUs there are, and what they are. */
#include <stdio.h>

#include "kernels/cuda/libraries.h"
#include "tests/kernels/cuda/bench.h"
#include "tests/kernels/cuda/emulator.h"

size_t bench_most_shared(void) {
    return bench_number("TTT_BENCH_SHARED", 101376);
}

int bench_GetDeviceCount(int *count) {
    BENCH_MAY_FAIL(GetDeviceCount);
    if (!bench_number("TTT_BENCH_DRIVER", 1)) return KERN_CUDA_OLD_DRIVER;
    *count = (int)bench_number("TTT_BENCH_COUNT", 1);
    return *count ? 0 : KERN_CUDA_NO_DEVICE;
}

int bench_SetDevice(int index) {
    BENCH_MAY_FAIL(SetDevice);
    emulator_seed(bench_number("TTT_BENCH_SEED", 0));
    return index < (int)bench_number("TTT_BENCH_COUNT", 1) ? 0 : BENCH_INVALID;
}

int bench_GetDeviceProperties(void *properties, int index) {
    BENCH_MAY_FAIL(GetDeviceProperties);
    snprintf(properties, 256, "cuda-bench %d", index);
    return 0;
}

int bench_DeviceGetAttribute(int *value, int attribute, int index) {
    BENCH_MAY_FAIL(DeviceGetAttribute);
    (void)index;
    *value = attribute == KERN_CUDA_MAJOR          ? (int)bench_number("TTT_BENCH_MAJOR", 8)
             : attribute == KERN_CUDA_MINOR        ? 6
             : attribute == KERN_CUDA_SHARED_BYTES ? (int)bench_most_shared()
                                                   : 2;
    return 0;
}
