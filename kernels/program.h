/* What graphs and plans take of the host's memory, beside what they are run in. */
#ifndef KERNELS_PROGRAM_H
#define KERNELS_PROGRAM_H

#include <stddef.h>

/* Bytes that the heap holds now, and how many more than `before`; 0 where it has shrunk. */
size_t kern_heap_bytes(void);
size_t kern_heap_since(size_t before);

/* Graphs and plans of `made` bytes, in whole MB, with the pages of the product library that running
 * them touches, and code that it generates. */
size_t kern_program_bytes(size_t made);

#endif
