#include "data/bpe_cut.h"
#include "data/utf8.h"

/* A call of data_bpe_encode. */
typedef struct {
    data_tokens *tokens;
    data_bpe_scratch *scratch;
    const data_bpe *bpe;
    bool special;
} call;

/* How many bytes at the beginning are of no character; *decided is false where the run may go on
 * behind the text. */
static int64_t broken_run(bool *decided, const char *text, int64_t bytes, bool closed) {
    int64_t run = 0;
    *decided = true;
    while (run < bytes) {
        if (data_utf8_character(text + run, bytes - run) > 0) return run;
        run++;
    }
    *decided = closed;
    return run;
}

/* Text between two literals. UTF-8 is cut by the patterns; what is not is a piece, as long as it
 * gets, and an end of text for the patterns on both its sides. */
static kern_status encode_span(const call *c, int64_t *consumed, const char *text, int64_t bytes,
                               bool closed) {
    kern_status status = KERN_OK;
    data_bpe_scratch *s = c->scratch;
    int64_t at = 0, took;
    while (at < bytes) {
        int64_t valid = data_utf8_prefix(text + at, bytes - at), rest = bytes - at - valid;
        bool ends = closed || (rest && data_utf8_character(text + at + valid, rest) == 0);
        s->goes_on = at > 0;
        TRY(data_bpe_cut(c->tokens, &took, s, text + at, valid, ends));
        at += took;
        if (took < valid || at == bytes) break;
        bool decided;
        int64_t run = broken_run(&decided, text + at, bytes - at, closed);
        if (!decided) break;
        TRY(data_bpe_put_piece(c->tokens, s, text + at, run));
        at += run;
        data_bpe_note(s, c->tokens, text + at);
    }
done:
    *consumed = at;
    return status;
}

typedef enum { ABSENT, FOUND, UNDECIDED } literal_state;

static bool is_wanted(const call *c, const data_bpe_literal *literal) {
    return c->special || !literal->special;
}

/* The literals of a kind lie one behind the other. */
static int64_t first_literal(const data_bpe *bpe, bool normalized) {
    return normalized ? bpe->exact_count : 0;
}

static int64_t end_literal(const data_bpe *bpe, bool normalized) {
    return normalized ? bpe->literal_count : bpe->exact_count;
}

/* The literal that text [bytes] begins with, the longest. */
static literal_state literal_at(const data_bpe_literal **found, const call *c, const char *text,
                                int64_t bytes, bool closed, bool normalized) {
    const data_bpe *bpe = c->bpe;
    int64_t low = first_literal(bpe, normalized), end = end_literal(bpe, normalized), high = end;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if ((unsigned char)*bpe->literals[middle].text < (unsigned char)*text)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < end && *bpe->literals[low].text == *text; low++) {
        const data_bpe_literal *literal = &bpe->literals[low];
        if (!is_wanted(c, literal)) continue;
        int64_t length = literal->length < bytes ? literal->length : bytes;
        if (memcmp(literal->text, text, (size_t)length)) continue;
        *found = literal;
        if (length == literal->length) return FOUND;
        if (!closed) return UNDECIDED;
    }
    return ABSENT;
}

/* Where in text [bytes] the next literal stands or may stand; bytes where none does. */
static literal_state next_literal(int64_t *place, const data_bpe_literal **found, const call *c,
                                  const char *text, int64_t bytes, bool closed, bool normalized) {
    const data_bpe *bpe = c->bpe;
    bool begins[256] = {false};
    int64_t first_bytes = 0;
    const char *text_end = text + bytes, *at = text;
    unsigned char begin = 0;
    for (int64_t i = first_literal(bpe, normalized); i < end_literal(bpe, normalized); i++) {
        if (!is_wanted(c, &bpe->literals[i])) continue;
        begin = (unsigned char)*bpe->literals[i].text;
        first_bytes += !begins[begin];
        begins[begin] = true;
    }
    for (; first_bytes && at < text_end; at++) {
        if (first_bytes == 1) at = memchr(at, begin, (size_t)(text_end - at));
        if (!at) break;
        if (!begins[(unsigned char)*at]) continue;
        literal_state state = literal_at(found, c, at, text_end - at, closed, normalized);
        *place = at - text;
        if (state != ABSENT) return state;
    }
    *place = bytes;
    return ABSENT;
}

/* What is between two literals, on the way to its tokens. */
typedef kern_status between(const call *c, int64_t *consumed, const char *text, int64_t bytes,
                            bool closed);

/* Looks for the literals of one kind, and leaves what is between them to `encode`. */
static kern_status encode_literals(const call *c, int64_t *consumed, const char *text,
                                   int64_t bytes, bool closed, bool normalized, between *encode) {
    kern_status status = KERN_OK;
    int64_t at = 0, took;
    while (at < bytes) {
        const data_bpe_literal *literal = NULL;
        int64_t span;
        literal_state state =
            next_literal(&span, &literal, c, text + at, bytes - at, closed, normalized);
        TRY(encode(c, &took, text + at, span, closed || state == FOUND));
        at += took;
        if (took < span || state != FOUND) break;
        TRY(data_tokens_reserve(c->tokens, 1));
        c->tokens->ids[c->tokens->count++] = literal->id;
        at += literal->length;
        data_bpe_note(c->scratch, c->tokens, text + at);
    }
done:
    *consumed = at;
    return status;
}

static kern_status encode_normalized(const call *c, int64_t *consumed, const char *text,
                                     int64_t bytes, bool closed) {
    return encode_literals(c, consumed, text, bytes, closed, true, encode_span);
}

static int64_t room_for(const data_bpe *bpe, int64_t bytes) {
    return bpe->spaced ? 2 * bytes : bytes;
}

/* Brings text into its normal form first. Where that is another text and the end is not known, it
 * is encoded up to a place that both have: a border of pieces where a cluster begins. */
static kern_status encode_normal(const call *c, int64_t *consumed, const char *text, int64_t bytes,
                                 bool closed) {
    kern_status status = KERN_OK;
    data_bpe_scratch *s = c->scratch;
    int64_t whole = closed ? bytes : data_bpe_whole_clusters(text, bytes);
    data_bpe_normal *normal = &s->normal;
    *consumed = 0;
    data_bpe_normalize(normal, text, whole);
    /* Text before this may have taken more room than its bytes promised. */
    TRY(data_tokens_reserve(c->tokens, room_for(c->bpe, normal->bytes)));
    if (normal->bytes == whole && (whole == 0 || !memcmp(normal->text, text, (size_t)whole)))
        return encode_normalized(c, consumed, text, whole, closed);
    s->noting = !closed;
    s->noted = normal->text;
    s->noted_tokens = c->tokens->count;
    s->end = normal->text + normal->bytes;
    TRY(encode_normalized(c, consumed, normal->text, normal->bytes, closed));
    *consumed = whole;
    if (closed) goto done;
    c->tokens->count = s->noted_tokens;
    int64_t clusters = data_bpe_clusters(normal->text, s->noted - normal->text);
    *consumed = s->noted > normal->text ? data_bpe_cluster_at(text, whole, clusters) : 0;
done:
    s->noting = false;
    return status;
}

kern_status data_bpe_encode(data_tokens *tokens, int64_t *consumed,
                            const data_vocabulary *vocabulary, void *opened, const char *text,
                            int64_t bytes, bool last, bool special) {
    const data_bpe *bpe = (const data_bpe *)vocabulary;
    const call c = {tokens, opened, bpe, special};
    *consumed = 0;
    if (bpe->waits && !last) return KERN_OK;
    kern_status status = data_tokens_reserve(tokens, room_for(bpe, bytes));
    if (status != KERN_OK) return status;
    return encode_literals(&c, consumed, text, bytes, last, false,
                           bpe->normal ? encode_normal : encode_normalized);
}
