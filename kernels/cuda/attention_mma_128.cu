#include "kernels/cuda/attention_mma_kernels.h"

ATTENTION_MMA(128, 16)
