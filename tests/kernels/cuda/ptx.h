/* Runs PTX on the CPU: what a compiler made of the kernels, instruction by instruction as the PTX
 * ISA says, the 32 lanes of a warp together. It is strict where a GPU is silent. These end the
 * program, with the kernel, the block, the thread and the instruction:
 *
 *   a register, or a byte of shared or local memory, that is read before it is written
 *   a read and a write of shared memory, or two writes, that no barrier orders
 *   an address outside its memory, or not aligned to what is read there
 *   a collective instruction that some lanes of a warp, or warps of a block, do not come to
 *   what a copy under way is to fill: it is filled when it is waited for, and not written before
 *   an instruction that is not known
 *
 * The value of ex2.approx is rounded correctly, sums of tensor cores are rounded once. */
#ifndef TESTS_KERNELS_CUDA_PTX_H
#define TESTS_KERNELS_CUDA_PTX_H

#include <stddef.h>
#include <stdint.h>

typedef struct ptx_kernel ptx_kernel;

/* The kernels of a text, before `others` (or NULL); `from` names it in messages. They stay. */
const ptx_kernel *ptx_read(const char *text, const char *from, const ptx_kernel *others);

/* NULL: there is none of that name. */
const ptx_kernel *ptx_find(const ptx_kernel *first, const char *name);

/* Bytes of what it is handed. */
size_t ptx_argument_bytes(const ptx_kernel *kernel);

/* One launch. Blocks run on OpenMP's threads, in no order; warps of a block as `seed` says
 * (emulator_seed). Global memory is the bench's. */
void ptx_run(const ptx_kernel *kernel, const void *args, const unsigned grid[3], int threads,
             size_t shared_bytes, uint64_t seed);

#endif
