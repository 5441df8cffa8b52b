/* Attention on tensor cores, the pass over columns: own are keys, streamed are the rows that see
 * them, of all query heads of the key head. Scores lie transposed, keys by rows. */
#ifndef KERNELS_CUDA_ATTENTION_MMA_COLUMNS_H
#define KERNELS_CUDA_ATTENTION_MMA_COLUMNS_H

#include "kernels/cuda/attention_mma_rows.h"

/* The block's keys, the rows that see them, and a walk over those. */
typedef struct {
    const attention_args *args;
    int64_t past, batch, group, share;
    attention_columns_tile keys;
    attention_range seen;
    int64_t head, next; /* of the tile that is fetched next */
    int turn;
    mma_seen rows; /* by each key */
    bool before;   /* keys of the past */
} mma_columns;

DEVICE mma_columns mma_columns_of(const attention_args *args) {
    mma_columns b;
    b.args = args;
    b.past = past_of(args);
    b.batch = item_of_block(args);
    b.group = block_y();
    b.share = args->heads / args->groups;
    b.keys = columns_tile(args, b.past, ATTENTION_MMA_TILE);
    b.seen = rows_of_keys(args, b.past, b.keys.first, b.keys.count);
    b.before = b.keys.first < b.past;
    b.head = b.group * b.share;
    b.next = b.seen.begin;
    b.turn = 0;
    return b;
}

DEVICE mma_rows mma_own_keys(const mma_columns *b, const void *before, const void *fresh) {
    return mma_keys_of(b->args, before, fresh, b->past, b->batch, b->group, b->keys.first,
                       b->keys.count);
}

/* Elements of a buffer: q, ct_o, a, and in floats lse (times log2 e), delta, tau, h of each row. */
DEVICE int mma_buffer(int tall, bool second, int steps) {
    return (second ? 3 : 2) * tall * PITCH(steps) + 8 * tall;
}

DEVICE void mma_fetch_statistics(float *to, const mma_columns *b, const void *of, float scale,
                                 int count) {
    int row = thread_x();
    int64_t at = statistic_of(b->args, b->batch, b->next + row, b->head);
    to[row] = row < count ? ((const float *)of)[at] * scale : 0;
}

/* The next tile of rows. */
DEVICE void mma_fetch_rows(uint16_t *to, const mma_columns *b, int tall, bool second, int steps) {
    const attention_args *args = b->args;
    int count = (int)least(tall, b->seen.end - b->next), area = tall * PITCH(steps);
    float *stat = (float *)(to + (second ? 3 : 2) * area);
    mma_fetch(to, mma_rows_of(args, args->q, b->batch, b->next, b->head, count), tall, args->size,
              steps);
    mma_fetch(to + area, mma_rows_of(args, args->ct_o, b->batch, b->next, b->head, count), tall,
              args->size, steps);
    if (second)
        mma_fetch(to + 2 * area, mma_rows_of(args, args->a, b->batch, b->next, b->head, count),
                  tall, args->size, steps);
    if (thread_x() < tall) {
        mma_fetch_statistics(stat, b, args->lse, LOG2_E, count);
        mma_fetch_statistics(stat + tall, b, args->delta, 1, count);
        if (second) {
            mma_fetch_statistics(stat + 2 * tall, b, args->tau, 1, count);
            mma_fetch_statistics(stat + 3 * tall, b, args->h, 1, count);
        }
    }
}

/* Whether a tile of rows is left. */
DEVICE bool mma_has_rows(const mma_columns *b) {
    return b->head < (b->group + 1) * b->share;
}

/* As mma_next: the tile that is now computed with. */
DEVICE const uint16_t *mma_next_rows(mma_columns *b, uint16_t *buffer, int tall, bool second,
                                     int steps) {
    int bytes = mma_buffer(tall, second, steps), turn = b->turn;
    int64_t low = b->keys.first - b->past - b->next;
    /* rows from the count-th on are zeros, and so is what they add */
    b->rows = mma_seen_of(low, low + b->args->window - 1, tall - 1, tall);
    b->turn = 1 - turn;
    b->next += tall;
    if (b->next >= b->seen.end) {
        b->next = b->seen.begin;
        b->head++;
    }
    sync_block();
    if (mma_has_rows(b)) mma_fetch_rows(buffer + b->turn * bytes, b, tall, second, steps);
    copy_async_commit();
    copy_async_wait(1);
    sync_block();
    return buffer + turn * bytes;
}

/* s -> z, dp -> ds, t -> p (t - tau); in stage 1 t is p. */
DEVICE void mma_weigh_columns(float (*s)[4], float (*t)[4], float (*dp)[4], float (*u)[4],
                              const mma_columns *b, const float *stat, bool second, int tall) {
    float scale = (float)b->args->scale;
    UNROLL for (int j = 0; j < tall / 8; j++) {
        UNROLL for (int i = 0; i < 4; i++) s[j][i] =
            fma_f32(s[j][i], scale * LOG2_E, -stat[mma_column(j, i)]);
    }
    mma_hide(s, b->rows, tall / 8);
    UNROLL for (int j = 0; j < tall / 8; j++) {
        UNROLL for (int i = 0; i < 4; i++) {
            const float *row = stat + mma_column(j, i);
            mma_weights x =
                mma_weigh(exp2_fast(s[j][i]), second ? t[j][i] : 0, dp[j][i], u[j][i], row[tall],
                          second ? row[2 * tall] : 0, second ? row[3 * tall] : 0, scale, second);
            s[j][i] = x.z;
            t[j][i] = x.pt;
            dp[j][i] = x.ds;
        }
    }
}

DEVICE void mma_store_keys(const mma_columns *b, float (*sum)[4], void *before, void *fresh,
                           float by, int steps) {
    const attention_args *args = b->args;
    float *out = (float *)(b->before ? before : fresh), each[2] = {by, by};
    if (!out) return;
    mma_sums to = {
        out + offset_of_key(args, b->past, b->keys.first, b->batch, b->group, args->ct_past_stride),
        (int64_t)args->groups * args->size, b->keys.count};
    mma_store(to, sum, each, b->before, args->size, steps);
}

/* ct_k, ct_v, or the past's. Own: k, v, in stage 2 b, c. */
DEVICE void mma_columns_pass(const attention_args *args, bool second, int steps, int tall) {
    const int tiles = tall / 8, area = tall * PITCH(steps);
    const int own_area = ATTENTION_MMA_TILE * PITCH(steps);
    mma_columns b = mma_columns_of(args);
    uint16_t *own = (uint16_t *)shared_memory(), *buffer = own + (second ? 4 : 2) * own_area;
    uint16_t *k = own + thread_x() / 32 * 16 * PITCH(steps), *v = k + own_area;
    bool want_k = b.before ? args->ct_past_k : args->ct_k;
    bool want_v = b.before ? args->ct_past_v : args->ct_v;
    bool with_b = second && args->b && !b.before, with_c = second && args->c && !b.before;
    float out_k[MMA_COLUMNS][4], out_v[MMA_COLUMNS][4];
    float s[MMA_TILES][4], t[MMA_TILES][4], dp[MMA_TILES][4], u[MMA_TILES][4];
    if (!b.keys.count || (!want_k && !want_v)) return; /* the whole block */
    mma_clear(out_k, 2 * steps), mma_clear(out_v, 2 * steps);
    mma_fetch(own, mma_own_keys(&b, args->past_k, args->k), ATTENTION_MMA_TILE, args->size, steps);
    mma_fetch(own + own_area, mma_own_keys(&b, args->past_v, args->v), ATTENTION_MMA_TILE,
              args->size, steps);
    if (with_b)
        mma_fetch(own + 2 * own_area, mma_own_keys(&b, 0, args->b), ATTENTION_MMA_TILE, args->size,
                  steps);
    if (with_c)
        mma_fetch(own + 3 * own_area, mma_own_keys(&b, 0, args->c), ATTENTION_MMA_TILE, args->size,
                  steps);
    mma_fetch_rows(buffer, &b, tall, second, steps);
    copy_async_commit();
    while (mma_has_rows(&b)) {
        const uint16_t *q = mma_next_rows(&b, buffer, tall, second, steps), *ct_o = q + area;
        mma_clear(s, tiles), mma_clear(t, tiles), mma_clear(dp, tiles), mma_clear(u, tiles);
        mma_dots(s, k, q, tiles, steps);
        mma_dots(dp, v, ct_o, tiles, steps);
        if (second && args->a) mma_dots(t, k, ct_o + area, tiles, steps);
        if (with_b) mma_dots(t, k + 2 * own_area, q, tiles, steps);
        if (with_c) mma_dots(u, k + 3 * own_area, ct_o, tiles, steps);
        mma_weigh_columns(s, t, dp, u, &b, (const float *)(q + (second ? 3 : 2) * area), second,
                          tall);
        if (want_v) mma_multiply(out_v, t, ct_o, tiles, steps);
        if (want_k) mma_multiply(out_k, s, q, tiles, steps);
        if (want_k && second && args->a) mma_multiply(out_k, dp, ct_o + area, tiles, steps);
    }
    mma_store_keys(&b, out_v, args->ct_past_v, args->ct_v, 1, steps);
    mma_store_keys(&b, out_k, args->ct_past_k, args->ct_k, (float)args->scale, steps);
}

#endif
