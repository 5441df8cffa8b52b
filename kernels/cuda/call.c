#include "kernels/cuda/cuda.h"

#include <string.h>

kern_gpu kern_cuda_gpu;
void *kern_cuda_stream;

static kern_status failed(int result, const char *call, const char *says) {
    kern_status status = result == KERN_CUDA_MEMORY ? KERN_ERR_MEMORY : KERN_ERR_DEVICE;
    return kern_fail(status, "%s on %s: %s (error %d)", call,
                     kern_cuda_gpu.name[0] ? kern_cuda_gpu.name : "the GPU",
                     says ? says : "unknown", result);
}

kern_status kern_cuda_check(int result, const char *call) {
    return result ? failed(result, call, kern_cuda_runtime_table.error(result)) : KERN_OK;
}

kern_status kern_cublas_check(int result, const char *call) {
    /* its numbers are others: 3 is lack of memory */
    if (!result) return KERN_OK;
    return failed(result == 3 ? KERN_CUDA_MEMORY : -result, call, kern_cublas_table.error(result));
}

kern_status kern_nvrtc_check(int result, const char *call) {
    return result ? failed(-result, call, kern_nvrtc_table.error(result)) : KERN_OK;
}

static kern_status launch(const char *name, const void *kernel, kern_cuda_extent grid, int threads,
                          size_t shared_bytes, const void *args) {
    kern_status status = KERN_OK;
    if (shared_bytes > KERN_CUDA_SHARED_UNASKED)
        TRY(RUNTIME(FuncSetAttribute, kernel, KERN_CUDA_MOST_SHARED_BYTES, (int)shared_bytes));
    void *all[] = {(void *)(uintptr_t)args};
    TRY(RUNTIME(LaunchKernel, kernel, grid, (kern_cuda_extent){(unsigned)threads, 1, 1}, all,
                shared_bytes, kern_cuda_stream));
done:
    return status == KERN_OK ? status : kern_fail_context(status, "kernel %s", name);
}

void kern_cuda_launch(kern_stream *stream, const char *name, const void *kernel,
                      kern_cuda_extent grid, int threads, size_t shared_bytes, const void *args) {
    if (!grid.x || !grid.y || !grid.z) return;
    ASSERT(grid.y <= 65535 && grid.z <= 65535);
    ON_STREAM(stream, launch(name, kernel, grid, threads, shared_bytes, args));
}
