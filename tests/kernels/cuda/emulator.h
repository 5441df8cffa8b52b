/* Runs the blocks of a kernel (kernels/cuda/device.h) on the CPU: each thread of a block on a stack
 * of its own, until it waits for others. What is wrong ends the program with both lines: threads
 * that wait at different lines, or for a thread that has ended.
 * Shared memory and the targets of copies under way are NaN until they are written. */
#ifndef TESTS_KERNELS_CUDA_EMULATOR_H
#define TESTS_KERNELS_CUDA_EMULATOR_H

#include "kernels/cuda/device.h"

/* The order in which threads run where they need not wait: 0 as they are numbered, each warp as far
 * as it comes; 1 the other way round; else by chance, warps drifting apart. */
void emulator_seed(uint64_t seed);

/* Blocks run on OpenMP's threads. `args` as the kernel's. */
void emulator_run(const kern_block_kernel *kernel, const void *args, const unsigned grid[3],
                  int threads, size_t shared_bytes);

#endif
