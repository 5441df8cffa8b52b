/* What attention.c hands to the variants of attention_*_isa.c: one call, cut into items that are
 * computed alone and in any order, and the layout of an item's scratch. */
#ifndef KERNELS_ATTENTION_TASK_H
#define KERNELS_ATTENTION_TASK_H

#include "kernels/attention.h"

enum {
    KERN_ATTENTION_ROWS = 64, /* query rows of a tile */
    KERN_ATTENTION_KEYS = 64, /* keys of a tile */
    /* Stage 2 keeps the scores of a row tile between its two passes up to this many key tiles and
     * computes them twice beyond. */
    KERN_ATTENTION_KEPT = 24,
};

/* All that the three stages read and write; what a stage has no use for is NULL. */
typedef struct {
    kern_attention_shape shape; /* window at most past + rows */
    int stage;
    const void *q, *k, *v, *o, *lse, *ct_o, *a, *b, *c;
    kern_attention_past past;
    void *out_lse, *out_o; /* stage 0 */
    void *out_q, *out_k, *out_v, *out_ct_o;
    kern_attention_past_ct out_past;
    void *tau, *h; /* [B, C, H] between the passes of stage 2, where they are items of their own */
} kern_attention_call;

/* What of a stage an item is. With a part of the keys, results of rows are added to. */
typedef enum {
    KERN_ATTENTION_WHOLE,      /* all keys that its rows see, both passes of stage 2 */
    KERN_ATTENTION_FIRST_PASS, /* of stage 2, all keys */
    KERN_ATTENTION_PART        /* the keys from key_begin to key_end; of stage 2 the second pass */
} kern_attention_pass;

/* Rows [begin, end) of item `batch`, of query heads from `head` on: of their row tiles, one head
 * after another, those from tile_begin to tile_end. */
typedef struct {
    kern_attention_pass pass;
    int64_t batch, head, begin, end;
    int64_t tile_begin, tile_end;
    int64_t key_begin, key_end; /* of past ++ new */
} kern_attention_item;

/* Whether stage 2 is asked for more than the cotangent of ct_o. */
static inline bool kern_attention_has_second_pass(const kern_attention_call *call) {
    return call->out_q || call->out_k || call->out_v || call->out_past.k || call->out_past.v;
}

/* Areas of scratch, in elements. Width: the head size, padded so that vectors need no tail. */
typedef struct {
    int64_t width, rows_area, keys_area, scores_area;
    int rows, keys, scores; /* how many of each */
} kern_attention_layout;

static inline kern_attention_layout kern_attention_layout_of(const kern_attention_shape *shape,
                                                             int stage, int64_t past) {
    static const int rows[] = {3, 6, 9}, keys[] = {2, 3, 5};
    int64_t width = (shape->head_size + 15) / 16 * 16, all = past + shape->rows;
    int64_t seen = (shape->window < all ? shape->window : all) + KERN_ATTENTION_ROWS;
    int64_t tiles = seen / KERN_ATTENTION_KEYS + 2; /* two are cut short: past's and new's last */
    if (tiles > KERN_ATTENTION_KEPT) tiles = KERN_ATTENTION_KEPT;
    return (kern_attention_layout){
        .width = width,
        .rows_area = KERN_ATTENTION_ROWS * width,
        .keys_area = KERN_ATTENTION_KEYS * width,
        .scores_area = KERN_ATTENTION_KEYS * KERN_ATTENTION_ROWS,
        .rows = rows[stage],
        .keys = keys[stage],
        .scores = stage == 2 ? 2 + 2 * (int)tiles : stage + 1,
    };
}

enum { KERN_ATTENTION_STATISTICS = 4 * KERN_ATTENTION_ROWS }; /* elements */

static inline int64_t kern_attention_elements(const kern_attention_layout *layout) {
    return layout->rows * layout->rows_area + layout->keys * layout->keys_area +
           layout->scores * layout->scores_area + KERN_ATTENTION_STATISTICS;
}

typedef void kern_attention_run(const kern_attention_call *call, const kern_attention_item *item,
                                void *scratch);
kern_attention_run kern_attention_f32_v2, kern_attention_f32_v3, kern_attention_f32_v4;
kern_attention_run kern_attention_f64_v2, kern_attention_f64_v3, kern_attention_f64_v4;

#endif
