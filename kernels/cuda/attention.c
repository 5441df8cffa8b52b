/* Attention: which kernels run, in blocks of what size, on what scratch. A function of the shape,
 * the most rows of past, and the alignment of addresses. */
#include "kernels/cuda/attention.h"

#include <stdlib.h>

#include "kernels/cuda/cuda.h"

typedef struct {
    const char *name;
    const void *kernel;
} entry;

/* Of the second stage where they are others than the first's. */
typedef struct {
    entry forward, first, rows, columns, rows2, columns2, few, merge, delta;
} kernels;

#define ENTRY(name)                                                                                \
    { #name, &name }
#define STAGES(suffix)                                                                             \
    .forward = ENTRY(attention_forward_##suffix), .first = ENTRY(attention_first_##suffix),        \
    .rows = ENTRY(attention_rows_##suffix), .columns = ENTRY(attention_columns_##suffix)
#define PLAIN(suffix)                                                                              \
    {                                                                                              \
        STAGES(suffix),                                                                            \
            .rows2 = ENTRY(attention_rows_##suffix),                                               \
            .columns2 = ENTRY(attention_columns_##suffix), .few = ENTRY(attention_few_##suffix),   \
            .merge = ENTRY(attention_merge_##suffix), .delta = ENTRY(attention_delta_##suffix)     \
    }
#define MMA(suffix)                                                                                \
    {                                                                                              \
        STAGES(suffix), .rows2 = ENTRY(attention_rows2_##suffix),                                  \
                        .columns2 = ENTRY(attention_columns2_##suffix),                            \
                        .few = ENTRY(attention_few_bf16), .merge = ENTRY(attention_merge_bf16),    \
                        .delta = ENTRY(attention_delta_bf16)                                       \
    }

static const kernels plain[] = {
    [KERN_F32] = PLAIN(f32), [KERN_F64] = PLAIN(f64), [KERN_BF16] = PLAIN(bf16)};

/* By head size, ascending. `narrow`: as in attention_mma_SIZE.cu. */
static const struct {
    int size, narrow;
    kernels kernels;
} tensor[] = {{64, 32, MMA(bf16_64)},
              {80, 32, MMA(bf16_80)},
              {96, 32, MMA(bf16_96)},
              {128, 16, MMA(bf16_128)}};
enum { TENSOR = sizeof tensor / sizeof *tensor };

enum {
    FEW_BLOCKS = 512,  /* of `few`, wanted side by side */
    BLOCKS = 256,      /* of the forward */
    PART_TILES = 4,    /* of keys, at least, of a part */
    ITEMS = 128,       /* of the batch, at most, in a launch: a grid has room for 65535 */
    SHARED = 99 * 1024 /* bytes that a block may have on every GPU */
};

typedef struct {
    kern_attention_shape shape;
    int stage, parts;
    int tensor; /* row of that table, or -1 */
    int64_t past;
} attention;

static size_t real_bytes(kern_dtype dtype) {
    return dtype == KERN_F64 ? 8 : 4;
}

/* ---- shapes ---- */

static int64_t most_past(const attention *at) { /* rows that any row sees */
    return kern_min(at->past, at->shape.window - 1);
}

static int tile_of(const attention *at, bool mma) {
    return mma                           ? ATTENTION_MMA_TILE
           : at->shape.dtype == KERN_F64 ? ATTENTION_TILE_F64
                                         : ATTENTION_TILE_F32;
}

static size_t plain_shared(const attention *at) {
    size_t tile = (size_t)tile_of(at, false), depth = ATTENTION_PLAIN_DEPTH + 1;
    size_t slices = kern_max_bytes(2 * tile * depth, tile * (tile + 1));
    return (tile * (tile + 1) + slices) * real_bytes(at->shape.dtype);
}

static size_t few_shared(const attention *at) {
    size_t run = 16 / kern_dtype_bytes(at->shape.dtype), warps = ATTENTION_FEW_THREADS / 32;
    size_t reals = ATTENTION_FEW * (ATTENTION_PART + warps * 8 * run) +
                   (size_t)(at->shape.rows * at->shape.head_size);
    return reals * real_bytes(at->shape.dtype);
}

static bool is_few(const attention *at) {
    return at->stage == 0 && at->shape.rows <= ATTENTION_FEW && few_shared(at) <= SHARED;
}

/* Of the keys, in the forward: enough to be busy; of `few` none longer than a block has room for.
 */
static int parts_of(const attention *at) {
    const kern_attention_shape *s = &at->shape;
    int64_t keys = most_past(at) + s->rows, blocks = s->batch * s->heads;
    if (is_few(at)) {
        int64_t useful = kern_divide_up(keys, 8 * ATTENTION_PART_UNIT);
        int64_t parts = kern_min(useful, kern_divide_up(FEW_BLOCKS, blocks));
        return (int)kern_max(parts, kern_divide_up(keys, ATTENTION_PART));
    }
    int64_t tile = tile_of(at, at->tensor >= 0);
    blocks *= kern_divide_up(s->rows, tile);
    return (int)kern_max(1, kern_min(keys / (PART_TILES * tile), BLOCKS / blocks));
}

/* `own` operands of a block's rows, two buffers of `streamed` ones of `tall` rows, of which each
 * has `statistics` floats. */
static size_t mma_shared(const attention *at, int own, int streamed, int tall, int statistics) {
    size_t row = (size_t)(tensor[at->tensor].size + ATTENTION_MMA_PAD) * 2;
    return (size_t)own * ATTENTION_MMA_TILE * row +
           2 * (size_t)tall * ((size_t)streamed * row + (size_t)statistics * 4);
}

/* ---- scratch ---- */

static size_t statistic_bytes(const attention *at) {
    const kern_attention_shape *s = &at->shape;
    return kern_align((size_t)(s->batch * s->rows * s->heads) * real_bytes(s->dtype));
}

static size_t part_bytes(const attention *at) {
    return kern_align(statistic_bytes(at) * (size_t)(at->parts * at->shape.head_size));
}

static size_t workspace_bytes(const attention *at) {
    if (at->stage == 0 && at->parts == 1 && !is_few(at)) return 0;
    if (at->stage == 0) return part_bytes(at) + 2 * statistic_bytes(at) * (size_t)at->parts;
    return statistic_bytes(at) * (at->stage == 1 ? 1 : 3);
}

static kern_status create(void **state, const kern_attention_shape *shape, int stage, int64_t past,
                          int threads, size_t *workspace) {
    (void)threads;
    attention *at = kern_array(1, sizeof *at);
    *at = (attention){.shape = *shape, .stage = stage, .past = past, .tensor = -1};
    at->shape.window = kern_min(shape->window, past + shape->rows);
    if (shape->dtype == KERN_BF16 && shape->head_size % 8 == 0)
        for (int i = TENSOR - 1; i >= 0; i--)
            if (shape->head_size <= tensor[i].size) at->tensor = i;
    at->parts = stage == 0 ? parts_of(at) : 1;
    *workspace = workspace_bytes(at);
    *state = at;
    return KERN_OK;
}

/* ---- running ---- */

static attention_args args_of(const attention *at, const kern_attention_arguments *call) {
    const kern_attention_shape *s = &at->shape;
    attention_args args = {
        .q = call->q,
        .k = call->k,
        .v = call->v,
        .past_k = call->past_k,
        .past_v = call->past_v,
        .past_rows = call->past_k ? call->past_rows : NULL,
        .past_stride = call->past_stride,
        .o = call->o,
        .lse = call->lse,
        .rows = s->rows,
        .window = s->window,
        .heads = (int)s->heads,
        .groups = (int)s->groups,
        .size = (int)s->head_size,
        .scale = s->scale,
    };
    char *scratch = call->workspace;
    args.parts = at->parts;
    if (at->stage == 0) {
        args.part = scratch;
        args.part_stat = scratch + part_bytes(at);
        return args;
    }
    args.ct_o = call->ct_o;
    args.ct_q = call->ct_q;
    args.ct_k = call->ct_k;
    args.ct_v = call->ct_v;
    args.ct_past_k = call->ct_past_k;
    args.ct_past_v = call->ct_past_v;
    args.ct_past_stride = call->ct_past_stride;
    args.delta = scratch;
    if (at->stage == 1) return args;
    args.second = 1;
    args.a = call->a;
    args.b = call->b;
    args.c = call->c;
    args.ct_ct_o = call->ct_ct_o;
    args.tau = scratch + statistic_bytes(at);
    args.h = scratch + 2 * statistic_bytes(at);
    return args;
}

/* Whether rows of all operands that are copied or stored in runs of 16 and 8 bytes begin at them.
 */
static bool is_aligned(const attention *at, const attention_args *a) {
    uintptr_t all = (uintptr_t)a->q | (uintptr_t)a->k | (uintptr_t)a->v | (uintptr_t)a->past_k |
                    (uintptr_t)a->past_v | (uintptr_t)a->ct_o | (uintptr_t)a->a | (uintptr_t)a->b |
                    (uintptr_t)a->c | (uintptr_t)a->o | (uintptr_t)a->ct_q | (uintptr_t)a->ct_k |
                    (uintptr_t)a->ct_v | (uintptr_t)a->ct_ct_o | (uintptr_t)a->ct_past_k |
                    (uintptr_t)a->ct_past_v;
    size_t element = kern_dtype_bytes(at->shape.dtype);
    return (all | (uintptr_t)a->past_stride * element | (uintptr_t)a->ct_past_stride * 4 |
            (uintptr_t)a->size * element) %
               16 ==
           0;
}

/* One call under way. */
typedef struct {
    kern_stream *stream;
    const attention *at;
    const attention_args *args;
    const kernels *kernels;
    bool mma;
} runner;

static void launch(const runner *r, entry e, int64_t x, int64_t y, int64_t z, int threads,
                   size_t shared) {
    attention_args args = *r->args;
    for (; args.item < z; args.item += ITEMS) {
        int64_t items = kern_min(ITEMS, z - args.item);
        kern_cuda_launch(r->stream, e.name, e.kernel,
                         (kern_cuda_extent){(unsigned)x, (unsigned)y, (unsigned)items}, threads,
                         shared, &args);
    }
}

/* own, streamed, tall: of tensor cores, see mma_shared. */
static void launch_rows(const runner *r, entry e, int own, int streamed, int tall) {
    const kern_attention_shape *s = &r->at->shape;
    int64_t tiles = kern_divide_up(s->rows, tile_of(r->at, r->mma));
    launch(r, e, tiles * r->args->parts, s->heads, s->batch,
           r->mma ? ATTENTION_MMA_THREADS : ATTENTION_PLAIN_THREADS,
           r->mma ? mma_shared(r->at, own, streamed, tall, 0) : plain_shared(r->at));
}

static void launch_columns(const runner *r, entry e, int own, int streamed, int tall) {
    const kern_attention_shape *s = &r->at->shape;
    const attention_args *a = r->args;
    int64_t tile = tile_of(r->at, r->mma), blocks = kern_divide_up(s->rows, tile);
    if (a->past_rows && (a->ct_past_k || a->ct_past_v))
        blocks += kern_divide_up(most_past(r->at), tile);
    else if (!a->ct_k && !a->ct_v)
        return;
    launch(r, e, blocks, s->groups, s->batch,
           r->mma ? ATTENTION_MMA_THREADS : ATTENTION_PLAIN_THREADS,
           r->mma ? mma_shared(r->at, own, streamed, tall, 4) : plain_shared(r->at));
}

static void launch_merge(const runner *r) {
    const kern_attention_shape *s = &r->at->shape;
    launch(r, r->kernels->merge, s->batch * s->rows * s->heads, 1, 1, ATTENTION_FEW_THREADS, 0);
}

static void run_forward(const runner *r) {
    launch_rows(r, r->kernels->forward, 1, 2, 64);
    if (r->at->parts > 1) launch_merge(r);
}

static void run_few(runner *r, attention_args *args, bool aligned) {
    const kern_attention_shape *s = &r->at->shape;
    args->packed = aligned;
    launch(r, r->kernels->few, args->parts, s->heads, s->batch, ATTENTION_FEW_THREADS,
           few_shared(r->at));
    launch_merge(r);
}

static void run_vjp(const runner *r) {
    const kern_attention_shape *s = &r->at->shape;
    const kernels *k = r->kernels;
    const attention_args *a = r->args;
    bool second = a->second, more = a->ct_q || a->ct_k || a->ct_v || a->ct_past_k || a->ct_past_v;
    int narrow = r->mma ? tensor[r->at->tensor].narrow : 0, tall = second ? narrow : 32;
    launch(r, k->delta, s->batch * s->rows, kern_divide_up(s->heads, ATTENTION_PLAIN_THREADS / 32),
           1, ATTENTION_PLAIN_THREADS, 0);
    if (second) launch_rows(r, k->first, 2, 4, narrow);
    if (!more) return;
    if (a->ct_q) launch_rows(r, second ? k->rows2 : k->rows, second ? 3 : 2, second ? 4 : 2, tall);
    launch_columns(r, second ? k->columns2 : k->columns, second ? 4 : 2, second ? 3 : 2, narrow);
}

static void run(kern_stream *stream, const void *state, const kern_attention_arguments *call) {
    const attention *at = state;
    attention_args args = args_of(at, call);
    bool aligned = is_aligned(at, &args);
    runner r = {.stream = stream, .at = at, .args = &args, .mma = aligned && at->tensor >= 0};
    r.kernels = r.mma ? &tensor[at->tensor].kernels : &plain[at->shape.dtype];
    if (is_few(at))
        run_few(&r, &args, aligned);
    else if (at->stage == 0)
        run_forward(&r);
    else
        run_vjp(&r);
}

const kern_attention_ops kern_cuda_attention = {create, run, free};
