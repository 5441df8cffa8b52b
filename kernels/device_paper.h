/* A device on paper: plans are made for a machine that is not there, and nothing can run. Calls are
 * prepared to nothing but their workspace. All local. */
#ifndef KERNELS_DEVICE_PAPER_H
#define KERNELS_DEVICE_PAPER_H

#include "kernels/device.h"
#include "kernels/machine.h"

/* Asking for its memory is KERN_ERR_CONFIG. cudnn: attention is as "cuda+cudnn" has it. `machine`
 * is borrowed. */
kern_device *kern_device_paper_create(const kern_machine *machine, bool cudnn);
void kern_device_paper_destroy(kern_device *device);

#endif
