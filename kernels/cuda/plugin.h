/* What the plug-in libttt_cuda.so gives to the program that opens it. */
#ifndef KERNELS_CUDA_PLUGIN_H
#define KERNELS_CUDA_PLUGIN_H

#include "kernels/device.h"

/* What is asked for. */
typedef struct {
    const char *name; /* all of it as text, shorter than KERN_CUDA_NAME */
    int index;        /* 0: the first GPU that is visible; -1 - r: the r-th, from the first again
                       * where there are fewer */
    bool tf32;        /* products of f32 round their operands to TF32 */
    bool cudnn;       /* attention by cuDNN where one derivative is enough */
} kern_cuda_wish;
enum { KERN_CUDA_NAME = 32 };

/* The same device at every call. KERN_ERR_CONFIG: no driver, no such GPU, one too old, or another
 * one was opened before. */
kern_status kern_cuda_open(const kern_device **device, const kern_cuda_wish *wish);
typedef kern_status kern_cuda_opener(const kern_device **device, const kern_cuda_wish *wish);

#endif
