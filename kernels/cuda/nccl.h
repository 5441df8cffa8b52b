/* NCCL, as a table of its functions: a row's name is the function's without nccl. It is no library
 * of the plug-in, which is opened by runs of one GPU, too: it is looked for when there are several
 * ranks. Tests have a stand-in (tests/kernels/cuda/bench_nccl.c). */
#ifndef KERNELS_CUDA_NCCL_H
#define KERNELS_CUDA_NCCL_H

#include <stddef.h>

#include "kernels/base.h"

typedef struct {
    char bytes[128];
} kern_nccl_id;

enum {
    KERN_NCCL_I8 = 0,
    KERN_NCCL_I32 = 2,
    KERN_NCCL_F32 = 7,
    KERN_NCCL_F64 = 8,
    KERN_NCCL_BF16 = 9
};
enum { KERN_NCCL_SUM = 0, KERN_NCCL_MAX = 2, KERN_NCCL_MIN = 3 };

#define KERN_NCCL(X)                                                                               \
    X(GetUniqueId, (kern_nccl_id * id))                                                            \
    X(CommInitRank, (void **comm, int ranks, kern_nccl_id id, int rank))                           \
    X(CommDestroy, (void *comm))                                                                   \
    X(AllReduce,                                                                                   \
      (const void *from, void *to, size_t count, int type, int how, void *comm, void *stream))     \
    X(ReduceScatter,                                                                               \
      (const void *from, void *to, size_t count, int type, int how, void *comm, void *stream))     \
    X(AllGather, (const void *from, void *to, size_t count, int type, void *comm, void *stream))   \
    X(Broadcast,                                                                                   \
      (const void *from, void *to, size_t count, int type, int root, void *comm, void *stream))

#define KERN_NCCL_ENTRY(name, arguments) int(*name) arguments;
typedef struct {
    KERN_NCCL(KERN_NCCL_ENTRY)
    const char *(*error)(int status); /* ncclGetErrorString */
} kern_nccl;
#undef KERN_NCCL_ENTRY

/* KERN_ERR_CONFIG: the library is not there, and where it is looked for. */
kern_status kern_nccl_open(kern_nccl *table);

#endif
