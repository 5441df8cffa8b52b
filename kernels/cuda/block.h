/* What a kernel is written in: the only header of a kernel's source, for nvcc, NVRTC, Clang's CUDA
 * mode and, in tests, an ordinary C compiler. Everything that is not plain C stands behind it.
 *
 * KERNEL(name, type, threads) { ... } is a kernel of blocks of at most `threads` threads (a
 * multiple of 32), with one struct of arguments, `args`. DEVICE marks what it calls, UNROLL a loop
 * whose length is known: arrays indexed by it lie in registers. All threads of
 * a block reach every sync_block and, of a warp, every other collective (named warp_, sync_warp,
 * mma_, load_matrix_): no return before the last one, none under a condition that differs by
 * thread.
 *
 *   thread_x() threads_x() lane()      in the block; lane: in the warp of 32
 *   block_x() block_y() block_z()      in the grid
 *   shared_memory()                    what LAUNCH asked for, aligned to 16, undefined
 *   sync_block() sync_warp()           order memory; nothing else does
 *   warp_shfl(x, from) warp_xor(x, bits) warp_down(x, by)   float; each has a form _f64
 *   warp_ballot(condition)             bit i: lane i's
 *   fma_f32 fma_f64 sqrt_f32 sqrt_f64  rounded once
 *   exp2_fast(x)                       2^x within 2^-22, 0 below 2^-126, by the GPU's own table
 *   bits_f32 float_of bits_f64 double_of   a number's bits, and back
 *   load_16 store_16                   of a pack_16, at addresses aligned to 16
 *   bf16_pack(low, high) bf16_low(x) bf16_high(x)   two bf16 in 32 bits, to nearest even
 *   mma_16x8x16_bf16(d, a, b)          d [4] += a [4] b [2], fragments as PTX lays them out
 *   load_matrix_x4[_trans](to, row)    four 8 x 8 matrices of 2 bytes; lane i gives a row of matrix
 *                                      i / 8, 16 bytes of shared memory
 *   copy_async_16(shared, global, valid)   16 bytes, or zeros; there after copy_async_commit() and
 *   copy_async_wait(n)                     this: all but the thread's last n commits (a literal) */
#ifndef KERNELS_CUDA_BLOCK_H
#define KERNELS_CUDA_BLOCK_H

#if defined(__CUDACC__) || defined(__CUDA__)
#include "kernels/cuda/block_ptx.h"
#else
#include "kernels/cuda/block_host.h"
#endif

#endif
