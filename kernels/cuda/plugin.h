/* What the plug-in libttt_cuda.so gives to the program that opens it. */
#ifndef KERNELS_CUDA_PLUGIN_H
#define KERNELS_CUDA_PLUGIN_H

#include "kernels/device.h"

/* The GPU of this index (0: the first that is visible), the same at every call. KERN_ERR_CONFIG:
 * no driver, no such GPU, or one too old. */
kern_status kern_cuda_open(const kern_device **device, int index);
typedef kern_status kern_cuda_opener(const kern_device **device, int index);

/* What program and plug-in each have of their own: a hash of the headers of kernels/ that they were
 * built from, written by kernels/sources.cmake. Where they differ, so may what they share. */
enum { KERN_CUDA_SOURCES = 40 };
extern const char kern_cuda_sources[KERN_CUDA_SOURCES];

#endif
