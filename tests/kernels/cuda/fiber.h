/* Stacks that a thread of the program changes between. */
#ifndef TESTS_KERNELS_CUDA_FIBER_H
#define TESTS_KERNELS_CUDA_FIBER_H

#include <stddef.h>

typedef struct fiber fiber;

/* One for the stack that runs now, to come back to. */
fiber *fiber_here(void);
/* One with a stack of its own of `bytes`; fiber_start has it call run(argument), which must never
 * return but change to another for good. A fiber may be started again and again. */
fiber *fiber_create(size_t bytes);
void fiber_start(fiber *f, void (*run)(void *), void *argument);
void fiber_destroy(fiber *f);

/* Leaves `from`, which runs, and goes on in `to`. */
void fiber_change(fiber *from, fiber *to);

#endif
