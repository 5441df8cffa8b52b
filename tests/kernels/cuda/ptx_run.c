/* Runs kernels of PTX: the lanes of a warp that are furthest behind run, those at one instruction
 * together, so that they meet again where branches join. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base.h"
#include "kernels/vector_math.h"
#include "tests/kernels/cuda/ptx_block.h"

static ptx_warp *running(ptx_block *b) {
    return &b->warp[b->which];
}

/* ---- of a lane's own operands ---- */

static void want_written(ptx_block *b, const ptx_instruction *in, uint32_t mask) {
    const ptx_warp *w = running(b);
    for (int i = 0; i < in->sources; i++) {
        uint32_t missing = mask & ~w->written[in->slot[in->results + i]];
        if (missing) ptx_fault(b, __builtin_ctz(missing), "reads a register that is not written");
    }
}

static void compute(ptx_warp *w, const ptx_instruction *in, uint32_t mask) {
    const int *from = &in->slot[1];
    ptx_function *f = in->compute;
    uint64_t *to = w->slot[in->slot[0]];
    const uint64_t *a = w->slot[from[0]], *b = in->sources > 1 ? w->slot[from[1]] : a,
                   *c = in->sources > 2 ? w->slot[from[2]] : a,
                   *d = in->sources > 3 ? w->slot[from[3]] : a;
    if (mask == PTX_ALL)
        for (int i = 0; i < PTX_LANES; i++) to[i] = f(a[i], b[i], c[i], d[i]);
    else
        PTX_EACH(i, mask) to[i] = f(a[i], b[i], c[i], d[i]);
}

static uint64_t mask_of(int bytes) {
    return bytes == 8 ? UINT64_MAX : ((uint64_t)1 << 8 * bytes) - 1;
}

static void pack(ptx_warp *w, const ptx_instruction *in, uint32_t mask) {
    PTX_EACH(lane, mask) {
        uint64_t made = 0;
        for (int i = 0; i < in->sources; i++)
            made |= (w->slot[in->slot[1 + i]][lane] & mask_of(in->bytes)) << 8 * in->bytes * i;
        w->slot[in->slot[0]][lane] = made;
    }
}

static void unpack(ptx_warp *w, const ptx_instruction *in, uint32_t mask) {
    PTX_EACH(lane, mask) {
        uint64_t all = w->slot[in->slot[in->results]][lane];
        for (int i = 0; i < in->results; i++)
            w->slot[in->slot[i]][lane] = all >> 8 * in->bytes * i & mask_of(in->bytes);
    }
}

/* ---- of all lanes of a warp ---- */

/* shfl.sync.idx d, a, from, clamp: within the lanes that the mask in the clamp keeps together. */
static void shuffle(ptx_warp *w, const ptx_instruction *in) {
    const uint64_t *a = w->slot[in->slot[1]], *from = w->slot[in->slot[2]];
    uint64_t got[PTX_LANES];
    for (int lane = 0; lane < PTX_LANES; lane++) {
        uint32_t clamp = (uint32_t)w->slot[in->slot[3]][lane], mask = clamp >> 8 & 31;
        uint32_t least = (uint32_t)lane & mask;
        uint32_t most = ((uint32_t)lane & mask) | (clamp & 31 & ~mask);
        uint32_t wanted = least | ((uint32_t)from[lane] & 31 & ~mask);
        got[lane] = a[wanted <= most ? wanted : (uint32_t)lane];
    }
    memcpy(w->slot[in->slot[0]], got, sizeof got);
}

static void ballot(ptx_warp *w, const ptx_instruction *in) {
    uint64_t all = 0;
    PTX_EACH(lane, PTX_ALL) all |= (w->slot[in->slot[1]][lane] & 1) << lane;
    PTX_EACH(lane, PTX_ALL) w->slot[in->slot[0]][lane] = all;
}

static float half(uint64_t pair, int which) {
    return kern_from_bits_f32((uint32_t)pair >> 16 * which << 16);
}

/* d [16, 8] = a [16, 16] b [16, 8] + c. With group = lane / 4 and place = 2 (lane % 4), elements of
 * a lane, two in a register: a: rows group and group + 8 in turn, columns place and the next, then
 * place + 8; b: rows place and the next, then place + 8, column group; c and d: row group, then
 * group + 8, columns place and the next. */
static void multiply(ptx_warp *w, const ptx_instruction *in) {
    const int *slot_a = &in->slot[4], *slot_b = &in->slot[8], *slot_c = &in->slot[10];
    float a[16][16], b[16][8];
    for (int lane = 0; lane < PTX_LANES; lane++) {
        int group = lane / 4, place = lane % 4 * 2;
        for (int i = 0; i < 2; i++)
            for (int r = 0; r < 2; r++) {
                a[group][place + 8 * r + i] = half(w->slot[slot_a[2 * r]][lane], i);
                a[group + 8][place + 8 * r + i] = half(w->slot[slot_a[2 * r + 1]][lane], i);
                b[place + 8 * r + i][group] = half(w->slot[slot_b[r]][lane], i);
            }
    }
    for (int row = 0; row < 16; row++) {
        double sum[8] = {0};
        for (int k = 0; k < 16; k++)
            for (int j = 0; j < 8; j++) sum[j] += (double)a[row][k] * (double)b[k][j];
        for (int j = 0; j < 8; j++) {
            int lane = row % 8 * 4 + j / 2, which = row / 8 * 2 + j % 2;
            float c = kern_from_bits_f32((uint32_t)w->slot[slot_c[which]][lane]);
            float d = (float)(sum[j] + (double)c);
            w->slot[in->slot[which]][lane] = d != d ? 0x7fffffffu : kern_bits_f32(d);
        }
    }
}

static void sync_all(ptx_block *b, const ptx_instruction *in) {
    ptx_warp *w = running(b);
    if (in->kind < PTX_MATRIX) { /* the last operand says which lanes */
        const uint64_t *lanes = w->slot[in->slot[in->results + in->sources - 1]];
        PTX_EACH(lane, PTX_ALL)
        if ((uint32_t)lanes[lane] != PTX_ALL) ptx_fault(b, lane, "not for all lanes");
    }
    switch (in->kind) {
    case PTX_SYNC: w->turn++; break;
    case PTX_SHUFFLE: shuffle(w, in); break;
    case PTX_BALLOT: ballot(w, in); break;
    case PTX_MATRIX: ptx_load_matrix(b, in); break;
    default: multiply(w, in);
    }
}

/* ---- warps ---- */

/* The lanes that are furthest behind of those that can run; how far they may run alone. */
static uint32_t choose(ptx_block *b, int64_t *limit) {
    ptx_warp *w = running(b);
    uint32_t mask = 0, able = w->alive & ~w->parked;
    int64_t least = INT64_MAX;
    *limit = INT64_MAX;
    if (!able) {
        if (w->alive) {
            int lane = __builtin_ctz(w->alive);
            b->at = w->pc[lane];
            ptx_fault(b, lane, "waits for lanes of its warp that do not come");
        }
        return 0;
    }
    PTX_EACH(lane, able) if (w->pc[lane] < least) least = w->pc[lane];
    PTX_EACH(lane, w->alive) {
        if (w->pc[lane] == least)
            mask |= (uint32_t)1 << lane;
        else if (w->pc[lane] < *limit && w->pc[lane] > least)
            *limit = w->pc[lane];
    }
    b->at = least;
    return mask;
}

static void put_pc(ptx_warp *w, uint32_t mask, int64_t pc) {
    PTX_EACH(lane, mask) w->pc[lane] = pc;
}

static uint32_t guarded(ptx_block *b, const ptx_instruction *in, uint32_t mask) {
    if (in->guard < 0) return mask;
    const ptx_warp *w = running(b);
    const uint64_t *guard = w->slot[in->guard];
    uint32_t missing = mask & ~w->written[in->guard], taken = 0;
    if (missing) ptx_fault(b, __builtin_ctz(missing), "a condition that is not written");
    PTX_EACH(lane, mask)
    if ((guard[lane] & 1) != (uint64_t)in->guard_not) taken |= (uint32_t)1 << lane;
    return taken;
}

/* All that is neither a branch nor collective. */
static void run_own(ptx_block *b, const ptx_instruction *in, uint32_t mask) {
    ptx_warp *w = running(b);
    switch (in->kind) {
    case PTX_COMPUTE: compute(w, in, mask); break;
    case PTX_PACK: pack(w, in, mask); break;
    case PTX_UNPACK: unpack(w, in, mask); break;
    case PTX_LOAD: ptx_load(b, in, mask); break;
    case PTX_STORE: ptx_store(b, in, mask); break;
    case PTX_COPY: ptx_copy_begin(b, in, mask); break;
    case PTX_COMMIT: PTX_EACH(lane, mask) w->group[lane]++; break;
    default: ptx_copy_wait(b, in->target, mask);
    }
}

static void note_results(ptx_warp *w, const ptx_instruction *in, uint32_t mask) {
    for (int i = 0; i < in->results; i++) w->written[in->slot[i]] |= mask;
}

/* Whether all lanes of the warp are here, now that these are. Otherwise they wait. */
static bool meet(ptx_block *b, const ptx_instruction *in, uint32_t mask) {
    ptx_warp *w = running(b);
    if (in->guard >= 0) ptx_fault(b, __builtin_ctz(mask), "a collective under a condition");
    w->parked |= mask;
    put_pc(w, mask, b->at);
    for (int lane = 0; lane < PTX_LANES; lane++)
        if (!(w->parked >> lane & 1) || w->pc[lane] != b->at) return false;
    w->parked = 0;
    return true;
}

static void end_lanes(ptx_block *b, uint32_t mask) {
    ptx_warp *w = running(b);
    for (int64_t i = 0; i < w->copies; i++)
        if (mask >> w->copy[i].lane & 1)
            ptx_fault(b, w->copy[i].lane, "ends before a copy that it began");
    w->alive &= ~mask;
}

/* Until the warp waits for its block, or has ended. */
static void run_warp(ptx_block *b) {
    ptx_warp *w = running(b);
    const ptx_instruction *code = b->kernel->code;
    int64_t limit;
    for (uint32_t mask = choose(b, &limit); mask; mask = choose(b, &limit)) {
        for (;;) {
            const ptx_instruction *in = &code[b->at];
            if (in->kind >= PTX_BARRIER) {
                if (!meet(b, in, mask)) break;
                mask = PTX_ALL;
                limit = INT64_MAX;
                want_written(b, in, mask);
                if (in->kind == PTX_BARRIER) {
                    put_pc(w, mask, b->at + 1);
                    w->at_barrier = true;
                    return;
                }
                sync_all(b, in);
                note_results(w, in, mask);
                b->at++;
                continue;
            }
            uint32_t active = guarded(b, in, mask);
            if (in->kind == PTX_BRANCH || in->kind == PTX_RETURN) {
                bool ends = in->kind == PTX_RETURN;
                if (ends) end_lanes(b, active);
                if (!ends && active == mask && in->target < limit) {
                    b->at = in->target;
                    continue;
                }
                put_pc(w, mask & ~active, b->at + 1);
                put_pc(w, active, in->target);
                break;
            }
            want_written(b, in, active);
            run_own(b, in, active);
            note_results(w, in, active);
            if (++b->at >= limit) {
                put_pc(w, mask, b->at);
                break;
            }
        }
    }
}

/* ---- blocks ---- */

static void fill(ptx_warp *w, int slot, uint64_t value) {
    w->written[slot] = PTX_ALL;
    for (int lane = 0; lane < PTX_LANES; lane++) w->slot[slot][lane] = value;
}

static void begin_warp(ptx_block *b, ptx_warp *w, int which) {
    const ptx_kernel *k = b->kernel;
    memset(w->written, 0, (size_t)k->slots * sizeof *w->written);
    for (int64_t i = 0; i < k->constants; i++) fill(w, k->constant[i].slot, k->constant[i].value);
    fill(w, PTX_NTID_X, (uint64_t)b->threads);
    for (int axis = 0; axis < 3; axis++) fill(w, PTX_CTAID_X + axis, (uint64_t)b->place[axis]);
    fill(w, PTX_TID_X, 0);
    fill(w, PTX_LANEID, 0);
    for (int lane = 0; lane < PTX_LANES; lane++) {
        w->slot[PTX_TID_X][lane] = (uint64_t)(which * PTX_LANES + lane);
        w->slot[PTX_LANEID][lane] = (uint64_t)lane;
    }
    memset(w->pc, 0, sizeof w->pc);
    memset(w->group, 0, sizeof w->group);
    w->alive = PTX_ALL;
    w->parked = 0;
    w->at_barrier = false;
    w->copies = 0;
}

/* All warps have come to the same barrier, or have ended. */
static bool pass_barrier(ptx_block *b) {
    int first = 0;
    while (first < b->warps && !b->warp[first].at_barrier) first++;
    if (first == b->warps) return false;
    int64_t next = b->warp[first].pc[0];
    for (int i = 0; i < b->warps; i++) {
        b->which = i;
        b->at = next - 1;
        if (!b->warp[i].at_barrier) ptx_fault(b, 0, "has ended, others wait at a barrier");
        if (b->warp[i].pc[0] != next) ptx_fault(b, 0, "is at another barrier");
        b->warp[i].at_barrier = false;
    }
    b->time++;
    return true;
}

static void run_block(ptx_block *b, uint64_t seed) {
    ptx_memory_begin(b);
    for (int i = 0; i < b->warps; i++) begin_warp(b, &b->warp[i], i);
    uint64_t turn = seed;
    do {
        turn = turn * 6364136223846793005u + 1442695040888963407u;
        int first = seed > 1 ? (int)((turn >> 33) % (unsigned)b->warps) : 0;
        for (int i = 0; i < b->warps; i++) {
            b->which = seed == 1 ? b->warps - 1 - i : (i + first) % b->warps;
            run_warp(b);
        }
    } while (pass_barrier(b));
}

static void *at_least(void *memory, size_t *has, int64_t count, size_t item) {
    size_t bytes = (size_t)count * item;
    if (bytes <= *has) return memory;
    free(memory);
    *has = bytes;
    return kern_array(count, item);
}

/* What a thread of the program needs for blocks of this launch; it is kept for the next one. Times
 * go on, so that cells need not be cleared. */
static ptx_block *block_for(const ptx_kernel *k, const void *args, int threads, size_t shared) {
    static _Thread_local ptx_block *b;
    if (!b) b = kern_array(1, sizeof *b);
    b->kernel = k;
    b->args = args;
    b->threads = threads;
    b->warps = threads / PTX_LANES;
    b->shared_bytes = k->shared_bytes + shared;
    b->shared = at_least(b->shared, &b->has_shared, (int64_t)b->shared_bytes + 16, 1);
    b->cell = at_least(b->cell, &b->has_cells, (int64_t)b->shared_bytes / k->shared_unit + 1,
                       sizeof *b->cell);
    memset(b->range, 0, sizeof b->range);
    for (int i = 0; i < b->warps; i++) {
        ptx_warp *w = &b->warp[i];
        int64_t local = (int64_t)k->local_bytes * PTX_LANES + 1;
        w->slot = at_least(w->slot, &w->has_slots, k->slots, sizeof *w->slot);
        w->written = at_least(w->written, &w->has_written, k->slots, sizeof *w->written);
        w->local = at_least(w->local, &w->has_local, local, 1);
        w->local_written = at_least(w->local_written, &w->has_local_written, local, 1);
    }
    return b;
}

void ptx_run(const ptx_kernel *kernel, const void *args, const unsigned grid[3], int threads,
             size_t shared_bytes, uint64_t seed) {
    if (threads % PTX_LANES || threads < PTX_LANES || threads > kernel->most_threads)
        ptx_fail(kernel, "a launch", "not so many threads");
    int64_t blocks = (int64_t)grid[0] * grid[1] * grid[2];
    int workers = (int)kern_min(blocks, omp_get_max_threads());
#pragma omp parallel num_threads(workers) if (workers > 1)
    {
        ptx_block *b = block_for(kernel, args, threads, shared_bytes);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < blocks; i++) {
            int64_t from_end = seed == 1 ? blocks - 1 - i : i;
            b->place[0] = (int)(from_end % grid[0]);
            b->place[1] = (int)(from_end / grid[0] % grid[1]);
            b->place[2] = (int)(from_end / grid[0] / grid[1]);
            run_block(b, seed);
        }
    }
}
