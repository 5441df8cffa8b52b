/* Algorithms that a device chose (kernels/device.h), kept in the run: one that goes on takes the
 * same, or its bits would be others. */
#ifndef TRAIN_ALGORITHMS_H
#define TRAIN_ALGORITHMS_H

#include "configs/conf.h"
#include "kernels/device.h"
#include "train/rundir.h"

/* What the run keeps becomes the choice of the device train.device; before plans are made. A run
 * that keeps none, and a device that chooses nothing, are fine. KERN_ERR_DATA: a damaged file. */
kern_status train_algorithms_load(const train_run *run, const ttt_conf *conf);
/* The run keeps what is chosen now; after plans are made, before the first step. */
kern_status train_algorithms_save(const train_run *run, const kern_device *device);

#endif
