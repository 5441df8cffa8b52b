/* What waiting costs where other programs use the processors too. */
#ifndef KERNELS_CROWDING_H
#define KERNELS_CROWDING_H

#include "kernels/base.h"

/* Seconds that threads of this process, those alive now, were ready to run while something else had
 * the processor, summed over them. 0 if unknown. */
double kern_waiting_seconds(void);

/* Watches, in a thread that ends with the program, whether others take processors from this
 * process's threads, and lets OpenMP's threads sleep rather than spin at barriers while they do: a
 * thread that spins for one that has no processor may be what keeps it from having one. Does
 * nothing where OMP_WAIT_POLICY or GOMP_SPINCOUNT says what is wanted. Call it once, before threads
 * exist. */
void kern_watch_crowding(void);

/* Threads that watching may begin later. */
int kern_watch_threads(void);

#endif
