/* Attention's kernels on tensor cores, bf16, for head sizes up to `size`; a file for each, so that
 * they compile side by side. */
#include "kernels/cuda/attention_mma_columns.h"

/* `narrow`: rows or keys of a streamed tile where registers or shared memory are short: in stage 2
 * and over columns, fewer where the head is large. */
#define ATTENTION_MMA(size, narrow)                                                                \
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
        mma_columns_pass(&args, false, size / 16, narrow);                                         \
    }                                                                                              \
    KERNEL(attention_rows2_bf16_##size, attention_args, ATTENTION_MMA_THREADS) {                   \
        mma_rows_pass(&args, true, size / 16, narrow);                                             \
    }                                                                                              \
    KERNEL(attention_columns2_bf16_##size, attention_args, ATTENTION_MMA_THREADS) {                \
        mma_columns_pass(&args, true, size / 16, narrow);                                          \
    }
