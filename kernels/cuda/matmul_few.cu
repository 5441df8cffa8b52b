/* Products of few rows, each type of elements. */
#include "kernels/cuda/kernels.h"

#define EACH_TYPE "kernels/cuda/matmul_few.h"
#include "kernels/cuda/each_type.h"
