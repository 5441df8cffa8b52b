/* What graphs and plans take of the host's memory, beside what they are run in. */
#ifndef KERNELS_PROGRAM_H
#define KERNELS_PROGRAM_H

#include <stddef.h>

/* Bytes that the heap holds now. */
size_t kern_heap_bytes(void);

/* Bytes of what was made since the heap held `before`, in whole MB, with the pages of the product
 * library that running it touches, and code that it generates. */
size_t kern_program_bytes(size_t before);

#endif
