/* Attention's kernels (kernels/attention.h, docs/attention.md) and their arguments.
 *
 * Rows and keys go in tiles. A pass over rows has a block for each row tile, which walks the keys
 * that its rows see; a pass over columns one for each key tile, which walks the rows that see them,
 * of all query heads of its key head. So each result belongs to one block: no atomics, one order of
 * sums. Nothing of size rows x keys leaves a block.
 *
 *   forward   o, lse; or, of parts of the keys, part and part_stat    rows
 *   few       the same for a few rows, always in parts
 *   merge     joins parts, in order
 *   delta     rowsum(ct_o o)
 *   first     stage 2's first pass: ct_ct_o, tau, h              rows
 *   rows      ct_q of stage 1 or 2                               rows
 *   columns   ct_k, ct_v, the past's too, of stage 1 or 2        columns
 *
 * _f32, _f64 and _bf16 take any head size; _bf16_64 and so on run on tensor cores, with a head size
 * up to this, a multiple of 8, and all addresses aligned to 16. */
#ifndef KERNELS_CUDA_ATTENTION_H
#define KERNELS_CUDA_ATTENTION_H

#include "kernels/cuda/device.h"

enum {
    ATTENTION_FEW = 4,        /* rows, at most */
    ATTENTION_PART = 1024,    /* keys of a part, at most; a multiple of PART_UNIT */
    ATTENTION_PART_UNIT = 16, /* keys that a block of `few` takes side by side */
    ATTENTION_FEW_THREADS = 128,
    ATTENTION_PLAIN_THREADS = 256,
    ATTENTION_PLAIN_DEPTH = 32, /* columns of the head that are staged at a time */
    ATTENTION_TILE_F32 = 64,    /* plain: rows and keys of a tile */
    ATTENTION_TILE_F64 = 32,
    ATTENTION_MMA_THREADS = 128,
    ATTENTION_MMA_TILE = 64, /* tensor cores: rows (in a pass over columns, keys) of a block */
    ATTENTION_MMA_PAD = 8    /* elements after a row of shared memory: no bank is hit twice */
};

/* As kern_attention_arguments; results that are not wanted are NULL. */
typedef struct {
    const void *q, *k, *v, *past_k, *past_v, *ct_o, *a, *b, *c;
    const int32_t *past_rows; /* NULL: none */
    void *o, *lse, *ct_q, *ct_k, *ct_v, *ct_ct_o, *ct_past_k, *ct_past_v;
    int64_t past_stride, ct_past_stride, rows, window;
    int64_t item; /* of the batch, the launch's first */
    int heads, groups, size;
    int second; /* stage 2 */
    double scale;
    void *delta, *tau, *h;  /* [B, C, H] */
    int packed;             /* few: rows of keys and values are whole 16 bytes, aligned */
    int parts;              /* of the keys; 1 but for the forward of rows that are not many */
    void *part, *part_stat; /* [B, C, H, parts, K], [.., parts, 2]: largest score, sum */
} attention_args;

#define ATTENTION_DECLARE(suffix)                                                                  \
    KERNEL_DECLARE(attention_forward_##suffix)                                                     \
    KERNEL_DECLARE(attention_first_##suffix)                                                       \
    KERNEL_DECLARE(attention_rows_##suffix)                                                        \
    KERNEL_DECLARE(attention_columns_##suffix)
#define ATTENTION_DECLARE_PLAIN(suffix)                                                            \
    ATTENTION_DECLARE(suffix)                                                                      \
    KERNEL_DECLARE(attention_few_##suffix)                                                         \
    KERNEL_DECLARE(attention_merge_##suffix)                                                       \
    KERNEL_DECLARE(attention_delta_##suffix)
#define ATTENTION_DECLARE_MMA(suffix)                                                              \
    ATTENTION_DECLARE(suffix)                                                                      \
    KERNEL_DECLARE(attention_rows2_##suffix)                                                       \
    KERNEL_DECLARE(attention_columns2_##suffix)
ATTENTION_DECLARE_PLAIN(f32)
ATTENTION_DECLARE_PLAIN(f64)
ATTENTION_DECLARE_PLAIN(bf16)
ATTENTION_DECLARE_MMA(bf16_64)
ATTENTION_DECLARE_MMA(bf16_80)
ATTENTION_DECLARE_MMA(bf16_96)
ATTENTION_DECLARE_MMA(bf16_128)
#undef ATTENTION_DECLARE
#undef ATTENTION_DECLARE_PLAIN
#undef ATTENTION_DECLARE_MMA

#endif
