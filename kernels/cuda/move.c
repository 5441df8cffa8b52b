#include "kernels/copy_layout.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/kernels.h"

/* The largest unit up to 16 bytes that divides all these numbers of bytes. */
static int unit_of(uintptr_t bits) {
    for (int unit = 16; unit > 1; unit /= 2)
        if (bits % (uintptr_t)unit == 0) return unit;
    return 1;
}

static int across_of(int64_t units) {
    int across = 1;
    while (across < MOVE_THREADS && across < units) across *= 2;
    return across;
}

/* Offsets and extents in elements of `bytes` become ones of the largest unit that all allow. */
static void widen(move_runs_args *args, int bytes) {
    int last = args->axes - 1;
    uintptr_t all =
        (uintptr_t)args->to | (uintptr_t)args->from | (uintptr_t)(args->shape[last] * bytes);
    for (int axis = 0; axis < last; axis++)
        all |= (uintptr_t)(args->to_stride[axis] * bytes) |
               (uintptr_t)(args->from_stride[axis] * bytes);
    bool runs = args->to_stride[last] == 1 && (args->from_stride[last] == 1 || !args->from);
    args->unit = runs ? unit_of(all) : bytes;
    ASSERT(args->unit >= bytes);
    if (args->unit == bytes) return;
    int by = args->unit / bytes;
    args->shape[last] /= by;
    for (int axis = 0; axis < last; axis++) {
        args->to_stride[axis] /= by;
        args->from_stride[axis] /= by;
    }
}

static void run(kern_stream *stream, move_runs_args *args, int bytes) {
    widen(args, bytes);
    args->rows = 1;
    for (int axis = 0; axis < args->axes - 1; axis++) args->rows *= args->shape[axis];
    args->across = across_of(args->shape[args->axes - 1]);
    int64_t groups = kern_divide_up(args->rows, MOVE_THREADS / args->across);
    LAUNCH(move_runs, ((kern_cuda_extent){(unsigned)groups, 1, 1}), MOVE_THREADS, 0, stream, args);
}

void kern_cuda_copy_runs(kern_stream *stream, void *to, size_t to_pitch, const void *from,
                         size_t from_pitch, size_t width, int64_t rows) {
    move_runs_args args = {.to = to,
                           .from = from,
                           .axes = 2,
                           .shape = {rows, (int64_t)width},
                           .to_stride = {(int64_t)to_pitch, 1},
                           .from_stride = {(int64_t)from_pitch, 1}};
    run(stream, &args, 1);
}

static void run_tiles(kern_stream *stream, const kern_copy_layout *l, void *to, const void *from,
                      size_t bytes) {
    move_tiles_args args = {.to = to, .from = from, .rows = 1, .axes = l->axes, .unit = (int)bytes};
    for (int axis = 0; axis < l->axes; axis++) {
        args.shape[axis] = l->shape[axis];
        args.to_stride[axis] = l->dst[axis];
        args.from_stride[axis] = l->src[axis];
        if (axis < l->axes - 2) args.rows *= l->shape[axis];
    }
    kern_cuda_extent grid = {
        (unsigned)kern_divide_up(args.shape[l->axes - 1], MOVE_SIDE),
        (unsigned)kern_divide_up(args.shape[l->axes - 2], MOVE_SIDE),
        (unsigned)kern_min(args.rows, MOVE_LAYERS),
    };
    LAUNCH(move_tiles, grid, MOVE_THREADS, MOVE_SIDE * (MOVE_SIDE + 1) * bytes, stream, &args);
}

static void copy(kern_stream *stream, void *dst, const int64_t *dst_stride, const void *src,
                 const int64_t *src_stride, const int64_t *shape, int rank, size_t bytes) {
    kern_copy_layout l;
    if (!kern_copy_layout_of(&l, dst_stride, src_stride, shape, rank)) return;
    if (l.src[l.axes - 1] != 1 && kern_copy_find_transposed(&l) &&
        l.shape[l.axes - 2] <= (int64_t)65535 * MOVE_SIDE) {
        run_tiles(stream, &l, dst, src, bytes);
        return;
    }
    move_runs_args args = {.to = dst, .from = src, .axes = l.axes};
    for (int axis = 0; axis < l.axes; axis++) {
        args.shape[axis] = l.shape[axis];
        args.to_stride[axis] = l.dst[axis];
        args.from_stride[axis] = l.src[axis];
    }
    run(stream, &args, (int)bytes);
}

/* NaN of each type, as often as 16 bytes hold it. */
static pack_16 nan_of(kern_dtype dtype) {
    ASSERT(dtype == KERN_F32 || dtype == KERN_F64 || dtype == KERN_BF16);
    uint32_t f32 = 0x7fc00000u, f64 = 0x7ff80000u, bf16 = 0x7fc07fc0u;
    if (dtype == KERN_F64) return (pack_16){{0, f64, 0, f64}};
    uint32_t word = dtype == KERN_F32 ? f32 : bf16;
    return (pack_16){{word, word, word, word}};
}

static void gather(kern_stream *stream, kern_dtype dtype, void *out, const void *table,
                   const int32_t *index, int64_t count, int64_t vocab, int64_t width) {
    int64_t bytes = width * (int64_t)kern_dtype_bytes(dtype);
    gather_rows_args args = {
        .to = out, .from = table, .index = index, .vocab = vocab, .outside = nan_of(dtype)};
    args.unit = unit_of((uintptr_t)out | (uintptr_t)table | (uintptr_t)bytes);
    args.units = bytes / args.unit;
    int threads = (int)kern_min(MOVE_THREADS, kern_round_up(args.units, 32));
    if (args.units)
        LAUNCH(gather_rows, ((kern_cuda_extent){(unsigned)count, 1, 1}), threads, 0, stream, &args);
}

static void scatter_add(kern_stream *stream, kern_dtype dtype, void *table, const void *row,
                        const int32_t *index, int64_t count, int64_t vocab, int64_t width) {
    ASSERT(dtype == KERN_F32 || dtype == KERN_F64);
    scatter_rows_args args = {
        .table = table, .row = row, .index = index, .rows = count, .vocab = vocab, .width = width};
    kern_cuda_extent grid = {(unsigned)count, 1, 1};
    size_t shared = MOVE_THREADS / 32 * sizeof(uint32_t);
    if (dtype == KERN_F32)
        LAUNCH(scatter_rows_f32, grid, MOVE_THREADS, shared, stream, &args);
    else
        LAUNCH(scatter_rows_f64, grid, MOVE_THREADS, shared, stream, &args);
}

static void round_bf16(kern_stream *stream, uint16_t *to, const float *from, int64_t count) {
    round_args args = {.to = to, .from = from, .count = count};
    args.aligned = (uintptr_t)to % 8 == 0 && (uintptr_t)from % 16 == 0;
    int64_t blocks = kern_divide_up(count, 4 * MOVE_THREADS);
    LAUNCH(round_to_bf16, ((kern_cuda_extent){(unsigned)blocks, 1, 1}), MOVE_THREADS, 0, stream,
           &args);
}

void kern_cuda_widen(kern_stream *stream, float *to, const uint16_t *from, int64_t count) {
    widen_args args = {to, from, count};
    ASSERT(count % 4 == 0);
    int64_t blocks = kern_divide_up(count, 4 * MOVE_THREADS);
    LAUNCH(widen_bf16, ((kern_cuda_extent){(unsigned)blocks, 1, 1}), MOVE_THREADS, 0, stream,
           &args);
}

const kern_move_ops kern_cuda_move = {gather, scatter_add, copy, round_bf16};
