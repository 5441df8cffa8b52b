/* What memory a session needs, and where in it things lie. All of it is allocated at creation. */
#include <stdlib.h>

#include "infer/session_state.h"

size_t infer_session_row_bytes(const infer_session *s) {
    return (size_t)(conf_kv_heads(s->spec.conf) * conf_head_size(s->spec.conf)) *
           kern_dtype_bytes(s->product);
}

/* ---- what is needed ---- */

static void plan_history(infer_session *s) {
    const ttt_conf *conf = s->spec.conf;
    s->history = kern_array(conf->model.blocks, sizeof *s->history);
    for (int64_t b = 0; b < conf->model.blocks; b++) {
        session_history *h = &s->history[b];
        if (conf->model.attention == CONF_ATTN_NONE) continue;
        h->past = conf_block_is_full(conf, b) ? s->spec.limit : conf_block_window(conf, b) - 1;
        if (h->past > 0) h->capacity = h->past + s->unit + s->narrow;
        s->history_bytes += 2 * kern_align((size_t)h->capacity * infer_session_row_bytes(s));
    }
}

static void plan_fast(infer_session *s) {
    size_t at = 0;
    s->fast_at = kern_array(infer_session_fast(s), sizeof *s->fast_at);
    s->moved = kern_array(infer_session_fast(s), sizeof *s->moved);
    for (int f = 0; f < infer_session_fast(s); f++) {
        s->fast_at[f] = at;
        at += kern_align((size_t)infer_session_fast_parameter(s, f)->elements);
    }
    s->fast_bytes = at * kern_dtype_bytes(s->real);
}

/* Every weight that products read once, and the rows of keys and values in reach. */
static void count_reads(infer_session_memory *memory, const infer_session *s) {
    const conf_model *model = &s->spec.conf->model;
    size_t real = kern_dtype_bytes(s->real), product = kern_dtype_bytes(s->product);
    for (int i = 0; i < s->parameters->count; i++) {
        const infer_parameter *p = &s->parameters->item[i];
        if (p->role == INFER_EMBED && !model->tied) continue; /* one row of it is read */
        memory->weights_read += (double)p->elements * (double)(p->rank == 1 ? real : product);
    }
    for (int64_t b = 0; b < model->blocks; b++) {
        const session_history *h = &s->history[b];
        int64_t seen = h->used < h->past ? h->used : h->past;
        memory->history_read += 2.0 * (double)seen * (double)infer_session_row_bytes(s);
    }
}

infer_session_memory infer_session_plan(const infer_session *s) {
    const conf_model *model = &s->spec.conf->model;
    const infer_readers reader = {.plain = !s->spec.inner, .stepping = s->spec.inner};
    size_t real = kern_dtype_bytes(s->real), rows = (size_t)(s->unit + s->narrow);
    size_t table = 2 * (size_t)conf_head_size(s->spec.conf) * real; /* of one kind, of a row */
    int tables = 1 + s->has_table[0] + s->has_table[1];
    infer_session_memory memory = {
        .weights = infer_values_bytes(s->parameters, s->spec.conf, reader, s->spec.device),
        .history = s->history_bytes,
        .fast = 2 * s->fast_bytes + (s->product == KERN_BF16 ? s->fast_bytes / 2 : 0),
        .workspace = s->arena_bytes,
        .rows = rows * ((size_t)model->dim * real + 2 * real + 4 * sizeof(int32_t) +
                        (size_t)tables * table) +
                (size_t)((s->narrow + 1) * model->vocab) * real +
                (s->real == KERN_F32 ? 0 : (size_t)model->vocab * sizeof(float))};
    count_reads(&memory, s);
    return memory;
}

static kern_status check_memory(const infer_session *s) {
    infer_session_memory m = infer_session_plan(s);
    double total = (double)(m.weights + m.history + m.fast + m.workspace + m.rows), MB = 1e6;
    if (s->spec.memory <= 0 || total <= s->spec.memory) return KERN_OK;
    return kern_fail(KERN_ERR_MEMORY,
                     "reading takes %.0f MB (weights %.0f, keys and values %.0f, fast weights "
                     "%.0f, workspace %.0f, rows %.0f), and %.0f MB are free%s",
                     total / MB, (double)m.weights / MB, (double)m.history / MB,
                     (double)m.fast / MB, (double)m.workspace / MB, (double)m.rows / MB,
                     s->spec.memory / MB,
                     s->full ? "; a smaller --context takes less, where attention is full" : "");
}

/* ---- where it lies ---- */

/* Zeroed memory of the device. */
static kern_status take(infer_session *s, void *place, size_t bytes, const char *what) {
    ASSERT(s->buffers < SESSION_BUFFERS);
    kern_buffer *buffer = &s->memory[s->buffers++];
    kern_status status = kern_buffer_create_zero(buffer, s->spec.device, bytes, what);
    *(void **)place = buffer->data;
    return status;
}

static kern_status allocate_rows(infer_session *s) {
    kern_status status = KERN_OK;
    const conf_model *model = &s->spec.conf->model;
    size_t real = kern_dtype_bytes(s->real), rows = (size_t)(s->unit + s->narrow);
    size_t table = rows * (size_t)conf_head_size(s->spec.conf) * real;
    TRY(take(s, &s->h, rows * (size_t)model->dim * real, "rows of the prefix"));
    TRY(take(s, &s->logits, (size_t)(s->narrow * model->vocab) * real, "logits"));
    TRY(take(s, &s->nll, rows * real, "losses"));
    TRY(take(s, &s->loss, real, "losses"));
    TRY(take(s, &s->norm, real, "losses"));
    TRY(take(s, &s->weight, rows * real, "loss weights"));
    TRY(take(s, &s->input, rows * sizeof *s->input, "tokens"));
    TRY(take(s, &s->target, rows * sizeof *s->target, "targets"));
    for (int kind = 0; kind < INFER_KINDS; kind++) {
        if (!s->has_table[kind]) continue;
        TRY(take(s, &s->cosine[kind], table, "rotary table"));
        TRY(take(s, &s->sine[kind], table, "rotary table"));
    }
    TRY(kern_alloc_zero(&s->scores, (size_t)model->vocab * real, "logits"));
    if (s->real != KERN_F32)
        TRY(kern_alloc_zero((void **)&s->scores_f32, (size_t)model->vocab * sizeof *s->scores_f32,
                            "logits"));
    TRY(kern_alloc_zero((void **)&s->ids, rows * sizeof *s->ids, "tokens"));
    TRY(kern_alloc_zero((void **)&s->waiting, rows * sizeof *s->waiting, "tokens"));
    TRY(kern_alloc_zero(&s->reals, 2 * table, "rotary tables"));
done:
    return status;
}

kern_status infer_session_allocate(infer_session *s) {
    kern_status status = KERN_OK;
    char *at;
    plan_history(s);
    plan_fast(s);
    TRY(check_memory(s));
    TRY(kern_buffer_create(&s->memory[s->buffers++], s->spec.device, s->arena_bytes, "workspace"));
    s->arena = s->memory[0].data;
    TRY(take(s, &at, s->history_bytes, "keys and values"));
    for (int64_t b = 0; b < s->spec.conf->model.blocks; b++) {
        size_t bytes = kern_align((size_t)s->history[b].capacity * infer_session_row_bytes(s));
        s->history[b].k = at;
        s->history[b].v = at + bytes;
        at += 2 * bytes;
    }
    for (int i = 0; i < 2; i++) TRY(take(s, &s->theta[i], s->fast_bytes, "fast weights"));
    if (s->product == KERN_BF16) TRY(take(s, &s->theta_rounded, s->fast_bytes / 2, "fast weights"));
    TRY(allocate_rows(s));
done:
    return status;
}

void infer_session_free(infer_session *s) {
    void *const memory[] = {s->scores, s->scores_f32, s->ids, s->waiting, s->reals};
    for (int i = 0; i < s->buffers; i++) kern_buffer_destroy(&s->memory[i]);
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++) kern_free(memory[i]);
    free(s->history);
    free(s->fast_at);
    free(s->moved);
}
