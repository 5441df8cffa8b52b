/* Attention's kernels of one type of elements, of tiles. No include guard. */
#include "kernels/cuda/attention_plain.h"

/* ---- stage 0 ---- */

/* scores -> exp(score - largest); the state brought up to date, factor what it was rescaled by. */
DEVICE void NAME(softmax)(REAL s[SIDE][SIDE], REAL *largest, REAL *sum, REAL *factor,
                          const attention_args *args, int64_t position, int64_t key, int count) {
    EACH(m) {
        REAL top = largest[m];
        EACH(n) {
            bool seen = ACROSS + 16 * n < count &&
                        sees(position + DOWN + 16 * m, key + ACROSS + 16 * n, args->window);
            s[m][n] *= (REAL)args->scale;
            top = seen && s[m][n] > top ? s[m][n] : top;
        }
        top = NAME(row_max)(top);
        factor[m] = EXP(largest[m] - top);
        sum[m] *= factor[m];
        EACH(n) {
            bool seen = ACROSS + 16 * n < count &&
                        sees(position + DOWN + 16 * m, key + ACROSS + 16 * n, args->window);
            s[m][n] = seen ? EXP(s[m][n] - top) : 0;
            sum[m] += s[m][n];
        }
        largest[m] = top;
    }
}

KERNEL(NAME(attention_forward), attention_args, ATTENTION_PLAIN_THREADS) {
    NAME(areas) areas = NAME(areas_of)();
    NAME(place) place = NAME(place_of_block)(&args);
    int64_t past = past_of(&args), size = args.size, at;
    attention_range seen = keys_of_block(&args, past, place.first, place.count, TILE);
    NAME(tile_sums)
    o = args.parts == 1 ? NAME(sums_of)(&args, args.o, place) : NAME(sums_of_part)(&args, place);
    REAL largest[SIDE], sum[SIDE], factor[SIDE], s[SIDE][SIDE];
    EACH(m) largest[m] = (REAL)ATTENTION_LOWEST, sum[m] = 0;
    for (int64_t key = seen.begin; key < seen.end; key = at) {
        int count = keys_in_tile(key, past, seen.end, TILE);
        at = key + count;
        NAME(clear)(s);
        NAME(dots)
        (s, areas, NAME(rows_of)(&args, args.q, place),
         NAME(keys_of)(&args, args.past_k, args.k, past, place, key, count), size);
        NAME(softmax)(s, largest, sum, factor, &args, past + place.first, key, count);
        NAME(multiply)
        (o, key > seen.begin, factor, 1, areas, s,
         NAME(keys_of)(&args, args.past_v, args.v, past, place, key, count), size);
    }
    EACH(m) {
        sum[m] = NAME(row_sum)(sum[m]);
        factor[m] = 1 / sum[m];
        int64_t row = DOWN + 16 * m;
        int64_t part = part_of_row(&args, place.batch, place.first + row, place.head);
        REAL *stat = (REAL *)args.part_stat + 2 * part;
        if (ACROSS == 0 && row < place.count) {
            if (args.parts == 1)
                ((REAL *)args.lse)[part] =
                    (REAL)((double)largest[m] + kern_log_f64((double)sum[m]));
            else
                stat[0] = largest[m], stat[1] = sum[m];
        }
    }
    if (args.parts == 1) NAME(rescale)(o, factor, size);
}

/* ---- stages 1 and 2 ---- */

/* A warp a row. */
KERNEL(NAME(attention_delta), attention_args, ATTENTION_PLAIN_THREADS) {
    int64_t row = block_x(), head = block_y() * (ATTENTION_PLAIN_THREADS / 32) + thread_x() / 32;
    int64_t at = row * args.heads + head;
    REAL sum = 0;
    if (head < args.heads)
        for (int64_t i = lane(); i < args.size; i += 32)
            sum = FMA((REAL)VALUE(((const ELEMENT *)args.ct_o)[at * args.size + i]),
                      ((const REAL *)args.o)[at * args.size + i], sum);
    UNROLL for (int bits = 1; bits < 32; bits *= 2) sum += XOR(sum, bits);
    if (head < args.heads && lane() == 0) ((REAL *)args.delta)[at] = sum;
}

/* scores -> p, t -> p t, of which tau gets its parts */
DEVICE void NAME(weigh_first)(REAL s[SIDE][SIDE], REAL t[SIDE][SIDE], const REAL *lse, REAL *tau,
                              const attention_args *args, int64_t position, int64_t key,
                              int count) {
    REAL scale = (REAL)args->scale;
    EACH(m) {
        EACH(n) {
            bool seen = ACROSS + 16 * n < count &&
                        sees(position + DOWN + 16 * m, key + ACROSS + 16 * n, args->window);
            REAL p = EXP(FMA(s[m][n], scale, -lse[m]));
            s[m][n] = seen ? p : 0;
            t[m][n] = seen ? p * (t[m][n] * scale) : 0;
            tau[m] += t[m][n];
        }
    }
}

/* h += weights (rows of ct_o . across's rows) */
DEVICE void NAME(add_to_h)(REAL *h, REAL weight[SIDE][SIDE], NAME(areas) areas,
                           NAME(tile_rows) ct_o, NAME(tile_rows) across, int64_t size) {
    REAL x[SIDE][SIDE];
    NAME(clear)(x);
    NAME(dots)(x, areas, ct_o, across, size);
    EACH(m) {
        EACH(n) h[m] = FMA(weight[m][n], x[m][n], h[m]);
    }
}

/* h = rowsum(ct_o ct_ct_o) = rowsum(p t dp + p (ct_o . c)) - tau delta: from scores alone. */
KERNEL(NAME(attention_first), attention_args, ATTENTION_PLAIN_THREADS) {
    NAME(areas) areas = NAME(areas_of)();
    NAME(place) place = NAME(place_of_block)(&args);
    int64_t past = past_of(&args), size = args.size, at;
    attention_range seen = keys_of_block(&args, past, place.first, place.count, TILE);
    NAME(tile_rows) q = NAME(rows_of)(&args, args.q, place);
    NAME(tile_rows) a = NAME(rows_of)(&args, args.a, place);
    NAME(tile_rows) ct_o = NAME(rows_of)(&args, args.ct_o, place);
    NAME(tile_sums) out = NAME(sums_of)(&args, args.ct_ct_o, place);
    REAL lse[SIDE], delta[SIDE], tau[SIDE], h[SIDE], one[SIDE];
    NAME(statistics)(lse, &args, args.lse, place, DOWN);
    NAME(statistics)(delta, &args, args.delta, place, DOWN);
    EACH(m) tau[m] = 0, h[m] = 0, one[m] = 1;
    bool begun = false;
    for (int64_t key = seen.begin; key < seen.end; key = at) {
        REAL s[SIDE][SIDE], t[SIDE][SIDE];
        int count = keys_in_tile(key, past, seen.end, TILE);
        at = key + count;
        NAME(key_tile) keys = NAME(key_tile_at)(&args, past, place, key, count);
        bool with_t = args.a || keys.with_b;
        if (!with_t && !keys.with_c) continue;
        NAME(clear)(s), NAME(clear)(t);
        NAME(dots)(s, areas, q, keys.k, size);
        if (args.a) NAME(dots)(t, areas, a, keys.k, size);
        if (keys.with_b) NAME(dots)(t, areas, q, keys.b, size);
        NAME(weigh_first)(s, t, lse, tau, &args, past + place.first, key, count);
        if (with_t) NAME(add_to_h)(h, t, areas, ct_o, keys.v, size);
        if (keys.with_c) NAME(add_to_h)(h, s, areas, ct_o, keys.c, size);
        if (args.ct_ct_o && with_t) NAME(multiply)(out, begun, one, 1, areas, t, keys.v, size);
        if (args.ct_ct_o && keys.with_c)
            NAME(multiply)(out, begun || with_t, one, 1, areas, s, keys.c, size);
        begun = true;
    }
    REAL minus[SIDE];
    EACH(m) {
        int64_t row = DOWN + 16 * m;
        int64_t stat = statistic_of(&args, place.batch, place.first + row, place.head);
        tau[m] = NAME(row_sum)(tau[m]);
        h[m] = FMA(-tau[m], delta[m], NAME(row_sum)(h[m]));
        minus[m] = -tau[m];
        if (ACROSS == 0 && row < place.count) {
            ((REAL *)args.tau)[stat] = tau[m];
            ((REAL *)args.h)[stat] = h[m];
        }
    }
    const REAL *o = (const REAL *)args.o + NAME(row_offset)(&args, place);
    if (args.ct_ct_o) NAME(add_rows)(out, begun, minus, o, size);
}

/* Of a row: */
typedef struct {
    REAL lse, delta, tau, h;
} NAME(row_statistics);

/* s -> z, dp -> ds = p (dp - delta), t -> p (t - tau); for stage 1 z = ds, and p for the last. */
DEVICE void NAME(weigh)(REAL *s, REAL *t, REAL *dp, REAL u, NAME(row_statistics) row,
                        const attention_args *args, bool seen) {
    REAL p = EXP(FMA(*s, (REAL)args->scale, -row.lse));
    REAL x = args->second ? *t * (REAL)args->scale - row.tau : 1, y = *dp - row.delta;
    REAL z = p * FMA(x, y, args->second ? u - row.h : 0);
    *s = seen ? z : 0;
    *dp = seen ? p * y : 0;
    *t = seen ? p * x : 0;
}

KERNEL(NAME(attention_rows), attention_args, ATTENTION_PLAIN_THREADS) {
    NAME(areas) areas = NAME(areas_of)();
    NAME(place) place = NAME(place_of_block)(&args);
    int64_t past = past_of(&args), size = args.size, at;
    attention_range seen = keys_of_block(&args, past, place.first, place.count, TILE);
    NAME(tile_rows) q = NAME(rows_of)(&args, args.q, place);
    NAME(tile_rows) a = NAME(rows_of)(&args, args.a, place);
    NAME(tile_rows) ct_o = NAME(rows_of)(&args, args.ct_o, place);
    NAME(tile_sums) ct_q = NAME(sums_of)(&args, args.ct_q, place);
    REAL lse[SIDE], delta[SIDE], tau[SIDE], h[SIDE], one[SIDE], scale = (REAL)args.scale;
    NAME(statistics)(lse, &args, args.lse, place, DOWN);
    NAME(statistics)(delta, &args, args.delta, place, DOWN);
    NAME(statistics)(tau, &args, args.tau, place, DOWN);
    NAME(statistics)(h, &args, args.h, place, DOWN);
    EACH(m) one[m] = 1;
    for (int64_t key = seen.begin; key < seen.end; key = at) {
        REAL s[SIDE][SIDE], t[SIDE][SIDE], dp[SIDE][SIDE], u[SIDE][SIDE];
        int count = keys_in_tile(key, past, seen.end, TILE);
        at = key + count;
        NAME(key_tile) keys = NAME(key_tile_at)(&args, past, place, key, count);
        NAME(clear)(s), NAME(clear)(t), NAME(clear)(dp), NAME(clear)(u);
        NAME(dots)(s, areas, q, keys.k, size);
        NAME(dots)(dp, areas, ct_o, keys.v, size);
        if (args.a) NAME(dots)(t, areas, a, keys.k, size);
        if (keys.with_b) NAME(dots)(t, areas, q, keys.b, size);
        if (keys.with_c) NAME(dots)(u, areas, ct_o, keys.c, size);
        EACH(m) {
            NAME(row_statistics) row = {lse[m], delta[m], tau[m], h[m]};
            EACH(n) { /* weights of keys from the count-th on go into no product */
                bool is_seen =
                    sees(past + place.first + DOWN + 16 * m, key + ACROSS + 16 * n, args.window);
                NAME(weigh)(&s[m][n], &t[m][n], &dp[m][n], u[m][n], row, &args, is_seen);
            }
        }
        NAME(multiply)(ct_q, key > seen.begin, one, scale, areas, s, keys.k, size);
        if (keys.with_b) NAME(multiply)(ct_q, true, one, scale, areas, dp, keys.b, size);
    }
}

KERNEL(NAME(attention_columns), attention_args, ATTENTION_PLAIN_THREADS) {
    NAME(areas) areas = NAME(areas_of)();
    int64_t past = past_of(&args), size = args.size, share = args.heads / args.groups;
    int64_t item = item_of_block(&args);
    attention_columns_tile keys = columns_tile(&args, past, TILE);
    attention_range seen = rows_of_keys(&args, past, keys.first, keys.count);
    bool before = keys.first < past;
    int64_t to = offset_of_key(&args, past, keys.first, item, block_y(), args.ct_past_stride);
    REAL *out_k = (REAL *)(before ? args.ct_past_k : args.ct_k);
    REAL *out_v = (REAL *)(before ? args.ct_past_v : args.ct_v);
    int64_t stride = (int64_t)args.groups * args.size;
    NAME(tile_sums) ct_k = {out_k + (out_k ? to : 0), stride, keys.count};
    NAME(tile_sums) ct_v = {out_v + (out_v ? to : 0), stride, keys.count};
    REAL one[SIDE], scale = (REAL)args.scale;
    EACH(m) one[m] = 1;
    bool add = before, none = !keys.count || (!out_k && !out_v);
    for (int64_t i = 0; i < share && !none; i++)
        for (int64_t first = seen.begin; first < seen.end; first += TILE) {
            REAL s[SIDE][SIDE], t[SIDE][SIDE], dp[SIDE][SIDE], u[SIDE][SIDE];
            REAL lse[SIDE], delta[SIDE], tau[SIDE], h[SIDE];
            NAME(place)
            place = {item, block_y() * share + i, first, (int)least(TILE, seen.end - first)};
            NAME(tile_rows) q = NAME(rows_of)(&args, args.q, place);
            NAME(tile_rows) a = NAME(rows_of)(&args, args.a, place);
            NAME(tile_rows) ct_o = NAME(rows_of)(&args, args.ct_o, place);
            NAME(key_tile)
            own = NAME(key_tile_at)(&args, past, place, keys.first, keys.count);
            NAME(clear)(s), NAME(clear)(t), NAME(clear)(dp), NAME(clear)(u);
            NAME(dots)(s, areas, own.k, q, size);
            NAME(dots)(dp, areas, own.v, ct_o, size);
            if (args.a) NAME(dots)(t, areas, own.k, a, size);
            if (own.with_b) NAME(dots)(t, areas, own.b, q, size);
            if (own.with_c) NAME(dots)(u, areas, own.c, ct_o, size);
            NAME(statistics)(lse, &args, args.lse, place, ACROSS);
            NAME(statistics)(delta, &args, args.delta, place, ACROSS);
            NAME(statistics)(tau, &args, args.tau, place, ACROSS);
            NAME(statistics)(h, &args, args.h, place, ACROSS);
            EACH(n) { /* rows from the count-th on are zeros, and so is what they add */
                NAME(row_statistics) row = {lse[n], delta[n], tau[n], h[n]};
                int of_tile = ACROSS + 16 * n;
                EACH(m) {
                    bool is_seen =
                        sees(past + first + of_tile, keys.first + DOWN + 16 * m, args.window);
                    NAME(weigh)(&s[m][n], &t[m][n], &dp[m][n], u[m][n], row, &args, is_seen);
                }
            }
            if (out_v) NAME(multiply)(ct_v, add, one, 1, areas, t, ct_o, size);
            if (out_k) NAME(multiply)(ct_k, add, one, scale, areas, s, q, size);
            if (out_k && args.a) NAME(multiply)(ct_k, true, one, scale, areas, dp, a, size);
            add = true;
        }
}

#undef SIDE
#undef TILE
#undef ACROSS
#undef DOWN
#undef EACH
