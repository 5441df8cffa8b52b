/* How fast a device is when it is at its best: what the speed of its work is compared with.
 * Measured at each call, on the device's own memory where it has some; with TTT_BRIEF_PEAK a rough
 * number in no time. All local; they wait for the device. */
#ifndef KERNELS_DEVICE_SPEED_H
#define KERNELS_DEVICE_SPEED_H

#include "kernels/device.h"

/* FLOP/s of products of this dtype. Errors: those of the device, KERN_ERR_MEMORY. */
kern_status kern_product_speed(double *flops, const kern_device *device, kern_dtype dtype,
                               int threads);
/* Bytes/s loaded and stored by a copy of `bytes` to be moved in all. The same errors. */
kern_status kern_copy_speed(double *rate, const kern_device *device, size_t bytes, int threads);
/* Bytes/s at which memory, much more than caches hold, is read. The same errors. */
kern_status kern_read_speed(double *rate, const kern_device *device, int threads);

#endif
