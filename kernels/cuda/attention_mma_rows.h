/* Attention on tensor cores, passes over rows: own are rows of a head, streamed are keys. */
#ifndef KERNELS_CUDA_ATTENTION_MMA_ROWS_H
#define KERNELS_CUDA_ATTENTION_MMA_ROWS_H

#include "kernels/cuda/attention_mma.h"

/* The block's rows, and its part of the keys that they see. */
typedef struct {
    const attention_args *args;
    int64_t past, batch, head, group, first;
    int count;
    attention_range seen;
} mma_block;

DEVICE mma_block mma_block_of(const attention_args *args) {
    mma_block b;
    b.args = args;
    b.past = past_of(args);
    b.batch = item_of_block(args);
    b.head = block_y();
    b.group = b.head / (args->heads / args->groups);
    b.first = first_row_of_block(args, ATTENTION_MMA_TILE);
    b.count = (int)least(ATTENTION_MMA_TILE, args->rows - b.first);
    b.seen = keys_of_block(args, b.past, b.first, b.count, ATTENTION_MMA_TILE);
    return b;
}

DEVICE mma_rows mma_own(const mma_block *b, const void *of) {
    return mma_rows_of(b->args, of, b->batch, b->first, b->head, b->count);
}

DEVICE mma_sums mma_out(const mma_block *b, void *of) {
    int64_t offset = statistic_of(b->args, b->batch, b->first, b->head) * b->args->size;
    mma_sums out = {(float *)of + offset, (int64_t)b->args->heads * b->args->size, b->count};
    return out;
}

/* The part's sums of values, as they are. */
DEVICE mma_sums mma_out_part(const mma_block *b) {
    const attention_args *args = b->args;
    int64_t part = part_of_row(args, b->batch, b->first, b->head);
    mma_sums out = {(float *)args->part + part * args->size,
                    (int64_t)args->heads * args->parts * args->size, b->count};
    return out;
}

/* Keys `key` .. key + count - 1: k, v, and of new keys b and c, one after another. */
DEVICE void mma_fetch_keys(uint16_t *to, const mma_block *b, int64_t key, int tall, bool second,
                           int steps) {
    const attention_args *args = b->args;
    int count = keys_in_tile(key, b->past, b->seen.end, tall), area = tall * PITCH(steps);
    mma_rows k = mma_keys_of(args, args->past_k, args->k, b->past, b->batch, b->group, key, count);
    mma_rows v = mma_keys_of(args, args->past_v, args->v, b->past, b->batch, b->group, key, count);
    mma_fetch(to, k, tall, args->size, steps);
    mma_fetch(to + area, v, tall, args->size, steps);
    if (second) {
        mma_rows d = mma_keys_of(args, 0, args->b, b->past, b->batch, b->group, key, count);
        mma_rows e = mma_keys_of(args, 0, args->c, b->past, b->batch, b->group, key, count);
        mma_fetch(to + 2 * area, d, tall, args->size, steps);
        mma_fetch(to + 3 * area, e, tall, args->size, steps);
    }
}

/* A walk over the block's keys: `buffer` holds two tiles, `areas` operands each. */
typedef struct {
    int64_t key, next;
    int turn;
    mma_seen seen;
} mma_walk;

/* The first tile is on its way, with what was fetched before. */
DEVICE mma_walk mma_begin(const mma_block *b, uint16_t *buffer, int tall, bool second, int steps) {
    mma_walk w;
    w.next = b->seen.begin;
    w.turn = 0;
    mma_fetch_keys(buffer, b, w.next, tall, second, steps);
    copy_async_commit();
    return w;
}

/* The tile is there and the one after it is on its way; all have done with the one before. After
 * the last tile no copy is under way. */
DEVICE const uint16_t *mma_next(mma_walk *w, const mma_block *b, uint16_t *buffer, int tall,
                                bool second, int steps) {
    int bytes = (second ? 4 : 2) * tall * PITCH(steps), turn = w->turn;
    w->key = w->next;
    int count = keys_in_tile(w->key, b->past, b->seen.end, tall);
    w->next = w->key + count;
    w->turn = 1 - turn;
    int64_t own = b->past + b->first - w->key;
    w->seen = mma_seen_of(own - b->args->window + 1, own, count - 1, tall);
    sync_block();
    if (w->next < b->seen.end)
        mma_fetch_keys(buffer + w->turn * bytes, b, w->next, tall, second, steps);
    copy_async_commit();
    copy_async_wait(1);
    sync_block();
    return buffer + turn * bytes;
}

/* ---- stage 0 ---- */

/* scores -> 2^(score - largest), scores times log2 e; the state brought up to date, factor what it
 * was rescaled by. */
DEVICE void mma_softmax(float (*s)[4], float *largest, float *sum, float *factor, mma_seen seen,
                        float scale, int tiles) {
    UNROLL for (int t = 0; t < tiles; t++) {
        UNROLL for (int i = 0; i < 4; i++) s[t][i] *= scale;
    }
    mma_hide(s, seen, tiles);
    UNROLL for (int half = 0; half < 2; half++) {
        float top = largest[half];
        UNROLL for (int t = 0; t < tiles; t++) {
            UNROLL for (int i = 2 * half; i < 2 * half + 2; i++) top =
                s[t][i] > top ? s[t][i] : top;
        }
        top = mma_row_max(top);
        factor[half] = exp2_fast(largest[half] - top);
        largest[half] = top;
        sum[half] *= factor[half];
        UNROLL for (int t = 0; t < tiles; t++) {
            UNROLL for (int i = 2 * half; i < 2 * half + 2; i++) {
                s[t][i] = exp2_fast(s[t][i] - top);
                sum[half] += s[t][i];
            }
        }
    }
}

/* scores -> probabilities; lse: times log2 e. */
DEVICE void mma_probabilities(float (*s)[4], const float *lse, mma_seen seen, float scale,
                              int tiles) {
    UNROLL for (int t = 0; t < tiles; t++) {
        UNROLL for (int i = 0; i < 4; i++) s[t][i] = fma_f32(s[t][i], scale, -lse[i / 2]);
    }
    mma_hide(s, seen, tiles);
    UNROLL for (int t = 0; t < tiles; t++) {
        UNROLL for (int i = 0; i < 4; i++) s[t][i] = exp2_fast(s[t][i]);
    }
}

DEVICE void mma_forward(const attention_args *args, int steps) {
    const int tall = 64, tiles = tall / 8, area = tall * PITCH(steps);
    mma_block b = mma_block_of(args);
    uint16_t *own = (uint16_t *)shared_memory(), *buffer = own + ATTENTION_MMA_TILE * PITCH(steps);
    uint16_t *mine = own + thread_x() / 32 * 16 * PITCH(steps);
    float largest[2] = {ATTENTION_LOWEST, ATTENTION_LOWEST}, sum[2] = {0, 0}, factor[2];
    float o[MMA_COLUMNS][4], s[MMA_TILES][4];
    mma_clear(o, 2 * steps);
    mma_fetch(own, mma_own(&b, args->q), ATTENTION_MMA_TILE, args->size, steps);
    mma_walk w = mma_begin(&b, buffer, tall, false, steps);
    while (w.next < b.seen.end) {
        const uint16_t *k = mma_next(&w, &b, buffer, tall, false, steps), *v = k + area;
        mma_clear(s, tiles);
        mma_dots(s, mine, k, tiles, steps);
        mma_softmax(s, largest, sum, factor, w.seen, (float)args->scale * LOG2_E, tiles);
        UNROLL for (int t = 0; t < 2 * steps; t++) {
            UNROLL for (int i = 0; i < 4; i++) o[t][i] *= factor[i / 2];
        }
        mma_multiply(o, s, v, tiles, steps);
    }
    copy_async_wait(0); /* of a part without keys, which went round never */
    bool whole = args->parts == 1;
    UNROLL for (int half = 0; half < 2; half++) {
        int row = mma_row(2 * half);
        double top = (double)largest[half] / (double)LOG2_E;
        sum[half] = mma_row_sum(sum[half]);
        factor[half] = whole ? 1 / sum[half] : 1;
        if (lane() % 4 == 0 && row < b.count) {
            int64_t at = part_of_row(args, b.batch, b.first + row, b.head);
            float *stat = (float *)args->part_stat + 2 * at;
            if (whole)
                ((float *)args->lse)[at] = (float)(top + kern_log_f64((double)sum[half]));
            else
                stat[0] = (float)top, stat[1] = sum[half];
        }
    }
    mma_store(whole ? mma_out(&b, args->o) : mma_out_part(&b), o, factor, false, args->size, steps);
}

/* ---- stages 1 and 2 ---- */

/* What weights of one row and key are made of, and they themselves. */
typedef struct {
    float z, ds, pt;
} mma_weights;

/* As attention_plain.h: z, p (dp - delta), p (t - tau); in stage 1 z is the second, the last p. */
DEVICE mma_weights mma_weigh(float p, float t, float dp, float u, float delta, float tau, float h,
                             float scale, bool second) {
    float y = dp - delta, x = second ? fma_f32(t, scale, -tau) : 1;
    mma_weights w = {second ? p * fma_f32(x, y, u - h) : p * y, p * y, second ? p * x : p};
    return w;
}

/* t = a . k + q . b, where there are any. Areas of keys: k, v, b, c. */
DEVICE void mma_dots_t(float (*t)[4], const attention_args *args, const uint16_t *q,
                       const uint16_t *a, const uint16_t *k, bool with_b, int tall, int steps) {
    mma_clear(t, tall / 8);
    if (args->a) mma_dots(t, a, k, tall / 8, steps);
    if (with_b) mma_dots(t, q, k + 2 * tall * PITCH(steps), tall / 8, steps);
}

/* Stage 2's first pass. Own: q, a. */
DEVICE void mma_first(const attention_args *args, int steps, int tall) {
    const int tiles = tall / 8, area = tall * PITCH(steps);
    const int own_area = ATTENTION_MMA_TILE * PITCH(steps);
    mma_block b = mma_block_of(args);
    uint16_t *own = (uint16_t *)shared_memory(), *buffer = own + 2 * own_area;
    uint16_t *q = own + thread_x() / 32 * 16 * PITCH(steps), *a = q + own_area;
    float lse[2], tau[2] = {0, 0}, h[2] = {0, 0}, one[2] = {1, 1}, scale = (float)args->scale;
    float out[MMA_COLUMNS][4], s[MMA_TILES][4], t[MMA_TILES][4];
    mma_clear(out, 2 * steps);
    mma_statistics(lse, args, args->lse, b.batch, b.first, b.head, b.count);
    UNROLL for (int half = 0; half < 2; half++) lse[half] *= LOG2_E;
    mma_fetch(own, mma_own(&b, args->q), ATTENTION_MMA_TILE, args->size, steps);
    mma_fetch(own + own_area, mma_own(&b, args->a), ATTENTION_MMA_TILE, args->size, steps);
    mma_walk w = mma_begin(&b, buffer, tall, true, steps);
    while (w.next < b.seen.end) {
        const uint16_t *k = mma_next(&w, &b, buffer, tall, true, steps);
        bool with_b = args->b && w.key >= b.past, with_c = args->c && w.key >= b.past;
        mma_clear(s, tiles);
        mma_dots(s, q, k, tiles, steps);
        mma_dots_t(t, args, q, a, k, with_b, tall, steps);
        mma_probabilities(s, lse, w.seen, scale * LOG2_E, tiles);
        UNROLL for (int j = 0; j < tiles; j++) {
            UNROLL for (int i = 0; i < 4; i++) {
                t[j][i] *= s[j][i] * scale;
                tau[i / 2] += t[j][i];
            }
        }
        if (args->a || with_b) mma_multiply(out, t, k + area, tiles, steps);
        if (with_c) mma_multiply(out, s, k + 3 * area, tiles, steps);
    }
    tau[0] = mma_row_sum(tau[0]);
    tau[1] = mma_row_sum(tau[1]);
    UNROLL for (int j = 0; j < 2 * steps; j++) {
        UNROLL for (int i = 0; i < 4; i++) {
            int row = mma_row(i), column = mma_column(j, i);
            if (row < b.count && column < args->size) {
                int64_t at =
                    statistic_of(args, b.batch, b.first + row, b.head) * args->size + column;
                out[j][i] = fma_f32(-tau[i / 2], ((const float *)args->o)[at], out[j][i]);
                h[i / 2] = fma_f32(kern_bf16_to_f32(((const uint16_t *)args->ct_o)[at]), out[j][i],
                                   h[i / 2]);
            }
        }
    }
    UNROLL for (int half = 0; half < 2; half++) {
        int row = mma_row(2 * half);
        h[half] = mma_row_sum(h[half]);
        if (lane() % 4 == 0 && row < b.count) {
            int64_t at = statistic_of(args, b.batch, b.first + row, b.head);
            ((float *)args->tau)[at] = tau[half];
            ((float *)args->h)[at] = h[half];
        }
    }
    if (args->ct_ct_o) mma_store(mma_out(&b, args->ct_ct_o), out, one, false, args->size, steps);
}

/* ct_q. Own: q, ct_o, in stage 2 a. */
DEVICE void mma_rows_pass(const attention_args *args, bool second, int steps, int tall) {
    const int tiles = tall / 8, area = tall * PITCH(steps);
    const int own_area = ATTENTION_MMA_TILE * PITCH(steps);
    mma_block b = mma_block_of(args);
    uint16_t *own = (uint16_t *)shared_memory(), *buffer = own + (second ? 3 : 2) * own_area;
    uint16_t *q = own + thread_x() / 32 * 16 * PITCH(steps), *ct_o = q + own_area;
    uint16_t *a = ct_o + own_area;
    float lse[2], delta[2], tau[2] = {0, 0}, h[2] = {0, 0};
    float scale = (float)args->scale, by[2] = {scale, scale};
    float out[MMA_COLUMNS][4], s[MMA_TILES][4], t[MMA_TILES][4], dp[MMA_TILES][4], u[MMA_TILES][4];
    mma_clear(out, 2 * steps);
    mma_statistics(lse, args, args->lse, b.batch, b.first, b.head, b.count);
    UNROLL for (int half = 0; half < 2; half++) lse[half] *= LOG2_E;
    mma_statistics(delta, args, args->delta, b.batch, b.first, b.head, b.count);
    mma_fetch(own, mma_own(&b, args->q), ATTENTION_MMA_TILE, args->size, steps);
    mma_fetch(own + own_area, mma_own(&b, args->ct_o), ATTENTION_MMA_TILE, args->size, steps);
    if (second) {
        mma_statistics(tau, args, args->tau, b.batch, b.first, b.head, b.count);
        mma_statistics(h, args, args->h, b.batch, b.first, b.head, b.count);
        mma_fetch(own + 2 * own_area, mma_own(&b, args->a), ATTENTION_MMA_TILE, args->size, steps);
    }
    mma_walk w = mma_begin(&b, buffer, tall, second, steps);
    while (w.next < b.seen.end) {
        const uint16_t *k = mma_next(&w, &b, buffer, tall, second, steps);
        bool with_b = second && args->b && w.key >= b.past;
        mma_clear(s, tiles), mma_clear(dp, tiles), mma_clear(u, tiles);
        mma_dots(s, q, k, tiles, steps);
        mma_dots(dp, ct_o, k + area, tiles, steps);
        if (second) mma_dots_t(t, args, q, a, k, with_b, tall, steps);
        if (second && args->c && w.key >= b.past) mma_dots(u, ct_o, k + 3 * area, tiles, steps);
        mma_probabilities(s, lse, w.seen, scale * LOG2_E, tiles);
        UNROLL for (int j = 0; j < tiles; j++) {
            UNROLL for (int i = 0; i < 4; i++) {
                mma_weights x = mma_weigh(s[j][i], second ? t[j][i] : 0, dp[j][i], u[j][i],
                                          delta[i / 2], tau[i / 2], h[i / 2], scale, second);
                s[j][i] = x.z;
                dp[j][i] = x.ds;
            }
        }
        mma_multiply(out, s, k, tiles, steps);
        if (with_b) mma_multiply(out, dp, k + 2 * area, tiles, steps);
    }
    mma_store(mma_out(&b, args->ct_q), out, by, false, args->size, steps);
}

#endif
