/* Opens the plug-in of the CUDA device. It is none of the program's libraries, because those of
 * CUDA cost every run on the CPU 220 MB. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/plugin.h"
#include "kernels/plugin.h"

enum { NONE = INT_MIN };

static int local_rank;

void kern_device_cuda_share(int local) {
    local_rank = local;
}

/* The number behind "cuda:"; NONE if it is none. */
static int index_of(const char *name) {
    char *end;
    long index = name[5] >= '0' && name[5] <= '9' ? strtol(name + 5, &end, 10) : -1;
    return index >= 0 && index < 1024 && !*end ? (int)index : NONE;
}

kern_status kern_device_cuda(const kern_device **device, const char *name) {
    static const kern_plugin plugin = {"libttt_cuda.so", "TTT_CUDA_PLUGIN", "kern_cuda_open",
                                       "device cuda",
                                       "-DTTT_CUDA=ON builds it where there is a CUDA toolkit"};
    static kern_cuda_opener *open_gpu;
    int index = strcmp(name, "cuda") != 0 ? index_of(name) : -1 - local_rank;
    *device = NULL;
    if (index == NONE)
        return kern_fail(KERN_ERR_CONFIG, "there is no device '%s'; cuda:1 is the second GPU",
                         name);
    if (!open_gpu) {
        kern_status status = kern_plugin_open(&open_gpu, &plugin);
        if (status != KERN_OK) return status;
    }
    return open_gpu(device, index);
}
