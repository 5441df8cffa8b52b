#include "kernels/copy.h"

#include "kernels/copy_layout.h"

#include <string.h>

#define INLINE inline __attribute__((always_inline))

enum {
    PARALLEL_BYTES = 65536,
    RUN_BYTES = 65536, /* a longer run of adjacent elements is cut */
};

typedef kern_copy_layout layout;

static void insert_axis(layout *l, int64_t extent, int64_t dst, int64_t src) {
    int at = l->axes++;
    for (; at > 0 && l->dst[at - 1] < dst; at--) {
        l->shape[at] = l->shape[at - 1];
        l->dst[at] = l->dst[at - 1];
        l->src[at] = l->src[at - 1];
    }
    l->shape[at] = extent;
    l->dst[at] = dst;
    l->src[at] = src;
}

static void merge_axes(layout *l) {
    int kept = 0;
    for (int i = 1; i < l->axes; i++) {
        bool merge =
            l->dst[kept] == l->dst[i] * l->shape[i] && l->src[kept] == l->src[i] * l->shape[i];
        if (!merge) kept++;
        l->shape[kept] = merge ? l->shape[kept] * l->shape[i] : l->shape[i];
        l->dst[kept] = l->dst[i];
        l->src[kept] = l->src[i];
    }
    l->axes = l->axes ? kept + 1 : 0;
}

bool kern_copy_layout_of(layout *l, const int64_t *dst_stride, const int64_t *src_stride,
                         const int64_t *shape, int rank) {
    ASSERT(rank >= 0 && rank <= KERN_COPY_AXES);
    *l = (layout){0};
    for (int axis = 0; axis < rank; axis++) {
        if (shape[axis] == 0) return false;
        if (shape[axis] > 1) insert_axis(l, shape[axis], dst_stride[axis], src_stride[axis]);
    }
    merge_axes(l);
    if (!l->axes) insert_axis(l, 1, 1, 1);
    return true;
}

bool kern_copy_find_transposed(layout *l) {
    int second = l->axes - 2, at = second;
    while (at >= 0 && l->src[at] != 1) at--;
    if (at < 0 || l->dst[l->axes - 1] != 1) return false;
    int64_t extent = l->shape[at], dst = l->dst[at], src = l->src[at];
    for (; at < second; at++) {
        l->shape[at] = l->shape[at + 1];
        l->dst[at] = l->dst[at + 1];
        l->src[at] = l->src[at + 1];
    }
    l->shape[second] = extent;
    l->dst[second] = dst;
    l->src[second] = src;
    return true;
}

static int64_t count_of(const layout *l, int axes) {
    int64_t count = 1;
    for (int axis = 0; axis < axes; axis++) count *= l->shape[axis];
    return count;
}

/* Offsets of item `at` of the first `axes` axes. */
static void find_offsets(const layout *l, int axes, int64_t at, int64_t *dst, int64_t *src) {
    *dst = *src = 0;
    for (int axis = axes - 1; axis >= 0; axis--) {
        *dst += at % l->shape[axis] * l->dst[axis];
        *src += at % l->shape[axis] * l->src[axis];
        at /= l->shape[axis];
    }
}

static INLINE void copy_elements(char *dst, int64_t dst_stride, const char *src, int64_t src_stride,
                                 int64_t count, size_t bytes) {
    for (int64_t i = 0; i < count; i++)
        memcpy(dst + i * dst_stride * (int64_t)bytes, src + i * src_stride * (int64_t)bytes, bytes);
}

static void copy_run(char *dst, int64_t dst_stride, const char *src, int64_t src_stride,
                     int64_t count, size_t bytes) {
    if (dst_stride == 1 && src_stride == 1)
        memcpy(dst, src, (size_t)count * bytes);
    else if (bytes == 2)
        copy_elements(dst, dst_stride, src, src_stride, count, 2);
    else if (bytes == 4)
        copy_elements(dst, dst_stride, src, src_stride, count, 4);
    else
        copy_elements(dst, dst_stride, src, src_stride, count, 8);
}

/* dst[r * dst_stride + c] = src[r + c * src_stride], r < rows, c < cols, both at most SIDE: through
 * a buffer, so that memory is read and written in whole cache lines whatever the strides. */
static INLINE void transpose_block(char *dst, int64_t dst_stride, const char *src,
                                   int64_t src_stride, int64_t rows, int64_t cols, size_t bytes) {
    enum { SIDE = 16 };
    char buffer[SIDE * SIDE * 8];
    for (int64_t c = 0; c < cols; c++)
        memcpy(buffer + (size_t)c * SIDE * bytes, src + c * src_stride * (int64_t)bytes,
               (rows == SIDE ? SIDE : (size_t)rows) * bytes);
    for (int64_t r = 0; r < rows; r++) {
        char *row = dst + r * dst_stride * (int64_t)bytes;
        if (cols == SIDE)
            for (size_t c = 0; c < SIDE; c++)
                memcpy(row + c * bytes, buffer + (c * SIDE + (size_t)r) * bytes, bytes);
        else
            for (size_t c = 0; c < (size_t)cols; c++)
                memcpy(row + c * bytes, buffer + (c * SIDE + (size_t)r) * bytes, bytes);
    }
}

static void transpose_stripe(char *dst, int64_t dst_stride, const char *src, int64_t src_stride,
                             int64_t rows, int64_t cols, size_t bytes) {
    enum { SIDE = 16 };
    for (int64_t c = 0; c < cols; c += SIDE) {
        int64_t width = cols - c < SIDE ? cols - c : SIDE;
        char *d = dst + c * (int64_t)bytes;
        const char *s = src + c * src_stride * (int64_t)bytes;
        if (bytes == 2)
            transpose_block(d, dst_stride, s, src_stride, rows, width, 2);
        else if (bytes == 4)
            transpose_block(d, dst_stride, s, src_stride, rows, width, 4);
        else
            transpose_block(d, dst_stride, s, src_stride, rows, width, 8);
    }
}

static void copy_transposed(const layout *l, char *dst, const char *src, size_t bytes,
                            bool parallel) {
    enum { SIDE = 16 };
    int last = l->axes - 1;
    int64_t rows = l->shape[last - 1], stripes = kern_divide_up(rows, SIDE);
    int64_t items = count_of(l, last - 1);
#pragma omp parallel for schedule(static) if (parallel)
    for (int64_t i = 0; i < items * stripes; i++) {
        int64_t d, s, row = i % stripes * SIDE;
        find_offsets(l, last - 1, i / stripes, &d, &s);
        d += row * l->dst[last - 1];
        s += row;
        transpose_stripe(dst + d * (int64_t)bytes, l->dst[last - 1], src + s * (int64_t)bytes,
                         l->src[last], rows - row < SIDE ? rows - row : SIDE, l->shape[last],
                         bytes);
    }
}

/* The i-th of the pieces, each of RUN_BYTES at most, of which a run has so many. */
static void copy_piece(const layout *l, char *dst, const char *src, size_t bytes, int64_t pieces,
                       int64_t i) {
    int last = l->axes - 1;
    int64_t d, s, piece = RUN_BYTES / (int64_t)bytes, begin = i % pieces * piece;
    find_offsets(l, last, i / pieces, &d, &s);
    d += begin * l->dst[last];
    s += begin * l->src[last];
    copy_run(dst + d * (int64_t)bytes, l->dst[last], src + s * (int64_t)bytes, l->src[last],
             kern_min(piece, l->shape[last] - begin), bytes);
}

void kern_copy_strided(void *dst, const int64_t *dst_stride, const void *src,
                       const int64_t *src_stride, const int64_t *shape, int rank, size_t bytes) {
    ASSERT(bytes == 2 || bytes == 4 || bytes == 8);
    layout l;
    if (!kern_copy_layout_of(&l, dst_stride, src_stride, shape, rank)) return;
    bool parallel = count_of(&l, l.axes) * (int64_t)bytes > PARALLEL_BYTES;
    int last = l.axes - 1;
    if (l.src[last] != 1 && kern_copy_find_transposed(&l)) {
        copy_transposed(&l, dst, src, bytes, parallel);
        return;
    }
    int64_t pieces = kern_divide_up(l.shape[last], RUN_BYTES / (int64_t)bytes);
    int64_t items = count_of(&l, last) * pieces;
    if (!parallel) {
        for (int64_t i = 0; i < items; i++) copy_piece(&l, dst, src, bytes, pieces, i);
        return;
    }
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < items; i++) copy_piece(&l, dst, src, bytes, pieces, i);
}
