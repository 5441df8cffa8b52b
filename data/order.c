#include "data/order.h"

enum { ROUNDS = 6 };

/* The finalizer of splitmix64: every bit of the input moves every bit of the output. */
static uint64_t mix(uint64_t z) {
    z += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

int64_t data_order(int64_t i, int64_t n, uint64_t seed, int64_t epoch) {
    ASSERT(i >= 0 && i < n && n <= (int64_t)1 << 62);
    int half = 1;
    while ((int64_t)1 << 2 * half < n) half++;
    uint64_t mask = ((uint64_t)1 << half) - 1, key = mix(mix(seed) ^ (uint64_t)epoch);
    uint64_t place = (uint64_t)i;
    do {
        uint64_t left = place >> half, right = place & mask;
        for (uint64_t round = 0; round < ROUNDS; round++) {
            uint64_t next = left ^ (mix((key + round) ^ mix(right)) & mask);
            left = right;
            right = next;
        }
        place = left << half | right;
    } while (place >= (uint64_t)n); /* the walk along a cycle comes back below n */
    return (int64_t)place;
}
