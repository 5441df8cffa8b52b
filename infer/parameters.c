#include "infer/parameters.h"

#include <math.h>
#include <omp.h>
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

/* A parameter that is being drawn, a piece at a time. */
typedef struct {
    const infer_parameter *item; /* NULL: none is left */
    int64_t first, count;
    uint64_t random;
    double piece[16384];
} drawing;

static void begin_drawing(drawing *d, const infer_parameters *p, int *next, uint64_t seed) {
    d->item = *next < p->count ? &p->item[(*next)++] : NULL;
    d->first = d->count = 0;
    d->random = 0xcbf29ce484222325u ^ seed;
    for (const char *at = d->item ? d->item->name : ""; *at; at++)
        d->random = (d->random ^ (uint64_t)(unsigned char)*at) * 0x100000001b3u;
}

static void draw_piece(drawing *d, const ttt_conf *conf, kern_dtype dtype) {
    if (!d->item) return;
    d->count = kern_min(d->item->elements - d->first, sizeof d->piece / sizeof *d->piece);
    for (int64_t j = 0; j < d->count; j++)
        kern_real_put(d->piece, dtype, j, d->item->role->begin(d->item, conf, &d->random));
}

void infer_parameters_init(const infer_parameters *p, const ttt_conf *conf, kern_dtype dtype,
                           const kern_device *device, void *buffer) {
    size_t element = kern_dtype_bytes(dtype), bytes = (size_t)p->elements * element;
    int threads = omp_get_max_threads(), next = 0;
    ASSERT(dtype == KERN_F32 || dtype == KERN_F64);
    device->zero(device->stream, buffer, bytes, bytes, 1);
    drawing *all = kern_array(threads, sizeof *all);
    for (int t = 0; t < threads; t++) begin_drawing(&all[t], p, &next, conf->train.seed);
    for (bool left = true; left;) {
#pragma omp parallel for schedule(static, 1)
        for (int t = 0; t < threads; t++) draw_piece(&all[t], conf, dtype);
        left = false; /* a device's calls come from one thread */
        for (int t = 0; t < threads; t++) {
            drawing *d = &all[t];
            if (!d->item) continue;
            kern_upload(device, (char *)buffer + (size_t)(d->item->offset + d->first) * element,
                        d->piece, (size_t)d->count * element);
            d->first += d->count;
            if (d->first == d->item->elements) begin_drawing(d, p, &next, conf->train.seed);
            left = left || d->item;
        }
    }
    free(all);
}
