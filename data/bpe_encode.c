#include "data/bpe_model.h"
#include "data/utf8.h"

enum { MEMOS = 1 << 14, MEMO_BYTES = 22, MEMO_IDS = 10, RECENT = 1 << 12 };

/* The tokens of a piece that was merged before. */
typedef struct {
    uint8_t length, count; /* length 0: free */
    char text[MEMO_BYTES];
    int32_t ids[MEMO_IDS];
} memo;

typedef struct {
    const data_bpe *bpe;
    data_bpe_matcher *matcher;
    memo *memos; /* [MEMOS] by hash; the last one with a hash stays */
    /* [RECENT] the same for short words of the vocabulary, whose own table is too large for caches
     */
    data_bpe_word *recent;
} scratch;

kern_status data_bpe_scratch_open(void **out, const data_vocabulary *vocabulary) {
    kern_status status = KERN_OK;
    scratch *s = NULL;
    *out = NULL;
    TRY(kern_alloc_zero((void **)&s, sizeof *s, "an encoder"));
    s->bpe = (const data_bpe *)vocabulary;
    TRY(kern_alloc_zero((void **)&s->memos, MEMOS * sizeof *s->memos, "an encoder"));
    TRY(kern_alloc_zero((void **)&s->recent, RECENT * sizeof *s->recent, "an encoder"));
    TRY(data_bpe_matcher_create(&s->matcher));
    *out = s;
    s = NULL;
done:
    data_bpe_scratch_close(s);
    return status;
}

void data_bpe_scratch_close(void *opened) {
    scratch *s = opened;
    if (!s) return;
    data_bpe_matcher_destroy(s->matcher);
    kern_free(s->memos);
    kern_free(s->recent);
    kern_free(s);
}

static kern_status put_merged(data_tokens *tokens, scratch *s, uint64_t hash, const char *piece,
                              int64_t bytes) {
    if (bytes > MEMO_BYTES) return data_bpe_merge(tokens, s->bpe, piece, bytes);
    memo *known = &s->memos[hash >> 32 & (MEMOS - 1)];
    int32_t *ids = tokens->ids + tokens->count;
    if (known->length == bytes && !memcmp(known->text, piece, (size_t)bytes)) {
        for (int i = 0; i < known->count; i++) ids[i] = known->ids[i];
        tokens->count += known->count;
        return KERN_OK;
    }
    int64_t before = tokens->count;
    kern_status status = data_bpe_merge(tokens, s->bpe, piece, bytes);
    int64_t count = tokens->count - before;
    if (status != KERN_OK || count > MEMO_IDS) return status;
    known->length = (uint8_t)bytes;
    known->count = (uint8_t)count;
    memcpy(known->text, piece, (size_t)bytes);
    memcpy(known->ids, ids, (size_t)count * sizeof *ids);
    return KERN_OK;
}

static inline kern_status put_piece(data_tokens *tokens, scratch *s, const char *piece,
                                    int64_t bytes) {
    uint64_t key = data_bpe_key(piece, bytes), hash = data_bpe_word_hash(key, bytes);
    data_bpe_word *recent = &s->recent[hash >> 40 & (RECENT - 1)];
    if (recent->key == key && recent->length == bytes) {
        tokens->ids[tokens->count++] = recent->id;
        return KERN_OK;
    }
    int32_t id = data_bpe_find(s->bpe, piece, bytes, key, hash);
    if (id < 0) return put_merged(tokens, s, hash, piece, bytes);
    /* Of longer words the key does not tell all. */
    if (bytes <= 8) *recent = (data_bpe_word){key, (int32_t)bytes, id};
    tokens->ids[tokens->count++] = id;
    return KERN_OK;
}

/* Cuts text [bytes], which is UTF-8, by the patterns from `stage` on. Unless `closed` it goes on,
 * and *consumed says how much of it is decided. What a pattern leaves between two matches is a
 * piece too. */
static kern_status cut(data_tokens *tokens, int64_t *consumed, scratch *s, int stage,
                       const char *text, int64_t bytes, bool closed) {
    kern_status status = KERN_OK;
    const data_bpe_pattern *pattern = s->bpe->stages[stage];
    bool last_stage = stage + 1 == s->bpe->stage_count;
    bool plain = data_bpe_pattern_plain(pattern, text, bytes);
    int64_t at = 0, whole;
    while (at < bytes) {
        int64_t begin, end;
        data_bpe_found found;
        int64_t word = last_stage ? data_bpe_pattern_ascii_end(pattern, text, bytes, at) : 0;
        if (word) {
            TRY(put_piece(tokens, s, text + at, word - at));
            at = word;
            continue;
        }
        TRY(data_bpe_match(&found, &begin, &end, s->matcher, pattern, text, bytes, at, closed,
                           plain));
        if (found != DATA_BPE_MATCH) {
            if (!closed) break;
            begin = end = bytes;
        }
        for (int half = 0; half < 2; half++) {
            int64_t from = half ? begin : at, to = half ? end : begin;
            if (from == to) continue;
            if (last_stage)
                TRY(put_piece(tokens, s, text + from, to - from));
            else
                TRY(cut(tokens, &whole, s, stage + 1, text + from, to - from, true));
        }
        at = end;
    }
done:
    *consumed = at;
    return status;
}

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
static kern_status encode_span(data_tokens *tokens, int64_t *consumed, scratch *s, const char *text,
                               int64_t bytes, bool closed) {
    kern_status status = KERN_OK;
    int64_t at = 0, took;
    while (at < bytes) {
        int64_t valid = data_utf8_prefix(text + at, bytes - at), rest = bytes - at - valid;
        bool ends = closed || (rest && data_utf8_character(text + at + valid, rest) == 0);
        TRY(cut(tokens, &took, s, 0, text + at, valid, ends));
        at += took;
        if (took < valid || at == bytes) break;
        bool decided;
        int64_t run = broken_run(&decided, text + at, bytes - at, closed);
        if (!decided) break;
        TRY(put_piece(tokens, s, text + at, run));
        at += run;
    }
done:
    *consumed = at;
    return status;
}

typedef enum { ABSENT, FOUND, UNDECIDED } literal_state;

/* The literal that text [bytes] begins with, the longest. */
static literal_state literal_at(const data_bpe_literal **found, const data_bpe *bpe,
                                const char *text, int64_t bytes, bool last, bool special) {
    int64_t low = 0, high = bpe->literal_count;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if ((unsigned char)*bpe->literals[middle].text < (unsigned char)*text)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < bpe->literal_count && *bpe->literals[low].text == *text; low++) {
        const data_bpe_literal *literal = &bpe->literals[low];
        if (literal->special && !special) continue;
        int64_t length = literal->length < bytes ? literal->length : bytes;
        if (memcmp(literal->text, text, (size_t)length)) continue;
        *found = literal;
        if (length == literal->length) return FOUND;
        if (!last) return UNDECIDED;
    }
    return ABSENT;
}

/* Where in text [bytes] the next literal stands or may stand; bytes where none does. */
static literal_state next_literal(int64_t *place, const data_bpe_literal **found,
                                  const data_bpe *bpe, const char *text, int64_t bytes, bool last,
                                  bool special) {
    bool begins[256] = {false};
    bool any = false;
    for (int64_t i = 0; i < bpe->literal_count; i++)
        if (special || !bpe->literals[i].special)
            any = begins[(unsigned char)*bpe->literals[i].text] = true;
    for (int64_t at = 0; any && at < bytes; at++) {
        if (!begins[(unsigned char)text[at]]) continue;
        literal_state state = literal_at(found, bpe, text + at, bytes - at, last, special);
        *place = at;
        if (state != ABSENT) return state;
    }
    *place = bytes;
    return ABSENT;
}

kern_status data_bpe_encode(data_tokens *tokens, int64_t *consumed,
                            const data_vocabulary *vocabulary, void *opened, const char *text,
                            int64_t bytes, bool last, bool special) {
    kern_status status = KERN_OK;
    const data_bpe *bpe = (const data_bpe *)vocabulary;
    int64_t at = 0, took;
    for (int i = 0; i < bpe->stage_count && !last; i++)
        if (data_bpe_pattern_looks_back(bpe->stages[i])) goto done;
    while (at < bytes) {
        const data_bpe_literal *literal = NULL;
        int64_t span;
        literal_state state =
            next_literal(&span, &literal, bpe, text + at, bytes - at, last, special);
        TRY(encode_span(tokens, &took, opened, text + at, span, last || state == FOUND));
        at += took;
        if (took < span || state != FOUND) break;
        tokens->ids[tokens->count++] = literal->id;
        at += literal->length;
    }
done:
    *consumed = at;
    return status;
}
