/* The CPU as a device: every call runs at once, on OpenMP's threads. */
#include <stdlib.h>
#include <string.h>

#include "kernels/beside.h"
#include "kernels/copy.h"
#include "kernels/device.h"
#include "kernels/gather.h"
#include "kernels/round.h"

/* ---- products ---- */

static kern_status matmul_create(void **state, const kern_matmul_shape *shape, int threads,
                                 size_t *workspace) {
    kern_matmul *matmul = NULL;
    kern_status status = kern_matmul_create(&matmul, shape);
    if (status == KERN_OK) *workspace = kern_matmul_workspace(matmul, threads);
    *state = matmul;
    return status;
}

static void matmul_run(kern_stream *stream, const void *state, void *c, const void *a,
                       const void *b, void *workspace) {
    (void)stream;
    kern_matmul_run(state, c, a, b, workspace);
}

static void matmul_destroy(void *state) {
    kern_matmul_destroy(state);
}

static const kern_matmul_ops matmul = {matmul_create, matmul_run, matmul_destroy};

/* ---- attention ---- */

typedef struct {
    kern_attention_shape shape;
    int stage;
    int64_t past;
} attention_state;

static kern_status attention_create(void **state, const kern_attention_shape *shape, int stage,
                                    int64_t past, int threads, size_t *workspace) {
    attention_state *made = kern_array(1, sizeof *made);
    *made = (attention_state){*shape, stage, past};
    *workspace = kern_attention_workspace(shape, stage, past, threads);
    *state = made;
    return KERN_OK;
}

static kern_attention_past past_of(const attention_state *state,
                                   const kern_attention_arguments *call) {
    if (!call->past_k) return (kern_attention_past){0};
    int64_t rows = *call->past_rows;
    ASSERT(rows >= 0 && rows <= state->past);
    return (kern_attention_past){call->past_k, call->past_v, rows, call->past_stride};
}

static void attention_run(kern_stream *stream, const void *state,
                          const kern_attention_arguments *call) {
    (void)stream;
    const attention_state *at = state;
    const kern_attention_shape *shape = &at->shape;
    kern_attention_past past = past_of(at, call);
    kern_attention_past_ct ct_past = {call->ct_past_k, call->ct_past_v, call->ct_past_stride};
    if (at->stage == 0)
        kern_attention(shape, call->o, call->lse, call->q, call->k, call->v, &past,
                       call->workspace);
    else if (at->stage == 1)
        kern_attention_vjp(shape, call->ct_q, call->ct_k, call->ct_v, &ct_past, call->q, call->k,
                           call->v, &past, call->o, call->lse, call->ct_o, call->workspace);
    else
        kern_attention_vjp2(shape, call->ct_q, call->ct_k, call->ct_v, call->ct_ct_o, &ct_past,
                            call->q, call->k, call->v, &past, call->o, call->lse, call->ct_o,
                            call->a, call->b, call->c, call->workspace);
}

static const kern_attention_ops attention = {attention_create, attention_run, free};

/* ---- row programs ---- */

static kern_status rows_create(void **state, const kern_row_program *program, int threads,
                               size_t *workspace) {
    kern_rows *rows = kern_rows_create(program);
    *workspace = kern_rows_workspace(rows, threads);
    *state = rows;
    return KERN_OK;
}

static void rows_run(kern_stream *stream, const void *state, void *const *operand,
                     void *workspace) {
    (void)stream;
    kern_rows_run(state, operand, workspace);
}

static void rows_destroy(void *state) {
    kern_rows_destroy(state);
}

static const kern_rows_ops rows = {rows_create, rows_run, rows_destroy};

/* ---- moving ---- */

static void gather(kern_stream *stream, kern_dtype dtype, void *out, const void *table,
                   const int32_t *index, int64_t count, int64_t vocab, int64_t width) {
    (void)stream;
    kern_gather(dtype, out, table, index, count, vocab, width);
}

static void scatter_add(kern_stream *stream, kern_dtype dtype, void *table, const void *row,
                        const int32_t *index, int64_t count, int64_t vocab, int64_t width) {
    (void)stream;
    kern_scatter_add(dtype, table, row, index, count, vocab, width);
}

static void copy_strided(kern_stream *stream, void *dst, const int64_t *dst_stride, const void *src,
                         const int64_t *src_stride, const int64_t *shape, int rank, size_t bytes) {
    (void)stream;
    kern_copy_strided(dst, dst_stride, src, src_stride, shape, rank, bytes);
}

static void round_to_bf16(kern_stream *stream, uint16_t *to, const float *from, int64_t count) {
    (void)stream;
    kern_round(to, from, count);
}

static const kern_move_ops move = {gather, scatter_add, copy_strided, round_to_bf16};

/* ---- memory ---- */

static void copy(kern_stream *stream, void *to, size_t to_pitch, const void *from,
                 size_t from_pitch, size_t width, int64_t count) {
    (void)stream;
    for (int64_t i = 0; i < count; i++)
        memcpy((char *)to + (size_t)i * to_pitch, (const char *)from + (size_t)i * from_pitch,
               width);
}

static void zero(kern_stream *stream, void *to, size_t pitch, size_t width, int64_t count) {
    (void)stream;
    for (int64_t i = 0; i < count; i++) memset((char *)to + (size_t)i * pitch, 0, width);
}

static void copy_now(kern_stream *stream, void *to, const void *from, size_t bytes) {
    (void)stream;
    memcpy(to, from, bytes);
}

static _Thread_local double last_lap, lap_seconds[KERN_LAPS];

static void lap(kern_stream *stream, int which) {
    (void)stream;
    double now = kern_seconds();
    ASSERT(which < KERN_LAPS);
    if (which >= 0) lap_seconds[which] += now - last_lap;
    last_lap = now;
}

static void laps(kern_stream *stream, double seconds[KERN_LAPS]) {
    (void)stream;
    memcpy(seconds, lap_seconds, sizeof lap_seconds);
    memset(lap_seconds, 0, sizeof lap_seconds);
}

static kern_status finish(kern_stream *stream) {
    (void)stream;
    return KERN_OK;
}

/* What is called on the first stream has run. */
static void order(kern_stream *later, kern_stream *earlier) {
    if (earlier != earlier->device->beside) return;
    kern_status status = kern_beside_finish(earlier);
    if (later->status == KERN_OK) later->status = status;
}

static kern_stream the_stream, the_beside;

static const kern_device cpu = {.name = "cpu",
                                .host = true,
                                .machine = &kern_machine_cpu,
                                .stream = &the_stream,
                                .beside = &the_beside,
                                .order = order,
                                .alloc = kern_alloc,
                                .free = kern_free,
                                .copy = copy,
                                .zero = zero,
                                .upload = copy_now,
                                .download = copy_now,
                                .lap = lap,
                                .laps = laps,
                                .finish = finish,
                                .matmul = &matmul,
                                .attention = &attention,
                                .rows = &rows,
                                .move = &move};

static kern_stream the_stream = {.device = &cpu}, the_beside = {.device = &cpu};

const kern_device *kern_device_cpu(void) {
    return &cpu;
}
