/* cuDNN's graphs, as a table of its functions: a row's name is the function's without cudnn. It is
 * no library of the plug-in: it is looked for when it is asked for. Tests have a stand-in
 * (tests/kernels/cuda/bench_cudnn.c); cudnn.c checks the numbers where there are cuDNN's headers.
 */
#ifndef KERNELS_CUDA_CUDNN_H
#define KERNELS_CUDA_CUDNN_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base.h"

enum {
    KERN_CUDNN_VERSION = 91600
}; /* the least: older ones have faults where tiles are not full */

enum { /* descriptors */
       KERN_CUDNN_POINTWISE = 0,
       KERN_CUDNN_ENGINE_CONFIG = 3,
       KERN_CUDNN_HEURISTIC = 4,
       KERN_CUDNN_PLAN = 5,
       KERN_CUDNN_OPERATION_POINTWISE = 13,
       KERN_CUDNN_GRAPH = 15,
       KERN_CUDNN_PACK = 16,
       KERN_CUDNN_TENSOR = 17,
       KERN_CUDNN_MATMUL = 18,
       KERN_CUDNN_OPERATION_MATMUL = 19,
       KERN_CUDNN_REDUCTION = 21,
       KERN_CUDNN_OPERATION_REDUCTION = 22,
       KERN_CUDNN_OPERATION_RESHAPE = 31,
       KERN_CUDNN_DEVICE = 38
};
enum { /* their attributes */
       KERN_CUDNN_POINTWISE_MODE = 0,
       KERN_CUDNN_POINTWISE_PRECISION = 1,
       KERN_CUDNN_POINTWISE_AXIS = 9,
       KERN_CUDNN_HEURISTIC_MODE = 200,
       KERN_CUDNN_HEURISTIC_GRAPH = 201,
       KERN_CUDNN_HEURISTIC_RESULTS = 202,
       KERN_CUDNN_HEURISTIC_DEVICE = 204,
       KERN_CUDNN_PLAN_HANDLE = 400,
       KERN_CUDNN_PLAN_CONFIG = 401,
       KERN_CUDNN_PLAN_WORKSPACE = 402,
       KERN_CUDNN_PLAN_DEVICE = 407,
       KERN_CUDNN_POINTWISE_DESCRIPTION = 750,
       KERN_CUDNN_POINTWISE_X = 751,
       KERN_CUDNN_POINTWISE_B = 752,
       KERN_CUDNN_POINTWISE_Y = 753,
       KERN_CUDNN_POINTWISE_MASK = 758,
       KERN_CUDNN_GRAPH_HANDLE = 800,
       KERN_CUDNN_GRAPH_OPERATIONS = 801,
       KERN_CUDNN_TENSOR_ALIGNMENT = 900,
       KERN_CUDNN_TENSOR_TYPE = 901,
       KERN_CUDNN_TENSOR_SHAPE = 902,
       KERN_CUDNN_TENSOR_STRIDES = 903,
       KERN_CUDNN_TENSOR_NUMBER = 906,
       KERN_CUDNN_TENSOR_IS_VIRTUAL = 907,
       KERN_CUDNN_TENSOR_IS_VALUE = 908,
       KERN_CUDNN_PACK_NUMBERS = 1000,
       KERN_CUDNN_PACK_ADDRESSES = 1001,
       KERN_CUDNN_PACK_WORKSPACE = 1003,
       KERN_CUDNN_MATMUL_PRECISION = 1500,
       KERN_CUDNN_MATMUL_A = 1520,
       KERN_CUDNN_MATMUL_B = 1521,
       KERN_CUDNN_MATMUL_C = 1522,
       KERN_CUDNN_MATMUL_DESCRIPTION = 1523,
       KERN_CUDNN_REDUCTION_MODE = 1600,
       KERN_CUDNN_REDUCTION_PRECISION = 1601,
       KERN_CUDNN_REDUCTION_X = 1610,
       KERN_CUDNN_REDUCTION_Y = 1611,
       KERN_CUDNN_REDUCTION_DESCRIPTION = 1612,
       KERN_CUDNN_RESHAPE_X = 2200,
       KERN_CUDNN_RESHAPE_Y = 2201,
       KERN_CUDNN_DEVICE_JSON = 2702
};
enum { /* types of attributes */
       KERN_CUDNN_A_HANDLE = 0,
       KERN_CUDNN_A_DATA_TYPE = 1,
       KERN_CUDNN_A_BOOLEAN = 2,
       KERN_CUDNN_AN_INT64 = 3,
       KERN_CUDNN_A_POINTER = 6,
       KERN_CUDNN_A_HEURISTIC = 8,
       KERN_CUDNN_A_POINTWISE = 14,
       KERN_CUDNN_A_DESCRIPTOR = 15,
       KERN_CUDNN_A_REDUCTION = 18,
       KERN_CUDNN_A_CHAR = 24
};
enum { /* types of elements */
       KERN_CUDNN_F32 = 0,
       KERN_CUDNN_I32 = 4,
       KERN_CUDNN_BF16 = 9,
       KERN_CUDNN_BOOL = 11
};
enum { /* modes */
       KERN_CUDNN_ADD = 0,
       KERN_CUDNN_MUL = 1,
       KERN_CUDNN_DIV = 6,
       KERN_CUDNN_SUB = 9,
       KERN_CUDNN_EXP = 13,
       KERN_CUDNN_LOG = 15,
       KERN_CUDNN_GREATER = 302,
       KERN_CUDNN_NOT_LESS = 303,
       KERN_CUDNN_INDEX = 501,
       KERN_CUDNN_SELECT = 601,
       KERN_CUDNN_SUM = 0, /* of reductions */
       KERN_CUDNN_MAX = 3,
       KERN_CUDNN_HEURISTIC_A = 3
};

#define KERN_CUDNN(X)                                                                              \
    X(Create, (void **handle))                                                                     \
    X(SetStream, (void *handle, void *stream))                                                     \
    X(BackendCreateDescriptor, (int kind, void **descriptor))                                      \
    X(BackendDestroyDescriptor, (void *descriptor))                                                \
    X(BackendSetAttribute,                                                                         \
      (void *descriptor, int name, int type, int64_t count, const void *value))                    \
    X(BackendGetAttribute,                                                                         \
      (void *descriptor, int name, int type, int64_t most, int64_t *count, void *value))           \
    X(BackendFinalize, (void *descriptor))                                                         \
    X(BackendExecute, (void *handle, void *plan, void *pack))

#define KERN_CUDNN_ENTRY(name, arguments) int(*name) arguments;
typedef struct {
    KERN_CUDNN(KERN_CUDNN_ENTRY)
    const char *(*error)(int status);                /* cudnnGetErrorString */
    void (*last_error)(char *message, size_t bytes); /* cudnnGetLastErrorString */
    size_t (*version)(void);                         /* cudnnGetVersion */
} kern_cudnn;
#undef KERN_CUDNN_ENTRY

/* KERN_ERR_CONFIG: the library is not there, and where it is looked for. */
kern_status kern_cudnn_open(kern_cudnn *table);

#endif
