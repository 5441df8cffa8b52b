/* The tables of kernels/cuda/libraries.h, filled with the libraries. */
#include "kernels/cuda/libraries.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <nvrtc.h>

#define CHECK(ours, theirs) _Static_assert((int)(ours) == (int)(theirs), #theirs)
CHECK(KERN_CUDA_MEMORY, cudaErrorMemoryAllocation);
CHECK(KERN_CUDA_OLD_DRIVER, cudaErrorInsufficientDriver);
CHECK(KERN_CUDA_NO_DEVICE, cudaErrorNoDevice);
CHECK(KERN_CUDA_MULTIPROCESSORS, cudaDevAttrMultiProcessorCount);
CHECK(KERN_CUDA_MAJOR, cudaDevAttrComputeCapabilityMajor);
CHECK(KERN_CUDA_MINOR, cudaDevAttrComputeCapabilityMinor);
CHECK(KERN_CUDA_SHARED_BYTES, cudaDevAttrMaxSharedMemoryPerBlockOptin);
CHECK(KERN_CUDA_TO_DEVICE, cudaMemcpyHostToDevice);
CHECK(KERN_CUDA_TO_HOST, cudaMemcpyDeviceToHost);
CHECK(KERN_CUDA_WITHIN, cudaMemcpyDeviceToDevice);
CHECK(KERN_CUDA_NON_BLOCKING, cudaStreamNonBlocking);
CHECK(KERN_CUDA_RELAXED, cudaStreamCaptureModeRelaxed);
CHECK(KERN_CUDA_MOST_SHARED_BYTES, cudaFuncAttributeMaxDynamicSharedMemorySize);
CHECK(sizeof(struct cudaDeviceProp) <= KERN_CUDA_PROPERTIES, 1);
CHECK(offsetof(struct cudaDeviceProp, name), 0);
CHECK(sizeof(kern_cuda_extent), sizeof(dim3));
CHECK(KERN_CUDA_F32, CUDA_R_32F);
CHECK(KERN_CUDA_F64, CUDA_R_64F);
CHECK(KERN_CUDA_BF16, CUDA_R_16BF);
CHECK(KERN_CUBLAS_SUM_F32, CUBLAS_COMPUTE_32F);
CHECK(KERN_CUBLAS_SUM_F64, CUBLAS_COMPUTE_64F);
CHECK(KERN_CUBLAS_SUM_TF32, CUBLAS_COMPUTE_32F_FAST_TF32);
CHECK(KERN_CUBLAS_TRANSPOSED, CUBLAS_OP_T);
CHECK(KERN_CUBLAS_BATCH, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT);
CHECK(KERN_CUBLAS_STRIDE, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET);
CHECK(KERN_CUBLAS_TRANSPOSE_A, CUBLASLT_MATMUL_DESC_TRANSA);
CHECK(KERN_CUBLAS_TRANSPOSE_B, CUBLASLT_MATMUL_DESC_TRANSB);
CHECK(KERN_CUBLAS_WORKSPACE, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
CHECK(KERN_CUBLAS_REDUCTIONS, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK);
CHECK(KERN_CUBLAS_ALIGNMENT, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES);
CHECK(KERN_CUBLAS_ALIGNMENT + 3, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);
CHECK(KERN_CUBLAS_NOT_IN_PLACE,
      CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE);
CHECK(sizeof(kern_cublas_algorithm), sizeof(cublasLtMatmulAlgo_t));
CHECK(sizeof(kern_cublas_choice), sizeof(cublasLtMatmulHeuristicResult_t));
CHECK(offsetof(kern_cublas_choice, workspace),
      offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
CHECK(offsetof(kern_cublas_choice, status), offsetof(cublasLtMatmulHeuristicResult_t, state));

/* Pointers to structures for void *, int for enumerations: the same at a call. */
#define FILL(table, name, function)                                                                \
    .name = (__typeof__(((table *)0)->name))(void (*)(void))(function),

#define FILL_RUNTIME(name, arguments) FILL(kern_cuda_runtime, name, cuda##name)
const kern_cuda_runtime kern_cuda_runtime_table = {
    KERN_CUDA_RUNTIME(FILL_RUNTIME) FILL(kern_cuda_runtime, error, cudaGetErrorString)};

#define FILL_CUBLAS(name, arguments) FILL(kern_cublas, name, cublasLt##name)
const kern_cublas kern_cublas_table = {KERN_CUBLAS(FILL_CUBLAS) FILL(
    kern_cublas, error, cublasLtGetStatusString) FILL(kern_cublas, version, cublasLtGetVersion)};

#define FILL_NVRTC(name, arguments) FILL(kern_nvrtc, name, nvrtc##name)
const kern_nvrtc kern_nvrtc_table = {KERN_NVRTC(FILL_NVRTC)
                                         FILL(kern_nvrtc, error, nvrtcGetErrorString)};
