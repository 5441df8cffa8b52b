/* Attention on tensor cores: bf16, head sizes up to 64, 80, 96 and 128. */
#include "kernels/cuda/attention_mma_columns.h"

/* `narrow`: rows or keys of a streamed tile of stage 2, fewer where the head is large. */
#define SIZE(size, narrow)                                                                         \
    KERNEL(attention_forward_bf16_##size, attention_args, ATTENTION_MMA_THREADS) {                 \
        mma_forward(&args, size / 16);                                                             \
    }                                                                                              \
    KERNEL(attention_first_bf16_##size, attention_args, ATTENTION_MMA_THREADS) {                   \
        mma_first(&args, size / 16, narrow);                                                       \
    }                                                                                              \
    KERNEL(attention_rows_bf16_##size, attention_args, ATTENTION_MMA_THREADS) {                    \
        mma_rows_pass(&args, false, size / 16, 32);                                                \
    }                                                                                              \
    KERNEL(attention_columns_bf16_##size, attention_args, ATTENTION_MMA_THREADS) {                 \
        mma_columns_pass(&args, false, size / 16, 32);                                             \
    }                                                                                              \
    KERNEL(attention_rows2_bf16_##size, attention_args, ATTENTION_MMA_THREADS) {                   \
        mma_rows_pass(&args, true, size / 16, narrow);                                             \
    }                                                                                              \
    KERNEL(attention_columns2_bf16_##size, attention_args, ATTENTION_MMA_THREADS) {                \
        mma_columns_pass(&args, true, size / 16, narrow);                                          \
    }
SIZE(64, 32)
SIZE(80, 32)
SIZE(96, 32)
SIZE(128, 16)
