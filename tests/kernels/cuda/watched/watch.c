#include "tests/kernels/cuda/watched/watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base.h"
#include "kernels/cuda/device.h"

enum { LANES = 32, KERNELS = 256, MEMORIES = 256, NOBODY = -1, SEVERAL = -2 };

/* When a thread came by: the block's number among all, barriers of the block, of the warp. */
typedef struct {
    uint32_t block, barrier, warp_barrier;
    int16_t warp, thread; /* SEVERAL of them */
} visit;

/* Of a byte. */
typedef struct {
    visit write, read;
    bool there, coming;
} shadow;

typedef struct {
    const char *memory;
    size_t bytes;
    shadow *shadow;
} watched;

static watched memories[MEMORIES], shared;
static int memory_count, kernel_count;
static watch_counts kernels[KERNELS], *kernel;
static uint32_t block, first_block, barrier, warp_barrier[1024 / LANES];

static void complain(const char *what, const void *at, const visit *other) {
    char text[512];
    bool is_shared =
        (const char *)at >= shared.memory && (const char *)at < shared.memory + shared.bytes;
    snprintf(text, sizeof text, "%s, block %d %d %d: thread %d %s of %s memory%s", kernel->kernel,
             kern_place.block[0], kern_place.block[1], kern_place.block[2], kern_place.thread, what,
             is_shared ? "shared" : "the GPU's",
             !other                     ? ""
             : other->block != block    ? ", as another block does"
             : other->thread == SEVERAL ? ", as others do without a barrier"
                                        : ", as another thread does without a barrier");
    kern_assert_failed(text, __FILE__, __LINE__);
}

/* ---- memory ---- */

static void watch(watched *w, const void *memory, size_t bytes) {
    *w = (watched){memory, bytes, kern_array((int64_t)bytes + 1, sizeof(shadow))};
    for (size_t i = 0; i < bytes; i++)
        w->shadow[i].write.thread = w->shadow[i].read.thread = NOBODY;
}

void watch_memory(const void *memory, size_t bytes) {
    ASSERT(memory_count < MEMORIES);
    watch(&memories[memory_count++], memory, bytes);
}

void watch_forget(void) {
    while (memory_count) free(memories[--memory_count].shadow);
}

static shadow *shadow_of(const watched *w, const char *at, size_t bytes) {
    const char *end = w->memory + w->bytes;
    if (!w->bytes || at < w->memory || at >= end + WATCH_MARGIN) return NULL;
    if (at + bytes > end) complain("reaches behind the end", end - 1, NULL);
    return w->shadow + (at - w->memory);
}

/* ---- order ---- */

void watch_launch(const char *name, int threads, size_t shared_bytes) {
    kernel = NULL;
    for (int i = 0; i < kernel_count; i++)
        if (!strcmp(kernels[i].kernel, name)) kernel = &kernels[i];
    if (!kernel) {
        ASSERT(kernel_count < KERNELS);
        kernel = &kernels[kernel_count++];
        kernel->kernel = name;
    }
    if (kernel->threads < threads) kernel->threads = threads;
    kernel->shared_bytes = kern_max_bytes(kernel->shared_bytes, shared_bytes);
    first_block = block + 1;
    watch_begin_requests();
}

void watch_block(const void *memory, size_t bytes, int threads) {
    free(shared.shadow);
    watch(&shared, memory, bytes);
    block++;
    barrier = 0;
    memset(warp_barrier, 0, (size_t)(threads / LANES) * sizeof *warp_barrier);
}

void watch_barrier(int warp) {
    if (warp >= 0) {
        warp_barrier[warp]++;
    } else {
        barrier++;
        watch_end_requests(kernel);
    }
}

void watch_end_block(void) {
    watch_end_requests(kernel);
}

static visit now(void) {
    int warp = kern_place.thread / LANES;
    return (visit){block, barrier, warp_barrier[warp], (int16_t)warp, (int16_t)kern_place.thread};
}

/* Whether nothing orders what was before what is now, by another. */
static bool is_unordered(const visit *was, const visit *is) {
    if (was->thread == NOBODY || was->block < first_block) return false;
    if (was->block != is->block) return true;
    if (was->thread == is->thread || was->barrier != is->barrier) return false;
    return was->warp != is->warp || was->warp_barrier == is->warp_barrier;
}

/* Reads of several threads are kept as one of all of them. */
static void join(visit *was, const visit *is) {
    bool same = was->thread != NOBODY && was->block == is->block && was->barrier == is->barrier &&
                was->thread != is->thread;
    bool same_warp = was->warp == is->warp;
    *was = *is;
    if (same) was->thread = SEVERAL;
    if (same && !same_warp) was->warp = SEVERAL;
}

static void look_at(shadow *s, const char *at, const visit *is, bool writes, bool of_shared) {
    if (is_unordered(&s->write, is)) complain(writes ? "writes" : "reads", at, &s->write);
    if (writes && is_unordered(&s->read, is)) complain("writes", at, &s->read);
    if (!writes && of_shared && !s->there) complain("reads what is not there", at, NULL);
    if (writes && s->coming) complain("writes what is being copied to", at, NULL);
    if (writes) {
        s->write = *is;
        s->there = true;
    } else {
        join(&s->read, is);
    }
}

void watch_access(const void *at, size_t bytes, bool writes, const void *place) {
    const char *first = at;
    shadow *s = shadow_of(&shared, first, bytes);
    bool of_shared = s != NULL;
    for (int i = 0; i < memory_count && !s; i++) s = shadow_of(&memories[i], first, bytes);
    if (!s || !kernel) return; /* the thread's own */
    visit is = now();
    for (size_t i = 0; i < bytes; i++) look_at(s + i, first + i, &is, writes, of_shared);
    watch_request(kern_place.thread, place,
                  (uint64_t)(first - (of_shared ? shared.memory : (const char *)0)), (int)bytes,
                  of_shared);
}

void watch_begin_copy(const void *at, size_t bytes) {
    shadow *s = shadow_of(&shared, at, bytes);
    ASSERT(s);
    visit is = now();
    for (size_t i = 0; i < bytes; i++) {
        look_at(s + i, (const char *)at + i, &is, true, true);
        s[i].there = false;
        s[i].coming = true;
    }
}

void watch_end_copy(const void *at, size_t bytes, const void *place) {
    shadow *s = shadow_of(&shared, at, bytes);
    ASSERT(s);
    for (size_t i = 0; i < bytes; i++) s[i].coming = false;
    watch_access(at, bytes, true, place);
}

int watch_count(const watch_counts **counts) {
    *counts = kernels;
    return kernel_count;
}

/* ---- what GCC calls ---- */

#define PLACE __builtin_return_address(0)
#define ACCESSES(bytes)                                                                            \
    void __tsan_read##bytes(void *at);                                                             \
    void __tsan_write##bytes(void *at);                                                            \
    void __tsan_read##bytes(void *at) {                                                            \
        watch_access(at, bytes, false, PLACE);                                                     \
    }                                                                                              \
    void __tsan_write##bytes(void *at) {                                                           \
        watch_access(at, bytes, true, PLACE);                                                      \
    }
ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)

/* Structures of more than 16 bytes, which are the thread's own. */
void __tsan_read_range(void *at, size_t bytes);
void __tsan_write_range(void *at, size_t bytes);
void __tsan_read_range(void *at, size_t bytes) {
    watch_access(at, bytes, false, PLACE);
}
void __tsan_write_range(void *at, size_t bytes) {
    watch_access(at, bytes, true, PLACE);
}

void __tsan_init(void);
void __tsan_init(void) {}
