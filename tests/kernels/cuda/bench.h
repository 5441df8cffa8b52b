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
 *   TTT_BENCH_ROWS    cpu: row programs run by the CPU's runner (bench_rows.c)
 *   TTT_BENCH_MAJOR   of the compute capability; TTT_BENCH_COUNT: GPUs; TTT_BENCH_DRIVER=0: none
 *   TTT_BENCH_CUBLAS  the version of cublasLt
 *   TTT_BENCH_ALGORITHM 1: its heuristic chooses products whose sums are rounded at each summand */
#ifndef TESTS_KERNELS_CUDA_BENCH_H
#define TESTS_KERNELS_CUDA_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The number that the environment gives this variable. */
size_t bench_number(const char *variable, size_t otherwise);

/* Whether this call is the one that is to fail. */
bool bench_fails(const char *call);

/* What the runtime's calls return, and how each begins. */
enum { BENCH_INVALID = 1, BENCH_UNKNOWN = 999 };
#define BENCH_MAY_FAIL(call)                                                                       \
    if (bench_fails("cuda" #call)) return BENCH_UNKNOWN

/* bench_gpu.c: entries of the runtime's table; bytes of shared memory that a block may have. */
int bench_GetDeviceCount(int *count);
int bench_SetDevice(int index);
int bench_GetDeviceProperties(void *properties, int index);
int bench_DeviceGetAttribute(int *value, int attribute, int index);
size_t bench_most_shared(void);

/* A call of run(arguments), `bytes` of zeros to be filled in, on the stream. */
void *bench_note(void *stream, void (*run)(void *arguments), size_t bytes);

/* On the second stream, where ranks do things together, a call reads at once, which it may, and its
 * result comes as late as it may: false for the first stream; else all that was called on the
 * second and what that has to wait for has run, and the GPU's memory is open until bench_end_now().
 */
bool bench_begin_now(void *stream);
void bench_end_now(void);

/* Ends the program where these are not `bytes` of one piece of the GPU's memory. */
void bench_check_memory(const void *address, size_t bytes, const char *call);

/* What the stand-in for NVRTC made of a text: a library, or a program that the CPU's runner runs
 * (marked, -1: none). */
typedef struct {
    void *library;
    int64_t marked;
} bench_code;

/* NULL if it is not that. */
bench_code *bench_load_code(const void *code);

/* Which program a text stands for, -1: it is one itself; the program, on these addresses. */
int64_t bench_marked(const char *text);
int bench_marked_operands(int64_t index);
void bench_run_marked(int64_t index, void *const *memory);

#endif
