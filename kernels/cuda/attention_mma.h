/* What attention on tensor cores is made of: tiles of bf16 in shared memory, products of them.
 *
 * A block's four warps have 16 of its 64 own rows each and walk streamed tiles together, of which
 * the next one is fetched while this one is computed with. A product of own and streamed rows
 * (scores) leaves a lane with rows lane / 4 and lane / 4 + 8 of its warp's, columns 8 t + 2 (lane %
 * 4) and the next one of each column tile t: just what mma takes as its left operand, so weights go
 * from product to product without leaving registers. There they are rounded to bf16.
 *
 * `steps`: the head size, padded, / 16; rows in shared memory are PITCH(steps) elements apart.
 * Parameters that are literals where these functions are called make all loops unroll. */
#ifndef KERNELS_CUDA_ATTENTION_MMA_H
#define KERNELS_CUDA_ATTENTION_MMA_H

#include "kernels/cuda/attention_parts.h"

#define LOG2_E 1.4426950408889634f /* probabilities are powers of 2 here */

enum {
    MMA_STEPS = 8,               /* at most */
    MMA_COLUMNS = 2 * MMA_STEPS, /* column tiles of a head, at most */
    MMA_TILES = 8,               /* of a streamed tile, at most */
};
#define PITCH(steps) (16 * (steps) + ATTENTION_MMA_PAD)

/* Rows of a head, `stride` elements apart; none from the count-th on. NULL: of no operand. */
typedef struct {
    const uint16_t *at;
    int64_t stride;
    int count;
} mma_rows;

DEVICE mma_rows mma_rows_of(const attention_args *args, const void *of, int64_t batch,
                            int64_t first, int64_t head, int count) {
    int64_t offset = of ? statistic_of(args, batch, first, head) * args->size : 0;
    mma_rows rows = {(const uint16_t *)of + offset, (int64_t)args->heads * args->size, count};
    return rows;
}

DEVICE mma_rows mma_keys_of(const attention_args *args, const void *before, const void *fresh,
                            int64_t past, int64_t batch, int64_t group, int64_t at, int count) {
    const uint16_t *of = (const uint16_t *)(at < past ? before : fresh);
    int64_t offset = offset_of_key(args, past, at, batch, group, args->past_stride);
    mma_rows keys = {of + (of ? offset : 0), (int64_t)args->groups * args->size, count};
    return keys;
}

/* `tall` rows on their way into shared memory, zeros where there are none and beyond the head. */
DEVICE void mma_fetch(uint16_t *to, mma_rows from, int tall, int size, int steps) {
    const int packs = 2 * steps, turns = (tall * packs - 1) / ATTENTION_MMA_THREADS + 1;
    if (!from.at) return;
    UNROLL for (int turn = 0; turn < turns; turn++) {
        int i = turn * ATTENTION_MMA_THREADS + thread_x(), row = i / packs, column = i % packs * 8;
        bool there = row < from.count && column < size;
        if ((turn + 1) * ATTENTION_MMA_THREADS <= tall * packs || row < tall)
            copy_async_16(to + row * PITCH(steps) + column,
                          there ? from.at + row * from.stride + column : from.at, there);
    }
}

/* Row and column that this lane points load_matrix at: of a left operand, and of a right one that
 * lies transposed; of one that does not. */
DEVICE int mma_left_row(void) {
    return lane() % 16;
}

DEVICE int mma_left_column(void) {
    return lane() / 16 * 8;
}

DEVICE int mma_right_row(void) {
    return lane() % 8 + lane() / 16 * 8;
}

DEVICE int mma_right_column(void) {
    return lane() / 8 % 2 * 8;
}

DEVICE void mma_clear(float (*sum)[4], int tiles) {
    UNROLL for (int t = 0; t < tiles; t++) {
        UNROLL for (int i = 0; i < 4; i++) sum[t][i] = 0;
    }
}

/* sum += own rows . streamed rows; `own`: the warp's first row. */
DEVICE void mma_dots(float (*sum)[4], const uint16_t *own, const uint16_t *streamed, int tiles,
                     int steps) {
    const uint16_t *left = own + mma_left_row() * PITCH(steps) + mma_left_column();
    const uint16_t *right = streamed + mma_right_row() * PITCH(steps) + mma_right_column();
    UNROLL for (int step = 0; step < steps; step++) {
        uint32_t a[4];
        load_matrix_x4(a, left + 16 * step);
        UNROLL for (int t = 0; t < tiles; t += 2) {
            uint32_t b[4];
            load_matrix_x4(b, right + 8 * t * PITCH(steps) + 16 * step);
            mma_16x8x16_bf16(sum[t], a, b);
            mma_16x8x16_bf16(sum[t + 1], a, b + 2);
        }
    }
}

/* sum += weights streamed rows */
DEVICE void mma_multiply(float (*sum)[4], float (*weight)[4], const uint16_t *streamed, int tiles,
                         int steps) {
    const uint16_t *right = streamed + mma_left_row() * PITCH(steps) + mma_left_column();
    UNROLL for (int t = 0; t < tiles; t += 2) {
        uint32_t a[4];
        UNROLL for (int i = 0; i < 4; i++) a[i] =
            bf16_pack(weight[t + i / 2][i % 2 * 2], weight[t + i / 2][i % 2 * 2 + 1]);
        UNROLL for (int step = 0; step < steps; step++) {
            uint32_t b[4];
            load_matrix_x4_trans(b, right + 8 * t * PITCH(steps) + 16 * step);
            mma_16x8x16_bf16(sum[2 * step], a, b);
            mma_16x8x16_bf16(sum[2 * step + 1], a, b + 2);
        }
    }
}

/* Of element i of a column tile: its row among the block's own, its column. */
DEVICE int mma_row(int i) {
    return thread_x() / 32 * 16 + lane() / 4 + i / 2 * 8;
}

DEVICE int mma_column(int tile, int i) {
    return 8 * tile + lane() % 4 * 2 + i % 2;
}

/* Which columns of a streamed tile the block's own row 0 sees: low to high; row r those from low +
 * r to high + r, but none beyond `last`. Clamped, so that ints do. */
typedef struct {
    int low, high, last;
    bool whole; /* each row sees all */
} mma_seen;

DEVICE mma_seen mma_seen_of(int64_t low, int64_t high, int last, int tall) {
    const int64_t far = 1 << 20;
    mma_seen seen = {(int)most(-far, least(far, low)), (int)most(-far, least(far, high)), last,
                     low + ATTENTION_MMA_TILE - 1 <= 0 && high >= tall - 1 && last == tall - 1};
    return seen;
}

/* Exponents of what is hidden. */
DEVICE void mma_hide(float (*x)[4], mma_seen seen, int tiles) {
    if (seen.whole) return;
    UNROLL for (int half = 0; half < 2; half++) {
        int low = seen.low + mma_row(2 * half), high = seen.high + mma_row(2 * half);
        high = high < seen.last ? high : seen.last;
        UNROLL for (int t = 0; t < tiles; t++) {
            UNROLL for (int i = 0; i < 2; i++) {
                int column = mma_column(t, i);
                float *at = &x[t][2 * half + i];
                *at = column >= low && column <= high ? *at : -INFINITY;
            }
        }
    }
}

/* The sum over the four lanes that share a row. */
DEVICE float mma_row_sum(float x) {
    x += warp_xor(x, 1);
    return x + warp_xor(x, 2);
}

DEVICE float mma_row_max(float x) {
    UNROLL for (int bits = 1; bits < 4; bits *= 2) {
        float other = warp_xor(x, bits);
        x = other > x ? other : x;
    }
    return x;
}

/* Own rows of a result: to = by sum, or to + by sum; by[0] for the lane's first row, by[1] for the
 * other. */
typedef struct {
    float *at;
    int64_t stride;
    int count;
} mma_sums;

DEVICE void mma_store(mma_sums to, float (*sum)[4], const float *by, bool add, int size,
                      int steps) {
    UNROLL for (int t = 0; t < 2 * steps; t++) {
        UNROLL for (int half = 0; half < 2; half++) {
            int row = mma_row(2 * half), column = mma_column(t, 0);
            if (row < to.count && column < size) {
                uint64_t *at = (uint64_t *)(to.at + row * to.stride + column);
                uint64_t was = add ? *at : 0;
                float low = fma_f32(by[half], sum[t][2 * half], kern_from_bits_f32((uint32_t)was));
                float high = fma_f32(by[half], sum[t][2 * half + 1],
                                     kern_from_bits_f32((uint32_t)(was >> 32)));
                *at = (uint64_t)kern_bits_f32(high) << 32 | kern_bits_f32(low);
            }
        }
    }
}

/* Statistics of the lane's two rows, zero where there are none. */
DEVICE void mma_statistics(float *to, const attention_args *args, const void *from, int64_t batch,
                           int64_t first, int64_t head, int count) {
    UNROLL for (int half = 0; half < 2; half++) {
        int row = mma_row(2 * half);
        int64_t at = statistic_of(args, batch, first + row, head);
        to[half] = row < count ? ((const float *)from)[at] : 0;
    }
}

#endif
