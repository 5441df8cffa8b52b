#include "data/bpe_cut.h"

#include <stdlib.h>

enum { MEMOS = 1 << 14, MEMO_BYTES = 22, MEMO_IDS = 10, RECENT = 1 << 12 };

/* The tokens of a piece that was merged before. */
struct data_bpe_memo {
    uint8_t length, count; /* length 0: free */
    char text[MEMO_BYTES];
    int32_t ids[MEMO_IDS];
};
typedef struct data_bpe_memo memo;

typedef data_bpe_scratch scratch;

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
    data_bpe_normal_free(&s->normal);
    free(s->spaced.bytes);
    free(s->letters.bytes);
    free(s->piece.bytes);
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

static kern_status cut(data_tokens *tokens, int64_t *consumed, scratch *s, int stage,
                       const char *text, int64_t bytes, bool closed);

/* Cuts text [bytes], which is UTF-8, by the patterns from `stage` on. Unless `closed` it goes on,
 * and *consumed says how much of it is decided. What a pattern leaves between two matches is a
 * piece too. */
static kern_status cut_plainly(data_tokens *tokens, int64_t *consumed, scratch *s, int stage,
                               const char *text, int64_t bytes, bool closed) {
    kern_status status = KERN_OK;
    const data_bpe_pattern *pattern = s->bpe->stages[stage].pattern;
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

void data_bpe_note(data_bpe_scratch *s, const data_tokens *tokens, const char *place) {
    if (!s->noting || (place < s->end && !data_bpe_cluster_begins(place, s->end - place))) return;
    s->noted = place;
    s->noted_tokens = tokens->count;
}

/* What a stage makes of its text, and the part of it that the next one may be joined to. */
typedef struct {
    data_tokens *tokens;
    scratch *s;
    const char *text;
    int stage;
    bool plain;          /* data_bpe_pattern_plain */
    bool waits, matched; /* a part waits, and is a match */
    int64_t begin, end;
} joining;

/* A piece that a stage has cut out goes on to the next. */
static kern_status hand_on(joining *j, int64_t begin, int64_t end) {
    kern_status status = KERN_OK;
    scratch *s = j->s;
    const char *piece = j->text + begin;
    int64_t bytes = end - begin, whole;
    if (bytes == 0) return KERN_OK;
    if (j->stage + 1 < s->bpe->stage_count) {
        TRY(cut(j->tokens, &whole, s, j->stage + 1, piece, bytes, true));
    } else if (s->bpe->stages[j->stage].in_letters) {
        s->piece.bytes = kern_grow(s->piece.bytes, &s->piece.capacity, bytes, 1);
        bytes = data_bpe_unspell(s->piece.bytes, piece, bytes);
        TRY(put_piece(j->tokens, s, s->piece.bytes, bytes));
    } else {
        TRY(put_piece(j->tokens, s, piece, bytes));
    }
    if (j->stage == 0) data_bpe_note(s, j->tokens, j->text + end);
done:
    return status;
}

static kern_status end_part(joining *j) {
    bool waited = j->waits;
    j->waits = false;
    return waited ? hand_on(j, j->begin, j->end) : KERN_OK;
}

/* The next part of the text: a match, or what is between two. */
static kern_status put_part(joining *j, int64_t begin, int64_t end, bool match) {
    kern_status status = KERN_OK;
    const data_bpe_stage *stage = &j->s->bpe->stages[j->stage];
    bool matched = match != stage->inverted, joins = false;
    switch (stage->matched) {
    case DATA_BPE_REMOVED:
        if (matched) return KERN_OK;
        return hand_on(j, begin, end);
    case DATA_BPE_ISOLATED: return hand_on(j, begin, end);
    case DATA_BPE_CONTIGUOUS: joins = matched == j->matched; break;
    case DATA_BPE_WITH_PREVIOUS: joins = matched && !j->matched; break;
    case DATA_BPE_WITH_NEXT: joins = !matched && j->matched; break;
    }
    if (!j->waits || !joins) {
        TRY(end_part(j));
        j->begin = begin;
    }
    j->end = end;
    j->matched = matched;
    j->waits = true;
done:
    return status;
}

/* Text with a space before it, and as letters, where the stage wants that. */
static void prepare(const char **text, int64_t *bytes, scratch *s, int stage) {
    const data_bpe_stage *now = &s->bpe->stages[stage];
    bool inside = stage == 0 && s->goes_on;
    if (now->spaced && **text != ' ' && !inside) {
        s->spaced.bytes = kern_grow(s->spaced.bytes, &s->spaced.capacity, *bytes + 1, 1);
        s->spaced.bytes[0] = ' ';
        memcpy(s->spaced.bytes + 1, *text, (size_t)*bytes);
        *text = s->spaced.bytes;
        ++*bytes;
    }
    if (now->in_letters && (stage == 0 || !now[-1].in_letters)) {
        s->letters.bytes = kern_grow(s->letters.bytes, &s->letters.capacity, 2 * *bytes, 1);
        *bytes = data_bpe_spell(s->letters.bytes, *text, *bytes);
        *text = s->letters.bytes;
    }
}

/* The next match from *from on, with no empty one right behind a match that ended at `last`. */
static kern_status next_match(data_bpe_found *found, int64_t *begin, int64_t *end, joining *j,
                              int64_t bytes, int64_t from, int64_t last, bool closed) {
    kern_status status = KERN_OK;
    const data_bpe_pattern *pattern = j->s->bpe->stages[j->stage].pattern;
    *found = DATA_BPE_NO_MATCH;
    while (from <= bytes) {
        TRY(data_bpe_match(found, begin, end, j->s->matcher, pattern, j->text, bytes, from, closed,
                           j->plain));
        if (*found != DATA_BPE_MATCH || *begin < *end || *end != last) break;
        from = *end + 1;
        while (from < bytes && ((unsigned char)j->text[from] & 0xC0) == 0x80) from++;
        *found = DATA_BPE_NO_MATCH;
    }
done:
    return status;
}

/* cut_plainly for every kind of stage. */
static kern_status cut_and_join(data_tokens *tokens, int64_t *consumed, scratch *s, int stage,
                                const char *text, int64_t bytes, bool closed) {
    kern_status status = KERN_OK;
    int64_t given = bytes, at = 0, last = -1;
    const data_bpe_stage *now = &s->bpe->stages[stage];
    prepare(&text, &bytes, s, stage);
    joining j = {.tokens = tokens, .s = s, .text = text, .stage = stage};
    if (now->pattern) j.plain = data_bpe_pattern_plain(now->pattern, text, bytes);
    while (now->pattern && (at < bytes || now->empty)) {
        int64_t begin, end;
        data_bpe_found found;
        TRY(next_match(&found, &begin, &end, &j, bytes, at, last, closed));
        if (found != DATA_BPE_MATCH) break;
        if (begin > at) TRY(put_part(&j, at, begin, false));
        TRY(put_part(&j, begin, end, true));
        at = last = end;
    }
    if (closed) {
        if (at < bytes) TRY(put_part(&j, at, bytes, false));
        TRY(end_part(&j));
    }
    *consumed = closed ? given : j.waits ? j.begin : at;
done:
    return status;
}

static kern_status cut(data_tokens *tokens, int64_t *consumed, scratch *s, int stage,
                       const char *text, int64_t bytes, bool closed) {
    if (s->bpe->stages[stage].plain && !(s->noting && stage == 0))
        return cut_plainly(tokens, consumed, s, stage, text, bytes, closed);
    return cut_and_join(tokens, consumed, s, stage, text, bytes, closed);
}

kern_status data_bpe_cut(data_tokens *tokens, int64_t *consumed, data_bpe_scratch *s,
                         const char *text, int64_t bytes, bool closed) {
    *consumed = 0;
    return bytes ? cut(tokens, consumed, s, 0, text, bytes, closed) : KERN_OK;
}

kern_status data_bpe_put_piece(data_tokens *tokens, data_bpe_scratch *s, const char *piece,
                               int64_t bytes) {
    return put_piece(tokens, s, piece, bytes);
}
