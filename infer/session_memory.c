/* What memory a session needs, and where in it things lie. All of it is allocated at creation. */
#include <stdlib.h>

#include "infer/session_state.h"

/* ---- what is needed ---- */

session_carries *infer_session_carries(infer_session *s, const session_state *state) {
    return &s->carries[conf_suffix_block(s->spec.conf, state->block)];
}

int64_t infer_session_capacity(const infer_session *s, int64_t past) {
    return past > 0 ? past + s->unit + s->narrow : 0;
}

static size_t history_bytes(const session_state *state) {
    return kern_align((size_t)state->capacity * state->bytes);
}

static void plan_history(infer_session *s, session_state *state) {
    const ttt_conf *conf = s->spec.conf;
    bool full = conf_block_is_full(conf, state->block);
    state->past = full ? s->spec.limit : conf_block_window(conf, state->block) - 1;
    state->capacity = infer_session_capacity(s, state->past);
    s->history_bytes += history_bytes(state);
}

void infer_session_plan_states(infer_session *s) {
    const ttt_conf *conf = s->spec.conf;
    infer_mixer_state about[INFER_STATES];
    s->state = kern_array(INFER_STATES * conf->model.blocks, sizeof *s->state);
    for (int b = 0; b < conf->model.blocks; b++) {
        int states = infer_states_of(about, conf, b, s->parameters->ranks);
        for (int i = 0; i < states; i++) {
            session_state *state = &s->state[s->states++];
            *state = (session_state){.about = about[i], .block = b};
            state->bytes = kern_dtype_bytes(about[i].history ? s->product : s->real);
            for (int axis = 0; axis < about[i].rank; axis++)
                state->bytes *= (size_t)about[i].dim[axis];
            if (about[i].history) {
                plan_history(s, state);
                continue;
            }
            state->at = infer_session_carries(s, state)->bytes;
            infer_session_carries(s, state)->bytes += kern_align(state->bytes);
        }
    }
}

static size_t fresh_bytes(const infer_session *s) {
    size_t bytes = 0;
    for (int i = 0; i < s->states; i++)
        if (s->state[i].about.history) bytes += kern_align(s->state[i].bytes);
    return bytes;
}

/* Those of the prefix need no copy of a chunk's beginning. */
static size_t carried_bytes(const infer_session *s) {
    return (COPIES - 1) * s->carries[0].bytes + COPIES * s->carries[1].bytes;
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

/* Every weight that products read once, and the rows of keys and values in reach, and carries. */
static void count_reads(infer_session_memory *memory, const infer_session *s) {
    const conf_model *model = &s->spec.conf->model;
    size_t real = kern_dtype_bytes(s->real), product = kern_dtype_bytes(s->product);
    for (int i = 0; i < s->parameters->count; i++) {
        const infer_parameter *p = &s->parameters->item[i];
        if (p->role == &infer_embedding && !model->tied) continue; /* one row of it is read */
        memory->weights_read += (double)p->elements * (double)(p->role->product ? product : real);
    }
    for (int i = 0; i < s->states; i++) {
        const session_state *state = &s->state[i];
        int64_t rows = state->about.history ? kern_min(state->used, state->past) : 1;
        memory->history_read += (double)rows * (double)state->bytes;
    }
}

infer_session_memory infer_session_plan(const infer_session *s) {
    const conf_model *model = &s->spec.conf->model;
    const infer_readers reader = {.plain = !s->spec.inner, .stepping = s->spec.inner};
    size_t real = kern_dtype_bytes(s->real), rows = (size_t)(s->unit + s->narrow);
    size_t table = 2 * (size_t)conf_head_size(s->spec.conf) * real; /* of one kind, of a row */
    int tables = 1 + s->has_table[0] + s->has_table[1];
    int64_t ranks = s->parameters->ranks;
    infer_session_memory memory = {
        .weights = infer_values_bytes(s->parameters, s->spec.conf, reader, s->spec.device),
        .history = s->history_bytes + fresh_bytes(s) + carried_bytes(s),
        .fast = 2 * s->fast_bytes + (s->product == KERN_BF16 ? s->fast_bytes / 2 : 0),
        .workspace = s->arena_bytes,
        .program = s->spec.device->machine->memory > 0 ? 0 : s->program,
        .rows = rows * ((size_t)model->dim * real + 2 * real + 4 * sizeof(int32_t) +
                        (size_t)tables * table) +
                (size_t)(s->narrow * s->columns + ranks * s->columns) * real +
                (s->spec.tensor ? 2 * rows + (size_t)((ranks + 1) * s->columns) : 0) * real +
                (s->real == KERN_F32 ? 0 : (size_t)model->vocab * sizeof(float))};
    count_reads(&memory, s);
    return memory;
}

static kern_status check_memory(const infer_session *s) {
    infer_session_memory m = infer_session_plan(s);
    double total = (double)(m.weights + m.history + m.fast + m.workspace + m.rows + m.program),
           MB = 1e6;
    if (s->spec.memory <= 0 || total <= s->spec.memory) return KERN_OK;
    return kern_fail(KERN_ERR_MEMORY,
                     "reading takes %.0f MB (weights %.0f, keys and values %.0f, fast weights "
                     "%.0f, workspace %.0f, rows %.0f, program %.0f), and %.0f MB are free%s",
                     total / MB, (double)m.weights / MB, (double)m.history / MB,
                     (double)m.fast / MB, (double)m.workspace / MB, (double)m.rows / MB,
                     (double)m.program / MB, s->spec.memory / MB,
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

/* What there is with several ranks only. */
static kern_status allocate_shared(infer_session *s) {
    kern_status status = KERN_OK;
    size_t real = kern_dtype_bytes(s->real), rows = (size_t)(s->unit + s->narrow);
    size_t columns = (size_t)s->columns * real;
    TRY(take(s, &s->input_here, rows * real, "tokens"));
    TRY(take(s, &s->target_here, rows * real, "targets"));
    TRY(take(s, &s->missing, columns, "missing columns"));
    TRY(take(s, &s->gathered, (size_t)s->parameters->ranks * columns, "logits"));
    void *missing;
    TRY(kern_alloc(&missing, columns, "missing columns"));
    infer_missing_columns(missing, s->spec.conf, s->spec.tensor);
    kern_upload(s->spec.device, s->missing, missing, columns);
    kern_free(missing);
done:
    return status;
}

static kern_status allocate_rows(infer_session *s) {
    kern_status status = KERN_OK;
    const conf_model *model = &s->spec.conf->model;
    size_t real = kern_dtype_bytes(s->real), rows = (size_t)(s->unit + s->narrow);
    size_t table = rows * (size_t)conf_head_size(s->spec.conf) * real;
    TRY(take(s, &s->h, rows * (size_t)model->dim * real, "rows of the prefix"));
    TRY(take(s, &s->logits, (size_t)(s->narrow * s->columns) * real, "logits"));
    TRY(take(s, &s->nll, rows * real, "losses"));
    TRY(take(s, &s->loss, real, "losses"));
    TRY(take(s, &s->norm, real, "losses"));
    TRY(take(s, &s->weight, rows * real, "loss weights"));
    if (s->carries[0].bytes + s->carries[1].bytes)
        TRY(take(s, &s->valid, (size_t)s->narrow * real, "rows that are tokens"));
    TRY(take(s, &s->input, rows * sizeof *s->input, "tokens"));
    TRY(take(s, &s->target, rows * sizeof *s->target, "targets"));
    for (int kind = 0; kind < INFER_KINDS; kind++) {
        if (!s->has_table[kind]) continue;
        TRY(take(s, &s->cosine[kind], table, "rotary table"));
        TRY(take(s, &s->sine[kind], table, "rotary table"));
    }
    if (s->spec.tensor) TRY(allocate_shared(s));
    TRY(kern_alloc_zero(&s->scores, (size_t)(s->parameters->ranks * s->columns) * real, "logits"));
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
    plan_fast(s);
    TRY(check_memory(s));
    TRY(kern_buffer_create(&s->memory[s->buffers++], s->spec.device, s->arena_bytes, "workspace"));
    s->arena = s->memory[0].data;
    TRY(take(s, &at, s->history_bytes, "keys and values"));
    for (int i = 0; i < s->states; i++) {
        s->state[i].rows = at;
        at += history_bytes(&s->state[i]);
    }
    TRY(take(s, &s->fresh, fresh_bytes(s), "keys and values"));
    for (int suffix = 0; suffix < 2; suffix++)
        for (int i = 0; i < COPIES - 1 + suffix && s->carries[suffix].bytes; i++)
            TRY(take(s, &s->carries[suffix].copy[i], s->carries[suffix].bytes, "mixers' states"));
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
    free(s->state);
    free(s->fast_at);
    free(s->moved);
}
