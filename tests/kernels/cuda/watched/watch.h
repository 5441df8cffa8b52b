/* Sees each access of a kernel that is compiled with -fsanitize=thread, whose functions are defined
 * here instead of in GCC's library: they know a GPU's rules. What is wrong ends the program:
 *
 *   two threads at one byte, one of them writing, with no barrier of theirs in between;
 *   two blocks of a launch at one byte, one of them writing;
 *   shared memory that is read before it is written, or read or written while a copy into it is
 *   under way;
 *   what lies right behind the end of memory.
 *
 * Calls are counted by kernel: how many turns shared memory needs for what a warp asks of it at
 * once, and how many sectors of 32 bytes of the GPU's memory are touched, beside the least. What a
 * warp asks at once are the i-th accesses of its lanes from one place in the code since the block's
 * last barrier: where lanes part that is a guess. */
#ifndef TESTS_KERNELS_CUDA_WATCHED_WATCH_H
#define TESTS_KERNELS_CUDA_WATCHED_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of all memory, so many bytes behind its end belong to nobody. */
enum { WATCH_MARGIN = 4096 };

/* This is the GPU's memory; forgets all of it. */
void watch_memory(const void *memory, size_t bytes);
void watch_forget(void);

/* ---- for the emulator ---- */

void watch_launch(const char *kernel, int threads, size_t shared_bytes);
void watch_block(const void *shared, size_t bytes, int threads);
void watch_barrier(int warp); /* -1: the block's */
void watch_access(const void *at, size_t bytes, bool writes, const void *place);
/* The bytes are being copied to: until that ends they are not there, and nobody may write them. */
void watch_begin_copy(const void *at, size_t bytes);
void watch_end_copy(const void *at, size_t bytes, const void *place);
void watch_end_block(void);

/* ---- requests.c: what warps ask for at once ---- */

typedef struct {
    const char *kernel;
    int threads;
    size_t shared_bytes;                /* the most */
    int64_t shared, turns, least_turns; /* requests; turns that they need */
    int64_t global, sectors, least_sectors;
} watch_counts;

void watch_begin_requests(void); /* of a launch */
void watch_request(int thread, const void *place, uint64_t address, int bytes, bool shared);
void watch_end_requests(watch_counts *to); /* of the block so far */

/* Of each kernel that ran, in the order of their first launch. */
int watch_count(const watch_counts **counts);

#endif
