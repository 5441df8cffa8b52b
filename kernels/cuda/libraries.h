/* The CUDA libraries, as tables of their functions: a row's name is the function's without cuda,
 * cublasLt or nvrtc. The plug-in fills them with the libraries' own (libraries.c), tests with
 * stand-ins (tests/kernels/cuda). Handles are void *, enumerations int; no header of CUDA is
 * needed here, and libraries.c checks the numbers against them. */
#ifndef KERNELS_CUDA_LIBRARIES_H
#define KERNELS_CUDA_LIBRARIES_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    unsigned x, y, z;
} kern_cuda_extent;

enum { /* what functions return */
       KERN_CUDA_MEMORY = 2,
       KERN_CUDA_OLD_DRIVER = 35,
       KERN_CUDA_NO_DEVICE = 100
};
enum { /* DeviceGetAttribute */
       KERN_CUDA_MULTIPROCESSORS = 16,
       KERN_CUDA_MAJOR = 75,
       KERN_CUDA_MINOR = 76,
       KERN_CUDA_SHARED_BYTES = 97
};
enum { /* MemcpyAsync */
       KERN_CUDA_TO_DEVICE = 1,
       KERN_CUDA_TO_HOST = 2,
       KERN_CUDA_WITHIN = 3
};
enum {
    KERN_CUDA_NON_BLOCKING = 1,       /* StreamCreateWithFlags, StreamCreateWithPriority */
    KERN_CUDA_RELAXED = 2,            /* StreamBeginCapture */
    KERN_CUDA_MOST_SHARED_BYTES = 8,  /* FuncSetAttribute */
    KERN_CUDA_SHARED_UNASKED = 49152, /* shared memory that needs no such call */
    KERN_CUDA_PROPERTIES = 8192       /* bytes that hold GetDeviceProperties', a name first */
};

#define KERN_CUDA_RUNTIME(X)                                                                       \
    X(GetDeviceCount, (int *count))                                                                \
    X(SetDevice, (int device))                                                                     \
    X(DeviceGetAttribute, (int *value, int attribute, int device))                                 \
    X(GetDeviceProperties, (void *properties, int device))                                         \
    X(MemGetInfo, (size_t * unused, size_t * total))                                               \
    X(Malloc, (void **memory, size_t bytes))                                                       \
    X(Free, (void *memory))                                                                        \
    X(HostAlloc, (void **memory, size_t bytes, unsigned flags))                                    \
    X(FreeHost, (void *memory))                                                                    \
    X(MemcpyAsync, (void *to, const void *from, size_t bytes, int kind, void *stream))             \
    X(MemsetAsync, (void *to, int value, size_t bytes, void *stream))                              \
    X(StreamCreateWithFlags, (void **stream, unsigned flags))                                      \
    X(StreamCreateWithPriority, (void **stream, unsigned flags, int priority))                     \
    X(StreamWaitEvent, (void *stream, void *event, unsigned flags))                                \
    X(StreamSynchronize, (void *stream))                                                           \
    X(StreamBeginCapture, (void *stream, int mode))                                                \
    X(StreamEndCapture, (void *stream, void **graph))                                              \
    X(EventCreateWithFlags, (void **event, unsigned flags))                                        \
    X(EventRecord, (void *event, void *stream))                                                    \
    X(EventSynchronize, (void *event))                                                             \
    X(EventElapsedTime, (float *milliseconds, void *from, void *to))                               \
    X(GraphInstantiate, (void **exec, void *graph, unsigned long long flags))                      \
    X(GraphLaunch, (void *exec, void *stream))                                                     \
    X(GraphDestroy, (void *graph))                                                                 \
    X(GraphExecDestroy, (void *exec))                                                              \
    X(FuncSetAttribute, (const void *kernel, int attribute, int value))                            \
    X(LaunchKernel, (const void *kernel, kern_cuda_extent grid, kern_cuda_extent block,            \
                     void **args, size_t shared_bytes, void *stream))                              \
    X(LibraryLoadData, (void **library, const void *code, int *jit_options, void **jit_values,     \
                        unsigned jit_count, int *options, void **values, unsigned count))          \
    X(LibraryGetKernel, (void **kernel, void *library, const char *name))                          \
    X(GetLastError, (void))

enum { /* types of elements, computations, operations */
       KERN_CUDA_F32 = 0,
       KERN_CUDA_F64 = 1,
       KERN_CUDA_BF16 = 14,
       KERN_CUBLAS_SUM_F32 = 68,
       KERN_CUBLAS_SUM_F64 = 70,
       KERN_CUBLAS_SUM_TF32 = 77, /* operands rounded to 10 bits behind the point */
       KERN_CUBLAS_TRANSPOSED = 1
};
enum { /* attributes of MatrixLayoutSetAttribute, MatmulDescSetAttribute */
       KERN_CUBLAS_BATCH = 5,
       KERN_CUBLAS_STRIDE = 6,
       KERN_CUBLAS_TRANSPOSE_A = 3,
       KERN_CUBLAS_TRANSPOSE_B = 4
};
enum { /* MatmulPreferenceSetAttribute */
       KERN_CUBLAS_WORKSPACE = 1,
       KERN_CUBLAS_REDUCTIONS = 3,
       KERN_CUBLAS_ALIGNMENT = 5, /* of a; then b, c, d */
       KERN_CUBLAS_NOT_IN_PLACE =
           6 /* a value of REDUCTIONS: sums of parts, through the workspace */
};

enum { KERN_CUBLAS_WORDS = 8 };
typedef struct {
    uint64_t word[KERN_CUBLAS_WORDS];
} kern_cublas_algorithm;

typedef struct {
    kern_cublas_algorithm algorithm;
    size_t workspace;
    int status;
    float waves;
    int reserved[4];
} kern_cublas_choice;

#define KERN_CUBLAS(X)                                                                             \
    X(Create, (void **handle))                                                                     \
    X(MatmulDescCreate, (void **desc, int compute, int scale))                                     \
    X(MatmulDescSetAttribute, (void *desc, int attribute, const void *value, size_t bytes))        \
    X(MatmulDescDestroy, (void *desc))                                                             \
    X(MatrixLayoutCreate,                                                                          \
      (void **layout, int type, uint64_t rows, uint64_t columns, int64_t column_step))             \
    X(MatrixLayoutSetAttribute, (void *layout, int attribute, const void *value, size_t bytes))    \
    X(MatrixLayoutDestroy, (void *layout))                                                         \
    X(MatmulPreferenceCreate, (void **preference))                                                 \
    X(MatmulPreferenceSetAttribute,                                                                \
      (void *preference, int attribute, const void *value, size_t bytes))                          \
    X(MatmulPreferenceDestroy, (void *preference))                                                 \
    X(MatmulAlgoGetHeuristic,                                                                      \
      (void *handle, void *desc, void *a, void *b, void *c, void *d, void *preference, int most,   \
       kern_cublas_choice *choice, int *found))                                                    \
    X(MatmulAlgoCheck, (void *handle, void *desc, void *a, void *b, void *c, void *d,              \
                        const kern_cublas_algorithm *algorithm, kern_cublas_choice *result))       \
    X(Matmul, (void *handle, void *desc, const void *alpha, const void *a, void *a_layout,         \
               const void *b, void *b_layout, const void *beta, const void *c, void *c_layout,     \
               void *d, void *d_layout, const kern_cublas_algorithm *algorithm, void *workspace,   \
               size_t workspace_bytes, void *stream))

#define KERN_NVRTC(X)                                                                              \
    X(CreateProgram, (void **program, const char *text, const char *name, int headers,             \
                      const char *const *header, const char *const *header_name))                  \
    X(CompileProgram, (void *program, int options, const char *const *option))                     \
    X(GetProgramLogSize, (void *program, size_t *bytes))                                           \
    X(GetProgramLog, (void *program, char *log))                                                   \
    X(GetCUBINSize, (void *program, size_t *bytes))                                                \
    X(GetCUBIN, (void *program, char *code))                                                       \
    X(DestroyProgram, (void **program))                                                            \
    X(Version, (int *major, int *minor))

#define KERN_LIBRARY_ENTRY(name, arguments) int(*name) arguments;
typedef struct {
    KERN_CUDA_RUNTIME(KERN_LIBRARY_ENTRY)
    const char *(*error)(int status); /* cudaGetErrorString */
} kern_cuda_runtime;

typedef struct {
    KERN_CUBLAS(KERN_LIBRARY_ENTRY)
    const char *(*error)(int status); /* cublasLtGetStatusString */
    size_t (*version)(void);          /* cublasLtGetVersion */
} kern_cublas;

typedef struct {
    KERN_NVRTC(KERN_LIBRARY_ENTRY)
    const char *(*error)(int status); /* nvrtcGetErrorString */
} kern_nvrtc;
#undef KERN_LIBRARY_ENTRY

extern const kern_cuda_runtime kern_cuda_runtime_table;
extern const kern_cublas kern_cublas_table;
extern const kern_nvrtc kern_nvrtc_table;

#endif
