/* Lifetimes become offsets in the arena: largest storage first, each at the lowest offset that is
 * free during its life. What is taken is kept in a tree over the steps, so that a storage looks at
 * a few nodes instead of at all that were placed before it. */
#include <stdlib.h>
#include <string.h>

#include "autodiff/lower.h"

/* ---- a tree over steps ---- */

enum { MOST_NODES = 64 }; /* two a level, and the levels of 2^31 steps */

/* Nodes of the tree that a span of steps meets: those that lie in it while their parents do not
 * (`whole`; together they are the span), and those that reach beyond it. */
typedef struct {
    int whole[MOST_NODES], part[MOST_NODES];
    int wholes, parts;
} span;

/* Node `node` stands for the steps from..to; its children for halves of them. */
static void find_nodes(span *of, int first, int last, int node, int from, int to) {
    if (to < first || last < from) return;
    if (first <= from && to <= last) {
        of->whole[of->wholes++] = node;
        return;
    }
    of->part[of->parts++] = node;
    int middle = from + (to - from) / 2;
    find_nodes(of, first, last, 2 * node, from, middle);
    find_nodes(of, first, last, 2 * node + 1, middle + 1, to);
}

static span span_of(const ad_storage *storage, int leaves) {
    span of = {.wholes = 0};
    find_nodes(&of, storage->first, storage->last, 1, 0, leaves - 1);
    return of;
}

static int tree_leaves(const ad_lowering *low) {
    int steps = 0, leaves = 1;
    while (low->order[steps] >= 0) steps++;
    while (leaves < steps) leaves *= 2;
    return leaves;
}

/* ---- what is taken ---- */

/* Bytes from..to of the arena. A set of them is ascending, and no two touch. */
typedef struct {
    size_t from, to;
} run;

typedef struct {
    run *item;
    int64_t count, capacity;
} runs;

/* The first run that ends at or behind `offset`. */
static int64_t find_run(const runs *set, size_t offset) {
    int64_t low = 0, high = set->count;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (set->item[middle].to < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void add_run(runs *set, size_t from, size_t to) {
    int64_t first = find_run(set, from), end = first;
    for (; end < set->count && set->item[end].from <= to; end++) {
        if (set->item[end].from < from) from = set->item[end].from;
        if (set->item[end].to > to) to = set->item[end].to;
    }
    set->item = kern_grow(set->item, &set->capacity, set->count + 1, sizeof *set->item);
    memmove(set->item + first + 1, set->item + end, (size_t)(set->count - end) * sizeof *set->item);
    set->item[first] = (run){from, to};
    set->count += first + 1 - end;
}

/* The lowest offset from `offset` on at which `bytes` are free. */
static size_t skip_runs(const runs *set, size_t offset, size_t bytes) {
    for (int64_t i = find_run(set, offset + 1); i < set->count; i++) {
        if (set->item[i].from >= offset + bytes) break;
        offset = set->item[i].to;
    }
    return offset;
}

/* By node: the memory of storages that live through all of its steps, though not through all of its
 * parent's; and of all that live in some of its steps and not through all of its parent's. */
typedef struct {
    int leaves;
    runs *through, *within; /* [2 * leaves] */
} taken;

static size_t lowest_gap(const taken *t, const span *of, size_t bytes) {
    const runs *set[2 * MOST_NODES];
    int sets = 0;
    for (int i = 0; i < of->wholes; i++) set[sets++] = &t->within[of->whole[i]];
    for (int i = 0; i < of->parts; i++) set[sets++] = &t->through[of->part[i]];
    size_t offset = 0;
    for (int i = 0, agreed = 0; agreed < sets; i = (i + 1) % sets) {
        size_t free_from = skip_runs(set[i], offset, bytes);
        agreed = free_from == offset ? agreed + 1 : 1;
        offset = free_from;
    }
    return offset;
}

static void take(taken *t, const span *of, size_t from, size_t to) {
    for (int i = 0; i < of->parts; i++) add_run(&t->within[of->part[i]], from, to);
    for (int i = 0; i < of->wholes; i++) {
        add_run(&t->within[of->whole[i]], from, to);
        add_run(&t->through[of->whole[i]], from, to);
    }
}

/* ---- all storages ---- */

static int by_size(const void *a, const void *b) {
    const ad_storage *x = *(const ad_storage *const *)a, *y = *(const ad_storage *const *)b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return (x > y) - (x < y);
}

static int by_offset(const void *a, const void *b) {
    const ad_storage *x = *(const ad_storage *const *)a, *y = *(const ad_storage *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static void assign(ad_lowering *low, ad_storage **storage, int count, int leaves) {
    taken t = {leaves, kern_array(2 * (int64_t)leaves, sizeof *t.through),
               kern_array(2 * (int64_t)leaves, sizeof *t.within)};
    qsort(storage, (size_t)count, sizeof *storage, by_size);
    for (int s = 0; s < count; s++) {
        span of = span_of(storage[s], leaves);
        size_t offset = lowest_gap(&t, &of, storage[s]->bytes);
        size_t end = offset + storage[s]->bytes;
        storage[s]->offset = offset;
        take(&t, &of, offset, end);
        if (end > low->arena_bytes) low->arena_bytes = end;
    }
    for (int node = 0; node < 2 * leaves; node++) {
        free(t.through[node].item);
        free(t.within[node].item);
    }
    free(t.through);
    free(t.within);
}

static void raise_to(size_t *highest, size_t end) {
    if (*highest < end) *highest = end;
}

/* No two storages share bytes at any step: from the lowest up, each begins above all that lie below
 * it during its life. */
static void check(ad_storage **storage, int count, int leaves) {
    size_t *through = kern_array(2 * (int64_t)leaves, sizeof *through);
    size_t *within = kern_array(2 * (int64_t)leaves, sizeof *within); /* highest ends, by node */
    qsort(storage, (size_t)count, sizeof *storage, by_offset);
    for (int s = 0; s < count; s++) {
        span of = span_of(storage[s], leaves);
        size_t offset = storage[s]->offset, end = offset + storage[s]->bytes;
        ASSERT(offset % 64 == 0);
        for (int i = 0; i < of.wholes; i++) ASSERT(within[of.whole[i]] <= offset);
        for (int i = 0; i < of.parts; i++) ASSERT(through[of.part[i]] <= offset);
        for (int i = 0; i < of.parts; i++) raise_to(&within[of.part[i]], end);
        for (int i = 0; i < of.wholes; i++) {
            raise_to(&within[of.whole[i]], end);
            raise_to(&through[of.whole[i]], end);
        }
    }
    free(through);
    free(within);
}

void ad_lower_offsets(ad_lowering *low) {
    int count = 0, leaves = tree_leaves(low);
    ad_storage **storage = kern_array(low->storages, sizeof *storage);
    for (int64_t s = 0; s < low->storages; s++) {
        ad_storage *piece = &low->storage[s];
        if (piece->external || piece->last < 0) continue;
        piece->bytes = kern_align(piece->bytes);
        storage[count++] = piece;
        if (!low->spec.no_reuse) continue;
        piece->offset = low->arena_bytes;
        low->arena_bytes += piece->bytes;
    }
    if (!low->spec.no_reuse) assign(low, storage, count, leaves);
    check(storage, count, leaves);
    free(storage);
}
