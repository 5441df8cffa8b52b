/* The pieces that attention's three stages share: loading tiles, the walk over the key tiles that a
 * row tile sees, and products that skip what the window hides.
 * Scores lie keys by rows (transposed), so that each statistic of a row is a lane: no sums across
 * lanes, and what belongs to keys is read as it lies. Only rows are transposed, once per tile. */
#ifndef KERNELS_ATTENTION_TILES_ISA_H
#define KERNELS_ATTENTION_TILES_ISA_H

#include "kernels/attention_task.h"
#include "kernels/tile_isa.h"

enum {
    ROWS = KERN_ATTENTION_ROWS,
    KEYS = KERN_ATTENTION_KEYS,
    /* whole vectors and whole register blocks */
    ROW_UNIT = (int)LANES > (int)TILE_M ? (int)LANES : (int)TILE_M
};

/* Cuts the scratch of an item into areas, in the order of kern_attention_layout. */
typedef struct {
    kern_attention_layout layout;
    real *rows, *keys, *scores, *statistics;
} scratch_areas;

static scratch_areas areas_of(const kern_attention_call *call, void *scratch) {
    scratch_areas areas = {
        .layout = kern_attention_layout_of(&call->shape, call->stage, call->past.past)};
    const kern_attention_layout *l = &areas.layout;
    areas.rows = scratch;
    areas.keys = areas.rows + l->rows * l->rows_area;
    areas.scores = areas.keys + l->keys * l->keys_area;
    areas.statistics = areas.scores + l->scores * l->scores_area;
    return areas;
}

static real *next_rows(scratch_areas *areas) {
    real *area = areas->rows;
    areas->rows += areas->layout.rows_area;
    return area;
}

static real *next_keys(scratch_areas *areas) {
    real *area = areas->keys;
    areas->keys += areas->layout.keys_area;
    return area;
}

static real *next_scores(scratch_areas *areas) {
    real *area = areas->scores;
    areas->scores += areas->layout.scores_area;
    return area;
}

static real *next_statistic(scratch_areas *areas) {
    real *area = areas->statistics;
    areas->statistics += ROWS;
    return area;
}

/* ROWS or fewer query rows of one head. */
typedef struct {
    const kern_attention_call *call;
    int64_t batch, head, group, first, count;
    int64_t padded; /* count, up to whole ROW_UNITs */
    int64_t width;
    int64_t key_begin, key_end; /* keys beyond are not looked at */
    bool part;                  /* results of rows are added to */
} row_tile;

static row_tile row_tile_of(const kern_attention_call *call, const kern_attention_item *item,
                            int64_t head, int64_t first, int64_t width) {
    const kern_attention_shape *s = &call->shape;
    int64_t count = item->end - first < ROWS ? item->end - first : ROWS;
    return (row_tile){.call = call,
                      .batch = item->batch,
                      .head = head,
                      .group = head * s->groups / s->heads,
                      .first = first,
                      .count = count,
                      .padded = (count + ROW_UNIT - 1) / ROW_UNIT * ROW_UNIT,
                      .width = width,
                      .key_begin = item->key_begin,
                      .key_end = item->key_end,
                      .part = item->pass == KERN_ATTENTION_PART};
}

/* KEYS or fewer keys of one segment. Key i and row r of the tiles see each other iff
 * low <= r - i <= high. */
typedef struct {
    bool past, whole; /* whole: all see each other */
    int64_t first, count, low, high;
} key_tile;

/* Puts the index-th key tile that the row tile sees into `tile`; false behind the last. */
static bool key_tile_at(const row_tile *rows, int64_t index, key_tile *tile) {
    int64_t past = rows->call->past.past, window = rows->call->shape.window;
    int64_t position = past + rows->first, end = kern_min(rows->key_end, position + rows->count);
    int64_t begin = kern_max(rows->key_begin, position - window + 1),
            past_end = kern_min(past, end);
    int64_t past_tiles = begin < past_end ? (past_end - begin + KEYS - 1) / KEYS : 0;
    tile->past = index < past_tiles;
    int64_t first =
        tile->past ? begin + index * KEYS : kern_max(begin, past) + (index - past_tiles) * KEYS;
    if (first >= end) return false;
    tile->count = kern_min(KEYS, (tile->past ? past_end : end) - first);
    tile->first = tile->past ? first : first - past;
    tile->low = first - position;
    tile->high = tile->low + window - 1;
    tile->whole = tile->low + tile->count - 1 <= 0 && tile->high >= rows->count - 1;
    return true;
}

typedef struct {
    int64_t begin, end;
} range;

/* Keys, in whole register blocks, that see any of the rows [row, row + rows). */
static range keys_seen(const key_tile *tile, int64_t row, int64_t rows) {
    int64_t begin = kern_max(0, row - tile->high) / TILE_M * TILE_M;
    int64_t end = kern_min(tile->count, row + rows - tile->low);
    return (range){begin, end > begin ? (end + TILE_M - 1) / TILE_M * TILE_M : begin};
}

/* The keys whose scores with the vector of rows from `row` on must be right, or zero where hidden:
 * those that a product with any register block of these rows reads. */
static range keys_of_lanes(const key_tile *keys, int64_t row) {
    range seen = keys_seen(keys, row / ROW_UNIT * ROW_UNIT, ROW_UNIT);
    return (range){seen.begin, kern_min(seen.end, keys->count)};
}

/* scores [keys, rows] = keys [keys, width] rows [width, rows] (+ scores), where seen. */
static void product_scores(real *scores, const real *keys, const real *rows_transposed,
                           const row_tile *rows, const key_tile *tile_of_keys, bool accumulate) {
    int64_t depth = rows->call->shape.head_size;
    for (int64_t j = 0; j < rows->padded; j += 2 * LANES) {
        int64_t vectors = rows->padded - j > LANES ? 2 : 1;
        range seen = keys_seen(tile_of_keys, j, vectors * LANES);
        for (int64_t i = seen.begin; i < seen.end; i += TILE_M) {
            strided a = {keys + i * rows->width, rows->width, 1};
            real *block = scores + i * ROWS + j;
            if (vectors == 2)
                tile_block(2, block, ROWS, a, rows_transposed + j, ROWS, depth, accumulate);
            else
                tile_block(1, block, ROWS, a, rows_transposed + j, ROWS, depth, accumulate);
        }
    }
}

static void block_of_width(real *out, int64_t width, int64_t j, strided a, const real *b,
                           int64_t depth, bool accumulate) {
    if (width - j > LANES)
        tile_block(2, out + j, width, a, b + j, width, depth, accumulate);
    else
        tile_block(1, out + j, width, a, b + j, width, depth, accumulate);
}

/* out [rows, width] = scores^T keys [keys, width] (+ out). */
static void product_rows(real *out, const real *scores, const real *keys, const row_tile *rows,
                         const key_tile *tile_of_keys, bool accumulate) {
    int64_t width = rows->width;
    for (int64_t j = 0; j < width; j += 2 * LANES)
        for (int64_t r = 0; r < rows->padded; r += TILE_M) {
            range seen = keys_seen(tile_of_keys, r, TILE_M);
            int64_t end = kern_min(seen.end, tile_of_keys->count);
            strided a = {scores + seen.begin * ROWS + r, 1, ROWS};
            block_of_width(out + r * width, width, j, a, keys + seen.begin * width,
                           end - seen.begin, accumulate);
        }
}

/* out [keys, width] = scores rows [rows, width] (+ out). */
static void product_keys(real *out, const real *scores, const real *row_values,
                         const row_tile *rows, const key_tile *tile_of_keys, bool accumulate) {
    int64_t width = rows->width;
    for (int64_t j = 0; j < width; j += 2 * LANES)
        for (int64_t i = 0; i < tile_of_keys->count; i += TILE_M) {
            int64_t begin = kern_max(0, i + tile_of_keys->low);
            int64_t end = kern_min(rows->count, i + TILE_M + tile_of_keys->high);
            strided a = {scores + i * ROWS + begin, ROWS, 1};
            block_of_width(out + i * width, width, j, a, row_values + begin * width,
                           kern_max(0, end - begin), accumulate);
        }
}

/* Lanes of the rows from `row` on that see key `key`. */
static inline vec_int lanes_seen(const key_tile *tile, int64_t key, int64_t row) {
    static const real_int iota[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    vec_int lane;
    memcpy(&lane, iota, sizeof lane);
    int64_t low = kern_max(-1, tile->low + key - row);
    int64_t high = kern_min(LANES, kern_max(-1, tile->high + key - row));
    return (lane >= (real_int)low) & (lane <= (real_int)high);
}

/* packed [count, width] = scale * source, zeros beyond the head size. `source` is the first row,
 * rows are `stride` elements apart; `dtype` is bf16 or that of real. */
static void load_tile(real *packed, const void *source, kern_dtype dtype, int64_t count,
                      int64_t stride, const row_tile *rows, real scale) {
    int64_t size = rows->call->shape.head_size;
    for (int64_t i = 0; i < count; i++) {
        real *to = packed + i * rows->width;
        if (dtype == KERN_BF16) {
            const uint16_t *from = (const uint16_t *)source + i * stride;
            for (int64_t j = 0; j < size; j++) {
                uint32_t bits = (uint32_t)from[j] << 16;
                float value;
                memcpy(&value, &bits, sizeof value);
                to[j] = scale * (real)value;
            }
        } else {
            const real *from = (const real *)source + i * stride;
            for (int64_t j = 0; j < size; j++) to[j] = scale * from[j];
        }
        for (int64_t j = size; j < rows->width; j++) to[j] = 0;
    }
}

static const void *advance(const void *data, int64_t elements, kern_dtype dtype) {
    return (const char *)data + elements * (int64_t)kern_dtype_bytes(dtype);
}

/* Rows of q, o, ct_o or a. */
static int64_t row_offset(const row_tile *rows) {
    const kern_attention_shape *s = &rows->call->shape;
    return ((rows->batch * s->rows + rows->first) * s->heads + rows->head) * s->head_size;
}

static void load_rows(real *packed, const void *tensor, kern_dtype dtype, const row_tile *rows,
                      double scale) {
    const kern_attention_shape *s = &rows->call->shape;
    load_tile(packed, advance(tensor, row_offset(rows), dtype), dtype, rows->count,
              s->heads * s->head_size, rows, (real)scale);
}

static void store_rows(void *tensor, const real *packed, const row_tile *rows, double scale) {
    const kern_attention_shape *s = &rows->call->shape;
    real *to = (real *)tensor + row_offset(rows);
    for (int64_t i = 0; i < rows->count; i++, to += s->heads * s->head_size)
        for (int64_t j = 0; j < s->head_size; j++) {
            real value = (real)scale * packed[i * rows->width + j];
            to[j] = rows->part ? to[j] + value : value;
        }
}

/* transposed [width, ROWS] = packed^T, zeros from `count` to `padded` rows. */
static void transpose_rows(real *transposed, const real *packed, const row_tile *rows) {
    for (int64_t j = 0; j < rows->call->shape.head_size; j++) {
        real *to = transposed + j * ROWS;
        for (int64_t i = 0; i < rows->count; i++) to[i] = packed[i * rows->width + j];
        for (int64_t i = rows->count; i < rows->padded; i++) to[i] = 0;
    }
}

/* Keys or values: of the past for past tiles, else of the new rows. */
static void load_keys(real *packed, const void *past, const void *fresh, const row_tile *rows,
                      const key_tile *keys) {
    const kern_attention_shape *s = &rows->call->shape;
    int64_t stride = s->groups * s->head_size;
    int64_t item = keys->past ? rows->call->past.stride : s->rows * stride;
    int64_t offset = rows->batch * item + keys->first * stride + rows->group * s->head_size;
    load_tile(packed, advance(keys->past ? past : fresh, offset, s->dtype), s->dtype, keys->count,
              stride, rows, 1);
}

/* Adds a tile [keys, width] to the cotangents of the past or of the new rows. */
static void add_keys(void *past, void *fresh, const real *packed, const row_tile *rows,
                     const key_tile *keys) {
    const kern_attention_shape *s = &rows->call->shape;
    int64_t stride = s->groups * s->head_size;
    int64_t item = keys->past ? rows->call->out_past.stride : s->rows * stride;
    real *to = (real *)(keys->past ? past : fresh) + rows->batch * item + keys->first * stride +
               rows->group * s->head_size;
    for (int64_t i = 0; i < keys->count; i++)
        for (int64_t j = 0; j < s->head_size; j++)
            to[i * stride + j] += packed[i * rows->width + j];
}

/* Rows of statistics [B, C, H]. */
static int64_t statistic_offset(const row_tile *rows) {
    const kern_attention_shape *s = &rows->call->shape;
    return (rows->batch * s->rows + rows->first) * s->heads + rows->head;
}

static void load_statistic(real *packed, const void *tensor, const row_tile *rows) {
    const real *from = (const real *)tensor + statistic_offset(rows);
    for (int64_t i = 0; i < rows->padded; i++)
        packed[i] = i < rows->count ? from[i * rows->call->shape.heads] : 0;
}

static void store_statistic(void *tensor, const real *packed, const row_tile *rows) {
    real *to = (real *)tensor + statistic_offset(rows);
    for (int64_t i = 0; i < rows->count; i++) to[i * rows->call->shape.heads] = packed[i];
}

/* out[r] = sum over the head of a[r] b[r] */
static void row_dots(real *out, const real *a, const real *b, const row_tile *rows) {
    for (int64_t i = 0; i < rows->padded; i++) {
        vec sum = {0};
        for (int64_t j = 0; i < rows->count && j < rows->width; j += LANES)
            sum = vec_fused(vec_load(a + i * rows->width + j), vec_load(b + i * rows->width + j),
                            sum);
        real lanes[LANES], total = 0;
        memcpy(lanes, &sum, sizeof lanes);
        for (int j = 0; j < LANES; j++) total += lanes[j];
        out[i] = total;
    }
}

#endif
