#include "kernels/attention.h"

#include <omp.h>
#include <string.h>

#include "kernels/attention_few.h"
#include "kernels/attention_task.h"
#include "kernels/isa.h"

enum { ROWS = KERN_ATTENTION_ROWS };

static kern_attention_run *variant(kern_dtype dtype) {
#if defined(__x86_64__)
    static kern_attention_run *const runs[2][KERN_ISAS] = {
        {kern_attention_f32_v2, kern_attention_f32_v3, kern_attention_f32_v4},
        {kern_attention_f64_v2, kern_attention_f64_v3, kern_attention_f64_v4}};
    return runs[dtype == KERN_F64][kern_isa()];
#else
    return dtype == KERN_F64 ? kern_attention_f64_v2 : kern_attention_f32_v2;
#endif
}

static size_t element_bytes(kern_dtype dtype) {
    return dtype == KERN_F64 ? 8 : 4;
}

static size_t scratch_bytes(const kern_attention_shape *shape, int stage, int64_t past) {
    kern_attention_layout layout = kern_attention_layout_of(shape, stage, past);
    return (size_t)kern_attention_elements(&layout) * element_bytes(shape->dtype);
}

size_t kern_attention_workspace(const kern_attention_shape *shape, int stage, int64_t past,
                                int threads) {
    if (kern_attention_is_few(shape, stage)) return kern_attention_few_workspace(shape);
    return scratch_bytes(shape, stage, past) * (size_t)threads;
}

static kern_attention_call call_of(const kern_attention_shape *shape, int stage,
                                   const kern_attention_past *past) {
    kern_attention_call call = {.shape = *shape, .stage = stage};
    if (past) call.past = *past;
    int64_t all = call.past.past + shape->rows;
    if (call.shape.window > all) call.shape.window = all;
    ASSERT(shape->batch >= 1 && shape->rows >= 1 && shape->head_size >= 1 && shape->window >= 1);
    ASSERT(shape->groups >= 1 && shape->heads % shape->groups == 0);
    ASSERT(shape->dtype == KERN_F32 || shape->dtype == KERN_F64 || shape->dtype == KERN_BF16);
    return call;
}

/* Rows are cut into parts of `length`; those of one colour (every colours-th) run side by side. */
typedef struct {
    int64_t heads, length, parts, colours;
} cut;

static void run_cut(const kern_attention_call *call, cut c, void *workspace) {
    const kern_attention_shape *s = &call->shape;
    kern_attention_run *run = variant(s->dtype);
    size_t bytes = scratch_bytes(s, call->stage, call->past.past);
#pragma omp parallel
    for (int64_t colour = 0; colour < c.colours; colour++) {
        int64_t parts = (c.parts - colour + c.colours - 1) / c.colours;
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < s->batch * c.heads * parts; i++) {
            int64_t part = i % parts * c.colours + colour;
            kern_attention_item item = {.batch = i / parts / c.heads,
                                        .head = i / parts % c.heads,
                                        .begin = part * c.length,
                                        .end = (part + 1) * c.length};
            if (item.end > s->rows) item.end = s->rows;
            run(call, &item, (char *)workspace + (size_t)omp_get_thread_num() * bytes);
        }
    }
}

/* The rows of a key head add into the same keys. Parts at least a window long share keys with their
 * neighbours only, so the even parts run together, then the odd ones: parallel without atomics or
 * copies, each sum in one fixed order. */
static void run_parts(const kern_attention_call *call, void *workspace) {
    const kern_attention_shape *s = &call->shape;
    int64_t length = s->window > 4 * ROWS ? s->window : 4 * ROWS;
    length = (length + ROWS - 1) / ROWS * ROWS;
    int64_t parts = (s->rows + length - 1) / length;
    run_cut(call, (cut){s->groups, length, parts, parts > 1 ? 2 : 1}, workspace);
}

/* What parts add into starts at zero. */
static void clear_keys(const kern_attention_shape *s, void *ct) {
    if (!ct) return;
    size_t row = (size_t)(s->groups * s->head_size) * element_bytes(s->dtype);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < s->batch * s->rows; i++) memset((char *)ct + (size_t)i * row, 0, row);
}

void kern_attention(const kern_attention_shape *shape, void *o, void *lse, const void *q,
                    const void *k, const void *v, const kern_attention_past *past,
                    void *workspace) {
    kern_attention_call call = call_of(shape, 0, past);
    call.q = q, call.k = k, call.v = v;
    call.out_o = o, call.out_lse = lse;
    if (kern_attention_is_few(shape, 0)) {
        kern_attention_few_run(&call, workspace);
        return;
    }
    run_cut(&call, (cut){shape->heads, ROWS, (shape->rows + ROWS - 1) / ROWS, 1}, workspace);
}

void kern_attention_vjp(const kern_attention_shape *shape, void *ct_q, void *ct_k, void *ct_v,
                        const kern_attention_past_ct *ct_past, const void *q, const void *k,
                        const void *v, const kern_attention_past *past, const void *o,
                        const void *lse, const void *ct_o, void *workspace) {
    kern_attention_call call = call_of(shape, 1, past);
    call.q = q, call.k = k, call.v = v, call.o = o, call.lse = lse, call.ct_o = ct_o;
    call.out_q = ct_q, call.out_k = ct_k, call.out_v = ct_v;
    if (ct_past) call.out_past = *ct_past;
    clear_keys(shape, ct_k);
    clear_keys(shape, ct_v);
    run_parts(&call, workspace);
}

void kern_attention_vjp2(const kern_attention_shape *shape, void *ct_q, void *ct_k, void *ct_v,
                         void *ct_ct_o, const kern_attention_past_ct *ct_past, const void *q,
                         const void *k, const void *v, const kern_attention_past *past,
                         const void *o, const void *lse, const void *ct_o, const void *a,
                         const void *b, const void *c, void *workspace) {
    kern_attention_call call = call_of(shape, 2, past);
    call.q = q, call.k = k, call.v = v, call.o = o, call.lse = lse, call.ct_o = ct_o;
    call.a = a, call.b = b, call.c = c;
    call.out_q = ct_q, call.out_k = ct_k, call.out_v = ct_v, call.out_ct_o = ct_ct_o;
    if (ct_past) call.out_past = *ct_past;
    clear_keys(shape, ct_k);
    clear_keys(shape, ct_v);
    run_parts(&call, workspace);
}

double kern_attention_pairs(const kern_attention_shape *shape, int64_t past, bool of_past) {
    double pairs = 0;
    for (int64_t t = 0; t < shape->rows; t++) {
        int64_t own = t + 1 < shape->window ? t + 1 : shape->window;
        int64_t before = shape->window - own < past ? shape->window - own : past;
        pairs += (double)(of_past ? before : own);
    }
    return pairs * (double)shape->batch * (double)shape->heads;
}
