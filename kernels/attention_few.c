#include "kernels/attention_few.h"

#include "kernels/isa.h"

enum {
    PARTS = 16,                 /* wanted, over the batch */
    PART_KEYS = 256,            /* a part is not made smaller, for it begins with waiting */
    KEY_UNIT = 32,              /* parts are multiples of this */
    PARALLEL_BYTES = 256 << 10, /* of keys and values: waking other threads pays */
};

bool kern_attention_is_few(const kern_attention_shape *shape, int stage) {
    return stage == 0 && shape->rows <= KERN_ATTENTION_FEW;
}

static int64_t most_parts(const kern_attention_shape *shape) {
    return (PARTS + shape->batch - 1) / shape->batch;
}

size_t kern_attention_few_workspace(const kern_attention_shape *shape) {
    kern_attention_slot slot = kern_attention_slot_of(shape);
    size_t bytes = shape->dtype == KERN_F64 ? 8 : 4;
    return (size_t)(shape->batch * most_parts(shape) * kern_attention_slot_elements(&slot)) * bytes;
}

static kern_attention_span span_of(const kern_attention_call *call) {
    const kern_attention_shape *s = &call->shape;
    int64_t hidden = call->past.past - s->window + 1, most = most_parts(s);
    kern_attention_span span = {.begin = hidden > 0 ? hidden : 0, .end = call->past.past + s->rows};
    int64_t keys = span.end - span.begin;
    int64_t length = (keys + most - 1) / most;
    span.length = length < PART_KEYS ? PART_KEYS : (length + KEY_UNIT - 1) / KEY_UNIT * KEY_UNIT;
    span.parts = (keys + span.length - 1) / span.length;
    return span;
}

int64_t kern_attention_few_parts(const kern_attention_call *call) {
    return call->shape.batch * span_of(call).parts;
}

typedef struct {
    kern_attention_few_part *part;
    kern_attention_few_merge *merge;
} functions;

static functions variant(kern_dtype dtype) {
#if defined(__x86_64__)
    static const functions all[2][KERN_ISAS] = {
        {{kern_attention_part_f32_v2, kern_attention_merge_f32_v2},
         {kern_attention_part_f32_v3, kern_attention_merge_f32_v3},
         {kern_attention_part_f32_v4, kern_attention_merge_f32_v4}},
        {{kern_attention_part_f64_v2, kern_attention_merge_f64_v2},
         {kern_attention_part_f64_v3, kern_attention_merge_f64_v3},
         {kern_attention_part_f64_v4, kern_attention_merge_f64_v4}}};
    return all[dtype == KERN_F64][kern_isa()];
#else
    static const functions f32 = {kern_attention_part_f32_v2, kern_attention_merge_f32_v2};
    static const functions f64 = {kern_attention_part_f64_v2, kern_attention_merge_f64_v2};
    return dtype == KERN_F64 ? f64 : f32;
#endif
}

void kern_attention_few_run(const kern_attention_call *call, void *workspace) {
    const kern_attention_shape *s = &call->shape;
    functions f = variant(s->dtype);
    kern_attention_span span = span_of(call);
    kern_attention_slot slot = kern_attention_slot_of(s);
    size_t slot_bytes =
        (size_t)kern_attention_slot_elements(&slot) * (s->dtype == KERN_F64 ? 8 : 4);
    int64_t row = 2 * s->groups * s->head_size * (int64_t)kern_dtype_bytes(s->dtype);
    bool parallel = s->batch * (span.end - span.begin) * row >= PARALLEL_BYTES;
#pragma omp parallel if (parallel)
    {
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < s->batch * span.parts; i++) {
            int64_t begin = span.begin + i % span.parts * span.length, end = begin + span.length;
            f.part(call, i / span.parts, begin, end < span.end ? end : span.end,
                   (char *)workspace + (size_t)i * slot_bytes);
        }
#pragma omp for schedule(static)
        for (int64_t i = 0; i < s->batch * slot.queries; i++) {
            int64_t batch = i / slot.queries;
            f.merge(call, batch, i % slot.queries,
                    (const char *)workspace + (size_t)(batch * span.parts) * slot_bytes,
                    span.parts);
        }
    }
}
