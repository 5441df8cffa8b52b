/* Attention (docs/attention.md) in REAL, for attention.cu, which includes this once for each type:
 * tiles of TILE rows by TILE keys. Scores of a tile lie in shared memory; a thread computes PER of
 * them, always the same ones, so that only products with them need a barrier. Products go through
 * slices of SLICE columns of the head. */

enum { NAME(PER) = TILE * TILE / ATTENTION_THREADS };

/* Shared memory. Scores [TILE][TILE + 1]; slices [TILE][SLICE + 1]; sums [TILE][head size]. */
typedef struct {
    REAL *score[4], *slice[2], *lse, *delta, *tau, *h, *factor, *sum[2];
} NAME(areas);

/* A tile: rows row0 .. row0 + rows of query head `head`, keys key0 .. key0 + keys of past ++ new.
 */
typedef struct {
    const attention_args *args;
    NAME(areas) areas;
    int64_t past, row0, key0;
    int batch, head, group, rows, keys;
} NAME(tile);

DEVICE NAME(areas) NAME(areas_of)(const attention_args *args) {
    NAME(areas) a;
    REAL *at = (REAL *)shared_memory();
    for (int i = 0; i < 4; i++, at += TILE * (TILE + 1)) a.score[i] = at;
    for (int i = 0; i < 2; i++, at += TILE * (ATTENTION_SLICE + 1)) a.slice[i] = at;
    a.lse = at;
    a.delta = at + TILE;
    a.tau = at + 2 * TILE;
    a.h = at + 3 * TILE;
    a.factor = at + 4 * TILE;
    a.sum[0] = at + 5 * TILE;
    a.sum[1] = a.sum[0] + TILE * args->head_size;
    return a;
}

/* Where row or key i of a tile begins in a tensor: [B, C, H, K]; or keys in past or new ones. */
DEVICE int64_t NAME(row_offset)(const NAME(tile) * t, int i) {
    const attention_args *s = t->args;
    return ((t->batch * s->rows + t->row0 + i) * s->heads + t->head) * s->head_size;
}

DEVICE int64_t NAME(fresh_offset)(const NAME(tile) * t, int i) {
    const attention_args *s = t->args;
    return ((t->batch * s->rows + t->key0 + i - t->past) * s->groups + t->group) * s->head_size;
}

DEVICE int64_t NAME(past_offset)(const NAME(tile) * t, int i, int64_t stride) {
    const attention_args *s = t->args;
    return t->batch * stride + ((t->key0 + i) * s->groups + t->group) * s->head_size;
}

DEVICE REAL NAME(element)(const void *data, int bf16, int64_t i) {
    if (bf16) return (REAL)bf16_low(((const uint16_t *)data)[i]);
    return ((const REAL *)data)[i];
}

/* Columns from `column` on of rows (of `rows`) or keys (of `fresh` and `past`; NULL: zeros); zeros
 * behind the last. */
DEVICE void NAME(load_rows)(const NAME(tile) * t, REAL *slice, const void *rows, int column) {
    for (int e = thread_x(); e < TILE * ATTENTION_SLICE; e += ATTENTION_THREADS) {
        int i = e / ATTENTION_SLICE, j = e % ATTENTION_SLICE;
        bool valid = i < t->rows && column + j < t->args->head_size;
        slice[i * (ATTENTION_SLICE + 1) + j] =
            valid ? NAME(element)(rows, t->args->bf16, NAME(row_offset)(t, i) + column + j) : 0;
    }
}

DEVICE void NAME(load_keys)(const NAME(tile) * t, REAL *slice, const void *fresh, const void *past,
                            int column) {
    for (int e = thread_x(); e < TILE * ATTENTION_SLICE; e += ATTENTION_THREADS) {
        int i = e / ATTENTION_SLICE, j = e % ATTENTION_SLICE;
        bool of_past = t->key0 + i < t->past;
        const void *from = of_past ? past : fresh;
        REAL x = 0;
        if (i < t->keys && column + j < t->args->head_size && from) {
            int64_t at =
                of_past ? NAME(past_offset)(t, i, t->args->past_stride) : NAME(fresh_offset)(t, i);
            x = NAME(element)(from, t->args->bf16, at + column + j);
        }
        slice[i * (ATTENTION_SLICE + 1) + j] = x;
    }
}

/* Row and key of the thread's n-th score, and where it lies. */
DEVICE int NAME(own_row)(int n) {
    return (thread_x() + n * ATTENTION_THREADS) / TILE;
}

DEVICE int NAME(own_key)(void) {
    return thread_x() % TILE;
}

DEVICE int NAME(own)(int n) {
    return NAME(own_row)(n) * (TILE + 1) + NAME(own_key)();
}

DEVICE bool NAME(sees)(const NAME(tile) * t, int row, int key) {
    int64_t back = t->past + t->row0 + row - t->key0 - key;
    return row < t->rows && key < t->keys && back >= 0 && back < t->args->window;
}

/* The thread's scores = rows . keys (+ the scores that are there). */
DEVICE void NAME(dots)(const NAME(tile) * t, REAL *score, const void *rows, const void *fresh,
                       const void *past, bool add) {
    REAL sum[NAME(PER)];
    const REAL *a = t->areas.slice[0], *b = t->areas.slice[1];
    for (int n = 0; n < NAME(PER); n++) sum[n] = add ? score[NAME(own)(n)] : 0;
    for (int column = 0; column < t->args->head_size; column += ATTENTION_SLICE) {
        sync_block();
        NAME(load_rows)(t, t->areas.slice[0], rows, column);
        NAME(load_keys)(t, t->areas.slice[1], fresh, past, column);
        sync_block();
        for (int j = 0; j < ATTENTION_SLICE; j++) {
            REAL y = b[NAME(own_key)() * (ATTENTION_SLICE + 1) + j];
            for (int n = 0; n < NAME(PER); n++)
                sum[n] = FMA(a[NAME(own_row)(n) * (ATTENTION_SLICE + 1) + j], y, sum[n]);
        }
    }
    for (int n = 0; n < NAME(PER); n++) score[NAME(own)(n)] = sum[n];
}

/* sum [TILE][head size] += score slice, or its transpose: of the slice in areas.slice[0]. */
DEVICE void NAME(add_slice)(const NAME(tile) * t, REAL *sum, const REAL *score, int row_step,
                            int step, int column) {
    const REAL *b = t->areas.slice[0];
    for (int e = thread_x(); e < TILE * ATTENTION_SLICE; e += ATTENTION_THREADS) {
        int i = e / ATTENTION_SLICE, j = e % ATTENTION_SLICE;
        if (column + j >= t->args->head_size) continue;
        REAL x = sum[i * t->args->head_size + column + j];
        for (int l = 0; l < TILE; l++)
            x = FMA(score[i * row_step + l * step], b[l * (ATTENTION_SLICE + 1) + j], x);
        sum[i * t->args->head_size + column + j] = x;
    }
}

/* sum [rows] += score keys */
DEVICE void NAME(add_keys)(const NAME(tile) * t, REAL *sum, const REAL *score, const void *fresh,
                           const void *past) {
    for (int column = 0; column < t->args->head_size; column += ATTENTION_SLICE) {
        sync_block();
        NAME(load_keys)(t, t->areas.slice[0], fresh, past, column);
        sync_block();
        NAME(add_slice)(t, sum, score, TILE + 1, 1, column);
    }
}

/* sum [keys] += score^T rows */
DEVICE void NAME(add_rows)(const NAME(tile) * t, REAL *sum, const REAL *score, const void *rows) {
    for (int column = 0; column < t->args->head_size; column += ATTENTION_SLICE) {
        sync_block();
        NAME(load_rows)(t, t->areas.slice[0], rows, column);
        sync_block();
        NAME(add_slice)(t, sum, score, 1, TILE + 1, column);
    }
}

DEVICE void NAME(clear)(const NAME(tile) * t, REAL *sum) {
    for (int e = thread_x(); e < TILE * t->args->head_size; e += ATTENTION_THREADS) sum[e] = 0;
}

/* lse, delta = rowsum(ct_o o), and tau and h where a first pass has left them. Zeros for rows that
 * are none. */
DEVICE void NAME(load_statistics)(const NAME(tile) * t, bool second) {
    const attention_args *s = t->args;
    for (int i = thread_x(); i < TILE; i += ATTENTION_THREADS) {
        bool valid = i < t->rows;
        int64_t at = NAME(row_offset)(t, i), of_row = at / s->head_size;
        REAL delta = 0;
        for (int j = 0; valid && j < s->head_size; j++)
            delta =
                FMA(NAME(element)(s->ct_o, s->bf16, at + j), ((const REAL *)s->o)[at + j], delta);
        t->areas.lse[i] = valid ? ((const REAL *)s->lse)[of_row] : 0;
        t->areas.delta[i] = delta;
        t->areas.tau[i] = valid && second ? ((const REAL *)s->tau)[of_row] : 0;
        t->areas.h[i] = valid && second ? ((const REAL *)s->h)[of_row] : 0;
    }
}

/* score[0] = P */
DEVICE void NAME(probabilities)(const NAME(tile) * t) {
    const attention_args *s = t->args;
    NAME(dots)(t, t->areas.score[0], s->q, s->k, s->past_k, false);
    for (int n = 0; n < NAME(PER); n++) {
        int row = NAME(own_row)(n);
        REAL *p = &t->areas.score[0][NAME(own)(n)];
        *p = NAME(sees)(t, row, NAME(own_key)()) ? EXP((REAL)s->scale * *p - t->areas.lse[row]) : 0;
    }
}

/* score[1] = dS = P (dP - delta) */
DEVICE void NAME(first_cotangent)(const NAME(tile) * t) {
    const attention_args *s = t->args;
    NAME(dots)(t, t->areas.score[1], s->ct_o, s->v, s->past_v, false);
    for (int n = 0; n < NAME(PER); n++) {
        int row = NAME(own_row)(n), at = NAME(own)(n);
        REAL y = t->areas.score[1][at] - t->areas.delta[row];
        bool seen = NAME(sees)(t, row, NAME(own_key)());
        t->areas.score[1][at] = seen ? t->areas.score[0][at] * y : 0;
    }
}

/* score[2] = T / scale; zeros where there is neither a nor b */
DEVICE void NAME(compute_t)(const NAME(tile) * t) {
    const attention_args *s = t->args;
    for (int n = 0; n < NAME(PER); n++) t->areas.score[2][NAME(own)(n)] = 0;
    if (s->a) NAME(dots)(t, t->areas.score[2], s->a, s->k, s->past_k, true);
    if (s->b) NAME(dots)(t, t->areas.score[2], s->q, s->b, 0, true);
}

/* score[0] = Pt = P (T - tau), score[1] = dS, score[3] = Z = Pt (dP - delta) + P U */
DEVICE void NAME(second_cotangent)(const NAME(tile) * t) {
    const attention_args *s = t->args;
    NAME(first_cotangent)(t);
    NAME(compute_t)(t);
    for (int n = 0; n < NAME(PER); n++) t->areas.score[3][NAME(own)(n)] = 0;
    if (s->c) NAME(dots)(t, t->areas.score[3], s->ct_o, s->c, 0, true);
    for (int n = 0; n < NAME(PER); n++) {
        int row = NAME(own_row)(n), at = NAME(own)(n);
        REAL p = t->areas.score[0][at];
        REAL x = (REAL)s->scale * t->areas.score[2][at] - t->areas.tau[row];
        REAL z = FMA(t->areas.score[1][at], x, p * (t->areas.score[3][at] - t->areas.h[row]));
        bool seen = NAME(sees)(t, row, NAME(own_key)());
        t->areas.score[0][at] = seen ? p * x : 0;
        t->areas.score[3][at] = seen ? z : 0;
    }
}

/* The first key that a row of the tile sees, and the one behind the last. */
DEVICE int64_t NAME(key_begin)(const NAME(tile) * t) {
    int64_t begin = t->past + t->row0 - t->args->window + 1;
    return begin > 0 ? begin : 0;
}

DEVICE int64_t NAME(key_end)(const NAME(tile) * t) {
    return t->past + t->row0 + t->rows;
}

DEVICE void NAME(set_keys)(NAME(tile) * t, int64_t key0, int64_t end) {
    t->key0 = key0;
    t->keys = end - key0 < TILE ? (int)(end - key0) : TILE;
}

/* The block's rows: of grid x the row tile, y the head, z the item. */
DEVICE NAME(tile) NAME(tile_of_rows)(const attention_args *args) {
    NAME(tile) t;
    t.args = args;
    t.areas = NAME(areas_of)(args);
    t.past = args->past_k ? args->past_rows[0] : 0;
    t.batch = block_z();
    t.head = block_y();
    t.group = t.head / (args->heads / args->groups);
    t.row0 = (int64_t)block_x() * TILE;
    t.rows = args->rows - t.row0 < TILE ? (int)(args->rows - t.row0) : TILE;
    t.key0 = 0;
    t.keys = 0;
    return t;
}

/* out = by sum, for the tile's rows. */
DEVICE void NAME(store_rows)(const NAME(tile) * t, void *out, const REAL *sum, REAL by) {
    for (int e = thread_x(); e < t->rows * t->args->head_size; e += ATTENTION_THREADS) {
        int i = e / t->args->head_size, j = e % t->args->head_size;
        ((REAL *)out)[NAME(row_offset)(t, i) + j] = by * sum[e];
    }
}

/* ---- the forward ---- */

/* score[0] -> exp(score - largest), with lse the largest so far, delta the sum, factor what both
 * are rescaled by. */
DEVICE void NAME(soften)(const NAME(tile) * t) {
    const NAME(areas) *a = &t->areas;
    sync_block();
    for (int i = thread_x(); i < TILE; i += ATTENTION_THREADS) {
        REAL largest = a->lse[i];
        for (int x = 0; x < TILE; x++) {
            REAL s = a->score[0][i * (TILE + 1) + x];
            if (NAME(sees)(t, i, x) && !(s <= largest)) largest = s;
        }
        a->factor[i] = EXP(a->lse[i] - largest);
        a->lse[i] = largest;
    }
    sync_block();
    for (int n = 0; n < NAME(PER); n++) {
        int row = NAME(own_row)(n);
        REAL *p = &a->score[0][NAME(own)(n)];
        *p = NAME(sees)(t, row, NAME(own_key)()) ? EXP(*p - a->lse[row]) : 0;
    }
    for (int e = thread_x(); e < TILE * t->args->head_size; e += ATTENTION_THREADS)
        a->sum[0][e] *= a->factor[e / t->args->head_size];
    sync_block();
    for (int i = thread_x(); i < TILE; i += ATTENTION_THREADS) {
        REAL sum = a->delta[i] * a->factor[i];
        for (int x = 0; x < TILE; x++) sum += a->score[0][i * (TILE + 1) + x];
        a->delta[i] = sum;
    }
}

KERNEL(NAME(attention_forward), attention_args, ATTENTION_THREADS) {
    NAME(tile) t = NAME(tile_of_rows)(&args);
    int64_t end = NAME(key_end)(&t);
    NAME(clear)(&t, t.areas.sum[0]);
    for (int i = thread_x(); i < TILE; i += ATTENTION_THREADS) {
        t.areas.lse[i] = (REAL)-3e38; /* finite: the difference of two must be a number */
        t.areas.delta[i] = 0;
    }
    for (int64_t key0 = NAME(key_begin)(&t); key0 < end; key0 += TILE) {
        NAME(set_keys)(&t, key0, end);
        NAME(dots)(&t, t.areas.score[0], args.q, args.k, args.past_k, false);
        for (int n = 0; n < NAME(PER); n++) t.areas.score[0][NAME(own)(n)] *= (REAL)args.scale;
        NAME(soften)(&t);
        NAME(add_keys)(&t, t.areas.sum[0], t.areas.score[0], args.v, args.past_v);
    }
    sync_block();
    for (int e = thread_x(); e < t.rows * args.head_size; e += ATTENTION_THREADS)
        t.areas.sum[0][e] /= t.areas.delta[e / args.head_size];
    NAME(store_rows)(&t, args.out_o, t.areas.sum[0], 1);
    for (int i = thread_x(); i < t.rows; i += ATTENTION_THREADS)
        ((REAL *)args.out_lse)[NAME(row_offset)(&t, i) / args.head_size] =
            (REAL)((double)t.areas.lse[i] + kern_log_f64((double)t.areas.delta[i]));
}

/* ---- row passes of the vjps ---- */

KERNEL(NAME(attention_vjp_rows), attention_args, ATTENTION_THREADS) {
    NAME(tile) t = NAME(tile_of_rows)(&args);
    int64_t end = NAME(key_end)(&t);
    NAME(clear)(&t, t.areas.sum[0]);
    NAME(load_statistics)(&t, false);
    for (int64_t key0 = NAME(key_begin)(&t); key0 < end; key0 += TILE) {
        NAME(set_keys)(&t, key0, end);
        NAME(probabilities)(&t);
        NAME(first_cotangent)(&t);
        NAME(add_keys)(&t, t.areas.sum[0], t.areas.score[1], args.k, args.past_k);
    }
    sync_block();
    NAME(store_rows)(&t, args.ct_q, t.areas.sum[0], (REAL)args.scale);
}

/* Pass 1: sum[0] = ct_ct_o, tau, h. */
DEVICE void NAME(first_pass)(NAME(tile) * t) {
    const attention_args *s = t->args;
    const NAME(areas) *a = &t->areas;
    int64_t end = NAME(key_end)(t);
    for (int64_t key0 = NAME(key_begin)(t); key0 < end; key0 += TILE) {
        NAME(set_keys)(t, key0, end);
        NAME(probabilities)(t);
        NAME(compute_t)(t);
        for (int n = 0; n < NAME(PER); n++)
            a->score[2][NAME(own)(n)] *= (REAL)s->scale * a->score[0][NAME(own)(n)];
        NAME(add_keys)(t, a->sum[0], a->score[2], s->v, s->past_v);
        if (s->c) NAME(add_keys)(t, a->sum[0], a->score[0], s->c, 0);
        for (int i = thread_x(); i < TILE; i += ATTENTION_THREADS) {
            REAL tau = a->tau[i];
            for (int x = 0; x < TILE; x++) tau += a->score[2][i * (TILE + 1) + x];
            a->tau[i] = tau;
        }
    }
    sync_block();
    for (int e = thread_x(); e < t->rows * s->head_size; e += ATTENTION_THREADS) {
        int i = e / s->head_size;
        int64_t at = NAME(row_offset)(t, i) + e % s->head_size;
        a->sum[0][e] -= a->tau[i] * ((const REAL *)s->o)[at];
    }
    sync_block();
    for (int i = thread_x(); i < t->rows; i += ATTENTION_THREADS) {
        int64_t at = NAME(row_offset)(t, i);
        REAL h = 0;
        for (int j = 0; j < s->head_size; j++)
            h = FMA(NAME(element)(s->ct_o, s->bf16, at + j), a->sum[0][i * s->head_size + j], h);
        a->h[i] = h;
        ((REAL *)s->tau)[at / s->head_size] = a->tau[i];
        ((REAL *)s->h)[at / s->head_size] = h;
    }
}

KERNEL(NAME(attention_vjp2_rows), attention_args, ATTENTION_THREADS) {
    NAME(tile) t = NAME(tile_of_rows)(&args);
    int64_t end = NAME(key_end)(&t);
    NAME(clear)(&t, t.areas.sum[0]);
    NAME(load_statistics)(&t, false);
    NAME(first_pass)(&t);
    if (args.ct_ct_o) NAME(store_rows)(&t, args.ct_ct_o, t.areas.sum[0], 1);
    sync_block();
    NAME(clear)(&t, t.areas.sum[0]);
    for (int64_t key0 = NAME(key_begin)(&t); args.ct_q && key0 < end; key0 += TILE) {
        NAME(set_keys)(&t, key0, end);
        NAME(probabilities)(&t);
        NAME(second_cotangent)(&t);
        NAME(add_keys)(&t, t.areas.sum[0], t.areas.score[3], args.k, args.past_k);
        if (args.b) NAME(add_keys)(&t, t.areas.sum[0], t.areas.score[1], args.b, 0);
    }
    sync_block();
    if (args.ct_q) NAME(store_rows)(&t, args.ct_q, t.areas.sum[0], (REAL)args.scale);
}

/* ---- column passes: sum[0] the cotangent of keys, sum[1] of values ---- */

/* Keys of the past are added to, new ones written. */
DEVICE void NAME(store_keys)(const NAME(tile) * t, void *fresh, void *past, const REAL *sum,
                             REAL by) {
    int size = t->args->head_size;
    for (int e = thread_x(); e < t->keys * size; e += ATTENTION_THREADS) {
        int i = e / size, j = e % size;
        if (t->key0 + i >= t->past && fresh)
            ((REAL *)fresh)[NAME(fresh_offset)(t, i) + j] = by * sum[e];
        if (t->key0 + i < t->past && past)
            ((REAL *)past)[NAME(past_offset)(t, i, t->args->ct_past_stride) + j] += by * sum[e];
    }
}

DEVICE void NAME(column_tile)(const NAME(tile) * t, int stage) {
    const attention_args *s = t->args;
    const NAME(areas) *a = &t->areas;
    NAME(load_statistics)(t, stage == 2);
    NAME(probabilities)(t);
    if (stage == 2) {
        NAME(second_cotangent)(t);
        NAME(add_rows)(t, a->sum[0], a->score[3], s->q);
        if (s->a) NAME(add_rows)(t, a->sum[0], a->score[1], s->a);
    } else {
        NAME(first_cotangent)(t);
        NAME(add_rows)(t, a->sum[0], a->score[1], s->q);
    }
    NAME(add_rows)(t, a->sum[1], a->score[0], s->ct_o);
}

/* The block's keys: of grid x the key tile, y the group, z the item. Heads and row tiles add up in
 * ascending order. */
DEVICE void NAME(columns)(const attention_args *args, int stage) {
    NAME(tile) t = NAME(tile_of_rows)(args);
    int each = args->heads / args->groups;
    int64_t end = t.past + args->rows, key0 = (int64_t)block_x() * TILE;
    t.group = block_y();
    NAME(set_keys)(&t, key0, end);
    bool fresh = args->ct_k || args->ct_v, past = args->ct_past_k || args->ct_past_v;
    bool wanted = (past && key0 < t.past) || (fresh && key0 + t.keys > t.past);
    if (key0 >= end || !wanted) return; /* the whole block */
    NAME(clear)(&t, t.areas.sum[0]);
    NAME(clear)(&t, t.areas.sum[1]);
    int64_t first = key0 > t.past ? key0 - t.past : 0;
    int64_t last = key0 + t.keys - 1 - t.past + args->window; /* sees none of them */
    if (last > args->rows) last = args->rows;
    for (t.head = t.group * each; t.head < (t.group + 1) * each; t.head++)
        for (t.row0 = first; t.row0 < last; t.row0 += TILE) {
            t.rows = last - t.row0 < TILE ? (int)(last - t.row0) : TILE;
            NAME(column_tile)(&t, stage);
        }
    sync_block();
    NAME(store_keys)(&t, args->ct_k, args->ct_past_k, t.areas.sum[0], (REAL)args->scale);
    NAME(store_keys)(&t, args->ct_v, args->ct_past_v, t.areas.sum[1], 1);
}

KERNEL(NAME(attention_vjp_columns), attention_args, ATTENTION_THREADS) {
    NAME(columns)(&args, 1);
}

KERNEL(NAME(attention_vjp2_columns), attention_args, ATTENTION_THREADS) {
    NAME(columns)(&args, 2);
}
