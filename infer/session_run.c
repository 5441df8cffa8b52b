/* Reading: which tokens go together through which part of the model, and where keys and values
 * lie. */
#include <math.h>
#include <string.h>

#include "infer/session_state.h"

/* Fewer tokens than this are read one by one instead of in a piece with unused rows. */
enum { NARROW_LEAST = 4 };

/* ---- one part ---- */

/* Room for `rows` more behind those that are there: the rows out of reach make way. */
static void make_room(infer_session *s, session_state *h, int64_t rows) {
    if (h->used + rows <= h->capacity) return;
    int64_t kept = kern_min(h->used, h->past);
    ASSERT(kept + rows <= h->capacity);
    kern_shift(s->spec.device->stream, h->rows,
               (char *)h->rows + (size_t)(h->used - kept) * h->bytes, (size_t)kept * h->bytes, 0,
               1);
    h->used = kept;
}

static bool is_history_of(const session_state *state, int first, int last) {
    return state->past > 0 && state->block >= first && state->block < last;
}

static void reserve(infer_session *s, int first, int last, int64_t rows) {
    for (int i = 0; i < s->states; i++)
        if (is_history_of(&s->state[i], first, last)) make_room(s, &s->state[i], rows);
}

static void advance(infer_session *s, int first, int last, int64_t rows) {
    for (int i = 0; i < s->states; i++)
        if (is_history_of(&s->state[i], first, last)) s->state[i].used += rows;
}

/* Keys and values of one token: from where they were made to the ends of the histories. */
static void append(infer_session *s, const session_part *part) {
    kern_stream *stream = s->spec.device->stream;
    const char *from = s->fresh;
    for (int i = 0, end; i < s->states; i = end) {
        const session_state *h = &s->state[i];
        end = i + 1;
        if (!is_history_of(h, part->first, part->last)) continue;
        while (end < s->states && is_history_of(&s->state[end], part->first, part->last) &&
               s->state[end].capacity == h->capacity)
            end++;
        size_t each = kern_align(h->bytes), pitch = kern_align((size_t)h->capacity * h->bytes);
        stream->device->copy(stream, (char *)h->rows + (size_t)h->used * h->bytes, pitch, from,
                             each, h->bytes, end - i);
        from += (size_t)(end - i) * each;
    }
}

/* Rows before one at `position` that a part is shown, of a kind of attention. */
static int64_t past_of(const infer_session *s, const session_part *part, int kind,
                       int64_t position) {
    for (int i = 0; part->token && i < s->states; i++)
        if (is_history_of(&s->state[i], part->first, part->last) &&
            conf_block_is_full(s->spec.conf, s->state[i].block) == kind)
            return s->state[i].used;
    return kern_min(position, part->body.context.past_capacity[kind]);
}

/* Keys and values before and of rows that begin at `position`, which lie `back` rows before the
 * end of what is there. */
static void bind_histories(infer_session *s, session_part *part, int64_t position, int64_t back) {
    char *fresh = s->fresh;
    for (int i = 0, next = 0; i < s->states; i++) {
        const session_state *h = &s->state[i];
        if (!is_history_of(h, part->first, part->last)) continue;
        int64_t past = past_of(s, part, conf_block_is_full(s->spec.conf, h->block), position);
        int64_t from = h->used - back;
        int64_t stride = h->capacity * (int64_t)(h->bytes / kern_dtype_bytes(s->product));
        ASSERT(from >= past && from + part->rows <= h->capacity);
        char *memory = (char *)h->rows + (size_t)from * h->bytes;
        ad_plan_bind_view(part->plan, part->body.history[next].past,
                          memory - (size_t)past * h->bytes, stride);
        ad_plan_bind_output(part->plan, part->fresh + next, part->token ? fresh : memory);
        fresh += kern_align(h->bytes);
        next++;
    }
}

static bool is_carry_of(const session_state *state, const session_part *part) {
    return !state->about.history && state->block >= part->first && state->block < part->last;
}

/* What mixers carry: a whole chunk, and all of the prefix, goes on from a chunk's beginning; a
 * piece from the last piece's end. A piece leaves a beginning alone from which a step will read. */
static void bind_carries(infer_session *s, session_part *part, bool piece) {
    const session_carries *c = &s->carries[part->suffix];
    const infer_carry *carry = part->body.carry + part->body.fast;
    const session_carried *carried = part->carried;
    for (int i = 0; i < s->states; i++) {
        session_state *state = &s->state[i];
        if (!is_carry_of(state, part)) continue;
        int from = state->next = piece ? state->now : state->begin;
        bool kept = piece && infer_session_fast(s) && from == state->begin;
        if (carried->output >= 0 && (!carried->over || kept))
            for (state->next = 0; state->next == state->begin || state->next == state->now;)
                state->next++;
        ad_plan_bind(part->plan, carry++->in, c->copy[from] + state->at);
        if (carried->output >= 0)
            ad_plan_bind_output(part->plan, carried->output, c->copy[state->next] + state->at);
        carried++;
    }
}

static void hand_on(infer_session *s, const session_part *part, bool piece) {
    for (int i = 0; i < s->states; i++) {
        session_state *state = &s->state[i];
        if (!is_carry_of(state, part)) continue;
        state->now = state->next;
        if (!piece) state->begin = state->next;
    }
}

/* Says which rows of a piece are tokens, where its mixers ask. */
static void bind_valid(infer_session *s, session_part *part, int64_t tokens) {
    ad_value valid = part->body.context.valid;
    if (!ad_is_value(valid)) return;
    for (int64_t t = 0; t < part->rows; t++) kern_real_put(s->reals, s->real, t, t < tokens);
    kern_upload(s->spec.device, s->valid, s->reals, (size_t)part->rows * kern_dtype_bytes(s->real));
    ad_plan_bind(part->plan, valid, s->valid);
}

/* Makes the rotary tables hold these positions; a chunk's are among those of its unit, a token's is
 * the first. */
static void fill_tables(infer_session *s, int64_t position, int64_t rows) {
    int64_t most = rows == 1 ? kern_min(1, s->table_rows) : s->table_rows;
    if (position >= s->table_first && position + rows <= s->table_first + most) return;
    size_t bytes = (size_t)(rows * conf_head_size(s->spec.conf)) * kern_dtype_bytes(s->real);
    char *cosine = s->reals, *sine = cosine + bytes;
    for (int kind = 0; kind < INFER_KINDS; kind++) {
        if (!s->has_table[kind]) continue;
        infer_rope_table(cosine, sine, s->spec.conf, kind, position, rows);
        kern_upload(s->spec.device, s->cosine[kind], cosine, bytes);
        kern_upload(s->spec.device, s->sine[kind], sine, bytes);
    }
    s->table_first = position;
    s->table_rows = rows;
}

/* Runs a part whose first row has this position, and whose first rows are tokens, so many; what it
 * reads and writes besides is bound. */
static kern_status run(infer_session *s, session_part *part, int64_t position, int64_t back,
                       int64_t tokens) {
    const infer_context *c = &part->body.context;
    bool piece = part->suffix && part != &s->part[SUFFIX_CHUNK];
    fill_tables(s, position, part->rows);
    size_t row = (size_t)conf_head_size(s->spec.conf) * kern_dtype_bytes(s->real),
           from = (size_t)(position - s->table_first) * row;
    for (int kind = 0; kind < INFER_KINDS; kind++) {
        if (ad_is_none(c->cosine[kind])) continue;
        ad_plan_bind(part->plan, c->cosine[kind], (char *)s->cosine[kind] + from);
        ad_plan_bind(part->plan, c->sine[kind], (char *)s->sine[kind] + from);
        if (!ad_is_none(c->past_rows[kind]))
            ad_plan_set(part->plan, c->past_rows[kind], (double)past_of(s, part, kind, position));
    }
    bind_histories(s, part, position, back);
    bind_valid(s, part, tokens);
    bind_carries(s, part, piece);
    kern_status status = ad_plan_run(part->plan, s->arena);
    if (status != KERN_OK) return status;
    if (part->token) append(s, part);
    hand_on(s, part, piece);
    return KERN_OK;
}

/* The part, or the one of as many rows that stands for it. */
static session_part *part_of(infer_session *s, int which) {
    while (!s->part[which].plan) which--;
    return &s->part[which];
}

static char *row_of(const infer_session *s, int64_t row) {
    return (char *)s->h + (size_t)(row * s->spec.conf->model.dim) * kern_dtype_bytes(s->real);
}

/* Rows of a part that is to read or make those from `row` on. */
static char *rows_for(const infer_session *s, const session_part *part, int64_t row) {
    return row_of(s, part->token ? s->unit + s->narrow - 1 : row);
}

/* Uploads as many tokens as the part has rows to `memory`, where it reads them; with several ranks
 * those that this one has. */
static void give_tokens(infer_session *s, session_part *part, infer_tokens to, const int32_t *token,
                        int32_t *memory, void *here) {
    const kern_device *device = s->spec.device;
    size_t rows = (size_t)part->rows;
    if (s->spec.tensor) {
        infer_own_tokens(s->ids, s->reals, s->spec.conf, s->spec.tensor, token, part->rows);
        kern_upload(device, here, s->reals, rows * kern_dtype_bytes(s->real));
        ad_plan_bind(part->plan, to.here, here);
        token = s->ids;
    }
    kern_upload(device, memory, token, rows * sizeof *token);
    ad_plan_bind(part->plan, to.id, memory);
}

/* Rows of the prefix for tokens at the end of the text, to s->h from row `to` on. */
static kern_status read_prefix(infer_session *s, int which, const int32_t *token, int64_t count,
                               int64_t to) {
    session_part *part = part_of(s, which);
    for (int64_t t = 0; t < part->rows; t++) s->ids[t] = t < count ? token[t] : 0;
    give_tokens(s, part, part->tokens, s->ids, s->input, s->input_here);
    reserve(s, part->first, part->last, part->rows);
    char *made = rows_for(s, part, to);
    ad_plan_bind_output(part->plan, 0, made);
    kern_status status = run(s, part, s->position, 0, count);
    if (status != KERN_OK) return status;
    kern_stream *stream = s->spec.device->stream;
    size_t row = (size_t)s->spec.conf->model.dim * kern_dtype_bytes(s->real);
    if (made != row_of(s, to)) stream->device->copy(stream, row_of(s, to), row, made, row, row, 1);
    advance(s, part->first, part->last, count);
    return KERN_OK;
}

/* ---- scores ---- */

/* -log softmax(logits)[token] */
static double nll_of_scores(const infer_session *s, int32_t token) {
    int64_t V = s->spec.conf->model.vocab;
    double most = -HUGE_VAL, sum = 0;
    for (int64_t i = 0; i < V; i++) most = fmax(most, kern_real_at(s->scores, s->real, i));
    for (int64_t i = 0; i < V; i++) sum += exp(kern_real_at(s->scores, s->real, i) - most);
    return log(sum) + most - kern_real_at(s->scores, s->real, token);
}

/* Notes the loss of a token that was read. */
static void count(infer_session *s, int32_t token, double nll) {
    if (isnan(nll) || token == s->spec.conf->model.bos) return;
    s->seen.nll += nll;
    s->seen.counted++;
}

/* The loss of the next token, which is this one. `wanted`: else it need not be computed. */
static double score(infer_session *s, int32_t token, bool wanted) {
    double nll = (double)NAN;
    if (s->score == SCORE_KNOWN) nll = s->next_nll;
    if (s->score == SCORE_LOGITS && wanted) nll = nll_of_scores(s, token);
    count(s, token, nll);
    return nll;
}

/* ---- whole chunks ---- */

/* Losses of the chunk whose rows of the prefix are s->h from `row` on and whose targets are given,
 * into s->reals; and the step. `back`: its rows of keys and values that are there already. */
static kern_status run_chunk(infer_session *s, int64_t row, const int32_t *target, int64_t position,
                             int64_t back) {
    kern_status status = KERN_OK;
    session_part *part = &s->part[SUFFIX_CHUNK];
    kern_stream *stream = s->spec.device->stream;
    size_t real = kern_dtype_bytes(s->real), rows = (size_t)s->chunk;
    double loss = 0, norm = 0;
    infer_chunk_weights(s->reals, s->spec.conf, target, s->chunk);
    kern_upload(s->spec.device, s->weight, s->reals, rows * real);
    give_tokens(s, part, part->target, target, s->target,
                s->target_here); /* target may be s->ids */
    ad_plan_bind(part->plan, part->h, row_of(s, row));
    ad_plan_bind(part->plan, part->weight, s->weight);
    ad_plan_set(part->plan, part->rate, s->spec.conf->inner.lr);
    ad_plan_bind_output(part->plan, part->nll, s->nll);
    ad_plan_bind_output(part->plan, part->loss, s->loss);
    if (part->body.fast) ad_plan_bind_output(part->plan, part->norm, s->norm);
    TRY(run(s, part, position, back, part->rows));
    stream->device->download(stream, s->reals, s->nll, rows * real);
    stream->device->download(stream, &loss, s->loss, real);
    if (part->body.fast) stream->device->download(stream, &norm, s->norm, real);
    TRY(kern_finish(stream));
    if (!part->body.fast) goto done;
    char *next = s->theta[1];
    s->theta[1] = s->theta[0];
    s->theta[0] = next;
    infer_session_bind(s);
    s->seen.last_loss = kern_real_at(&loss, s->real, 0);
    s->seen.last_norm = kern_real_at(&norm, s->real, 0);
    if (s->seen.steps++ == 0) {
        s->seen.first_loss = s->seen.last_loss;
        s->seen.first_norm = s->seen.last_norm;
    }
done:
    return status;
}

/* Tokens of as many whole chunks as go together, with one more that is known after them: from the
 * beginning of a chunk on. */
static kern_status read_chunks(infer_session *s, const int32_t *token, int64_t tokens,
                               double *nll) {
    kern_status status = KERN_OK;
    int blocks = (int)s->spec.conf->model.blocks, first = s->part[SUFFIX_CHUNK].first;
    int64_t C = s->chunk;
    TRY(read_prefix(s, tokens == s->unit ? PREFIX_UNIT : PREFIX_CHUNK, token, tokens, 0));
    for (int64_t at = 0; at < tokens; at += C) {
        double known = score(s, token[at], nll != NULL);
        if (nll) nll[at] = known;
        reserve(s, first, blocks, C);
        TRY(run_chunk(s, at, token + at + 1, s->position, 0));
        advance(s, first, blocks, C);
        for (int64_t t = 0; t + 1 < C; t++) {
            double loss = kern_real_at(s->reals, s->real, t);
            count(s, token[at + t + 1], loss);
            if (nll) nll[at + t + 1] = loss;
        }
        s->score = SCORE_KNOWN;
        s->next_nll = kern_real_at(s->reals, s->real, C - 1);
        s->next = token[at + C];
        s->position += C;
    }
done:
    return status;
}

/* ---- pieces of a chunk ---- */

/* The step on a chunk that was read in pieces, now that the token after it is known. */
static kern_status finish_chunk(infer_session *s, int32_t next) {
    kern_status status = KERN_OK;
    int32_t *target = s->ids;
    if (infer_session_fast(s)) {
        memcpy(target, s->waiting + 1, (size_t)(s->chunk - 1) * sizeof *target);
        target[s->chunk - 1] = next;
        TRY(run_chunk(s, 0, target, s->position - s->chunk, s->chunk));
    }
    for (int i = 0; i < s->states; i++) s->state[i].begin = s->state[i].now;
    s->pending = 0;
done:
    return status;
}

/* Tokens of one chunk, no more than a piece has rows. */
static kern_status read_piece(infer_session *s, const int32_t *token, int64_t tokens, double *nll) {
    kern_status status = KERN_OK;
    bool alone = tokens == 1;
    int blocks = (int)s->spec.conf->model.blocks;
    kern_stream *stream = s->spec.device->stream;
    size_t real = kern_dtype_bytes(s->real), logits = (size_t)s->columns * real;
    int within = s->part[SUFFIX_TOKEN_WITHIN].plan && s->pending % s->own ? WITHIN : 0;
    session_part *part = &s->part[(alone ? SUFFIX_TOKEN : SUFFIX_NARROW) + within];
    double known = score(s, token[0], nll != NULL);
    if (nll) nll[0] = known;
    TRY(read_prefix(s, (alone ? PREFIX_TOKEN : PREFIX_NARROW) + within, token, tokens, s->pending));
    /* The whole chunk's rows stay behind what it sees, for its step. */
    if (s->pending == 0) reserve(s, part->first, blocks, s->chunk + s->narrow);
    ad_plan_bind(part->plan, part->h, rows_for(s, part, s->pending));
    ad_plan_bind_output(part->plan, 0, s->logits);
    if (!alone) {
        for (int64_t t = 0; t < part->rows; t++) s->ids[t] = t + 1 < tokens ? token[t + 1] : 0;
        give_tokens(s, part, part->target, s->ids, s->target, s->target_here);
        ad_plan_bind_output(part->plan, part->nll, s->nll);
    }
    TRY(run(s, part, s->position, 0, tokens));
    const void *last = (char *)s->logits + (size_t)(tokens - 1) * logits;
    const kern_comm *tensor = s->spec.tensor;
    if (tensor) tensor->all_gather(tensor, stream, s->gathered, last, logits);
    stream->device->download(stream, s->scores, tensor ? s->gathered : last,
                             (size_t)s->parameters->ranks * logits);
    if (!alone) stream->device->download(stream, s->reals, s->nll, (size_t)part->rows * real);
    TRY(kern_finish(stream));
    advance(s, part->first, blocks, tokens);
    for (int64_t t = 0; t + 1 < tokens; t++) {
        double loss = kern_real_at(s->reals, s->real, t);
        count(s, token[t + 1], loss);
        if (nll) nll[t + 1] = loss;
    }
    memcpy(s->waiting + s->pending, token, (size_t)tokens * sizeof *token);
    s->pending += tokens;
    s->position += tokens;
    s->score = SCORE_LOGITS;
done:
    return status;
}

static kern_status check(const infer_session *s, const int32_t *token, int64_t count_) {
    int64_t vocab = s->spec.conf->model.vocab;
    for (int64_t i = 0; i < count_; i++)
        if (token[i] < 0 || token[i] >= vocab)
            return kern_fail(KERN_ERR_DATA,
                             "token %d at position %lld is outside the model's vocabulary of %lld",
                             (int)token[i], (long long)(s->position + i), (long long)vocab);
    if (s->full && s->position + count_ > s->spec.limit)
        return kern_fail(KERN_ERR_USAGE,
                         "the text has more than %lld tokens, for which the model's full attention "
                         "has memory; allow a longer context (--context N)",
                         (long long)s->spec.limit);
    return KERN_OK;
}

kern_status infer_session_read_some(int64_t *consumed, infer_session *s, const int32_t *token,
                                    int64_t tokens, bool last, double *nll) {
    kern_status status = KERN_OK;
    *consumed = 0;
    if (tokens == 0) return KERN_OK;
    TRY(check(s, token, kern_min(tokens, s->unit + 1)));
    bool complete = s->pending == s->chunk;
    if ((s->pending == 0 || complete) && tokens <= s->unit && !last) return KERN_OK;
    if (complete) TRY(finish_chunk(s, token[0])); /* and read that token, or the step is of none */
    int64_t n;
    if (s->pending == 0 && tokens > s->chunk) {
        n = tokens > s->unit ? s->unit : s->chunk;
        TRY(read_chunks(s, token, n, nll));
    } else {
        n = kern_min(tokens, s->own - s->pending % s->own);
        n = n < NARROW_LEAST ? 1 : kern_min(n, s->narrow);
        TRY(read_piece(s, token, n, nll));
    }
    *consumed = n;
done:
    return status;
}

/* There is room for it: read_some asks for that of the token behind a chunk too. */
kern_status infer_session_settle(infer_session *s) {
    return s->score == SCORE_KNOWN ? read_piece(s, &s->next, 1, NULL) : KERN_OK;
}

kern_status infer_session_read(infer_session *s, const int32_t *token, int64_t tokens,
                               double *nll) {
    kern_status status = check(s, token, tokens);
    for (int64_t at = 0, n; at < tokens && status == KERN_OK; at += n)
        status =
            infer_session_read_some(&n, s, token + at, tokens - at, true, nll ? nll + at : NULL);
    return status;
}

const float *infer_session_logits(const infer_session *s) {
    ASSERT(s->score == SCORE_LOGITS);
    if (!s->scores_f32) return s->scores;
    for (int64_t i = 0; i < s->spec.conf->model.vocab; i++)
        s->scores_f32[i] = (float)kern_real_at(s->scores, s->real, i);
    return s->scores_f32;
}
