/* Attention for any head size, each type of elements. */
#include "kernels/cuda/attention_parts.h"

#define EACH_TYPE "kernels/cuda/attention_few.h"
#include "kernels/cuda/each_type.h"
#define EACH_TYPE "kernels/cuda/attention_plain_stages.h"
#include "kernels/cuda/each_type.h"
