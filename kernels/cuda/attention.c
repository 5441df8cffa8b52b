#include "kernels/attention.h"

#include <stdlib.h>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/kernels.h"

typedef struct {
    kern_attention_shape shape;
    int stage;
    int64_t past, tile;             /* past: at most */
    size_t shared_bytes, statistic; /* statistic: bytes of one, in the workspace */
} attention;

/* As kernels/cuda/attention_tiles.h lays it out. */
static size_t shared_of(int64_t tile, int64_t head_size, size_t element) {
    int64_t elements =
        4 * tile * (tile + 1) + 2 * tile * (ATTENTION_SLICE + 1) + 5 * tile + 2 * tile * head_size;
    return (size_t)elements * element;
}

static kern_status create(void **state, const kern_attention_shape *shape, int stage, int64_t past,
                          int threads, size_t *workspace) {
    attention *made = kern_array(1, sizeof *made);
    size_t element = shape->dtype == KERN_F64 ? 8 : 4;
    (void)threads;
    *made = (attention){.shape = *shape, .stage = stage, .past = past};
    made->tile = shape->dtype == KERN_F64 ? ATTENTION_TILE_F64 : ATTENTION_TILE_F32;
    made->shared_bytes = shared_of(made->tile, shape->head_size, element);
    made->statistic = kern_align((size_t)(shape->batch * shape->rows * shape->heads) * element);
    *workspace = stage == 2 ? 2 * made->statistic : 0;
    *state = made;
    if (made->shared_bytes <= kern_cuda_gpu.shared_bytes) return KERN_OK;
    size_t needed = made->shared_bytes;
    free(made);
    *state = NULL;
    return kern_fail(
        KERN_ERR_CONFIG,
        "attention with heads of %lld needs %zu bytes of shared memory a block; %s has "
        "%zu",
        (long long)shape->head_size, needed, kern_cuda_gpu.name, kern_cuda_gpu.shared_bytes);
}

static attention_args arguments_of(const attention *at, const kern_attention_arguments *call) {
    const kern_attention_shape *s = &at->shape;
    return (attention_args){
        .bf16 = s->dtype == KERN_BF16,
        .heads = (int)s->heads,
        .groups = (int)s->groups,
        .head_size = (int)s->head_size,
        .rows = s->rows,
        .window = s->window,
        .past_stride = call->past_stride,
        .ct_past_stride = call->ct_past_stride,
        .scale = s->scale,
        .q = call->q,
        .k = call->k,
        .v = call->v,
        .past_k = call->past_k,
        .past_v = call->past_v,
        .past_rows = call->past_rows,
        .ct_o = call->ct_o,
        .a = call->a,
        .b = call->b,
        .c = call->c,
        .o = call->o,
        .lse = call->lse,
        .out_o = call->o,
        .out_lse = call->lse,
        .ct_q = call->ct_q,
        .ct_k = call->ct_k,
        .ct_v = call->ct_v,
        .ct_ct_o = call->ct_ct_o,
        .ct_past_k = call->past_k ? call->ct_past_k : NULL,
        .ct_past_v = call->past_k ? call->ct_past_v : NULL,
        .tau = call->workspace,
        .h = (char *)call->workspace + at->statistic,
    };
}

#define LAUNCH_REAL(name, grid)                                                                    \
    do {                                                                                           \
        if (at->shape.dtype == KERN_F64)                                                           \
            LAUNCH(name##_f64, grid, ATTENTION_THREADS, at->shared_bytes, stream, &args);          \
        else                                                                                       \
            LAUNCH(name##_f32, grid, ATTENTION_THREADS, at->shared_bytes, stream, &args);          \
    } while (0)

static void run(kern_stream *stream, const void *state, const kern_attention_arguments *call) {
    const attention *at = state;
    const kern_attention_shape *s = &at->shape;
    attention_args args = arguments_of(at, call);
    int64_t keys = s->rows + (call->past_k ? at->past : 0);
    kern_cuda_extent rows = {(unsigned)kern_divide_up(s->rows, at->tile), (unsigned)s->heads,
                             (unsigned)s->batch};
    kern_cuda_extent columns = {(unsigned)kern_divide_up(keys, at->tile), (unsigned)s->groups,
                                (unsigned)s->batch};
    bool wants_keys = args.ct_k || args.ct_v || args.ct_past_k || args.ct_past_v;
    if (at->stage == 0) LAUNCH_REAL(attention_forward, rows);
    if (at->stage == 1 && args.ct_q) LAUNCH_REAL(attention_vjp_rows, rows);
    if (at->stage == 1 && wants_keys) LAUNCH_REAL(attention_vjp_columns, columns);
    if (at->stage == 2) LAUNCH_REAL(attention_vjp2_rows, rows);
    if (at->stage == 2 && wants_keys) LAUNCH_REAL(attention_vjp2_columns, columns);
}

const kern_attention_ops kern_cuda_attention = {create, run, free};
