/* What moves elements: runs, transposes, rows by index, rounding. */
#include "kernels/cuda/kernels.h"

DEVICE void move_unit(char *to, const char *from, int unit) {
    if (unit == 16)
        store_16(to, load_16(from));
    else if (unit == 8)
        *(uint64_t *)to = *(const uint64_t *)from;
    else if (unit == 4)
        *(uint32_t *)to = *(const uint32_t *)from;
    else if (unit == 2)
        *(uint16_t *)to = *(const uint16_t *)from;
    else
        *to = *from;
}

/* The first bytes of p. */
DEVICE void put_unit(char *to, pack_16 p, int unit) {
    if (unit == 16)
        store_16(to, p);
    else if (unit == 8)
        *(uint64_t *)to = (uint64_t)p.word[1] << 32 | p.word[0];
    else if (unit == 4)
        *(uint32_t *)to = p.word[0];
    else if (unit == 2)
        *(uint16_t *)to = (uint16_t)p.word[0];
    else
        *to = (char)p.word[0];
}

/* Offsets, in units, of row `at` of the first `axes` axes. */
typedef struct {
    int64_t to, from;
} move_offsets;

DEVICE move_offsets offsets_of(int64_t at, int axes, const int64_t *shape, const int64_t *to_stride,
                               const int64_t *from_stride) {
    move_offsets o = {0, 0};
    for (int axis = axes - 1; axis >= 0; axis--) {
        int64_t i = at % shape[axis];
        at /= shape[axis];
        o.to += i * to_stride[axis];
        o.from += i * from_stride[axis];
    }
    return o;
}

KERNEL(move_runs, move_runs_args, MOVE_THREADS) {
    const pack_16 zeros = {{0, 0, 0, 0}};
    int down = threads_x() / args.across, last = args.axes - 1;
    int64_t row = (int64_t)block_x() * down + thread_x() / args.across;
    if (row < args.rows) {
        move_offsets o = offsets_of(row, last, args.shape, args.to_stride, args.from_stride);
        for (int64_t i = thread_x() % args.across; i < args.shape[last]; i += args.across) {
            char *to = args.to + (o.to + i * args.to_stride[last]) * args.unit;
            if (args.from)
                move_unit(to, args.from + (o.from + i * args.from_stride[last]) * args.unit,
                          args.unit);
            else
                put_unit(to, zeros, args.unit);
        }
    }
}

/* A thread's column of the tile is the last axis' in `to`, the one before in `from`. */
KERNEL(move_tiles, move_tiles_args, MOVE_THREADS) {
    char *tile = (char *)shared_memory();
    int last = args.axes - 1, unit = args.unit, x = thread_x() % MOVE_SIDE;
    int64_t column = (int64_t)block_x() * MOVE_SIDE, line = (int64_t)block_y() * MOVE_SIDE;
    int64_t columns = args.shape[last] - column, lines = args.shape[last - 1] - line;
    for (int64_t row = block_z(); row < args.rows; row += MOVE_LAYERS) {
        move_offsets o = offsets_of(row, last - 1, args.shape, args.to_stride, args.from_stride);
        for (int y = thread_x() / MOVE_SIDE; y < MOVE_SIDE; y += MOVE_THREADS / MOVE_SIDE)
            if (x < lines && y < columns)
                move_unit(tile + (y * (MOVE_SIDE + 1) + x) * unit,
                          args.from + (o.from + (line + x) * args.from_stride[last - 1] +
                                       (column + y) * args.from_stride[last]) *
                                          unit,
                          unit);
        sync_block();
        for (int y = thread_x() / MOVE_SIDE; y < MOVE_SIDE; y += MOVE_THREADS / MOVE_SIDE)
            if (x < columns && y < lines)
                move_unit(args.to + (o.to + (line + y) * args.to_stride[last - 1] +
                                     (column + x) * args.to_stride[last]) *
                                        unit,
                          tile + (x * (MOVE_SIDE + 1) + y) * unit, unit);
        sync_block();
    }
}

KERNEL(gather_rows, gather_rows_args, MOVE_THREADS) {
    int64_t row = block_x(), from = args.index[row];
    for (int64_t i = thread_x(); i < args.units; i += threads_x()) {
        char *to = args.to + (row * args.units + i) * args.unit;
        if (from >= 0 && from < args.vocab)
            move_unit(to, args.from + (from * args.units + i) * args.unit, args.unit);
        else
            put_unit(to, args.outside, args.unit);
    }
}

/* seen[w], bit l: whether thread 32 w + l's index, at begin + its number, is `index`. */
DEVICE void look_for(uint32_t *seen, const int32_t *index, int64_t begin, int64_t end,
                     int32_t wanted) {
    int64_t at = begin + thread_x();
    uint32_t mine = warp_ballot(at < end && index[at] == wanted);
    if (lane() == 0) seen[thread_x() / 32] = mine;
    sync_block();
}

/* Whether an index before `end` is `index`: the same answer for the whole block. */
DEVICE bool is_before(uint32_t *seen, const int32_t *index, int64_t end, int32_t wanted) {
    uint32_t any = 0;
    for (int64_t begin = 0; begin < end && !any; begin += MOVE_THREADS) {
        look_for(seen, index, begin, end, wanted);
        for (int w = 0; w < MOVE_THREADS / 32; w++) any |= seen[w];
        sync_block();
    }
    return any != 0;
}

#define REAL float
#define SCATTER_ROWS scatter_rows_f32
#define ADD_ROW add_row_f32
#include "kernels/cuda/scatter.h"
#undef REAL
#undef SCATTER_ROWS
#undef ADD_ROW
#define REAL double
#define SCATTER_ROWS scatter_rows_f64
#define ADD_ROW add_row_f64
#include "kernels/cuda/scatter.h"

DEVICE uint32_t rounded(uint32_t bits) {
    return kern_bf16_from_f32(kern_from_bits_f32(bits));
}

KERNEL(round_to_bf16, round_args, MOVE_THREADS) {
    int64_t first = ((int64_t)block_x() * threads_x() + thread_x()) * 4;
    if (args.aligned && first + 4 <= args.count) {
        pack_16 p = load_16(args.from + first);
        uint64_t low = rounded(p.word[0]) | rounded(p.word[1]) << 16;
        uint64_t high = rounded(p.word[2]) | rounded(p.word[3]) << 16;
        *(uint64_t *)(args.to + first) = high << 32 | low;
    } else {
        for (int64_t i = first; i < first + 4 && i < args.count; i++)
            args.to[i] = kern_bf16_from_f32(args.from[i]);
    }
}

KERNEL(widen_bf16, widen_args, MOVE_THREADS) {
    int64_t first = ((int64_t)block_x() * threads_x() + thread_x()) * 4;
    if (first < args.count) {
        uint64_t run = *(const uint64_t *)(args.from + first);
        uint32_t low = (uint32_t)run, high = (uint32_t)(run >> 32);
        pack_16 p = {{low << 16, low & 0xffff0000u, high << 16, high & 0xffff0000u}};
        store_16(args.to + first, p);
    }
}
