/* What the stand-in for cuDNN makes of a graph: tensors and operations, each operation by itself as
 * its description says it. Descriptors (bench_cudnn.c) are checked one by one, what they mean
 * together where a graph is finished (bench_cudnn_graph.c). */
#ifndef TESTS_KERNELS_CUDA_BENCH_CUDNN_H
#define TESTS_KERNELS_CUDA_BENCH_CUDNN_H

#include "kernels/cuda/cudnn.h"

enum { BENCH_CUDNN_TENSORS = 64, BENCH_CUDNN_OPERATIONS = 32 };
enum { BENCH_CUDNN_BAD = 2000, BENCH_CUDNN_UNSUPPORTED = 3000 };

typedef struct {
    int64_t number, dim[4], stride[4];
    int type;
    bool is_virtual, is_value;
    bool written; /* by an operation */
    int reads;
} bench_cudnn_tensor;

/* kind: of the operation's descriptor. Tensors by their place; -1: absent. */
typedef struct {
    int kind, mode, precision;
    int64_t axis;
    int y, x, b, mask;
} bench_cudnn_operation;

typedef struct {
    bench_cudnn_tensor tensor[BENCH_CUDNN_TENSORS];
    bench_cudnn_operation operation[BENCH_CUDNN_OPERATIONS];
    int tensors, operations;
} bench_cudnn_graph;

/* 0, or cuDNN's number for what is wrong with it, of which *why says more. */
int bench_cudnn_check(bench_cudnn_graph *graph, const char **why);

/* Elements of the tensor's memory. */
int64_t bench_cudnn_reach(const bench_cudnn_tensor *tensor);
size_t bench_cudnn_element(int type);

/* Scratch, as cuDNN's own plans have it: rows times keys where keys get cotangents. */
size_t bench_cudnn_scratch(const bench_cudnn_graph *graph);

/* Runs the operations; address, value: by the tensor's place, where it has memory or is a value. */
void bench_cudnn_compute(const bench_cudnn_graph *graph, void *const *address, const float *value);

#endif
