/* Memories of a block of PTX: which address is in which, what was written, who may read it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base.h"
#include "tests/kernels/cuda/bench.h"
#include "tests/kernels/cuda/ptx_block.h"

_Noreturn void ptx_fault(const ptx_block *b, int lane, const char *what) {
    char text[512];
    snprintf(text, sizeof text, "block %d %d %d, thread %d: %s", b->place[0], b->place[1],
             b->place[2], b->which * PTX_LANES + lane, what);
    ptx_fail(b->kernel, b->kernel->code[b->at].text, text);
}

/* ---- shared memory ---- */

typedef struct {
    int thread;
    uint32_t turn;
} accessor;

/* Whether what the other thread did in this time, at its warp's turn, may still be going on. */
static bool unordered(const accessor *a, int other, uint32_t turn) {
    if (other == a->thread) return false;
    return other / PTX_LANES != a->thread / PTX_LANES || turn == a->turn;
}

static void race(const ptx_block *b, const accessor *a, const char *how, int other, int64_t cell) {
    char text[128];
    snprintf(text, sizeof text, "%s of thread %d that no barrier orders, byte %lld", how, other,
             (long long)(cell * b->kernel->shared_unit));
    ptx_fault(b, a->thread % PTX_LANES, text);
}

static void note_read(ptx_block *b, const accessor *a, int64_t at) {
    ptx_cell *c = &b->cell[at];
    if (c->written == b->time && unordered(a, c->writer, c->write_turn))
        race(b, a, "reads a write", c->writer, at);
    if (c->filled < b->first_time)
        ptx_fault(b, a->thread % PTX_LANES, "reads shared memory that is not written");
    if (c->read != b->time) {
        c->warp_reads = c->others_read = false;
    } else if (c->reader / PTX_LANES != a->thread / PTX_LANES) {
        c->others_read = true;
    } else if (c->read_turn != a->turn) {
        c->warp_reads = false;
    } else if (c->reader != a->thread) {
        c->warp_reads = true;
    }
    c->read = b->time;
    c->reader = (int16_t)a->thread;
    c->read_turn = a->turn;
}

static void note_write(ptx_block *b, const accessor *a, int64_t at, bool fills) {
    ptx_cell *c = &b->cell[at];
    if (c->written == b->time && unordered(a, c->writer, c->write_turn))
        race(b, a, "writes over a write", c->writer, at);
    if (c->read == b->time && (c->others_read || unordered(a, c->reader, c->read_turn) ||
                               (c->warp_reads && c->read_turn == a->turn)))
        race(b, a, "writes over a read", c->reader, at);
    c->written = b->time;
    c->writer = (int16_t)a->thread;
    c->write_turn = a->turn;
    c->filled = fills ? b->time : 0;
}

typedef enum { READS, WRITES, WILL_WRITE } purpose;

static unsigned char *shared_at(ptx_block *b, int lane, uint32_t address, int bytes, purpose why) {
    uint32_t at = address - PTX_SHARED_BASE;
    if (at >= b->shared_bytes || at + (uint32_t)bytes > b->shared_bytes)
        ptx_fault(b, lane, "outside shared memory");
    accessor a = {b->which * PTX_LANES + lane, b->warp[b->which].turn};
    int unit = b->kernel->shared_unit;
    for (int64_t cell = at / (unsigned)unit; cell * unit < (int64_t)at + bytes; cell++)
        if (why == READS)
            note_read(b, &a, cell);
        else
            note_write(b, &a, cell, why == WRITES);
    return b->shared + at;
}

/* ---- other memories ---- */

static unsigned char *global_at(ptx_block *b, int lane, uint64_t address, int bytes) {
    char *at = (char *)(uintptr_t)address; /* NOLINT: a GPU's address is the host's here */
    for (int i = 0; i < PTX_RANGES; i++)
        if (at >= b->range[i].begin && at + bytes <= b->range[i].end) return (unsigned char *)at;
    ptx_range *r = &b->range[b->ranges++ % PTX_RANGES];
    if (!bench_find_memory(at, (size_t)bytes, &r->begin, &r->end))
        ptx_fault(b, lane, "not an address of the GPU's memory");
    return (unsigned char *)at;
}

static unsigned char *local_at(ptx_block *b, int lane, uint32_t address, int bytes, purpose why) {
    size_t at = address - PTX_LOCAL_BASE, size = b->kernel->local_bytes;
    const ptx_warp *w = &b->warp[b->which];
    if (at >= size || at + (size_t)bytes > size) ptx_fault(b, lane, "outside local memory");
    at += (size_t)lane * size;
    for (int i = 0; i < bytes; i++)
        if (why == WRITES)
            w->local_written[at + (size_t)i] = 1;
        else if (!w->local_written[at + (size_t)i])
            ptx_fault(b, lane, "reads local memory that is not written");
    return w->local + at;
}

static unsigned char *parameter_at(ptx_block *b, int lane, uint32_t address, int bytes,
                                   purpose why) {
    size_t at = address - PTX_PARAM_BASE, size = b->kernel->argument_bytes;
    if (at >= size || at + (size_t)bytes > size) ptx_fault(b, lane, "outside the arguments");
    if (why != READS) ptx_fault(b, lane, "writes an argument");
    return (unsigned char *)(uintptr_t)b->args + at;
}

/* Windows of generic addresses are 2^32 bytes, from 2^30 below where they begin. */
static ptx_space space_of(uint64_t *address) {
    uint64_t top = *address >> 48;
    if (top == PTX_SHARED_WINDOW >> 48) {
        *address -= PTX_SHARED_WINDOW;
        return PTX_SHARED;
    }
    if (top == PTX_LOCAL_WINDOW >> 48) {
        *address -= PTX_LOCAL_WINDOW;
        return PTX_LOCAL;
    }
    if (top == PTX_PARAM_WINDOW >> 48) {
        *address -= PTX_PARAM_WINDOW;
        return PTX_PARAM;
    }
    return PTX_GLOBAL;
}

static unsigned char *memory_at(ptx_block *b, int lane, ptx_space space, uint64_t address,
                                int bytes, purpose why) {
    if (address % (unsigned)bytes) ptx_fault(b, lane, "an address that is not aligned");
    if (space == PTX_GENERIC) space = space_of(&address);
    switch (space) {
    case PTX_SHARED: return shared_at(b, lane, (uint32_t)address, bytes, why);
    case PTX_LOCAL: return local_at(b, lane, (uint32_t)address, bytes, why);
    case PTX_PARAM: return parameter_at(b, lane, (uint32_t)address, bytes, why);
    default: return global_at(b, lane, address, bytes);
    }
}

/* ---- instructions ---- */

static uint64_t element(const unsigned char *at, int bytes, bool is_signed) {
    uint64_t value = 0;
    memcpy(&value, at, (size_t)bytes);
    int unused = 64 - 8 * bytes;
    return is_signed ? (uint64_t)((int64_t)(value << unused) >> unused) : value;
}

void ptx_load(ptx_block *b, const ptx_instruction *in, uint32_t mask) {
    const ptx_warp *w = &b->warp[b->which];
    const uint64_t *address = w->slot[in->slot[in->results]];
    PTX_EACH(lane, mask) {
        const unsigned char *at =
            memory_at(b, lane, in->space, address[lane] + (uint64_t)in->offset,
                      in->bytes * in->results, READS);
        for (int i = 0; i < in->results; i++)
            w->slot[in->slot[i]][lane] = element(at + i * in->bytes, in->bytes, in->is_signed);
    }
}

void ptx_store(ptx_block *b, const ptx_instruction *in, uint32_t mask) {
    const ptx_warp *w = &b->warp[b->which];
    const uint64_t *address = w->slot[in->slot[0]];
    int count = in->sources - 1;
    PTX_EACH(lane, mask) {
        unsigned char *at = memory_at(b, lane, in->space, address[lane] + (uint64_t)in->offset,
                                      in->bytes * count, WRITES);
        for (int i = 0; i < count; i++)
            memcpy(at + i * in->bytes, &w->slot[in->slot[1 + i]][lane], (size_t)in->bytes);
    }
}

/* Lane i gives row i % 8 of matrix i / 8; of each matrix it gets two elements: of row i / 4 those
 * of columns 2 (i % 4) and one more, or, transposed, those rows of column i / 4. */
void ptx_load_matrix(ptx_block *b, const ptx_instruction *in) {
    const ptx_warp *w = &b->warp[b->which];
    uint16_t row[PTX_LANES][8];
    PTX_EACH(lane, PTX_ALL)
    memcpy(row[lane],
           memory_at(b, lane, PTX_SHARED, w->slot[in->slot[4]][lane] + (uint64_t)in->offset, 16,
                     READS),
           sizeof row[lane]);
    for (int matrix = 0; matrix < 4; matrix++)
        for (int lane = 0; lane < PTX_LANES; lane++) {
            int one = lane / 4, two = lane % 4 * 2;
            const uint16_t(*m)[8] = (const uint16_t(*)[8])row[matrix * 8];
            uint32_t low = in->transposed ? m[two][one] : m[one][two];
            uint32_t high = in->transposed ? m[two + 1][one] : m[one][two + 1];
            w->slot[in->slot[matrix]][lane] = high << 16 | low;
        }
}

/* [to], [from], 16, bytes */
void ptx_copy_begin(ptx_block *b, const ptx_instruction *in, uint32_t mask) {
    ptx_warp *w = &b->warp[b->which];
    PTX_EACH(lane, mask) {
        uint64_t to = w->slot[in->slot[0]][lane], from = w->slot[in->slot[1]][lane];
        int bytes = in->sources > 3 ? (int)(uint32_t)w->slot[in->slot[3]][lane] : 16;
        if ((uint32_t)w->slot[in->slot[2]][lane] != 16 || bytes < 0 || bytes > 16)
            ptx_fault(b, lane, "not a copy of 16 bytes");
        if (from % 16) ptx_fault(b, lane, "an address that is not aligned");
        memset(memory_at(b, lane, PTX_SHARED, to, 16, WILL_WRITE), 0xff, 16);
        const unsigned char *source = bytes ? global_at(b, lane, from, bytes) : NULL;
        w->copy = kern_grow(w->copy, &w->copy_capacity, w->copies + 1, sizeof *w->copy);
        w->copy[w->copies++] =
            (ptx_copy){lane, (uint32_t)to, (const char *)source, bytes, w->group[lane]};
    }
}

void ptx_copy_wait(ptx_block *b, int64_t groups, uint32_t mask) {
    ptx_warp *w = &b->warp[b->which];
    int64_t kept = 0;
    for (int64_t i = 0; i < w->copies; i++) {
        ptx_copy c = w->copy[i];
        if (!(mask >> c.lane & 1) || c.group >= w->group[c.lane] - groups) {
            w->copy[kept++] = c;
            continue;
        }
        unsigned char *to = shared_at(b, c.lane, c.to, 16, WRITES);
        memset(to, 0, 16);
        if (c.bytes) memcpy(to, c.from, (size_t)c.bytes);
    }
    w->copies = kept;
}

void ptx_memory_begin(ptx_block *b) {
    size_t local = b->kernel->local_bytes * PTX_LANES;
    b->first_time = ++b->time;
    if (b->shared_bytes) memset(b->shared, 0xff, b->shared_bytes);
    for (int i = 0; local && i < b->warps; i++) {
        memset(b->warp[i].local, 0xff, local);
        memset(b->warp[i].local_written, 0, local);
    }
}
