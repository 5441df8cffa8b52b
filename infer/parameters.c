#include "infer/parameters.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "infer/block.h"

/* ---- what there is ---- */

infer_parameter *infer_add(infer_parameters *p, const infer_role *role, int block, int rank,
                           const int64_t *dim) {
    ASSERT(rank >= 1 && rank <= INFER_AXES);
    p->item = kern_grow(p->item, &p->capacity, p->count + 1, sizeof *p->item);
    infer_parameter *item = &p->item[p->count++];
    *item = (infer_parameter){.role = role, .kind = p->kind, .block = block, .rank = rank};
    if (block < 0)
        snprintf(item->name, sizeof item->name, "%s", role->name);
    else
        snprintf(item->name, sizeof item->name, "blocks.%d.%s", block, role->name);
    item->elements = 1;
    for (int axis = 0; axis < INFER_AXES; axis++) {
        item->dim[axis] = axis < rank ? dim[axis] : 1;
        item->elements *= item->dim[axis];
    }
    p->weights += item->elements;
    return item;
}

void infer_add_range(infer_parameter *item, int axis, int64_t count, bool cut) {
    infer_split *split = &item->split;
    ASSERT(axis < item->rank && split->ranges < INFER_RANGES);
    ASSERT(!split->ranges || split->axis == axis);
    split->axis = axis;
    split->range[split->ranges].count = count;
    split->range[split->ranges++].cut = cut;
}

infer_parameter *infer_cut(infer_parameter *item, int axis) {
    infer_add_range(item, axis, item->dim[axis], true);
    return item;
}

static int64_t rounded_up(int64_t elements, int64_t to) {
    return (elements + to - 1) / to * to;
}

/* Those without decay come last, so that a step of the optimiser is one range or two. */
static void place(infer_parameters *p) {
    for (int no_decay = 0; no_decay < 2; no_decay++) {
        for (int i = 0; i < p->count; i++) {
            infer_parameter *item = &p->item[i];
            if (item->role->no_decay != no_decay) continue;
            item->offset = p->elements;
            p->elements += rounded_up(item->elements, 16);
        }
        p->elements = rounded_up(p->elements, INFER_ROW);
        if (!no_decay) p->decaying = p->elements;
    }
}

infer_parameters *infer_parameters_create(const ttt_conf *conf) {
    infer_parameters *p = kern_array(1, sizeof *p);
    p->blocks = (int)conf->model.blocks;
    p->first = kern_array(p->blocks + 1, sizeof *p->first);
    infer_embedding_parameters(p, conf);
    for (int block = 0; block < p->blocks; block++) {
        p->first[block] = p->count;
        infer_block_parameters(p, conf, block);
    }
    p->first[p->blocks] = p->count;
    infer_head_parameters(p, conf);
    place(p);
    return p;
}

void infer_parameters_destroy(infer_parameters *parameters) {
    if (!parameters) return;
    free(parameters->item);
    free(parameters->first);
    free(parameters);
}

const infer_parameter *infer_parameter_of(const infer_parameters *p, const infer_role *role,
                                          int block) {
    ASSERT(block >= -1 && block < p->blocks);
    int from = block < 0 ? 0 : p->first[block], to = block < 0 ? p->count : p->first[block + 1];
    for (int i = from; i < to; i++) {
        if (block < 0 && i == p->first[0]) i = p->first[p->blocks];
        if (i < to && p->item[i].role == role) return &p->item[i];
    }
    return NULL;
}

int infer_parameter_spans(infer_span span[INFER_RANGES], const infer_parameter *p, int rank,
                          int ranks) {
    const infer_split *split = &p->split;
    int64_t from = 0;
    ASSERT(rank >= 0 && rank < ranks);
    if (!split->ranges) span[0] = (infer_span){0, p->dim[split->axis]};
    for (int i = 0; i < split->ranges; i++) {
        int64_t count = split->range[i].count, parts = split->range[i].cut ? ranks : 1;
        ASSERT(count % parts == 0);
        span[i] = (infer_span){from + (parts > 1 ? rank * (count / parts) : 0), count / parts};
        from += count;
    }
    ASSERT(!split->ranges || from == p->dim[split->axis]);
    return split->ranges ? split->ranges : 1;
}

/* ---- how it begins ---- */

static uint64_t next_random(uint64_t *state) { /* splitmix64 */
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

double infer_random_uniform(uint64_t *state) {
    return ((double)(next_random(state) >> 11) + 1) * 0x1p-53;
}

double infer_random_normal(uint64_t *state) { /* Box-Muller, one of the pair */
    double u = infer_random_uniform(state);
    double v = (double)(next_random(state) >> 11) * 0x1p-53;
    return sqrt(-2 * log(u)) * cos(6.283185307179586477 * v);
}

double infer_draw_normal(const infer_parameter *p, const ttt_conf *conf, uint64_t *random) {
    (void)p;
    return conf->model.init_std * infer_random_normal(random);
}

double infer_draw_one(const infer_parameter *p, const ttt_conf *conf, uint64_t *random) {
    (void)p, (void)conf, (void)random;
    return 1;
}

double infer_draw_zero(const infer_parameter *p, const ttt_conf *conf, uint64_t *random) {
    (void)p, (void)conf, (void)random;
    return 0;
}

void infer_parameters_init(const infer_parameters *p, const ttt_conf *conf, kern_dtype dtype,
                           const kern_device *device, void *buffer) {
    enum { PIECE = 4096 };
    size_t element = kern_dtype_bytes(dtype), bytes = (size_t)p->elements * element;
    ASSERT(dtype == KERN_F32 || dtype == KERN_F64);
    device->zero(device->stream, buffer, bytes, bytes, 1);
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < p->count; i++) {
        const infer_parameter *item = &p->item[i];
        double piece[PIECE];
        uint64_t state = 0xcbf29ce484222325u ^ conf->train.seed;
        for (const char *at = item->name; *at; at++)
            state = (state ^ (uint64_t)(unsigned char)*at) * 0x100000001b3u;
        for (int64_t first = 0; first < item->elements; first += PIECE) {
            int64_t count = item->elements - first < PIECE ? item->elements - first : PIECE;
            for (int64_t j = 0; j < count; j++)
                kern_real_put(piece, dtype, j, item->role->begin(item, conf, &state));
#pragma omp critical(upload)
            kern_upload(device, (char *)buffer + (size_t)(item->offset + first) * element, piece,
                        (size_t)count * element);
        }
    }
}
