/* A part of the keys for all queries of an item, and the merging of parts (attention_few.h). As
 * many keys as a vector has lanes are taken at a time: their scores are one vector, summed across
 * lanes in a fixed tree. */
#ifndef KERNELS_ATTENTION_FEW_ISA_H
#define KERNELS_ATTENTION_FEW_ISA_H

#include "kernels/attention_few.h"
#include "kernels/exp_isa.h"
#include "kernels/lanes_isa.h"
#include "kernels/vector_math.h"

typedef struct {
    real *q, *o, *largest, *sum;
    int64_t width;
} slot_areas;

static slot_areas areas_of(const kern_attention_call *call, const void *slot) {
    kern_attention_slot layout = kern_attention_slot_of(&call->shape);
    slot_areas areas = {.q = (real *)(uintptr_t)slot, .width = layout.width};
    areas.o = areas.q + layout.queries * layout.width;
    areas.largest = areas.o + layout.queries * layout.width;
    areas.sum = areas.largest + layout.queries;
    return areas;
}

static void begin_part(slot_areas areas, const kern_attention_call *call, int64_t batch) {
    const kern_attention_shape *s = &call->shape;
    bool bf16 = s->dtype == KERN_BF16;
    vec scale = vec_splat((real)s->scale);
    int64_t queries = s->rows * s->heads;
    for (int64_t i = 0; i < queries; i++) {
        int64_t from = (batch * s->rows * s->heads + i) * s->head_size;
        for (int64_t j = 0; j < areas.width; j += LANES) {
            vec q = vec_load_some(call->q, from + j, s->head_size - j, bf16);
            vec_store(areas.q + i * areas.width + j, scale * q);
            vec_store(areas.o + i * areas.width + j, (vec){0});
        }
        areas.largest[i] = (real)-3e38; /* finite: the difference of two must be a number */
        areas.sum[i] = 0;
    }
}

/* Up to LANES keys of one segment, one key head: element offsets of the first, and between keys. */
typedef struct {
    const void *k, *v;
    int64_t offset, stride, position, count;
    int64_t next; /* of as many elements of the tile after this one, one after another */
    bool bf16;
} few_keys;

/* Where the rows of LANES keys begin; after the last, that of the last again. */
static inline __attribute__((always_inline)) void rows_of(const char *row[LANES], const void *data,
                                                          const few_keys *keys) {
    int64_t bytes = keys->bf16 ? 2 : (int64_t)sizeof(real);
#pragma GCC unroll 16
    for (int64_t l = 0; l < LANES; l++) {
        int64_t key = l < keys->count ? l : keys->count - 1;
        row[l] = (const char *)data + (keys->offset + key * keys->stride) * bytes;
    }
}

/* A vector for each of LANES keys from element `at` on, while that many before them are computed
 * with. */
static inline __attribute__((always_inline)) void fetch(const void *data, int64_t at, bool bf16) {
    int64_t bytes = bf16 ? 2 : (int64_t)sizeof(real);
#pragma GCC unroll 16
    for (int64_t line = 0; line < LANES * LANES * bytes; line += 64)
        __builtin_prefetch((const char *)data + at * bytes + line, 0, 2);
}

/* `count` elements from j on, at most a vector, of sum[l] += q . row[l] */
static inline __attribute__((always_inline)) void score_columns(vec sum[LANES], const real *q,
                                                                const char *const row[LANES],
                                                                int64_t j, int64_t count,
                                                                bool bf16) {
    vec x = vec_load(q + j);
#pragma GCC unroll 16
    for (int l = 0; l < (int)LANES; l++)
        sum[l] = vec_fused(x, vec_load_some(row[l], j, count, bf16), sum[l]);
}

/* Lane l: q . key l; anything from the count-th on. */
static inline __attribute__((always_inline)) vec scores_of(const real *q, const few_keys *keys,
                                                           int64_t size) {
    const char *row[LANES];
    vec sum[LANES];
    int64_t j = 0;
    rows_of(row, keys->k, keys);
#pragma GCC unroll 16
    for (int l = 0; l < (int)LANES; l++) sum[l] = (vec){0};
    for (; j + LANES <= size; j += LANES) {
        fetch(keys->k, keys->next + j * LANES, keys->bf16);
        score_columns(sum, q, row, j, LANES, keys->bf16);
    }
    if (j < size) score_columns(sum, q, row, j, size - j, keys->bf16);
    return sums_of_lanes(sum, LANES);
}

/* Lanes whose keys the row at `position` sees. */
static inline vec_int lanes_seen(const few_keys *keys, int64_t position, int64_t window) {
    int64_t first = position - window + 1 - keys->position, last = position - keys->position;
    if (first < 0) first = 0;
    if (last > keys->count - 1) last = keys->count - 1;
    if (first > LANES) first = LANES;
    if (last < -1) last = -1;
    vec_int lane = vec_lanes();
    return (lane >= (real_int)first) & (lane <= (real_int)last);
}

/* `count` elements from j on, at most a vector, of o = o factor + sum of p[l] row[l] */
static inline __attribute__((always_inline)) void value_columns(real *o, real factor, const real *p,
                                                                const char *const row[LANES],
                                                                int64_t j, int64_t count,
                                                                bool bf16) {
    vec sum = vec_load(o + j) * vec_splat(factor);
#pragma GCC unroll 16
    for (int l = 0; l < (int)LANES; l++)
        sum = vec_fused(vec_splat(p[l]), vec_load_some(row[l], j, count, bf16), sum);
    vec_store(o + j, sum);
}

/* o = o factor + sum of p[l] v[l]; p is zero from the count-th key on. */
static inline __attribute__((always_inline)) void add_values(real *o, real factor, const real *p,
                                                             const few_keys *keys, int64_t size) {
    const char *row[LANES];
    int64_t j = 0;
    rows_of(row, keys->v, keys);
    for (; j + LANES <= size; j += LANES) {
        fetch(keys->v, keys->next + j * LANES, keys->bf16);
        value_columns(o, factor, p, row, j, LANES, keys->bf16);
    }
    if (j < size) value_columns(o, factor, p, row, j, size - j, keys->bf16);
}

static inline __attribute__((always_inline)) void add_keys(slot_areas areas,
                                                           const kern_attention_call *call,
                                                           const few_keys *keys, int64_t row,
                                                           int64_t head) {
    const kern_attention_shape *s = &call->shape;
    int64_t query = row * s->heads + head;
    vec_int seen = lanes_seen(keys, call->past.past + row, s->window);
    vec before = vec_splat(areas.largest[query]);
    vec score = scores_of(areas.q + query * areas.width, keys, s->head_size);
    vec largest = vec_max(before, largest_lane(vec_select(seen, score, before)));
    vec p = vec_select(seen, vec_exp(score - largest), (vec){0});
    vec factor = vec_exp(before - largest), sum = p;
    real weights[LANES];
    vec_store(weights, p);
    areas.sum[query] = areas.sum[query] * factor[0] + sums_of_lanes(&sum, 1)[0];
    areas.largest[query] = largest[0];
    add_values(areas.o + query * areas.width, factor[0], weights, keys, s->head_size);
}

static inline __attribute__((always_inline)) void
run_tile(slot_areas areas, const kern_attention_call *call, few_keys keys) {
    const kern_attention_shape *s = &call->shape;
    int64_t share = s->heads / s->groups;
    keys.next = keys.offset + LANES * keys.stride;
    for (int64_t g = 0; g < s->groups; g++) {
        for (int64_t row = 0; row < s->rows; row++)
            for (int64_t h = g * share; h < (g + 1) * share; h++)
                add_keys(areas, call, &keys, row, h);
        keys.offset += s->head_size;
        keys.next += LANES * s->head_size;
    }
}

static void run_part(const kern_attention_call *call, int64_t batch, int64_t begin, int64_t end,
                     void *slot) {
    const kern_attention_shape *s = &call->shape;
    slot_areas areas = areas_of(call, slot);
    int64_t past = call->past.past, stride = s->groups * s->head_size;
    begin_part(areas, call, batch);
    for (int64_t at = begin, next; at < end; at = next) {
        bool before = at < past;
        int64_t limit = before && past < end ? past : end;
        next = limit - at < LANES ? limit : at + LANES;
        few_keys keys = {.k = before ? call->past.k : call->k,
                         .v = before ? call->past.v : call->v,
                         .offset = before ? batch * call->past.stride + at * stride
                                          : (batch * s->rows + at - past) * stride,
                         .stride = stride,
                         .position = at,
                         .count = next - at};
        if (s->dtype == KERN_BF16) {
            keys.bf16 = true;
            run_tile(areas, call, keys);
        } else {
            keys.bf16 = false;
            run_tile(areas, call, keys);
        }
    }
}

static void merge_parts(const kern_attention_call *call, int64_t batch, int64_t query,
                        const void *slots, int64_t parts) {
    const kern_attention_shape *s = &call->shape;
    kern_attention_slot layout = kern_attention_slot_of(s);
    size_t bytes = (size_t)kern_attention_slot_elements(&layout) * sizeof(real);
    int64_t index = batch * layout.queries + query;
    vec largest = vec_splat((real)-3e38), total = {0};
    for (int64_t i = 0; i < parts; i++) {
        slot_areas part = areas_of(call, (const char *)slots + (size_t)i * bytes);
        largest = vec_max(largest, vec_splat(part.largest[query]));
    }
    for (int64_t i = 0; i < parts; i++) {
        slot_areas part = areas_of(call, (const char *)slots + (size_t)i * bytes);
        vec weight = vec_exp(vec_splat(part.largest[query]) - largest);
        total = vec_fused(weight, vec_splat(part.sum[query]), total);
    }
    for (int64_t j = 0; j < s->head_size; j += LANES) {
        vec sum = {0};
        for (int64_t i = 0; i < parts; i++) {
            slot_areas part = areas_of(call, (const char *)slots + (size_t)i * bytes);
            vec weight = vec_exp(vec_splat(part.largest[query]) - largest);
            sum = vec_fused(weight, vec_load(part.o + query * part.width + j), sum);
        }
        vec_store_some((real *)call->out_o + index * s->head_size + j, sum / total,
                       s->head_size - j);
    }
    ((real *)call->out_lse)[index] = (real)((double)largest[0] + kern_log_f64((double)total[0]));
}

#endif
