/* Machines by name, or by a file of their figures. Local. */
#ifndef LAUNCH_MACHINE_H
#define LAUNCH_MACHINE_H

#include "kernels/machine.h"

/* A machine of the table (kernels/machine.h); or, where `what` holds a slash or ends in .yaml, the
 * one whose figures stand in that file under the table's names. The name is borrowed.
 * KERN_ERR_CONFIG lists what there is. */
kern_status launch_machine_open(kern_machine *machine, const char *what);

#endif
