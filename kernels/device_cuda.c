/* Opens the plug-in of the CUDA device. It is none of the program's libraries, because those of
 * CUDA cost every run on the CPU 220 MB. */
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/plugin.h"
#include "kernels/plugin.h"

static int local_rank;

void kern_device_cuda_share(int local) {
    local_rank = local;
}

static bool skip(const char **at, const char *word) {
    size_t length = strlen(word);
    bool there = !strncmp(*at, word, length);
    if (there) *at += length;
    return there;
}

/* What a name asks for: cuda[:INDEX][+tf32][+cudnn]. */
static kern_status parse(kern_cuda_wish *wish, const char *name) {
    const char *at = name + strlen("cuda");
    long index = local_rank ? -1 - local_rank : 0;
    if (*at == ':' && at[1] >= '0' && at[1] <= '9') {
        char *end;
        index = strtol(at + 1, &end, 10);
        at = end;
    }
    *wish = (kern_cuda_wish){.name = name, .index = (int)index};
    wish->tf32 = skip(&at, "+tf32");
    wish->cudnn = skip(&at, "+cudnn");
    if (!*at && index < 1024 && strlen(name) < KERN_CUDA_NAME) return KERN_OK;
    return kern_fail(KERN_ERR_CONFIG,
                     "there is no device '%s'; cuda:1 is the second GPU, cuda+tf32 multiplies f32 "
                     "as TF32, cuda+cudnn attends by cuDNN, and cuda+tf32+cudnn does both",
                     name);
}

kern_status kern_device_cuda_cudnn(bool *cudnn, const char *name) {
    kern_cuda_wish wish = {.cudnn = false};
    kern_status status = strncmp(name, "cuda", 4) ? KERN_OK : parse(&wish, name);
    *cudnn = wish.cudnn;
    return status;
}

kern_status kern_device_cuda(const kern_device **device, const char *name) {
    static const kern_plugin plugin = {"libttt_cuda.so", "TTT_CUDA_PLUGIN", "kern_cuda_open",
                                       "device cuda",
                                       "-DTTT_CUDA=ON builds it where there is a CUDA toolkit"};
    static kern_cuda_opener *open_gpu;
    kern_status status = KERN_OK;
    kern_cuda_wish wish;
    *device = NULL;
    TRY(parse(&wish, name));
    if (!open_gpu) TRY(kern_plugin_open(&open_gpu, &plugin));
    status = open_gpu(device, &wish);
done:
    return status;
}
