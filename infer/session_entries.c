/* The tensors of a session's state, and their ways between files and devices. */
#include "infer/session_entries.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME = INFER_ENTRY_NAME, PIECE = 4 << 20 };

/* [rows, dim[0], ...] */
static void add_rows(session_entries *list, const char *name, kern_dtype dtype, void *memory,
                     int64_t rows, int dims, const int64_t *dim) {
    if (rows == 0) return;
    session_entry *e = &list->item[list->count++];
    *e = (session_entry){
        .dtype = dtype, .rank = 1 + dims, .shape = {rows}, .ranks = 1, .memory = memory};
    for (int axis = 0; axis < dims; axis++) e->shape[1 + axis] = dim[axis];
    snprintf(e->name, NAME, "%s", name);
}

/* The entry added last is the rank's part of an axis. */
static void divide(session_entries *list, const infer_session *s, infer_placing placing, int axis) {
    session_entry *e = &list->item[list->count - 1];
    if (placing != INFER_PARTED || s->parameters->ranks == 1) return;
    e->ranks = s->parameters->ranks;
    e->axis = axis;
    e->shape[axis] *= e->ranks;
}

static void add_host(session_entries *list, const char *name, kern_dtype dtype, void *memory,
                     int64_t rows) {
    add_rows(list, name, dtype, memory, rows, 0, NULL);
    if (rows) list->item[list->count - 1].host = true;
}

int64_t infer_session_kept_rows(const infer_session *s, const session_state *h, int64_t position,
                                int64_t pending) {
    int64_t reach = h->past + (conf_suffix_block(s->spec.conf, h->block) ? pending : 0);
    if (h->past == 0) return 0;
    return position < reach ? position : reach;
}

/* Bytes that one rank has for each index of the axes before the divided one, and how many such
 * there are; all at once where nothing is divided. */
static size_t run_bytes(const session_entry *e) {
    size_t bytes = kern_dtype_bytes(e->dtype);
    for (int i = e->axis; i < e->rank; i++) bytes *= (size_t)e->shape[i];
    return bytes / (size_t)e->ranks;
}

static int64_t runs_of(const session_entry *e) {
    int64_t runs = 1;
    for (int i = 0; i < e->axis; i++) runs *= e->shape[i];
    return runs;
}

/* So many runs are moved at once. */
static int64_t block_of(const session_entry *e) {
    size_t row = (size_t)e->ranks * run_bytes(e);
    return kern_max(1, (int64_t)(PIECE / (row ? row : 1)));
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const session_entry *)a)->name, ((const session_entry *)b)->name);
}

static bool keeps_begin(const infer_session *s, const session_state *state) {
    return infer_session_fast(s) && conf_suffix_block(s->spec.conf, state->block);
}

static void add_carry(session_entries *list, const infer_session *s, const session_state *state,
                      const char *name, int64_t position, bool load) {
    const session_carries *c = &s->carries[conf_suffix_block(s->spec.conf, state->block)];
    const infer_mixer_state *about = &state->about;
    char before[NAME];
    if (position == 0) return; /* zeros */
    add_rows(list, name, s->real, c->copy[load ? LOADED_NOW : c->now] + state->at, about->dim[0],
             about->rank - 1, about->dim + 1);
    divide(list, s, about->placing, about->axis);
    if (!keeps_begin(s, state)) return;
    snprintf(before, NAME, "%.80s_before", name);
    add_rows(list, before, s->real, c->copy[load ? LOADED_BEGIN : c->begin] + state->at,
             about->dim[0], about->rank - 1, about->dim + 1);
    divide(list, s, about->placing, about->axis);
}

session_entries infer_session_entries(const infer_session *s, int64_t position, int64_t pending,
                                      bool scored, bool load) {
    int64_t dim = s->spec.conf->model.dim;
    session_entries list = {
        kern_array(2 * infer_session_fast(s) + 2 * s->states + 3, sizeof *list.item), 0};
    char name[NAME];
    for (int f = 0; f < infer_session_fast(s); f++) {
        const infer_parameter *p = infer_session_fast_parameter(s, f);
        add_rows(&list, p->name, s->real, s->theta[0] + s->fast_at[f] * kern_dtype_bytes(s->real),
                 p->dim[0], p->rank - 1, p->dim + 1);
        divide(&list, s, p->placing, p->split.axis);
        snprintf(name, NAME, INFER_MOVED "%s", p->name);
        add_host(&list, name, KERN_F64, &s->moved[f], 2);
    }
    for (int i = 0; i < s->states; i++) {
        const session_state *state = &s->state[i];
        snprintf(name, NAME, "blocks.%d.%s", state->block, state->about.name);
        if (!state->about.history) {
            add_carry(&list, s, state, name, position, load);
            continue;
        }
        int64_t rows = infer_session_kept_rows(s, state, position, pending);
        size_t from = load ? 0 : (size_t)(state->used - rows) * state->bytes;
        add_rows(&list, name, s->product, (char *)state->rows + from, rows, state->about.rank,
                 state->about.dim);
        if (rows) divide(&list, s, state->about.placing, 1 + state->about.axis);
    }
    add_host(&list, INFER_WAITING, KERN_I32, s->waiting, pending);
    add_rows(&list, "waiting_rows", s->real, s->h, pending, 1, &dim);
    add_host(&list, "scores", s->real, s->scores, scored ? s->spec.conf->model.vocab : 0);
    qsort(list.item, (size_t)list.count, sizeof *list.item, by_name);
    return list;
}

/* ---- what lies on a device, piece by piece ---- */

/* The first error of two. */
static kern_status first(kern_status a, kern_status b) {
    return a != KERN_OK ? a : b;
}

static kern_status whole_pieces(const infer_session *s, const session_entry *e, session_taker take,
                                void *context) {
    kern_status status = KERN_OK;
    size_t bytes = run_bytes(e);
    void *stage = NULL;
    if (e->host) return take ? take(context, e, e->memory, bytes) : KERN_OK;
    TRY(kern_alloc(&stage, bytes < PIECE ? bytes : PIECE, "a piece of the state"));
    for (size_t at = 0, count; take && at < bytes; at += count) {
        count = bytes - at < PIECE ? bytes - at : PIECE;
        TRY(kern_download(s->spec.device, stage, (const char *)e->memory + at, count));
        TRY(take(context, e, stage, count));
    }
done:
    kern_free(stage);
    return status;
}

/* Out of all ranks' parts: each tells its own. Goes on after an error, or the others would wait. */
static kern_status divided_pieces(const infer_session *s, const session_entry *e,
                                  session_taker take, void *context) {
    const kern_comm *tensor = s->spec.tensor;
    size_t run = run_bytes(e), row = (size_t)e->ranks * run;
    int64_t block = kern_min(block_of(e), runs_of(e));
    char *whole = kern_array(block, row), *part = kern_array(block, run);
    kern_status status = KERN_OK;
    for (int64_t at = 0; at < runs_of(e); at += block) {
        int64_t count = kern_min(block, runs_of(e) - at);
        for (int r = 0; r < e->ranks; r++) {
            const char *own = (const char *)e->memory + (size_t)at * run;
            size_t bytes = (size_t)count * run;
            if (r == tensor->rank)
                status = first(status, kern_download(s->spec.device, part, own, bytes));
            status = first(status, tensor->tell(tensor, part, bytes, r));
            for (int64_t i = 0; i < count; i++)
                memcpy(whole + (size_t)i * row + (size_t)r * run, part + (size_t)i * run, run);
        }
        if (take && status == KERN_OK) status = take(context, e, whole, (size_t)count * row);
    }
    free(whole);
    free(part);
    return status;
}

kern_status infer_session_each_piece(const infer_session *s, const session_entry *e,
                                     session_taker take, void *context) {
    return e->ranks > 1 ? divided_pieces(s, e, take, context) : whole_pieces(s, e, take, context);
}

void infer_session_load_entry(const infer_session *s, const session_entry *e,
                              const data_tensor *tensor) {
    size_t run = run_bytes(e), row = (size_t)e->ranks * run;
    int64_t runs = runs_of(e), block = kern_min(block_of(e), runs);
    if (e->host) {
        memcpy(e->memory, tensor->data, tensor->bytes);
        return;
    }
    if (e->ranks == 1) {
        kern_upload(s->spec.device, e->memory, tensor->data, tensor->bytes);
        return;
    }
    char *part = kern_array(block, run);
    for (int64_t at = 0; at < runs; at += block) {
        int64_t count = kern_min(block, runs - at);
        const char *from = (const char *)tensor->data + (size_t)at * row;
        for (int64_t i = 0; i < count; i++)
            memcpy(part + (size_t)i * run,
                   from + (size_t)i * row + (size_t)s->parameters->rank * run, run);
        kern_upload(s->spec.device, (char *)e->memory + (size_t)at * run, part,
                    (size_t)count * run);
    }
    free(part);
}
