/* Offsets in the arena against a placement that looks at every other storage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "autodiff/lower.h"

enum { CASES = 60, MOST = 240 };

static uint32_t state = 1;
static int below(int limit) {
    state = state * 1664525u + 1013904223u;
    return (int)((state >> 8) % (uint32_t)limit);
}

/* A schedule of `steps` steps and storages that live in some of them. */
static void make_case(ad_lowering *low, int steps, int storages) {
    low->order = kern_array(steps + 1, sizeof *low->order);
    low->order[steps] = -1;
    for (int s = 0; s < storages; s++) {
        int storage = ad_new_storage(low, (size_t)(1 + below(900)), false);
        ad_storage *at = &low->storage[storage];
        if (below(3) == 0) at->bytes = 256; /* many of one size */
        if (below(12) == 0) at->external = true;
        if (below(12) == 0) continue; /* never used */
        at->first = below(steps);
        int longest = steps - at->first;
        at->last = at->first + below(below(4) && longest > 8 ? 8 : longest);
    }
}

static bool in_arena(const ad_storage *storage) {
    return !storage->external && storage->last >= 0;
}

static bool collide(const ad_storage *a, size_t offset, const ad_storage *b, size_t b_offset) {
    return a->first <= b->last && b->first <= a->last && offset < b_offset + b->bytes &&
           b_offset < offset + a->bytes;
}

/* Largest first, of equal ones the earlier first, each at the lowest multiple of 64 at which it
 * meets none of those before it. Returns the arena's bytes. */
static size_t place(const ad_lowering *low, size_t *offset) {
    int placed[MOST], count = 0;
    size_t arena = 0;
    for (size_t bytes = 1024; bytes > 0; bytes -= 64)
        for (int s = 0; s < low->storages; s++) {
            const ad_storage *at = &low->storage[s];
            if (!in_arena(at) || at->bytes != bytes) continue;
            offset[s] = 0;
            for (int p = 0; p < count; p++)
                if (collide(at, offset[s], &low->storage[placed[p]], offset[placed[p]])) {
                    offset[s] += 64;
                    p = -1;
                }
            placed[count++] = s;
            if (offset[s] + bytes > arena) arena = offset[s] + bytes;
        }
    return arena;
}

static void test_lowest_gap(void **unused) {
    (void)unused;
    for (int i = 0; i < CASES; i++) {
        ad_lowering low = {0};
        size_t offset[MOST];
        make_case(&low, 1 + below(i < 10 ? 4 : 70), i < 3 ? i : 1 + below(MOST));
        ad_lower_offsets(&low); /* rounds the sizes up */
        size_t arena = place(&low, offset);
        assert_int_equal(low.arena_bytes, arena);
        for (int s = 0; s < low.storages; s++)
            if (in_arena(&low.storage[s])) assert_int_equal(low.storage[s].offset, offset[s]);
        free(low.order);
        free(low.storage);
    }
}

static void test_no_reuse(void **unused) {
    (void)unused;
    ad_lowering low = {.spec.no_reuse = true};
    make_case(&low, 9, 50);
    ad_lower_offsets(&low);
    size_t end = 0;
    for (int s = 0; s < low.storages; s++) {
        if (!in_arena(&low.storage[s])) continue;
        assert_int_equal(low.storage[s].offset, end);
        assert_int_equal(low.storage[s].bytes % 64, 0);
        end += low.storage[s].bytes;
    }
    assert_int_equal(low.arena_bytes, end);
    free(low.order);
    free(low.storage);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lowest_gap),
                                       cmocka_unit_test(test_no_reuse)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
