#include "data/bpe_model.h"

enum { SHORT = 64 }; /* pieces up to here are merged by looking at every pair each time */

static void merge_short(data_tokens *tokens, const data_bpe *bpe, const unsigned char *piece,
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
    memcpy(tokens->ids + tokens->count, id, (size_t)n * sizeof *id);
    tokens->count += n;
}

/* A long piece: tokens in a list, and a heap of the pairs that merge, by rank and place. An entry
 * is out of date where its place has no such pair any more. */
typedef struct {
    int32_t *id, *next, *previous; /* [bytes]; id -1: merged into the one before */
    uint64_t *heap;
    int64_t count, capacity;
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

/* The heap is never larger than the pairs at first and one for each of two neighbours a merge. */
static kern_status push_pair(list *l, const data_bpe *bpe, int32_t at) {
    int32_t next = l->next[at];
    if (next < 0) return KERN_OK;
    data_bpe_pair pair = data_bpe_find_pair(bpe, l->id[at], l->id[next]);
    if (pair.rank == DATA_BPE_NO_RANK) return KERN_OK;
    if (l->count == l->capacity) {
        uint64_t *larger;
        kern_status status = kern_alloc((void **)&larger, (size_t)l->capacity * 2 * sizeof *larger,
                                        "the pairs of a long piece");
        if (status != KERN_OK) return status;
        memcpy(larger, l->heap, (size_t)l->count * sizeof *larger);
        kern_free(l->heap);
        l->heap = larger;
        l->capacity *= 2;
    }
    push(l, (uint64_t)pair.rank << 32 | (uint32_t)at);
    return KERN_OK;
}

static kern_status merge_pairs(list *l, const data_bpe *bpe) {
    kern_status status = KERN_OK;
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
        TRY(push_pair(l, bpe, at));
        if (l->previous[at] >= 0) TRY(push_pair(l, bpe, l->previous[at]));
    }
done:
    return status;
}

static kern_status merge_long(data_tokens *tokens, const data_bpe *bpe, const unsigned char *piece,
                              int64_t n) {
    kern_status status = KERN_OK;
    list l = {.capacity = n};
    if (n > INT32_MAX)
        return kern_fail(KERN_ERR_MEMORY, "a piece of text of %lld bytes is too long",
                         (long long)n);
    TRY(kern_alloc((void **)&l.id, (size_t)n * sizeof *l.id, "a long piece"));
    TRY(kern_alloc((void **)&l.next, (size_t)n * sizeof *l.next, "a long piece"));
    TRY(kern_alloc((void **)&l.previous, (size_t)n * sizeof *l.previous, "a long piece"));
    TRY(kern_alloc((void **)&l.heap, (size_t)n * sizeof *l.heap, "the pairs of a long piece"));
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
    TRY(merge_pairs(&l, bpe));
    for (int32_t i = 0; i >= 0; i = l.next[i]) tokens->ids[tokens->count++] = l.id[i];
done:
    kern_free(l.id);
    kern_free(l.next);
    kern_free(l.previous);
    kern_free(l.heap);
    return status;
}

kern_status data_bpe_merge(data_tokens *tokens, const data_bpe *bpe, const char *piece,
                           int64_t bytes) {
    if (bytes > SHORT) return merge_long(tokens, bpe, (const unsigned char *)piece, bytes);
    merge_short(tokens, bpe, (const unsigned char *)piece, bytes);
    return KERN_OK;
}
