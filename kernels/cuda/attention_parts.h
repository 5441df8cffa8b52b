/* What attention's kernels share: which keys a row sees, and e^x. For .cu files. */
#ifndef KERNELS_CUDA_ATTENTION_PARTS_H
#define KERNELS_CUDA_ATTENTION_PARTS_H

#include "kernels/cuda/attention.h"

DEVICE int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

DEVICE int64_t most(int64_t a, int64_t b) {
    return a > b ? a : b;
}

DEVICE int64_t past_of(const attention_args *args) {
    return args->past_rows ? args->past_rows[0] : 0;
}

/* Of the batch, which a grid may have no room for. */
DEVICE int64_t item_of_block(const attention_args *args) {
    return args->item + block_z();
}

/* Of past ++ new: keys begin .. end - 1; or of the new rows. */
typedef struct {
    int64_t begin, end;
} attention_range;

/* What rows first .. first + count - 1 see. */
DEVICE attention_range keys_of_rows(const attention_args *args, int64_t past, int64_t first,
                                    int64_t count) {
    attention_range seen = {most(0, past + first - args->window + 1), past + first + count};
    return seen;
}

/* Part `which` of `parts`, of whole units but for the last; it may be empty. */
DEVICE attention_range part_of(attention_range all, int parts, int which, int unit) {
    int64_t units = (int64_t)parts * unit;
    int64_t length = (all.end - all.begin + units - 1) / units * unit;
    int64_t begin = least(all.end, all.begin + which * length);
    attention_range part = {begin, least(all.end, begin + length)};
    return part;
}

/* The rows that see any of keys first .. first + count - 1. */
DEVICE attention_range rows_of_keys(const attention_args *args, int64_t past, int64_t first,
                                    int64_t count) {
    int64_t beyond = first + count - 1 + args->window - past;
    attention_range seen = {most(0, first - past), least(args->rows, beyond)};
    return seen;
}

/* How many keys from `at` on lie in a tile of at most `tile`: no tile has keys of both segments. */
DEVICE int keys_in_tile(int64_t at, int64_t past, int64_t end, int tile) {
    return (int)least(tile, (at < past ? least(past, end) : end) - at);
}

/* The keys of a block of a pass over columns: new keys first, then those of the past that any row
 * sees. None: count 0. */
typedef struct {
    int64_t first;
    int count;
} attention_columns_tile;

DEVICE attention_columns_tile columns_tile(const attention_args *args, int64_t past, int tile) {
    int64_t fresh = (args->rows + tile - 1) / tile, at = block_x();
    int64_t seen = most(0, past - args->window + 1);
    int64_t first = at < fresh ? past + at * tile : seen + (at - fresh) * tile;
    int64_t end = at < fresh ? past + args->rows : past;
    attention_columns_tile t = {first, first < end ? (int)least(tile, end - first) : 0};
    return t;
}

/* Whether the row at this position of past ++ new sees the key. */
DEVICE bool sees(int64_t position, int64_t key, int64_t window) {
    return key <= position && position - key < window;
}

/* Element offset of key `at` of a segment's group. */
DEVICE int64_t offset_of_key(const attention_args *args, int64_t past, int64_t at, int64_t batch,
                             int64_t group, int64_t past_stride) {
    int64_t row = at < past ? at : batch * args->rows + at - past;
    return (at < past ? batch * past_stride : 0) + (row * args->groups + group) * args->size;
}

/* A pass over rows has a block for each part of the keys of each row tile; the last tile, whose
 * rows see most, begins first. */
DEVICE int64_t first_row_of_block(const attention_args *args, int tile) {
    int64_t tiles = (args->rows + tile - 1) / tile;
    return (tiles - 1 - block_x() / args->parts) * tile;
}

DEVICE attention_range keys_of_block(const attention_args *args, int64_t past, int64_t first,
                                     int64_t count, int tile) {
    attention_range all = keys_of_rows(args, past, first, count);
    return part_of(all, args->parts, block_x() % args->parts, tile);
}

/* Of row 0, head `head`; rows are `heads` apart. */
DEVICE int64_t statistic_of(const attention_args *args, int64_t batch, int64_t row, int64_t head) {
    return (batch * args->rows + row) * args->heads + head;
}

/* Of the forward's sums of the block's part of a row's keys; rows are heads parts of these apart.
 */
DEVICE int64_t part_of_row(const attention_args *args, int64_t batch, int64_t row, int64_t head) {
    return statistic_of(args, batch, row, head) * args->parts + block_x() % args->parts;
}

/* e^x for x at most about 88: at most 1 ulp off, 0 below -87; NaN stays NaN. As kernels/exp_isa.h.
 */
DEVICE float exp_f32(float x) {
    float rounded = fma_f32(x, 1.4426950408889634f, 12582912.0f); /* 1.5 * 2^23 + an integer */
    float n = rounded - 12582912.0f;
    float r = fma_f32(n, -0.693359375f, x);
    r = fma_f32(n, 2.12194440e-4f, r);
    float sum = 0.0013926250394433737f;
    sum = fma_f32(sum, r, 0.00836323294788599f);
    sum = fma_f32(sum, r, 0.04166655242443085f);
    sum = fma_f32(sum, r, 0.16666576266288757f);
    sum = fma_f32(sum, r, 0.5f);
    sum = fma_f32(sum, r, 1.0f);
    sum = fma_f32(sum, r, 1.0f);
    float scale = kern_from_bits_f32((kern_bits_f32(rounded) + 127u) << 23);
    return x < -87.0f ? 0.0f : sum * scale;
}

DEVICE double exp_f64(double x) {
    return kern_exp_f64(x);
}

#define ATTENTION_LOWEST                                                                           \
    (-3e38f) /* the largest score of none: the difference of two is a number                       \
              */

#endif
