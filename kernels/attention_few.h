/* Attention's forward for a few new rows over a long past, as generating text needs it: keys and
 * values are streamed once, all heads together, in parts of the keys whose results are merged in
 * order. What attention.c hands to the variants of attention_few_*_isa.c. */
#ifndef KERNELS_ATTENTION_FEW_H
#define KERNELS_ATTENTION_FEW_H

#include "kernels/attention_task.h"

enum { KERN_ATTENTION_FEW = 4 /* rows, at most */ };

/* The keys that any row sees, [begin, end) of past ++ new, in parts of `length`: a function of the
 * shape and the past alone. */
typedef struct {
    int64_t begin, end, length, parts;
} kern_attention_span;

/* What a part leaves: for each query (row t, head h: t H + h) the sum of exp(score - largest) v,
 * that of exp(score - largest), and the largest score; and room for the scaled queries. */
typedef struct {
    int64_t queries, width; /* the head size, padded */
} kern_attention_slot;

static inline kern_attention_slot kern_attention_slot_of(const kern_attention_shape *shape) {
    return (kern_attention_slot){.queries = shape->rows * shape->heads,
                                 .width = (shape->head_size + 15) / 16 * 16};
}

static inline int64_t kern_attention_slot_elements(const kern_attention_slot *slot) {
    return (slot->queries * (2 * slot->width + 2) + 15) / 16 * 16;
}

bool kern_attention_is_few(const kern_attention_shape *shape, int stage);
size_t kern_attention_few_workspace(const kern_attention_shape *shape); /* bytes */
int64_t kern_attention_few_parts(const kern_attention_call *call);
void kern_attention_few_run(const kern_attention_call *call, void *workspace);

/* Keys [begin, end) for item `batch`, into a slot. */
typedef void kern_attention_few_part(const kern_attention_call *call, int64_t batch, int64_t begin,
                                     int64_t end, void *slot);
/* o and lse of one query from the slots of an item, which lie one after another. */
typedef void kern_attention_few_merge(const kern_attention_call *call, int64_t batch, int64_t query,
                                      const void *slots, int64_t parts);
kern_attention_few_part kern_attention_part_f32_v2, kern_attention_part_f32_v3,
    kern_attention_part_f32_v4, kern_attention_part_f64_v2, kern_attention_part_f64_v3,
    kern_attention_part_f64_v4;
kern_attention_few_merge kern_attention_merge_f32_v2, kern_attention_merge_f32_v3,
    kern_attention_merge_f32_v4, kern_attention_merge_f64_v2, kern_attention_merge_f64_v3,
    kern_attention_merge_f64_v4;

#endif
