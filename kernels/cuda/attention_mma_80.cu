#include "kernels/cuda/attention_mma_kernels.h"

ATTENTION_MMA(80, 32)
