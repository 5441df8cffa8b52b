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
    *e = (session_entry){.dtype = dtype, .rank = 1 + dims, .shape = {rows}, .memory = memory};
    for (int axis = 0; axis < dims; axis++) e->shape[1 + axis] = dim[axis];
    snprintf(e->name, NAME, "%s", name);
}

/* The entry added last is the rank's part by a split of the axes from `lead` on. */
static void divide(session_entries *list, const infer_session *s, infer_placing placing,
                   const infer_split *split, int lead) {
    session_entry *e = &list->item[list->count - 1];
    if (placing != INFER_PARTED || s->parameters->ranks == 1) return;
    e->split = *split;
    e->split.axis += lead;
    e->shape[e->split.axis] = 0;
    for (int i = 0; i < split->ranges; i++) e->shape[e->split.axis] += split->range[i].count;
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

static size_t bytes_of(const session_entry *e) {
    size_t bytes = kern_dtype_bytes(e->dtype);
    for (int i = 0; i < e->rank; i++) bytes *= (size_t)e->shape[i];
    return bytes;
}

/* A divided entry as rows, one for each index of the axes before the divided one: what a rank has
 * of a row lies together, and is these parts of the whole, in bytes. */
typedef struct {
    int64_t count, block; /* so many rows, which are moved so many at a time */
    size_t whole, own;    /* bytes of a row */
    int spans;
    infer_span span[INFER_RANGES];
} rows_of_rank;

static rows_of_rank rows_of(const infer_session *s, const session_entry *e, int rank) {
    rows_of_rank rows = {.count = 1, .whole = kern_dtype_bytes(e->dtype)};
    int axis = e->split.axis;
    for (int i = 0; i < axis; i++) rows.count *= e->shape[i];
    for (int i = axis + 1; i < e->rank; i++) rows.whole *= (size_t)e->shape[i];
    rows.spans = infer_spans(rows.span, &e->split, INFER_ALL_RANGES, rank, s->parameters->ranks);
    for (int i = 0; i < rows.spans; i++) {
        rows.span[i].first *= (int64_t)rows.whole;
        rows.span[i].count *= (int64_t)rows.whole;
        rows.own += (size_t)rows.span[i].count;
    }
    rows.whole *= (size_t)e->shape[axis];
    rows.block = kern_min(rows.count, kern_max(1, PIECE / kern_max((int64_t)rows.whole, 1)));
    return rows;
}

/* Rows of a rank into those of the whole, and out of them. */
static void put_rows(const rows_of_rank *rows, char *whole, const char *own, int64_t count) {
    for (int64_t i = 0; i < count; i++, whole += rows->whole)
        for (int j = 0; j < rows->spans; own += rows->span[j++].count)
            memcpy(whole + rows->span[j].first, own, (size_t)rows->span[j].count);
}
static void pick_rows(const rows_of_rank *rows, char *own, const char *whole, int64_t count) {
    for (int64_t i = 0; i < count; i++, whole += rows->whole)
        for (int j = 0; j < rows->spans; own += rows->span[j++].count)
            memcpy(own, whole + rows->span[j].first, (size_t)rows->span[j].count);
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
    add_rows(list, name, s->real, c->copy[load ? LOADED_NOW : state->now] + state->at,
             about->dim[0], about->rank - 1, about->dim + 1);
    divide(list, s, about->placing, &about->split, 0);
    if (!keeps_begin(s, state)) return;
    snprintf(before, NAME, "%.80s_before", name);
    add_rows(list, before, s->real, c->copy[load ? LOADED_BEGIN : state->begin] + state->at,
             about->dim[0], about->rank - 1, about->dim + 1);
    divide(list, s, about->placing, &about->split, 0);
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
        divide(&list, s, p->placing, &p->split, 0);
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
        if (rows) divide(&list, s, state->about.placing, &state->about.split, 1);
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
    size_t bytes = bytes_of(e);
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
    rows_of_rank rows = rows_of(s, e, 0);
    char *whole = kern_array(rows.block, rows.whole), *part = kern_array(rows.block, rows.own);
    kern_status status = KERN_OK;
    for (int64_t at = 0; at < rows.count; at += rows.block) {
        int64_t count = kern_min(rows.block, rows.count - at);
        size_t bytes = (size_t)count * rows.own;
        for (int r = 0; r < tensor->ranks; r++) {
            const char *own = (const char *)e->memory + (size_t)at * rows.own;
            rows_of_rank theirs = rows_of(s, e, r);
            if (r == tensor->rank)
                status = first(status, kern_download(s->spec.device, part, own, bytes));
            status = first(status, tensor->tell(tensor, part, bytes, r));
            put_rows(&theirs, whole, part, count);
        }
        if (take && status == KERN_OK) status = take(context, e, whole, (size_t)count * rows.whole);
    }
    free(whole);
    free(part);
    return status;
}

kern_status infer_session_each_piece(const infer_session *s, const session_entry *e,
                                     session_taker take, void *context) {
    return e->split.ranges ? divided_pieces(s, e, take, context)
                           : whole_pieces(s, e, take, context);
}

void infer_session_load_entry(const infer_session *s, const session_entry *e,
                              const data_tensor *tensor) {
    if (e->host) {
        memcpy(e->memory, tensor->data, tensor->bytes);
        return;
    }
    if (!e->split.ranges) {
        kern_upload(s->spec.device, e->memory, tensor->data, tensor->bytes);
        return;
    }
    rows_of_rank rows = rows_of(s, e, s->parameters->rank);
    char *part = kern_array(rows.block, rows.own);
    for (int64_t at = 0; at < rows.count; at += rows.block) {
        int64_t count = kern_min(rows.block, rows.count - at);
        pick_rows(&rows, part, (const char *)tensor->data + (size_t)at * rows.whole, count);
        kern_upload(s->spec.device, (char *)e->memory + (size_t)at * rows.own, part,
                    (size_t)count * rows.own);
    }
    free(part);
}
