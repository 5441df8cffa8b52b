#include "data/bpe_model.h"

enum { SHORT = 24 }; /* pieces up to here are merged by looking at every pair each time */

/* The tokens of a piece of 1..SHORT bytes to ids, and their number. */
static int64_t merge_short(int32_t *ids, const data_bpe *bpe, const unsigned char *piece,
                           int64_t n) {
    int32_t id[SHORT], rank[SHORT], into[SHORT];
    for (int64_t i = 0; i < n; i++) id[i] = bpe->byte_ids[piece[i]];
    for (int64_t i = 0; i + 1 < n; i++) {
        const data_bpe_pair *pair = &bpe->byte_pairs[piece[i] << 8 | piece[i + 1]];
        rank[i] = pair->rank;
        into[i] = pair->id;
    }
    rank[n - 1] = DATA_BPE_NO_RANK;
    for (;;) {
        int64_t best = 0;
        for (int64_t i = 1; i + 1 < n; i++)
            if (rank[i] < rank[best]) best = i;
        if (rank[best] == DATA_BPE_NO_RANK) break;
        id[best] = into[best];
        n--;
        for (int64_t i = best + 1; i < n; i++) {
            id[i] = id[i + 1];
            rank[i] = rank[i + 1];
            into[i] = into[i + 1];
        }
        rank[best] = DATA_BPE_NO_RANK;
        for (int64_t i = best > 0 ? best - 1 : 0; i <= best && i + 1 < n; i++) {
            data_bpe_pair pair = data_bpe_find_pair(bpe, id[i], id[i + 1]);
            rank[i] = pair.rank;
            into[i] = pair.id;
        }
    }
    memcpy(ids, id, (size_t)n * sizeof *id);
    return n;
}

/* A piece of up to SPAN bytes is merged in place: a pair's key is its rank and, below it, the place
 * of its left token, so that the lowest key is the lowest rank, the leftmost of equals. The lowest
 * of each ROW places is kept, and the lowest of those is looked for. */
enum { ROW = 16, SPAN = ROW * ROW, NONE = INT32_MAX };
_Static_assert(DATA_BPE_MOST_IDS <= NONE / SPAN, "a rank and a place are one key");

typedef struct {
    int32_t key[SPAN], lowest[ROW]; /* NONE: no pair that merges */
    int32_t id[SPAN], into[SPAN];
    uint8_t next[SPAN], previous[SPAN];
    int last; /* place of the last token */
} span;

static inline int32_t lowest_of_row(const int32_t *row) {
    int32_t lowest = row[0];
    for (int i = 1; i < ROW; i++) lowest = row[i] < lowest ? row[i] : lowest;
    return lowest;
}

static inline void look_up(span *s, const data_bpe *bpe, int at) {
    data_bpe_pair pair = {.rank = DATA_BPE_NO_RANK};
    if (at != s->last) pair = data_bpe_find_pair(bpe, s->id[at], s->id[s->next[at]]);
    s->key[at] = pair.rank == DATA_BPE_NO_RANK ? NONE : pair.rank * SPAN + at;
    s->into[at] = pair.id;
}

static void begin_span(span *s, const data_bpe *bpe, const unsigned char *piece, int n) {
    int i = 0, rows = (n + ROW - 1) / ROW;
    for (; i < n - 1; i++) {
        const data_bpe_pair *pair = &bpe->byte_pairs[piece[i] << 8 | piece[i + 1]];
        s->key[i] = pair->rank == DATA_BPE_NO_RANK ? NONE : pair->rank * SPAN + i;
        s->into[i] = pair->id;
    }
    for (; i < rows * ROW; i++) s->key[i] = NONE;
    for (i = 0; i < n; i++) {
        s->id[i] = bpe->byte_ids[piece[i]];
        s->next[i] = (uint8_t)(i + 1);
        s->previous[i] = (uint8_t)(i - 1);
    }
    for (i = 0; i < ROW; i++) s->lowest[i] = i < rows ? lowest_of_row(s->key + i * ROW) : NONE;
    s->last = n - 1;
}

/* The tokens of a piece of 1..SPAN bytes to ids, and their number. */
static int64_t merge_span(int32_t *ids, const data_bpe *bpe, const unsigned char *piece,
                          int64_t n) {
    span s;
    int32_t key;
    begin_span(&s, bpe, piece, (int)n);
    while ((key = lowest_of_row(s.lowest)) != NONE) {
        int at = key % SPAN, gone = s.next[at], left = at ? s.previous[at] : 0;
        s.id[at] = s.into[at];
        s.key[gone] = NONE;
        if (gone == s.last) {
            s.last = at;
        } else {
            s.next[at] = s.next[gone];
            s.previous[s.next[at]] = (uint8_t)at;
        }
        look_up(&s, bpe, at);
        if (left != at) look_up(&s, bpe, left);
        s.lowest[at / ROW] = lowest_of_row(s.key + at / ROW * ROW);
        if (gone / ROW != at / ROW) s.lowest[gone / ROW] = lowest_of_row(s.key + gone / ROW * ROW);
        if (left / ROW != at / ROW) s.lowest[left / ROW] = lowest_of_row(s.key + left / ROW * ROW);
    }
    int64_t count = 0;
    for (int i = 0;; i = s.next[i]) {
        ids[count++] = s.id[i];
        if (i == s.last) return count;
    }
}

/* A longer text: tokens in a list, and a heap of the pairs that merge, by rank and place. An entry
 * is out of date where its place has no such pair any more. */
typedef struct {
    int32_t *id, *next, *previous; /* [bytes]; id -1: merged into the one before */
    /* [2 bytes]: fewer pairs at first than bytes, and a merge, of which there are fewer too, takes
     * one away and adds two at most */
    uint64_t *heap;
    int64_t count;
} list;

static void sift_down(list *l, int64_t at) {
    uint64_t entry = l->heap[at];
    for (int64_t child; (child = 2 * at + 1) < l->count; at = child) {
        if (child + 1 < l->count && l->heap[child + 1] < l->heap[child]) child++;
        if (l->heap[child] >= entry) break;
        l->heap[at] = l->heap[child];
    }
    l->heap[at] = entry;
}

static void push(list *l, uint64_t entry) {
    int64_t at = l->count++;
    for (; at > 0 && l->heap[(at - 1) / 2] > entry; at = (at - 1) / 2)
        l->heap[at] = l->heap[(at - 1) / 2];
    l->heap[at] = entry;
}

static void push_pair(list *l, const data_bpe *bpe, int32_t at) {
    int32_t next = l->next[at];
    if (next < 0) return;
    data_bpe_pair pair = data_bpe_find_pair(bpe, l->id[at], l->id[next]);
    if (pair.rank != DATA_BPE_NO_RANK) push(l, (uint64_t)pair.rank << 32 | (uint32_t)at);
}

static void merge_pairs(list *l, const data_bpe *bpe) {
    while (l->count) {
        uint64_t entry = l->heap[0];
        l->heap[0] = l->heap[--l->count];
        if (l->count) sift_down(l, 0);
        int32_t at = (int32_t)(uint32_t)entry;
        int32_t next = l->id[at] < 0 ? -1 : l->next[at];
        if (next < 0) continue;
        data_bpe_pair pair = data_bpe_find_pair(bpe, l->id[at], l->id[next]);
        if (pair.rank != (int32_t)(entry >> 32)) continue;
        l->id[at] = pair.id;
        l->id[next] = -1;
        l->next[at] = l->next[next];
        if (l->next[at] >= 0) l->previous[l->next[at]] = at;
        push_pair(l, bpe, at);
        if (l->previous[at] >= 0) push_pair(l, bpe, l->previous[at]);
    }
}

static kern_status merge_long(data_tokens *tokens, const data_bpe *bpe, const unsigned char *piece,
                              int64_t n) {
    kern_status status = KERN_OK;
    list l = {.count = 0};
    if (n > INT32_MAX)
        return kern_fail(KERN_ERR_MEMORY, "a piece of text of %lld bytes is too long",
                         (long long)n);
    TRY(kern_alloc((void **)&l.id, (size_t)n * sizeof *l.id, "a long piece"));
    TRY(kern_alloc((void **)&l.next, (size_t)n * sizeof *l.next, "a long piece"));
    TRY(kern_alloc((void **)&l.previous, (size_t)n * sizeof *l.previous, "a long piece"));
    TRY(kern_alloc((void **)&l.heap, 2 * (size_t)n * sizeof *l.heap, "the pairs of a long piece"));
    for (int64_t i = 0; i < n; i++) {
        l.id[i] = bpe->byte_ids[piece[i]];
        l.next[i] = (int32_t)(i + 1 < n ? i + 1 : -1);
        l.previous[i] = (int32_t)(i - 1);
    }
    for (int64_t i = 0; i + 1 < n; i++) {
        int32_t rank = bpe->byte_pairs[piece[i] << 8 | piece[i + 1]].rank;
        if (rank != DATA_BPE_NO_RANK) l.heap[l.count++] = (uint64_t)rank << 32 | (uint32_t)i;
    }
    for (int64_t i = l.count / 2 - 1; i >= 0; i--) sift_down(&l, i);
    merge_pairs(&l, bpe);
    for (int32_t i = 0; i >= 0; i = l.next[i]) tokens->ids[tokens->count++] = l.id[i];
done:
    kern_free(l.id);
    kern_free(l.next);
    kern_free(l.previous);
    kern_free(l.heap);
    return status;
}

static kern_status merge_at_once(data_tokens *tokens, const data_bpe *bpe,
                                 const unsigned char *piece, int64_t n) {
    if (n > SPAN) return merge_long(tokens, bpe, piece, n);
    tokens->count += n > SHORT ? merge_span(tokens->ids + tokens->count, bpe, piece, n)
                               : merge_short(tokens->ids + tokens->count, bpe, piece, n);
    return KERN_OK;
}

/* What merging gives has a border between two tokens exactly where merging these two alone leaves
 * them as they are: of the pairs of any part of a text the lowest leftmost merges first, whatever
 * there is around it, unless one over the part's end does; and the first that would merge over a
 * border would do so in the two tokens alone. So a text's tokens are those of its windows where
 * that holds at each seam, for every vocabulary. */
static kern_status check_seam(bool *holds, const data_bpe *bpe, const int32_t *two) {
    unsigned char both[2 * DATA_BPE_LONGEST];
    int32_t ids[2 * DATA_BPE_LONGEST];
    data_tokens merged = {.ids = ids};
    const data_bpe_token *a = &bpe->tokens[two[0]], *b = &bpe->tokens[two[1]];
    memcpy(both, bpe->pool + a->begin, (size_t)a->length);
    memcpy(both + a->length, bpe->pool + b->begin, (size_t)b->length);
    kern_status status = merge_at_once(&merged, bpe, both, a->length + b->length);
    *holds = merged.count == 2 && !memcmp(ids, two, sizeof *two * 2);
    return status;
}

/* Takes tokens back, of at least so many bytes where there are; returns the number of these. */
static int64_t take_back(data_tokens *tokens, const data_bpe *bpe, int64_t first, int64_t bytes) {
    int64_t back = 0;
    while (tokens->count > first && back < bytes)
        back += bpe->tokens[tokens->ids[--tokens->count]].length;
    return back;
}

/* A window's last tokens may be others when more follows, so that the next begins before them.
 * Where the seam does not hold, or nothing is left of a window, a larger one begins there or
 * earlier, and larger ones yet until the text is decided farther than it was: at worst one of the
 * whole piece. */
static kern_status merge_windows(data_tokens *tokens, const data_bpe *bpe,
                                 const unsigned char *piece, int64_t n) {
    kern_status status = KERN_OK;
    int64_t first = tokens->count, at = 0, size = SPAN, farthest = -1;
    int32_t held[2] = {-1, -1}; /* the last seam that held; of one letter all are the same */
    while (at < n) {
        int64_t window = size < n - at ? size : n - at, before = tokens->count;
        const int32_t *seam = before > first ? tokens->ids + before - 1 : held;
        bool holds = true;
        farthest = at > farthest ? at : farthest;
        TRY(merge_at_once(tokens, bpe, piece + at, window));
        if (memcmp(seam, held, sizeof held)) TRY(check_seam(&holds, bpe, seam));
        if (holds) {
            memmove(held, seam, sizeof held);
            at += window;
            if (at < n) at -= take_back(tokens, bpe, before, window / 16);
        } else {
            tokens->count = before;
            at -= take_back(tokens, bpe, first, size / 2);
        }
        size = at > farthest ? SPAN : size * 2;
    }
done:
    return status;
}

kern_status data_bpe_merge(data_tokens *tokens, const data_bpe *bpe, const char *piece,
                           int64_t bytes) {
    const unsigned char *text = (const unsigned char *)piece;
    if (bytes > SPAN) return merge_windows(tokens, bpe, text, bytes);
    return merge_at_once(tokens, bpe, text, bytes);
}
