/* Opens the plug-in of the CUDA device. It is none of the program's libraries, because those of
 * CUDA cost every run on the CPU 220 MB. */
#include <stdlib.h>

#include "kernels/cuda/plugin.h"
#include "kernels/plugin.h"

/* The number behind "cuda:", 0 without; -1 if it is none. */
static int index_of(const char *name) {
    char *end;
    if (!name[4]) return 0;
    long index = name[5] >= '0' && name[5] <= '9' ? strtol(name + 5, &end, 10) : -1;
    return index >= 0 && index < 1024 && !*end ? (int)index : -1;
}

kern_status kern_device_cuda(const kern_device **device, const char *name) {
    static const kern_plugin plugin = {"libttt_cuda.so", "TTT_CUDA_PLUGIN", "kern_cuda_open",
                                       "device cuda",
                                       "-DTTT_CUDA=ON builds it where there is a CUDA toolkit"};
    static kern_cuda_opener *open_gpu;
    int index = index_of(name);
    *device = NULL;
    if (index < 0)
        return kern_fail(KERN_ERR_CONFIG, "there is no device '%s'; cuda:1 is the second GPU",
                         name);
    if (!open_gpu) {
        kern_status status = kern_plugin_open(&open_gpu, &plugin);
        if (status != KERN_OK) return status;
    }
    return open_gpu(device, index);
}
