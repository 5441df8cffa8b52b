/* Stand-ins for the CUDA libraries (kernels/cuda/libraries.h), on the CPU: with the plug-in's own
 * sources they make libttt_cuda_bench.so. The GPU's memory faults when the program touches it, and
 * around each piece of it; new memory is NaN; a stream runs as late as it may; what the API forbids
 * ends the program. By environment variables, read once:
 *
 *   TTT_BENCH_SEED    the order of threads within blocks (emulator.h)
 *   TTT_BENCH_SHARED  bytes of shared memory that a block may have; 101376, as on sm_86
 *   TTT_BENCH_MEMORY  bytes of the GPU's memory
 *   TTT_BENCH_FAIL    "cudaMalloc:3": the third call of it fails; "any:57": the 57th of all
 *   TTT_BENCH_CALLS   a file: in the end it has a line for each call, and how often it was made
 *   TTT_BENCH_PTX     a folder: each kernel runs as PTX (ptx.h), of the files *.ptx in it
 *   TTT_BENCH_ROWS    cpu: row programs run by the CPU's runner (bench_rows.c); clang: as PTX that
 *                     clang makes; else that of the NVRTC at this path
 *   TTT_BENCH_MAJOR   of the compute capability; TTT_BENCH_COUNT: GPUs; TTT_BENCH_DRIVER=0: none
 *   TTT_BENCH_CUBLAS  the version of cublasLt
 *   TTT_BENCH_ALGORITHM 1: its heuristic chooses products whose sums are rounded at each summand */
#ifndef TESTS_KERNELS_CUDA_BENCH_H
#define TESTS_KERNELS_CUDA_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/kernels/cuda/ptx.h"

/* The number that the environment gives this variable. */
size_t bench_number(const char *variable, size_t otherwise);

/* Whether this call is the one that is to fail. */
bool bench_fails(const char *call);

/* A call of run(arguments), `bytes` of zeros to be filled in, on the stream. */
void *bench_note(void *stream, void (*run)(void *arguments), size_t bytes);

/* On the second stream, where ranks do things together, a call reads at once, which it may, and its
 * result comes as late as it may: false for the first stream; else all that was called on the
 * second and what that has to wait for has run, and the GPU's memory is open until bench_end_now().
 */
bool bench_begin_now(void *stream);
void bench_end_now(void);

/* The piece of the GPU's memory that these `bytes` are in. False: there is none. */
bool bench_find_memory(const void *address, size_t bytes, const char **begin, const char **end);

/* Ends the program where these are not `bytes` of one piece of the GPU's memory. */
void bench_check_memory(const void *address, size_t bytes, const char *call);

/* What the stand-in for NVRTC made of a text: a library, PTX, or a program that the CPU's runner
 * runs (marked, -1: none). */
typedef struct {
    void *library;
    const ptx_kernel *ptx;
    int64_t marked;
} bench_code;

/* NULL if it is not that. */
bench_code *bench_load_code(const void *code);

/* Which program a text stands for, -1: it is one itself; the program, on these addresses. */
int64_t bench_marked(const char *text);
int bench_marked_operands(int64_t index);
void bench_run_marked(int64_t index, void *const *memory);

/* A kernel of kernels/cuda as PTX, NULL: it runs as C. */
struct kern_block_kernel;
const ptx_kernel *bench_ptx(const struct kern_block_kernel *kernel);

/* Whether row programs are to run as PTX; what a compiler makes of the text of one, with these
 * options: free() it. NULL: it failed, and `log` says why. */
bool bench_makes_ptx(void);
char *bench_rows_ptx(const char *text, int options, const char *const *option, char *log,
                     size_t log_bytes);

#endif
