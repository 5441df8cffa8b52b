/* A block of a kernel of PTX while it runs (ptx_run.c), and its memories (ptx_memory.c). */
#ifndef TESTS_KERNELS_CUDA_PTX_BLOCK_H
#define TESTS_KERNELS_CUDA_PTX_BLOCK_H

#include "tests/kernels/cuda/ptx_code.h"

enum { PTX_MOST_WARPS = PTX_MOST_THREADS / PTX_LANES, PTX_RANGES = 8 };

typedef uint64_t ptx_lanes[PTX_LANES];

/* What happened last to so many bytes of shared memory as the kernel's unit: times count barriers
 * of the block, turns those of a warp. */
typedef struct {
    uint32_t filled; /* when it got what it holds; before the block's first time: never */
    uint32_t written, read, write_turn, read_turn;
    int16_t writer, reader;       /* threads */
    bool warp_reads, others_read; /* besides the reader: of its warp, of other warps */
} ptx_cell;

/* 16 bytes under way. */
typedef struct {
    int lane;
    uint32_t to;
    const char *from;
    int bytes; /* of them; the rest are zeros */
    int64_t group;
} ptx_copy;

typedef struct {
    ptx_lanes *slot;
    uint32_t *written;     /* bit i: lane i's register */
    int64_t pc[PTX_LANES]; /* of lanes that do not run */
    uint32_t alive;
    uint32_t parked; /* wait for other lanes at a collective */
    bool at_barrier;
    uint32_t turn;
    unsigned char *local, *local_written;                        /* [lanes, bytes] */
    size_t has_slots, has_written, has_local, has_local_written; /* bytes */
    ptx_copy *copy;
    int64_t copies, copy_capacity, group[PTX_LANES];
} ptx_warp;

typedef struct {
    const char *begin, *end;
} ptx_range;

/* One of each of the program's threads. */
typedef struct {
    const ptx_kernel *kernel;
    const void *args;
    int place[3], threads, warps;
    ptx_warp warp[PTX_MOST_WARPS];
    unsigned char *shared;
    size_t shared_bytes;
    ptx_cell *cell;
    size_t has_shared, has_cells;
    uint32_t first_time, time;
    ptx_range range[PTX_RANGES]; /* of global memory, found before */
    int ranges;
    int which; /* the warp that runs */
    int64_t at;
} ptx_block;

/* Ends the program: what this lane of the running warp did, and where. */
_Noreturn void ptx_fault(const ptx_block *block, int lane, const char *what);

/* For each lane of the mask. */
#define PTX_EACH(lane, mask)                                                                       \
    for (int lane = 0; lane < PTX_LANES; lane++)                                                   \
        if ((mask) >> lane & 1)

/* Instructions of memory, for the lanes of the mask. Loads leave `written` alone. */
void ptx_load(ptx_block *block, const ptx_instruction *in, uint32_t mask);
void ptx_store(ptx_block *block, const ptx_instruction *in, uint32_t mask);
void ptx_load_matrix(ptx_block *block, const ptx_instruction *in);
void ptx_copy_begin(ptx_block *block, const ptx_instruction *in, uint32_t mask);
void ptx_copy_wait(ptx_block *block, int64_t groups, uint32_t mask);

/* Before a block's threads begin. */
void ptx_memory_begin(ptx_block *block);

#endif
