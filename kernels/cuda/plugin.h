/* What the plug-in libttt_cuda.so gives to the program that opens it. */
#ifndef KERNELS_CUDA_PLUGIN_H
#define KERNELS_CUDA_PLUGIN_H

#include "kernels/device.h"

/* The GPU of this index (0: the first that is visible); -1 - r: the r-th, from the first again
 * where there are fewer. The same at every call. KERN_ERR_CONFIG: no driver, no such GPU, or one
 * too old. */
kern_status kern_cuda_open(const kern_device **device, int index);
typedef kern_status kern_cuda_opener(const kern_device **device, int index);

#endif
