/* The check device's four tables: each call is noted with real addresses, for the CPU's table. */
#include <stdlib.h>

#include "kernels/device_check.h"

static const kern_device *cpu(void) {
    return kern_device_cpu();
}

/* ---- products ---- */

typedef struct {
    const void *state;
    void *c, *workspace;
    const void *a, *b;
} matmul_call;

static void matmul_late(void *arguments) {
    matmul_call *m = arguments;
    cpu()->matmul->run(cpu()->stream, m->state, m->c, m->a, m->b, m->workspace);
}

static kern_status matmul_create(void **state, const kern_matmul_shape *shape, int threads,
                                 size_t *workspace) {
    return cpu()->matmul->create(state, shape, threads, workspace);
}

static void matmul_run(kern_stream *stream, const void *state, void *c, const void *a,
                       const void *b, void *workspace) {
    (void)stream;
    *(matmul_call *)kern_check_note(matmul_late, sizeof(matmul_call)) =
        (matmul_call){state, kern_check_real(c, 0), kern_check_real(workspace, 0),
                      kern_check_real(a, 0), kern_check_real(b, 0)};
}

static void matmul_destroy(void *state) {
    kern_check_run();
    cpu()->matmul->destroy(state);
}

const kern_matmul_ops kern_check_matmul = {matmul_create, matmul_run, matmul_destroy};

/* ---- attention ---- */

typedef struct {
    const void *state;
    kern_attention_arguments call;
} attention_call;

static void attention_late(void *arguments) {
    attention_call *a = arguments;
    cpu()->attention->run(cpu()->stream, a->state, &a->call);
}

static kern_status attention_create(void **state, const kern_attention_shape *shape, int stage,
                                    int64_t past, int threads, size_t *workspace) {
    return cpu()->attention->create(state, shape, stage, past, threads, workspace);
}

static void attention_run(kern_stream *stream, const void *state,
                          const kern_attention_arguments *at) {
    (void)stream;
    const kern_attention_arguments c = *at;
    *(attention_call *)kern_check_note(attention_late, sizeof(attention_call)) =
        (attention_call){state,
                         {.q = kern_check_real(c.q, 0),
                          .k = kern_check_real(c.k, 0),
                          .v = kern_check_real(c.v, 0),
                          .past_k = kern_check_real(c.past_k, 0),
                          .past_v = kern_check_real(c.past_v, 0),
                          .past_rows = kern_check_real(c.past_rows, sizeof *c.past_rows),
                          .past_stride = c.past_stride,
                          .ct_o = kern_check_real(c.ct_o, 0),
                          .a = kern_check_real(c.a, 0),
                          .b = kern_check_real(c.b, 0),
                          .c = kern_check_real(c.c, 0),
                          .o = kern_check_real(c.o, 0),
                          .lse = kern_check_real(c.lse, 0),
                          .ct_q = kern_check_real(c.ct_q, 0),
                          .ct_k = kern_check_real(c.ct_k, 0),
                          .ct_v = kern_check_real(c.ct_v, 0),
                          .ct_ct_o = kern_check_real(c.ct_ct_o, 0),
                          .ct_past_k = kern_check_real(c.ct_past_k, 0),
                          .ct_past_v = kern_check_real(c.ct_past_v, 0),
                          .ct_past_stride = c.ct_past_stride,
                          .workspace = kern_check_real(c.workspace, 0)}};
}

static void attention_destroy(void *state) {
    kern_check_run();
    cpu()->attention->destroy(state);
}

const kern_attention_ops kern_check_attention = {attention_create, attention_run,
                                                 attention_destroy};

/* ---- row programs ---- */

typedef struct {
    void *rows;
    int operands;
} rows_state;

typedef struct {
    const rows_state *state;
    void *workspace;
    void *operand[];
} rows_call;

static void rows_late(void *arguments) {
    rows_call *r = arguments;
    cpu()->rows->run(cpu()->stream, r->state->rows, r->operand, r->workspace);
}

static kern_status rows_create(void **state, const kern_row_program *program, int threads,
                               size_t *workspace) {
    rows_state *made = kern_array(1, sizeof *made);
    made->operands = program->operands;
    *state = made;
    return cpu()->rows->create(&made->rows, program, threads, workspace);
}

static void rows_run(kern_stream *stream, const void *state, void *const *operand,
                     void *workspace) {
    (void)stream;
    const rows_state *at = state;
    size_t bytes = sizeof(rows_call) + (size_t)at->operands * sizeof(void *);
    rows_call *late = kern_check_note(rows_late, bytes);
    late->state = at;
    late->workspace = kern_check_real(workspace, 0);
    for (int i = 0; i < at->operands; i++) late->operand[i] = kern_check_real(operand[i], 0);
}

static void rows_destroy(void *state) {
    rows_state *at = state;
    if (!at) return;
    kern_check_run();
    cpu()->rows->destroy(at->rows);
    free(at);
}

const kern_rows_ops kern_check_rows = {rows_create, rows_run, rows_destroy};

/* ---- moving ---- */

typedef struct {
    kern_dtype dtype;
    void *to;
    const void *from;
    const int32_t *index;
    int64_t count, vocab, width;
} index_call;

/* to [to_rows, width] and from [from_rows, width], by index [count]. */
static void note_by_index(void (*run)(void *), kern_dtype dtype, void *to, int64_t to_rows,
                          const void *from, int64_t from_rows, index_call rest) {
    size_t row = (size_t)rest.width * kern_dtype_bytes(dtype);
    rest.dtype = dtype;
    rest.to = kern_check_real(to, (size_t)to_rows * row);
    rest.from = kern_check_real(from, (size_t)from_rows * row);
    rest.index = kern_check_real(rest.index, (size_t)rest.count * sizeof *rest.index);
    *(index_call *)kern_check_note(run, sizeof rest) = rest;
}

static void gather_late(void *arguments) {
    index_call *g = arguments;
    cpu()->move->gather(cpu()->stream, g->dtype, g->to, g->from, g->index, g->count, g->vocab,
                        g->width);
}

static void gather(kern_stream *stream, kern_dtype dtype, void *out, const void *table,
                   const int32_t *index, int64_t count, int64_t vocab, int64_t width) {
    (void)stream;
    note_by_index(gather_late, dtype, out, count, table, vocab,
                  (index_call){.index = index, .count = count, .vocab = vocab, .width = width});
}

static void scatter_late(void *arguments) {
    index_call *s = arguments;
    cpu()->move->scatter_add(cpu()->stream, s->dtype, s->to, s->from, s->index, s->count, s->vocab,
                             s->width);
}

static void scatter_add(kern_stream *stream, kern_dtype dtype, void *table, const void *row,
                        const int32_t *index, int64_t count, int64_t vocab, int64_t width) {
    (void)stream;
    note_by_index(scatter_late, dtype, table, vocab, row, count,
                  (index_call){.index = index, .count = count, .vocab = vocab, .width = width});
}

enum { AXES = 8 };

typedef struct {
    void *dst;
    const void *src;
    int64_t dst_stride[AXES], src_stride[AXES], shape[AXES];
    int rank;
    size_t bytes;
} strided_call;

static void strided_late(void *arguments) {
    strided_call *s = arguments;
    cpu()->move->copy(cpu()->stream, s->dst, s->dst_stride, s->src, s->src_stride, s->shape,
                      s->rank, s->bytes);
}

static void copy_strided(kern_stream *stream, void *dst, const int64_t *dst_stride, const void *src,
                         const int64_t *src_stride, const int64_t *shape, int rank, size_t bytes) {
    (void)stream;
    ASSERT(rank <= AXES);
    strided_call *s = kern_check_note(strided_late, sizeof *s);
    *s = (strided_call){.dst = kern_check_real(dst, 0),
                        .src = kern_check_real(src, 0),
                        .rank = rank,
                        .bytes = bytes};
    for (int axis = 0; axis < rank; axis++) {
        s->dst_stride[axis] = dst_stride[axis];
        s->src_stride[axis] = src_stride[axis];
        s->shape[axis] = shape[axis];
    }
}

typedef struct {
    uint16_t *to;
    const float *from;
    int64_t count;
} round_call;

static void round_late(void *arguments) {
    round_call *r = arguments;
    cpu()->move->round(cpu()->stream, r->to, r->from, r->count);
}

static void round_to_bf16(kern_stream *stream, uint16_t *to, const float *from, int64_t count) {
    (void)stream;
    *(round_call *)kern_check_note(round_late, sizeof(round_call)) =
        (round_call){kern_check_real(to, (size_t)count * sizeof *to),
                     kern_check_real(from, (size_t)count * sizeof *from), count};
}

const kern_move_ops kern_check_move = {gather, scatter_add, copy_strided, round_to_bf16};
