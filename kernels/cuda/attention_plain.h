/* Tiles of attention of one type of elements (each_type.h). A block has 16 x 16 threads and tiles
 * of 16 SIDE rows and keys; thread (x, y) has rows y + 16 m, keys x + 16 n. Results are their own
 * sums: a thread adds into those elements that it alone has. No include guard. */
#define SIDE ((int)(16 / sizeof(REAL)))
#define TILE (16 * SIDE)
#define ACROSS (thread_x() % 16)
#define DOWN (thread_x() / 16)
#define EACH(i) UNROLL for (int i = 0; i < SIDE; i++)

/* Rows of a head, `stride` elements apart; none from the count-th on. NULL: of no operand. */
typedef struct {
    const ELEMENT *at;
    int64_t stride;
    int count;
} NAME(tile_rows);

typedef struct {
    REAL *at;
    int64_t stride;
    int count;
} NAME(tile_sums);

/* Shared memory: weights of a tile, and slices of operands. */
typedef struct {
    REAL *weights, *slice;
} NAME(areas);

DEVICE NAME(areas) NAME(areas_of)(void) {
    REAL *shared = (REAL *)shared_memory();
    NAME(areas) areas = {shared, shared + TILE * (TILE + 1)};
    return areas;
}

/* `columns` columns of a tile from `first` on, zero where there are none. */
DEVICE void NAME(stage)(REAL *slice, NAME(tile_rows) from, int64_t first, int64_t size,
                        int columns) {
    for (int i = thread_x(); i < TILE * columns; i += ATTENTION_PLAIN_THREADS) {
        int row = i / columns;
        int64_t column = first + i % columns;
        bool there = row < from.count && column < size;
        slice[row * (columns + 1) + i % columns] =
            there ? (REAL)VALUE(from.at[row * from.stride + column]) : 0;
    }
}

DEVICE void NAME(clear)(REAL sum[SIDE][SIDE]) {
    EACH(m) {
        EACH(n) sum[m][n] = 0;
    }
}

/* sum += down's rows . across's rows */
DEVICE void NAME(dots)(REAL sum[SIDE][SIDE], NAME(areas) areas, NAME(tile_rows) down,
                       NAME(tile_rows) across, int64_t size) {
    const int pitch = ATTENTION_PLAIN_DEPTH + 1;
    REAL *other = areas.slice + TILE * pitch;
    for (int64_t first = 0; first < size; first += ATTENTION_PLAIN_DEPTH) {
        sync_block();
        NAME(stage)(areas.slice, down, first, size, ATTENTION_PLAIN_DEPTH);
        NAME(stage)(other, across, first, size, ATTENTION_PLAIN_DEPTH);
        sync_block();
        int depth = (int)least(ATTENTION_PLAIN_DEPTH, size - first);
        for (int d = 0; d < depth; d++) {
            REAL x[SIDE], y[SIDE];
            EACH(m) x[m] = areas.slice[(DOWN + 16 * m) * pitch + d];
            EACH(n) y[n] = other[(ACROSS + 16 * n) * pitch + d];
            EACH(m) {
                EACH(n) sum[m][n] = FMA(x[m], y[n], sum[m][n]);
            }
        }
    }
}

/* to = to keep + by weights rows; to is not read unless `add` */
DEVICE void NAME(multiply)(NAME(tile_sums) to, bool add, const REAL *keep, REAL by,
                           NAME(areas) areas, REAL weight[SIDE][SIDE], NAME(tile_rows) rows,
                           int64_t size) {
    const int pitch = TILE + 1;
    sync_block();
    EACH(m) {
        EACH(n) areas.weights[(DOWN + 16 * m) * pitch + ACROSS + 16 * n] = weight[m][n];
    }
    for (int64_t first = 0; first < size; first += TILE) {
        REAL sum[SIDE][SIDE];
        sync_block();
        NAME(stage)(areas.slice, rows, first, size, TILE);
        sync_block();
        NAME(clear)(sum);
        for (int i = 0; i < rows.count; i++) {
            REAL x[SIDE], y[SIDE];
            EACH(m) x[m] = areas.weights[(DOWN + 16 * m) * pitch + i];
            EACH(n) y[n] = areas.slice[i * pitch + ACROSS + 16 * n];
            EACH(m) {
                EACH(n) sum[m][n] = FMA(x[m], y[n], sum[m][n]);
            }
        }
        EACH(m) {
            EACH(n) {
                int64_t column = first + ACROSS + 16 * n;
                if (DOWN + 16 * m < to.count && column < size) {
                    REAL *at = to.at + (DOWN + 16 * m) * to.stride + column;
                    *at = add ? FMA(*at, keep[m], by * sum[m][n]) : by * sum[m][n];
                }
            }
        }
    }
}

/* to = to scale, elements that multiply gave to this thread. */
DEVICE void NAME(rescale)(NAME(tile_sums) to, const REAL *scale, int64_t size) {
    EACH(m) {
        for (int64_t column = ACROSS; column < size; column += 16)
            if (DOWN + 16 * m < to.count) to.at[(DOWN + 16 * m) * to.stride + column] *= scale[m];
    }
}

/* to = to + by rows, of elements as above; to is not read unless `add`. */
DEVICE void NAME(add_rows)(NAME(tile_sums) to, bool add, const REAL *by, const REAL *rows,
                           int64_t size) {
    EACH(m) {
        for (int64_t column = ACROSS; column < size; column += 16)
            if (DOWN + 16 * m < to.count) {
                int64_t i = (DOWN + 16 * m) * to.stride + column;
                to.at[i] = FMA(by[m], rows[i], add ? to.at[i] : 0);
            }
    }
}

/* The sum over the 16 threads of a row. */
DEVICE REAL NAME(row_sum)(REAL x) {
    UNROLL for (int bits = 1; bits < 16; bits *= 2) x += XOR(x, bits);
    return x;
}

DEVICE REAL NAME(row_max)(REAL x) {
    UNROLL for (int bits = 1; bits < 16; bits *= 2) {
        REAL other = XOR(x, bits);
        x = other > x ? other : x;
    }
    return x;
}

/* A block's rows, or a streamed tile of them: of a head, from `first` on. */
typedef struct {
    int64_t batch, head, first;
    int count;
} NAME(place);

DEVICE NAME(place) NAME(place_of_block)(const attention_args *args) {
    int64_t first = first_row_of_block(args, TILE);
    NAME(place)
    place = {item_of_block(args), block_y(), first, (int)least(TILE, args->rows - first)};
    return place;
}

DEVICE int64_t NAME(row_offset)(const attention_args *args, NAME(place) place) {
    return statistic_of(args, place.batch, place.first, place.head) * args->size;
}

DEVICE NAME(tile_rows)
    NAME(rows_of)(const attention_args *args, const void *of, NAME(place) place) {
    int64_t offset = of ? NAME(row_offset)(args, place) : 0;
    NAME(tile_rows)
    rows = {(const ELEMENT *)of + offset, (int64_t)args->heads * args->size, place.count};
    return rows;
}

DEVICE NAME(tile_sums) NAME(sums_of)(const attention_args *args, void *of, NAME(place) place) {
    int64_t offset = of ? NAME(row_offset)(args, place) : 0;
    NAME(tile_sums) sums = {(REAL *)of + offset, (int64_t)args->heads * args->size, place.count};
    return sums;
}

/* The forward's sums of a part of the keys, as they are. */
DEVICE NAME(tile_sums) NAME(sums_of_part)(const attention_args *args, NAME(place) place) {
    int64_t part = part_of_row(args, place.batch, place.first, place.head);
    NAME(tile_sums)
    sums = {(REAL *)args->part + part * args->size, (int64_t)args->heads * args->parts * args->size,
            place.count};
    return sums;
}

/* Keys or values from `at` on. */
DEVICE NAME(tile_rows)
    NAME(keys_of)(const attention_args *args, const void *before, const void *fresh, int64_t past,
                  NAME(place) place, int64_t at, int count) {
    int64_t group = place.head / (args->heads / args->groups);
    const ELEMENT *of = (const ELEMENT *)(at < past ? before : fresh);
    int64_t offset = offset_of_key(args, past, at, place.batch, group, args->past_stride);
    NAME(tile_rows) keys = {of + (of ? offset : 0), (int64_t)args->groups * args->size, count};
    return keys;
}

/* Operands of a tile of keys from `at` on; b and c are of new keys, where they are given. */
typedef struct {
    NAME(tile_rows) k, v, b, c;
    bool with_b, with_c;
} NAME(key_tile);

DEVICE NAME(key_tile) NAME(key_tile_at)(const attention_args *args, int64_t past, NAME(place) place,
                                        int64_t at, int count) {
    NAME(key_tile) t;
    t.k = NAME(keys_of)(args, args->past_k, args->k, past, place, at, count);
    t.v = NAME(keys_of)(args, args->past_v, args->v, past, place, at, count);
    t.b = NAME(keys_of)(args, 0, args->b, past, place, at, count);
    t.c = NAME(keys_of)(args, 0, args->c, past, place, at, count);
    t.with_b = args->b && at >= past;
    t.with_c = args->c && at >= past;
    return t;
}

/* Statistics of `SIDE` rows, zero where there are none. */
DEVICE void NAME(statistics)(REAL *to, const attention_args *args, const void *from,
                             NAME(place) place, int begin) {
    int64_t first = statistic_of(args, place.batch, place.first, place.head);
    EACH(m) {
        int64_t row = begin + 16 * m;
        bool there = from && row < place.count;
        to[m] = there ? ((const REAL *)from)[first + row * args->heads] : 0;
    }
}
