/* The CPU's second stream (kernels/device.h): a thread that makes calls in the order in which they
 * were given, while the program goes on. It begins with the first call, sleeps when there is none,
 * and ends with the process. All local, and but for the calls themselves all by one thread. */
#ifndef KERNELS_BESIDE_H
#define KERNELS_BESIDE_H

#include "kernels/device.h"

/* A call of run(stream, arguments), on a copy of `bytes` of arguments. Where it fails it sets the
 * stream's status, if no earlier one has. */
void kern_beside(kern_stream *stream, void (*run)(kern_stream *stream, void *arguments),
                 const void *arguments, size_t bytes);

/* Waits until all calls have been made. The status of those that `stream` had, which is then
 * KERN_OK again; its message is kern_error()'s. */
kern_status kern_beside_finish(kern_stream *stream);

#endif
