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
    size_t table = 2 * INFER_KINDS * (size_t)conf_head_size(s->spec.conf) * real;
    infer_session_memory memory = {
        .weights = infer_values_bytes(s->parameters, s->spec.conf, reader),
        .history = s->history_bytes,
        .fast = 2 * s->fast_bytes + (s->product == KERN_BF16 ? s->fast_bytes / 2 : 0),
        .workspace = s->arena_bytes,
        .rows = rows * ((size_t)model->dim * real + 2 * real + 3 * sizeof(int32_t) + table) +
                (size_t)(s->narrow * model->vocab) * real + (size_t)model->vocab * sizeof(float)};
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

static kern_status allocate_rows(infer_session *s) {
    kern_status status = KERN_OK;
    const conf_model *model = &s->spec.conf->model;
    size_t real = kern_dtype_bytes(s->real), rows = (size_t)(s->unit + s->narrow);
    TRY(kern_alloc_zero(&s->h, rows * (size_t)model->dim * real, "rows of the prefix"));
    TRY(kern_alloc_zero(&s->logits, (size_t)(s->narrow * model->vocab) * real, "logits"));
    TRY(kern_alloc_zero((void **)&s->scores, (size_t)model->vocab * sizeof *s->scores, "logits"));
    TRY(kern_alloc_zero(&s->nll, rows * real, "losses"));
    TRY(kern_alloc_zero(&s->weight, rows * real, "loss weights"));
    TRY(kern_alloc_zero((void **)&s->input, rows * sizeof *s->input, "tokens"));
    TRY(kern_alloc_zero((void **)&s->target, rows * sizeof *s->target, "targets"));
    TRY(kern_alloc_zero((void **)&s->waiting, rows * sizeof *s->waiting, "tokens"));
    for (int kind = 0; kind < INFER_KINDS; kind++) {
        size_t table = rows * (size_t)conf_head_size(s->spec.conf) * real;
        TRY(kern_alloc_zero(&s->cosine[kind], table, "rotary table"));
        TRY(kern_alloc_zero(&s->sine[kind], table, "rotary table"));
    }
done:
    return status;
}

kern_status infer_session_allocate(infer_session *s) {
    kern_status status = KERN_OK;
    plan_history(s);
    plan_fast(s);
    TRY(check_memory(s));
    TRY(kern_alloc(&s->arena, s->arena_bytes, "workspace"));
    TRY(kern_alloc_zero(&s->keys, s->history_bytes, "keys and values"));
    char *at = s->keys;
    for (int64_t b = 0; b < s->spec.conf->model.blocks; b++) {
        size_t bytes = kern_align((size_t)s->history[b].capacity * infer_session_row_bytes(s));
        s->history[b].k = at;
        s->history[b].v = at + bytes;
        at += 2 * bytes;
    }
    for (int i = 0; i < 2; i++)
        TRY(kern_alloc_zero((void **)&s->theta[i], s->fast_bytes, "fast weights"));
    if (s->product == KERN_BF16)
        TRY(kern_alloc_zero((void **)&s->theta_rounded, s->fast_bytes / 2, "fast weights"));
    TRY(allocate_rows(s));
done:
    return status;
}

void infer_session_free(infer_session *s) {
    void *const memory[] = {s->arena,     s->keys,   s->theta[0], s->theta[1],  s->theta_rounded,
                            s->h,         s->logits, s->scores,   s->nll,       s->weight,
                            s->input,     s->target, s->waiting,  s->cosine[0], s->sine[0],
                            s->cosine[1], s->sine[1]};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++) kern_free(memory[i]);
    free(s->history);
    free(s->fast_at);
    free(s->moved);
}
