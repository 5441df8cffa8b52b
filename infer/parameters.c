#include "infer/parameters.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    int64_t elements = 1;
    for (int axis = 0; axis < INFER_AXES; axis++) {
        item->whole[axis] = axis < rank ? dim[axis] : 1;
        elements *= item->whole[axis];
    }
    p->weights += elements;
    return item;
}

void infer_add_range(infer_parameter *item, int axis, int64_t count, int64_t parts,
                     const char *what) {
    ASSERT(axis < item->rank);
    infer_split_add(&item->split, axis, count, parts, what);
    item->placing = INFER_PARTED;
}

infer_parameter *infer_cut(infer_parameter *item, int axis, int64_t parts, const char *what) {
    infer_add_range(item, axis, item->whole[axis], parts, what);
    return item;
}

static bool is_mixed(const infer_split *split) {
    int whole = 0;
    for (int i = 0; i < split->ranges; i++) whole += !split->range[i].parts;
    return whole && whole < split->ranges;
}

/* With several ranks what every rank has of a parameter from the first on is another one, because
 * its gradient is the sum of theirs. */
static void separate(infer_parameters *p, int first) {
    for (int i = first; i < p->count && p->ranks > 1; i++) {
        if (!is_mixed(&p->item[i].split)) continue;
        p->item = kern_grow(p->item, &p->capacity, p->count + 1, sizeof *p->item);
        memmove(&p->item[i + 1], &p->item[i], (size_t)(p->count++ - i) * sizeof *p->item);
        p->item[i++].held = INFER_CUT_RANGES;
        p->item[i].held = INFER_WHOLE_RANGES;
        p->item[i].placing = INFER_SUMMED;
    }
}

/* What of it the rank has. */
static void take_part(infer_parameter *item, int rank, int ranks) {
    int axis = item->split.axis;
    infer_span first[INFER_RANGES]; /* rank 0's, which is as large as any */
    int64_t own = 0;
    item->spans = infer_spans(item->span, &item->split, item->held, rank, ranks);
    infer_spans(first, &item->split, item->held, 0, ranks);
    for (int i = 0; i < item->spans; i++) own += first[i].count;
    if (!item->spans) own = item->whole[axis];
    if (ranks == 1 || !item->spans) /* lie together */
        item->spans = 1, item->span[0] = (infer_span){0, own};
    item->elements = 1;
    for (int i = 0; i < INFER_AXES; i++) {
        item->dim[i] = i == axis ? own : item->whole[i];
        item->elements *= item->dim[i];
    }
}

/* Places those of one placing (INFER_PLACINGS: of all); where they are. */
static infer_span place_some(infer_parameters *p, bool no_decay, infer_placing placing) {
    int64_t first = p->elements;
    for (int i = 0; i < p->count; i++) {
        infer_parameter *item = &p->item[i];
        if (item->role->no_decay != no_decay) continue;
        if (placing != INFER_PLACINGS && item->placing != placing) continue;
        item->offset = p->elements;
        p->elements += kern_round_up(item->elements, 16);
    }
    p->elements = kern_round_up(p->elements, INFER_ROW);
    return (infer_span){first, p->elements - first};
}

static void extend(infer_span *range, infer_span by) {
    if (!range->count) range->first = by.first;
    range->count += by.count;
}

/* Those without decay come last, so that a step of the optimiser is one range or two. With several
 * ranks what is the same on all is one range, too, in the middle, and in its middle what is summed.
 */
static void place(infer_parameters *p) {
    static const infer_placing order[2][INFER_PLACINGS] = {
        {INFER_PARTED, INFER_SAME, INFER_SUMMED}, {INFER_SUMMED, INFER_SAME, INFER_PARTED}};
    for (int no_decay = 0; no_decay < 2; no_decay++) {
        if (p->ranks == 1) extend(&p->same, place_some(p, no_decay, INFER_PLACINGS));
        for (int i = 0; i < INFER_PLACINGS && p->ranks > 1; i++) {
            infer_placing placing = order[no_decay][i];
            infer_span span = place_some(p, no_decay, placing);
            if (placing != INFER_PARTED) extend(&p->same, span);
            if (placing == INFER_SUMMED) extend(&p->summed, span);
        }
        if (!no_decay) p->decaying = p->elements;
    }
}

infer_parameters *infer_parameters_of_rank(const ttt_conf *conf, const kern_comm *tensor) {
    infer_parameters *p = kern_array(1, sizeof *p);
    p->rank = tensor ? tensor->rank : 0;
    p->ranks = tensor ? tensor->ranks : 1;
    p->blocks = (int)conf->model.blocks;
    p->first = kern_array(p->blocks + 1, sizeof *p->first);
    infer_embedding_parameters(p, conf);
    for (int block = 0; block < p->blocks; block++) {
        p->first[block] = p->count;
        infer_block_parameters(p, conf, block);
        separate(p, p->first[block]);
    }
    p->first[p->blocks] = p->count;
    infer_head_parameters(p, conf);
    for (int i = 0; i < p->count; i++) take_part(&p->item[i], p->rank, p->ranks);
    place(p);
    return p;
}

infer_parameters *infer_parameters_create(const ttt_conf *conf) {
    return infer_parameters_of_rank(conf, NULL);
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
    int64_t first, count, run;   /* of the whole; the first run of the rank's that is left */
    uint64_t random;
    double piece[16384];
} drawing;

static void begin_drawing(drawing *d, const infer_parameters *p, int *next, uint64_t seed) {
    d->item = *next < p->count ? &p->item[(*next)++] : NULL;
    d->first = d->count = d->run = 0;
    d->random = 0xcbf29ce484222325u ^ seed;
    for (const char *at = d->item ? d->item->name : ""; *at; at++)
        d->random = (d->random ^ (uint64_t)(unsigned char)*at) * 0x100000001b3u;
}

static int64_t whole_elements(const infer_parameter *p) {
    return p->whole[0] * p->whole[1] * p->whole[2];
}

static void draw_piece(drawing *d, const ttt_conf *conf, kern_dtype dtype) {
    if (!d->item) return;
    d->count = kern_min(whole_elements(d->item) - d->first, sizeof d->piece / sizeof *d->piece);
    for (int64_t j = 0; j < d->count; j++)
        kern_real_put(d->piece, dtype, j, d->item->role->begin(d->item, conf, &d->random));
}

/* Uploads what of the piece the rank has: it lies together there, but for columns that the last
 * rank is without. */
static void upload_piece(drawing *d, const kern_device *device, size_t element, void *buffer) {
    char *piece = (char *)d->piece;
    int64_t first = -1, kept = 0, runs = infer_parameter_runs(d->item), end = d->first + d->count;
    for (; d->run < runs; d->run++) {
        infer_run run = infer_parameter_run(d->item, d->run);
        int64_t from = kern_max(run.whole, d->first), until = kern_min(run.whole + run.count, end);
        if (from >= until && run.whole >= end) break;
        if (from < until) {
            if (first < 0) first = run.own + from - run.whole;
            int64_t at = run.own + from - run.whole - first;
            size_t moved = (size_t)(until - from) * element;
            memset(piece + (size_t)kept * element, 0, (size_t)(at - kept) * element);
            memmove(piece + (size_t)at * element, piece + (size_t)(from - d->first) * element,
                    moved);
            kept = at + until - from;
        }
        if (run.whole + run.count > end) break; /* the rest is in the next piece */
    }
    if (kept)
        kern_upload(device, (char *)buffer + (size_t)(d->item->offset + first) * element, piece,
                    (size_t)kept * element);
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
            upload_piece(d, device, element, buffer);
            d->first += d->count;
            if (d->first == whole_elements(d->item)) begin_drawing(d, p, &next, conf->train.seed);
            left = left || d->item;
        }
    }
    free(all);
}
