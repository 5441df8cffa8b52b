/* The check device: the CPU, made as strict as another machine. Its addresses are real ones with a
 * bit set that no address has, so that whatever touches its memory from outside faults at once; new
 * memory is NaN; calls are noted and run when somebody waits for them, so that a result that is
 * read too early is NaN too; recordings are lists of such calls. A host address among the operands
 * of a call, or one of memory that was freed, ends the program. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/device.h"

/* Outside what x86-64 and 64-bit Arm can address. */
static const uintptr_t MARKED = (uintptr_t)1 << 54;

/* ---- memory ---- */

typedef struct block {
    struct block *next;
    char *real;
    size_t bytes;
} block;

static block *blocks;

static void complain(const char *what, const void *address) {
    fprintf(stderr, "check device: %s (%p)\n", what, address);
    abort();
}

/* The real address of `bytes` at `address`, all of one piece of memory; NULL stays. */
static void *real(const void *address, size_t bytes) {
    if (!address) return NULL;
    if (!((uintptr_t)address & MARKED)) complain("an address of the host's memory", address);
    char *at = (char *)((uintptr_t)address - MARKED);
    for (const block *b = blocks; b; b = b->next)
        if (at >= b->real && at + bytes <= b->real + kern_align(b->bytes)) return at;
    complain("an address outside its memory", address);
    return NULL;
}

static kern_status check_alloc(void **memory, size_t bytes, const char *what) {
    block *made = kern_array(1, sizeof *made);
    kern_status status = kern_alloc((void **)&made->real, bytes, what);
    *memory = NULL;
    if (status != KERN_OK) {
        free(made);
        return status;
    }
    memset(made->real, 0xff, bytes); /* NaN in each type; -1 */
    made->bytes = bytes;
    made->next = blocks;
    blocks = made;
    *memory = (void *)((uintptr_t)made->real + MARKED);
    return KERN_OK;
}

static void run_all(void);

static void check_free(void *memory) {
    if (!memory) return;
    run_all();
    char *at = real(memory, 0);
    for (block **b = &blocks; *b; b = &(*b)->next)
        if ((*b)->real == at) {
            block *gone = *b;
            *b = gone->next;
            memset(gone->real, 0xff, gone->bytes);
            kern_free(gone->real);
            free(gone);
            return;
        }
    complain("freed memory that is none", memory);
}

/* ---- calls ---- */

typedef struct {
    void (*run)(void *arguments); /* which belong to the call, and may be changed */
    void *arguments;
} call;

typedef struct {
    call *item;
    int64_t count, capacity;
} calls;

static calls waiting;
static calls *recording; /* NULL: calls are to run */

static void *note(void (*run)(void *), size_t bytes) {
    calls *to = recording ? recording : &waiting;
    to->item = kern_grow(to->item, &to->capacity, to->count + 1, sizeof *to->item);
    void *arguments = kern_array(1, bytes);
    to->item[to->count++] = (call){run, arguments};
    return arguments;
}

static void run_all(void) {
    for (int64_t i = 0; i < waiting.count; i++) {
        waiting.item[i].run(waiting.item[i].arguments);
        free(waiting.item[i].arguments);
    }
    waiting.count = 0;
}

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
    *(matmul_call *)note(matmul_late, sizeof(matmul_call)) =
        (matmul_call){state, real(c, 0), real(workspace, 0), real(a, 0), real(b, 0)};
}

static void matmul_destroy(void *state) {
    run_all();
    cpu()->matmul->destroy(state);
}

static const kern_matmul_ops matmul = {matmul_create, matmul_run, matmul_destroy};

/* ---- attention ---- */

typedef struct {
    const void *state;
    kern_attention_call call;
} attention_call;

static void attention_late(void *arguments) {
    attention_call *a = arguments;
    cpu()->attention->run(cpu()->stream, a->state, &a->call);
}

static kern_status attention_create(void **state, const kern_attention_shape *shape, int stage,
                                    int64_t past, int threads, size_t *workspace) {
    return cpu()->attention->create(state, shape, stage, past, threads, workspace);
}

static void attention_run(kern_stream *stream, const void *state, const kern_attention_call *at) {
    (void)stream;
    const kern_attention_call c = *at;
    *(attention_call *)note(attention_late, sizeof(attention_call)) =
        (attention_call){state,
                         {.q = real(c.q, 0),
                          .k = real(c.k, 0),
                          .v = real(c.v, 0),
                          .past_k = real(c.past_k, 0),
                          .past_v = real(c.past_v, 0),
                          .past_rows = real(c.past_rows, sizeof *c.past_rows),
                          .past_stride = c.past_stride,
                          .ct_o = real(c.ct_o, 0),
                          .a = real(c.a, 0),
                          .b = real(c.b, 0),
                          .c = real(c.c, 0),
                          .o = real(c.o, 0),
                          .lse = real(c.lse, 0),
                          .ct_q = real(c.ct_q, 0),
                          .ct_k = real(c.ct_k, 0),
                          .ct_v = real(c.ct_v, 0),
                          .ct_ct_o = real(c.ct_ct_o, 0),
                          .ct_past_k = real(c.ct_past_k, 0),
                          .ct_past_v = real(c.ct_past_v, 0),
                          .ct_past_stride = c.ct_past_stride,
                          .workspace = real(c.workspace, 0)}};
}

static void attention_destroy(void *state) {
    run_all();
    cpu()->attention->destroy(state);
}

static const kern_attention_ops attention = {attention_create, attention_run, attention_destroy};

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
    rows_call *late = note(rows_late, bytes);
    late->state = at;
    late->workspace = real(workspace, 0);
    for (int i = 0; i < at->operands; i++) late->operand[i] = real(operand[i], 0);
}

static void rows_destroy(void *state) {
    rows_state *at = state;
    if (!at) return;
    run_all();
    cpu()->rows->destroy(at->rows);
    free(at);
}

static const kern_rows_ops rows = {rows_create, rows_run, rows_destroy};

/* ---- moving ---- */

typedef struct {
    kern_dtype dtype;
    void *to;
    const void *from;
    const int32_t *index;
    int64_t count, vocab, width;
} index_call;

static void gather_late(void *arguments) {
    index_call *g = arguments;
    cpu()->move->gather(cpu()->stream, g->dtype, g->to, g->from, g->index, g->count, g->vocab,
                        g->width);
}

static void gather(kern_stream *stream, kern_dtype dtype, void *out, const void *table,
                   const int32_t *index, int64_t count, int64_t vocab, int64_t width) {
    (void)stream;
    size_t row = (size_t)width * kern_dtype_bytes(dtype);
    *(index_call *)note(gather_late, sizeof(index_call)) =
        (index_call){dtype,
                     real(out, (size_t)count * row),
                     real(table, (size_t)vocab * row),
                     real(index, (size_t)count * sizeof *index),
                     count,
                     vocab,
                     width};
}

static void scatter_late(void *arguments) {
    index_call *s = arguments;
    cpu()->move->scatter_add(cpu()->stream, s->dtype, s->to, s->from, s->index, s->count, s->vocab,
                             s->width);
}

static void scatter_add(kern_stream *stream, kern_dtype dtype, void *table, const void *row,
                        const int32_t *index, int64_t count, int64_t vocab, int64_t width) {
    (void)stream;
    size_t bytes = (size_t)width * kern_dtype_bytes(dtype);
    *(index_call *)note(scatter_late, sizeof(index_call)) =
        (index_call){dtype,
                     real(table, (size_t)vocab * bytes),
                     real(row, (size_t)count * bytes),
                     real(index, (size_t)count * sizeof *index),
                     count,
                     vocab,
                     width};
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
    strided_call *s = note(strided_late, sizeof *s);
    *s = (strided_call){.dst = real(dst, 0), .src = real(src, 0), .rank = rank, .bytes = bytes};
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
    *(round_call *)note(round_late, sizeof(round_call)) = (round_call){
        real(to, (size_t)count * sizeof *to), real(from, (size_t)count * sizeof *from), count};
}

static const kern_move_ops move = {gather, scatter_add, copy_strided, round_to_bf16};

/* ---- copies ---- */

typedef struct {
    void *to;
    const void *from; /* NULL: zeros */
    size_t to_pitch, from_pitch, width;
    int64_t count;
} copy_call;

static void copy_late(void *arguments) {
    copy_call *c = arguments;
    if (c->from)
        cpu()->copy(cpu()->stream, c->to, c->to_pitch, c->from, c->from_pitch, c->width, c->count);
    else
        cpu()->zero(cpu()->stream, c->to, c->to_pitch, c->width, c->count);
}

static size_t extent(size_t pitch, size_t width, int64_t count) {
    return count ? (size_t)(count - 1) * pitch + width : 0;
}

static bool overlap(const copy_call *c) {
    const char *to = c->to, *from = c->from;
    return to < from + extent(c->from_pitch, c->width, c->count) &&
           from < to + extent(c->to_pitch, c->width, c->count);
}

static void copy(kern_stream *stream, void *to, size_t to_pitch, const void *from,
                 size_t from_pitch, size_t width, int64_t count) {
    (void)stream;
    copy_call *c = note(copy_late, sizeof *c);
    *c = (copy_call){real(to, extent(to_pitch, width, count)),
                     real(from, extent(from_pitch, width, count)),
                     to_pitch,
                     from_pitch,
                     width,
                     count};
    if (width && overlap(c) && count == 1) complain("a copy onto itself", to);
}

static void zero(kern_stream *stream, void *to, size_t pitch, size_t width, int64_t count) {
    (void)stream;
    *(copy_call *)note(copy_late, sizeof(copy_call)) =
        (copy_call){.to = real(to, extent(pitch, width, count)),
                    .to_pitch = pitch,
                    .width = width,
                    .count = count};
}

typedef struct {
    void *to;
    size_t bytes;
    char content[];
} upload_call;

static void upload_late(void *arguments) {
    upload_call *u = arguments;
    memcpy(u->to, u->content, u->bytes);
}

static void upload(kern_stream *stream, void *to, const void *from, size_t bytes) {
    (void)stream;
    upload_call *u = note(upload_late, sizeof *u + bytes);
    u->to = real(to, bytes);
    u->bytes = bytes;
    memcpy(u->content, from, bytes);
}

typedef struct {
    void *to;
    const void *from;
    size_t bytes;
} download_call;

static void download_late(void *arguments) {
    download_call *d = arguments;
    memcpy(d->to, d->from, d->bytes);
}

static void download(kern_stream *stream, void *to, const void *from, size_t bytes) {
    (void)stream;
    if ((uintptr_t)to & MARKED) complain("a download into its own memory", to);
    memset(to, 0xff, bytes);
    *(download_call *)note(download_late, sizeof(download_call)) =
        (download_call){to, real(from, bytes), bytes};
}

/* ---- the stream ---- */

static void lap_late(void *arguments) {
    cpu()->lap(cpu()->stream, *(int *)arguments);
}

static void lap(kern_stream *stream, int which) {
    (void)stream;
    *(int *)note(lap_late, sizeof which) = which;
}

static void laps(kern_stream *stream, double seconds[KERN_LAPS]) {
    (void)stream;
    cpu()->laps(cpu()->stream, seconds);
}

static kern_status finish(kern_stream *stream) {
    (void)stream;
    if (recording) complain("waiting while recording", NULL);
    run_all();
    return KERN_OK;
}

static void record(kern_stream *stream) {
    (void)stream;
    if (recording) complain("a recording within another", NULL);
    recording = kern_array(1, sizeof *recording);
}

static void *recorded(kern_stream *stream) {
    (void)stream;
    void *made = recording;
    recording = NULL;
    return made;
}

static void replay_late(void *arguments) {
    const calls *list = *(const calls **)arguments;
    for (int64_t i = 0; i < list->count; i++) list->item[i].run(list->item[i].arguments);
}

static void replay(kern_stream *stream, const void *of) {
    (void)stream;
    *(const void **)note(replay_late, sizeof of) = of;
}

static void forget(void *of) {
    calls *list = of;
    if (!list) return;
    run_all();
    for (int64_t i = 0; i < list->count; i++) free(list->item[i].arguments);
    free(list->item);
    free(list);
}

static kern_stream the_stream;

static const kern_device check = {.name = "check",
                                  .stream = &the_stream,
                                  .alloc = check_alloc,
                                  .free = check_free,
                                  .copy = copy,
                                  .zero = zero,
                                  .upload = upload,
                                  .download = download,
                                  .lap = lap,
                                  .laps = laps,
                                  .finish = finish,
                                  .record = record,
                                  .recorded = recorded,
                                  .replay = replay,
                                  .forget = forget,
                                  .matmul = &matmul,
                                  .attention = &attention,
                                  .rows = &rows,
                                  .move = &move};

static kern_stream the_stream = {.device = &check};

const kern_device *kern_device_check(void) {
    return &check;
}
