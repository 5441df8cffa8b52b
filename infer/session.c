/* A session's graphs, and the weights that they read. */
#include "infer/session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "infer/session_state.h"
#include "kernels/program.h"

/* Rows of the widest piece, enough for fast products; and of a piece of a chunk. */
enum { WIDE_ROWS = 512, NARROW_ROWS = 64 };

/* Without inner steps no part carries fast weights. */
int infer_session_fast(const infer_session *s) {
    return s->part[SUFFIX_CHUNK].body.fast;
}

const infer_parameter *infer_session_fast_parameter(const infer_session *s, int fast) {
    return &s->parameters->item[s->part[SUFFIX_CHUNK].body.carry[fast].parameter];
}

/* ---- graphs ---- */

/* The longest text: where blocks attend to everything, with room for a last piece's unused rows. */
static int64_t longest(const infer_session *s) {
    return s->full ? s->spec.limit + s->unit + s->narrow : INT64_MAX / 2;
}

static void begin(infer_session *s, session_part *part, int64_t rows, int first, int last) {
    int which = (int)(part - s->part);
    bool suffix = which >= SUFFIX_CHUNK, narrow = rows == s->narrow && rows > 1;
    infer_part_begin(&part->body, s->spec.conf, s->parameters, 1, rows, first, last, longest(s));
    if (narrow && s->carries[suffix].bytes && part != &s->part[SUFFIX_CHUNK])
        infer_part_pad(&part->body);
    part->body.context.within = which >= PREFIX_NARROW_WITHIN && !suffix;
    part->body.context.within |= which >= SUFFIX_NARROW_WITHIN;
    part->suffix = suffix;
    part->token = rows == 1 && part != &s->part[SUFFIX_CHUNK];
    /* the past of a token is all that is there, the window hides what is out of reach */
    int64_t *past = &part->body.context.past_capacity[INFER_WINDOWED];
    if (part->token) *past = infer_session_capacity(s, *past);
    part->rows = rows;
    part->first = first;
    part->last = last;
    part->tokens = part->target = (infer_tokens){AD_NONE, AD_NONE};
    part->h = part->weight = part->rate = AD_NONE;
    part->nll = part->loss = part->norm = part->next = part->next_rounded = -1;
}

/* Outputs of a plan while they are collected. */
typedef struct {
    ad_plan_output *item;
    int count;
} outputs;

static int add(outputs *list, ad_value value) {
    list->item[list->count] = (ad_plan_output){value, AD_WRITE};
    return list->count++;
}

static kern_status compile(infer_session *s, session_part *part, outputs *list) {
    int fast = part->body.fast, carries = part->body.carries - fast;
    const infer_carry *carry = part->body.carry + fast;
    part->carried = kern_array(carries, sizeof *part->carried);
    for (int c = 0; c < carries; c++) {
        bool stays = carry[c].out.node == carry[c].in.node && carry[c].out.out == carry[c].in.out;
        part->carried[c].output = stays ? -1 : add(list, carry[c].out);
    }
    part->fresh = list->count;
    for (int i = 0; i < part->body.histories; i++) add(list, part->body.history[i].fresh);
    ad_value *past = kern_array(part->body.histories, sizeof *past);
    ad_plan_spec spec = {.outputs = list->count,
                         .output = list->item,
                         .device = s->spec.device,
                         .comm = s->spec.tensor,
                         .view = past,
                         .threads = s->spec.threads,
                         .repeats = part->token,
                         .debug = s->spec.debug};
    for (int i = 0; i < part->body.histories; i++)
        if (ad_is_value(part->body.history[i].past))
            past[spec.views++] = part->body.history[i].past;
    kern_status status = ad_plan_compile(&part->plan, part->body.graph, &spec);
    free(past);
    if (status != KERN_OK) return status;
    for (int c = 0; c < carries; c++)
        part->carried[c].over = part->carried[c].output >= 0 &&
                                ad_plan_over(part->plan, part->carried[c].output, carry[c].in);
    size_t bytes = ad_plan_arena_bytes(part->plan);
    if (bytes > s->arena_bytes) s->arena_bytes = bytes;
    return KERN_OK;
}

/* tokens [R] -> rows [R, D] */
static kern_status create_prefix(infer_session *s, int which, int64_t rows, int blocks,
                                 outputs *list) {
    session_part *part = &s->part[which];
    begin(s, part, rows, 0, blocks);
    part->tokens = infer_add_tokens(&part->body, false, "tokens");
    add(list, infer_build_prefix(&part->body, blocks, part->tokens));
    return compile(s, part, list);
}

/* rows [R, D] -> scores of the next token [R, V]; losses too where there are several rows */
static kern_status create_logits(infer_session *s, int which, int64_t rows, int first, int blocks,
                                 outputs *list) {
    session_part *part = &s->part[which];
    begin(s, part, rows, first, blocks);
    ad_graph *g = part->body.graph;
    part->h = ad_input(g, AD_TYPE(s->real, rows, s->spec.conf->model.dim), "h");
    ad_value logits = infer_build_logits(&part->body, first, blocks, part->h);
    add(list, logits);
    if (rows > 1) {
        part->target = infer_add_tokens(&part->body, true, "targets");
        part->nll = add(list, infer_head_losses(&part->body.context, logits, part->target));
    }
    return compile(s, part, list);
}

/* rows [C, D] -> losses, and theta -> theta' */
static kern_status create_step(infer_session *s, int first, int blocks, outputs *list) {
    session_part *part = &s->part[SUFFIX_CHUNK];
    begin(s, part, s->chunk, first, blocks);
    part->body.inner = s->spec.inner;
    part->body.context.slice_elements = (int64_t)s->spec.device->machine->slice_elements;
    ad_graph *g = part->body.graph;
    part->h = ad_input(g, AD_TYPE(s->real, s->chunk, s->spec.conf->model.dim), "h");
    part->target = infer_add_tokens(&part->body, true, "targets");
    part->weight = ad_input(g, AD_TYPE(s->real, s->chunk, 1), "loss_weights");
    part->rate = ad_scalar(g, s->real, "rate");
    infer_body body = infer_build_body(&part->body, first, blocks, part->h, part->target,
                                       part->weight, part->rate);
    part->nll = add(list, body.nll);
    part->loss = add(list, body.loss);
    if (part->body.fast) {
        part->norm = add(list, body.gradient_norm);
        part->next = list->count;
        for (int f = 0; f < part->body.fast; f++) add(list, part->body.carry[f].out);
        part->next_rounded = list->count;
        for (int f = 0; f < part->body.fast && s->product == KERN_BF16; f++)
            add(list, ad_cast(g, part->body.carry[f].out, KERN_BF16));
    }
    return compile(s, part, list);
}

/* Rows of the pieces: whole chunks where steps are taken, about WIDE_ROWS of them at once. */
static void choose_rows(infer_session *s) {
    int64_t own = infer_mixer_chunk(s->spec.conf);
    s->chunk = s->spec.inner ? s->spec.conf->inner.chunk : own ? own : WIDE_ROWS;
    s->own = own ? own : s->chunk;
    s->unit = s->chunk >= WIDE_ROWS ? s->chunk : WIDE_ROWS / s->chunk * s->chunk;
    s->narrow = s->own < NARROW_ROWS ? s->own : NARROW_ROWS;
}

static kern_status create_parts(infer_session *s) {
    kern_status status = KERN_OK;
    const ttt_conf *conf = s->spec.conf;
    int blocks = (int)conf->model.blocks, first = blocks - (int)conf->inner.suffix;
    outputs list = {kern_array(8 + 2 * s->parameters->count + s->states, sizeof *list.item), 0};
    const int64_t prefix_rows[] = {
        [PREFIX_UNIT] = s->unit, [PREFIX_CHUNK] = s->chunk,          [PREFIX_NARROW] = s->narrow,
        [PREFIX_TOKEN] = 1,      [PREFIX_NARROW_WITHIN] = s->narrow, [PREFIX_TOKEN_WITHIN] = 1};
    bool within = s->narrow > 1 && infer_mixer_chunk(conf);
    for (int which = PREFIX_UNIT; which <= (within ? PREFIX_TOKEN_WITHIN : PREFIX_TOKEN); which++) {
        list.count = 0;
        if (which > PREFIX_UNIT && prefix_rows[which] == prefix_rows[which - 1]) continue;
        TRY(create_prefix(s, which, prefix_rows[which], first, &list));
    }
    list.count = 0;
    TRY(create_step(s, first, blocks, &list));
    list.count = 0;
    if (s->narrow > 1) TRY(create_logits(s, SUFFIX_NARROW, s->narrow, first, blocks, &list));
    list.count = 0;
    TRY(create_logits(s, SUFFIX_TOKEN, 1, first, blocks, &list));
    for (int i = 0; i < 2 && within; i++) {
        list.count = 0;
        TRY(create_logits(s, SUFFIX_NARROW_WITHIN + i, i ? 1 : s->narrow, first, blocks, &list));
    }
done:
    free(list.item);
    return status;
}

static kern_status compare_plans(const infer_session *s) {
    uint64_t hash = 0;
    for (int i = 0; i < SESSION_PARTS && s->spec.tensor; i++)
        if (s->part[i].plan) hash = hash * 31 + ad_plan_collectives(s->part[i].plan, NULL, NULL);
    return infer_agree_plans(s->spec.tensor, hash);
}

/* Attention counts the rows of the past in 32 bits. */
static kern_status check_limit(const infer_session *s) {
    if (!s->full || s->spec.limit <= INT32_MAX / 2) return KERN_OK;
    return kern_fail(KERN_ERR_USAGE,
                     "room for %lld tokens is asked for; a model with full attention reads %d at "
                     "most",
                     (long long)s->spec.limit, INT32_MAX / 2);
}

/* What a rank can do by itself. */
static kern_status prepare(infer_session *s) {
    kern_status status = KERN_OK;
    const infer_session_spec *spec = &s->spec;
    size_t before = kern_heap_bytes();
    s->real = infer_real(spec->conf);
    s->product = infer_product(spec->conf);
    if (spec->tensor) TRY(infer_check_ranks(spec->conf, spec->tensor->ranks));
    s->parameters = infer_parameters_of_rank(spec->conf, s->spec.tensor);
    s->columns = kern_divide_up(spec->conf->model.vocab, s->parameters->ranks);
    for (int64_t b = 0; b < spec->conf->model.blocks; b++) {
        const infer_mixer *mixer = infer_mixer_of(spec->conf, b);
        if (mixer && mixer->attends) s->has_table[conf_block_is_full(spec->conf, b)] = true;
    }
    s->full = s->has_table[INFER_FULL];
    ASSERT(!s->full || spec->limit >= 1);
    TRY(check_limit(s));
    choose_rows(s);
    infer_session_plan_states(s);
    TRY(create_parts(s));
    s->program = kern_program_bytes(kern_heap_since(before));
    TRY(infer_session_allocate(s));
done:
    return status;
}

kern_status infer_session_create(infer_session **result, const infer_session_spec *spec) {
    kern_status status = KERN_OK;
    infer_session *s = kern_array(1, sizeof *s);
    *result = NULL;
    s->spec = *spec;
    if (!spec->device) s->spec.device = kern_device_cpu();
    if (spec->tensor && spec->tensor->ranks == 1) s->spec.tensor = NULL;
    status = prepare(s);
    if (s->spec.tensor) status = kern_comm_meet(s->spec.tensor, status);
    if (status == KERN_OK) TRY(compare_plans(s));
    TRY(status);
    *result = s;
    s = NULL;
done:
    infer_session_destroy(s);
    return status;
}

void infer_session_destroy(infer_session *s) {
    if (!s) return;
    for (int i = 0; i < SESSION_PARTS; i++) {
        if (!s->part[i].body.graph) continue;
        ad_plan_destroy(s->part[i].plan);
        free(s->part[i].carried);
        infer_part_clear(&s->part[i].body);
    }
    infer_parameters_destroy(s->parameters);
    infer_session_free(s);
    free(s);
}

/* ---- weights ---- */

/* The place of fast weight f among the copies, where parameter `index` is one; else -1. */
static int fast_of(const infer_session *s, int index) {
    for (int f = 0; f < infer_session_fast(s); f++)
        if (s->part[SUFFIX_CHUNK].body.carry[f].parameter == index) return f;
    return -1;
}

static const void *weight_at(const infer_session *s, int index, kern_dtype dtype) {
    int fast = fast_of(s, index);
    if (fast < 0) return infer_values_at(s->values, index, dtype);
    if (dtype == KERN_BF16) return s->theta_rounded + s->fast_at[fast];
    return s->theta[0] + s->fast_at[fast] * kern_dtype_bytes(dtype);
}

void infer_session_bind(infer_session *s) {
    size_t real = kern_dtype_bytes(s->real);
    for (int i = 0; i < SESSION_PARTS; i++) {
        session_part *part = &s->part[i];
        if (!part->plan) continue;
        const infer_part *body = &part->body;
        for (int p = 0; p < s->parameters->count; p++) {
            if (body->constant_of[p] < 0) continue;
            const void *memory = weight_at(s, p, body->dtype_of[p]);
            ad_plan_bind(part->plan, body->constant[body->constant_of[p]], memory);
        }
        for (int f = 0; f < body->fast; f++) {
            ad_plan_bind(part->plan, body->carry[f].in, s->theta[0] + s->fast_at[f] * real);
            ad_plan_bind_output(part->plan, part->next + f, s->theta[1] + s->fast_at[f] * real);
            if (s->product == KERN_BF16)
                ad_plan_bind_output(part->plan, part->next_rounded + f,
                                    s->theta_rounded + s->fast_at[f]);
        }
        if (ad_is_value(body->context.missing))
            ad_plan_bind(part->plan, body->context.missing, s->missing);
    }
}

void infer_session_round(infer_session *s) {
    const kern_device *device = s->spec.device;
    const float *from = (const float *)(const void *)s->theta[0];
    if (s->product == KERN_BF16)
        device->move->round(device->stream, s->theta_rounded, from,
                            (int64_t)(s->fast_bytes / sizeof *from));
}

void infer_session_set_values(infer_session *s, const infer_values *values) {
    ASSERT(infer_values_are_of(values, s->spec.tensor));
    s->values = values;
    infer_session_reset(s);
}

void infer_session_reset(infer_session *s) {
    size_t real = kern_dtype_bytes(s->real);
    for (int f = 0; f < infer_session_fast(s); f++) {
        int index = s->part[SUFFIX_CHUNK].body.carry[f].parameter;
        infer_values_copy(s->values, s->theta[0] + s->fast_at[f] * real, index);
        infer_values_release(s->values, index);
    }
    infer_session_round(s);
    infer_session_bind(s);
    for (int i = 0; i < s->states; i++) s->state[i].used = s->state[i].begin = s->state[i].now = 0;
    for (int suffix = 0; suffix < 2; suffix++) {
        const session_carries *c = &s->carries[suffix];
        if (c->bytes)
            s->spec.device->zero(s->spec.device->stream, c->copy[0], c->bytes, c->bytes, 1);
    }
    s->position = s->pending = 0;
    s->score = SCORE_NONE;
    s->seen = (infer_session_progress){.first_loss = (double)NAN,
                                       .last_loss = (double)NAN,
                                       .first_norm = (double)NAN,
                                       .last_norm = (double)NAN};
}

/* ---- queries ---- */

int64_t infer_session_position(const infer_session *s) {
    return s->position;
}

int32_t infer_session_bos(const infer_session *s) {
    return (int32_t)s->spec.conf->model.bos;
}

int64_t infer_session_stride(const infer_session *s) {
    return s->unit;
}

ad_plan *infer_session_token_plan(const infer_session *s, bool suffix) {
    int which = suffix ? SUFFIX_TOKEN : PREFIX_TOKEN;
    if (s->part[which + WITHIN].plan) return s->part[which + WITHIN].plan;
    while (!s->part[which].plan) which--;
    return s->part[which].plan;
}

infer_session_progress infer_session_seen(const infer_session *s) {
    return s->seen;
}

kern_status infer_session_moves(const infer_session *s, infer_session_move *move) {
    kern_status status = KERN_OK;
    size_t real = kern_dtype_bytes(s->real);
    void *now = NULL, *before = NULL;
    for (int f = 0; f < infer_session_fast(s); f++) {
        const infer_parameter *p = infer_session_fast_parameter(s, f);
        int index = (int)(p - s->parameters->item);
        double moved = 0, size = 0;
        kern_free(now);
        kern_free(before);
        now = before = NULL;
        TRY(kern_alloc(&now, (size_t)p->elements * real, "fast weights to compare"));
        TRY(kern_alloc(&before, (size_t)p->elements * real, "fast weights to compare"));
        TRY(kern_download(s->spec.device, now, s->theta[0] + s->fast_at[f] * real,
                          (size_t)p->elements * real));
        TRY(infer_values_fetch(s->values, before, index));
        for (int64_t i = 0; i < p->elements; i++) {
            double from = kern_real_at(before, s->real, i),
                   by = kern_real_at(now, s->real, i) - from;
            moved += by * by;
            size += from * from;
        }
        infer_values_release(s->values, index);
        if (s->spec.tensor && p->placing == INFER_PARTED) {
            double both[2] = {moved, size};
            TRY(s->spec.tensor->agree_f64(s->spec.tensor, both, 2, KERN_SUM));
            moved = both[0];
            size = both[1];
        }
        move[f] = (infer_session_move){sqrt(moved), sqrt(size)};
    }
done:
    kern_free(now);
    kern_free(before);
    return status;
}
