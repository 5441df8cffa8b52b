#include <stdlib.h>
#include <string.h>

#include "kernels/base.h"
#include "tests/kernels/cuda/watched/watch.h"

enum { LANES = 32, WARPS = 32, PLACES = 512, BANKS = 32, WORD = 4, SECTOR = 32 };

/* Of a warp at one place, the i-th time. */
typedef struct {
    uint64_t address[LANES];
    bool active[LANES];
} request;

typedef struct {
    const void *place;
    int bytes;
    bool shared;
    int64_t came[LANES]; /* so often */
    request *times;
    int64_t count, capacity;
} asked;

static asked *warps[WARPS]; /* [PLACES], found by a hash of the place */

static asked *find(asked *table, const void *place, int bytes, bool shared) {
    uintptr_t at = ((uintptr_t)place * 0x9e3779b97f4a7c15u >> 40) + (uintptr_t)bytes + shared;
    for (int tries = 0; tries < PLACES; tries++, at++) {
        asked *a = &table[at % PLACES];
        if (!a->place) {
            a->place = place;
            a->bytes = bytes;
            a->shared = shared;
        }
        if (a->place == place && a->bytes == bytes && a->shared == shared) return a;
    }
    ASSERT(!"room for all places");
    return NULL;
}

void watch_begin_requests(void) {
    for (int w = 0; w < WARPS && warps[w]; w++)
        for (int p = 0; p < PLACES; p++) warps[w][p].place = NULL;
}

void watch_request(int thread, const void *place, uint64_t address, int bytes, bool shared) {
    int warp = thread / LANES, lane = thread % LANES;
    ASSERT(bytes <= 16);
    if (!warps[warp]) warps[warp] = kern_array(PLACES, sizeof **warps);
    asked *a = find(warps[warp], place, bytes, shared);
    int64_t time = a->came[lane]++;
    if (time >= a->count) {
        a->times = kern_grow(a->times, &a->capacity, time + 1, sizeof *a->times);
        memset(&a->times[a->count], 0, (size_t)(time + 1 - a->count) * sizeof *a->times);
        a->count = time + 1;
    }
    a->times[time].address[lane] = address;
    a->times[time].active[lane] = true;
}

/* Distinct words (sectors, ...) of `unit` bytes that lanes first .. first + lanes touch, sorted. */
static int distinct(const request *r, int first, int lanes, int bytes, int unit, uint64_t *of) {
    int count = 0, kept = 0;
    for (int l = first; l < first + lanes; l++)
        for (int i = 0; r->active[l] && i < bytes; i += bytes < unit ? bytes : unit)
            of[count++] = (r->address[l] + (uint64_t)i) / (uint64_t)unit;
    for (int i = 1; i < count; i++) { /* mostly in order */
        uint64_t x = of[i];
        int at = i;
        for (; at > 0 && of[at - 1] > x; at--) of[at] = of[at - 1];
        of[at] = x;
    }
    for (int i = 0; i < count; i++)
        if (!i || of[i] != of[i - 1]) of[kept++] = of[i];
    return kept;
}

/* Turns: 128 bytes at a time, of each bank one word. */
static void count_shared(const request *r, int bytes, watch_counts *to) {
    int lanes = bytes > WORD ? LANES * WORD / bytes : LANES;
    uint64_t word[LANES * 4];
    for (int first = 0; first < LANES; first += lanes) {
        int bank[BANKS] = {0}, turns = 0;
        int words = distinct(r, first, lanes, bytes, WORD, word);
        for (int i = 0; i < words; i++) {
            int *of = &bank[word[i] % BANKS];
            if (++*of > turns) turns = *of;
        }
        to->turns += turns;
        to->least_turns += words > 0;
    }
    to->shared++;
}

static void count_global(const request *r, int bytes, watch_counts *to) {
    uint64_t at[LANES * 16];
    int each = distinct(r, 0, LANES, bytes, 1, at);
    to->least_sectors += (each + SECTOR - 1) / SECTOR;
    to->sectors += distinct(r, 0, LANES, bytes, SECTOR, at);
    to->global++;
}

void watch_end_requests(watch_counts *to) {
    for (int w = 0; w < WARPS && warps[w]; w++)
        for (int p = 0; p < PLACES; p++) {
            asked *a = &warps[w][p];
            for (int64_t i = 0; i < a->count; i++)
                if (a->shared)
                    count_shared(&a->times[i], a->bytes, to);
                else
                    count_global(&a->times[i], a->bytes, to);
            a->count = 0;
            memset(a->came, 0, sizeof a->came);
        }
}
