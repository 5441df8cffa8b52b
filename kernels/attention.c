#include "kernels/attention.h"

#include <omp.h>
#include <string.h>

#include "kernels/attention_few.h"
#include "kernels/attention_task.h"
#include "kernels/isa.h"

enum { ROWS = KERN_ATTENTION_ROWS, KEYS = KERN_ATTENTION_KEYS };

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

/* One value a row and query head. */
static size_t statistic_bytes(const kern_attention_shape *s) {
    return kern_align((size_t)(s->batch * s->rows * s->heads) * element_bytes(s->dtype));
}

size_t kern_attention_workspace(const kern_attention_shape *shape, int stage, int64_t past,
                                int threads) {
    if (kern_attention_is_few(shape, stage)) return kern_attention_few_workspace(shape);
    size_t shared = stage == 2 ? 2 * statistic_bytes(shape) : 0;
    return shared + scratch_bytes(shape, stage, past) * (size_t)threads;
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

/* How a stage is cut, a function of the shape and the past alone. Rows are cut into runs of
 * `length`; those of one colour (every colours-th) go side by side.
 *
 * The rows of a key head add into the same keys. Runs at least a window long share keys with their
 * neighbours only, so in the vjps the even ones go together, then the odd ones. Where that leaves
 * few, there are `pieces`: the row tiles of a key head's query heads are cut into so many, and so
 * are the keys. In step s piece p of the rows meets piece (p + s) mod pieces of the keys, so no two
 * items of a step add into the same rows or keys. Either way: no atomics, no copies, and each sum
 * in one fixed order. */
typedef struct {
    int64_t heads, length, runs, colours;
    int64_t pieces; /* 0: runs */
} cut;

enum {
    PARTS = 256,     /* wanted side by side */
    KEPT_PARTS = 16, /* or so many, where pieces would compute again what stage 2 keeps */
};

static int64_t row_tiles(const kern_attention_shape *s) { /* of a key head */
    return s->heads / s->groups * kern_divide_up(s->rows, ROWS);
}

static int64_t first_key(const kern_attention_shape *s, int64_t past) { /* that any row sees */
    return past >= s->window ? past - s->window + 1 : 0;
}

static int64_t key_tiles(const kern_attention_shape *s, int64_t past) {
    return kern_divide_up(past + s->rows - first_key(s, past), KEYS);
}

static cut cut_of(const kern_attention_shape *s, int stage, int64_t past) {
    if (stage == 0) return (cut){s->heads, ROWS, kern_divide_up(s->rows, ROWS), 1, 0};
    int64_t length = kern_divide_up(s->window > 4 * ROWS ? s->window : 4 * ROWS, ROWS) * ROWS;
    cut c = {s->groups, length, kern_divide_up(s->rows, length), 1, 0};
    if (c.runs > 1) c.colours = 2;
    int64_t heads = s->batch * s->groups, side_by_side = kern_divide_up(c.runs, c.colours);
    bool kept = stage == 2 && s->window + ROWS <= KERN_ATTENTION_KEPT * KEYS;
    bool small = heads * row_tiles(s) < PARTS;
    if (heads * side_by_side >= (kept && small ? KEPT_PARTS : PARTS)) return c;
    int64_t pieces = kern_min(row_tiles(s), key_tiles(s, past));
    pieces = kern_min(pieces, kern_divide_up(PARTS, heads));
    if (pieces > side_by_side) c.pieces = pieces;
    return c;
}

static void run_cut(const kern_attention_call *call, cut c, kern_attention_pass pass,
                    void *workspace) {
    const kern_attention_shape *s = &call->shape;
    kern_attention_run *run = variant(s->dtype);
    size_t bytes = scratch_bytes(s, call->stage, call->past.past);
#pragma omp parallel
    for (int64_t colour = 0; colour < c.colours; colour++) {
        int64_t runs = (c.runs - colour + c.colours - 1) / c.colours;
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < s->batch * c.heads * runs; i++) {
            int64_t at = i % runs * c.colours + colour, share = s->heads / c.heads;
            kern_attention_item item = {.pass = pass,
                                        .batch = i / runs / c.heads,
                                        .head = i / runs % c.heads * share,
                                        .begin = at * c.length,
                                        .end = kern_min((at + 1) * c.length, s->rows),
                                        .key_end = call->past.past + s->rows};
            item.tile_end = share * kern_divide_up(item.end - item.begin, ROWS);
            run(call, &item, (char *)workspace + (size_t)omp_get_thread_num() * bytes);
        }
    }
}

static void run_pieces(const kern_attention_call *call, cut c, void *workspace) {
    const kern_attention_shape *s = &call->shape;
    kern_attention_run *run = variant(s->dtype);
    size_t bytes = scratch_bytes(s, call->stage, call->past.past);
    int64_t share = s->heads / s->groups, rows = row_tiles(s), past = call->past.past;
    int64_t first = first_key(s, past), keys = key_tiles(s, past), pieces = c.pieces;
#pragma omp parallel
    for (int64_t step = 0; step < pieces; step++) {
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < s->batch * s->groups * pieces; i++) {
            int64_t of_rows = i % pieces, of_keys = (of_rows + step) % pieces;
            kern_attention_item item = {
                .pass = KERN_ATTENTION_PART,
                .batch = i / pieces / s->groups,
                .head = i / pieces % s->groups * share,
                .end = s->rows,
                .tile_begin = rows * of_rows / pieces,
                .tile_end = rows * (of_rows + 1) / pieces,
                .key_begin = first + keys * of_keys / pieces * KEYS,
                .key_end = kern_min(first + keys * (of_keys + 1) / pieces * KEYS, past + s->rows)};
            run(call, &item, (char *)workspace + (size_t)omp_get_thread_num() * bytes);
        }
    }
}

/* What is added into starts at zero. */
static void clear(const kern_attention_shape *s, void *ct, int64_t heads) {
    if (!ct) return;
    size_t row = (size_t)(heads * s->head_size) * element_bytes(s->dtype);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < s->batch * s->rows; i++) memset((char *)ct + (size_t)i * row, 0, row);
}

/* Stage 1 or 2. */
static void run_vjp(kern_attention_call *call, void *workspace) {
    const kern_attention_shape *s = &call->shape;
    cut c = cut_of(s, call->stage, call->past.past);
    clear(s, call->out_k, s->groups);
    clear(s, call->out_v, s->groups);
    if (!c.pieces) {
        run_cut(call, c, KERN_ATTENTION_WHOLE, workspace);
        return;
    }
    clear(s, call->out_q, s->heads);
    if (call->stage == 2) {
        size_t bytes = statistic_bytes(s);
        call->tau = workspace;
        call->h = (char *)workspace + bytes;
        workspace = (char *)workspace + 2 * bytes;
        run_cut(call, cut_of(s, 0, 0), KERN_ATTENTION_FIRST_PASS, workspace);
        if (!kern_attention_has_second_pass(call)) return;
    }
    run_pieces(call, c, workspace);
}

int64_t kern_attention_parts(const kern_attention_shape *shape, int stage, int64_t past) {
    kern_attention_call call = call_of(shape, stage, &(kern_attention_past){.past = past});
    if (kern_attention_is_few(shape, stage)) return kern_attention_few_parts(&call);
    cut c = cut_of(&call.shape, stage, past);
    return shape->batch * c.heads * (c.pieces ? c.pieces : kern_divide_up(c.runs, c.colours));
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
    run_cut(&call, cut_of(&call.shape, 0, call.past.past), KERN_ATTENTION_WHOLE, workspace);
}

void kern_attention_vjp(const kern_attention_shape *shape, void *ct_q, void *ct_k, void *ct_v,
                        const kern_attention_past_ct *ct_past, const void *q, const void *k,
                        const void *v, const kern_attention_past *past, const void *o,
                        const void *lse, const void *ct_o, void *workspace) {
    kern_attention_call call = call_of(shape, 1, past);
    call.q = q, call.k = k, call.v = v, call.o = o, call.lse = lse, call.ct_o = ct_o;
    call.out_q = ct_q, call.out_k = ct_k, call.out_v = ct_v;
    if (ct_past) call.out_past = *ct_past;
    run_vjp(&call, workspace);
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
    run_vjp(&call, workspace);
}

/* last + (last + 1) + ... + first, each at most `most`. */
static double sum_at_most(int64_t last, int64_t first, int64_t most) {
    int64_t whole = kern_min(first, most); /* up to here they count whole */
    double sum = (double)kern_max(0, whole - last + 1) * (double)(last + whole) / 2;
    return sum + (double)kern_min(first - last + 1, first - whole) * (double)most;
}

/* Row t sees min(t + 1, window) of the new rows and of the past as many as are left of the window.
 */
double kern_attention_pairs(const kern_attention_shape *shape, int64_t past, bool of_past) {
    int64_t window = shape->window, growing = kern_min(shape->rows, window);
    double pairs = of_past ? sum_at_most(window - growing, window - 1, past)
                           : sum_at_most(1, growing, window) +
                                 (double)(shape->rows - growing) * (double)window;
    return pairs * (double)shape->batch * (double)shape->heads;
}
