/* What a device moves, and what it copies in runs: the CPU's bits, at edges of blocks and units. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "kernels/copy.h"
#include "tests/device.h"

static uint64_t state = 3;

static int64_t below(int64_t n) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (int64_t)((state >> 33) % (uint64_t)n);
}

/* Random numbers on the CPU and on the device; `lead` bytes before, so that alignment varies, and
 * some behind, which nobody may write. */
enum { BEHIND = 16 };

typedef struct {
    char *here;
    kern_buffer there;
    size_t lead, bytes;
} pair;

static pair pair_of(size_t bytes, size_t lead) {
    pair p = {.lead = lead, .bytes = bytes};
    p.here = malloc(lead + bytes + BEHIND);
    assert_non_null(p.here);
    for (size_t i = 0; i < lead + bytes + BEHIND; i++) p.here[i] = (char)below(256);
    p.there = test_on_device(p.here, lead + bytes + BEHIND);
    return p;
}

static pair reals(kern_dtype dtype, int64_t count, size_t lead) {
    pair p = pair_of((size_t)count * kern_dtype_bytes(dtype), lead);
    for (int64_t i = 0; i < count; i++) {
        double x = (double)below(2001) * 1e-3 - 1;
        if (dtype == KERN_BF16)
            ((uint16_t *)(void *)(p.here + lead))[i] = (uint16_t)below(0x3fff);
        else
            kern_real_put(p.here + lead, dtype, i, x);
    }
    kern_upload(test_device(), p.there.data, p.here, lead + p.bytes);
    return p;
}

static char *at(const pair *p) {
    return (char *)p->there.data + p->lead;
}

/* All bytes, those before included, are alike; then both are gone. */
static void compare(pair *p, const char *what) {
    size_t bytes = p->lead + p->bytes + BEHIND;
    char *got = malloc(bytes);
    assert_non_null(got);
    test_from_device(got, p->there.data, bytes);
    for (size_t i = 0; i < bytes; i++)
        if (got[i] != p->here[i])
            fail_msg("%s: byte %zu of %zu (after %zu) is %02x, not %02x", what, i, bytes, p->lead,
                     (unsigned char)got[i], (unsigned char)p->here[i]);
    free(got);
    free(p->here);
    kern_buffer_destroy(&p->there);
}

static const kern_device *cpu(void) {
    return kern_device_cpu();
}

static void test_gather(void **unused) {
    (void)unused;
    static const kern_dtype dtypes[] = {KERN_F32, KERN_F64, KERN_BF16};
    static const int64_t sizes[][3] = {{1, 1, 1},   {7, 3, 17},   {70, 57, 64},
                                       {3, 2, 520}, {5, 4, 2049}, {0, 5, 3}};
    for (int d = 0; d < 3; d++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            int64_t rows = sizes[s][0], vocab = sizes[s][1], width = sizes[s][2];
            bool whole = s == 2; /* rows are whole runs of 16 bytes */
            pair table = reals(dtypes[d], vocab * width, whole ? 16 : d == 1 ? 8 : 4);
            pair index = pair_of((size_t)rows * 4, 0);
            pair out = reals(dtypes[d], rows * width, whole ? 16 : 8);
            for (int64_t i = 0; i < rows; i++)
                ((int32_t *)(void *)index.here)[i] = (int32_t)(below(vocab + 2) - 1);
            kern_upload(test_device(), index.there.data, index.here, index.bytes);
            kern_stream *stream = test_device()->stream;
            stream->device->move->gather(stream, dtypes[d], at(&out), at(&table), index.there.data,
                                         rows, vocab, width);
            cpu()->move->gather(cpu()->stream, dtypes[d], out.here + out.lead,
                                table.here + table.lead, (int32_t *)(void *)index.here, rows, vocab,
                                width);
            compare(&out, "gather");
            compare(&table, "gather's table");
            compare(&index, "gather's index");
        }
}

static void test_scatter_add(void **unused) {
    (void)unused;
    static const int64_t sizes[][3] = {{1, 1, 1},     {7, 3, 17},     {300, 4, 257},
                                       {257, 50, 20}, {513, 2, 1},    {40, 9, 256},
                                       {0, 5, 3},     {256, 1000, 5}, {33, 4, 1025}};
    for (int f64 = 0; f64 < 2; f64++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            kern_dtype dtype = f64 ? KERN_F64 : KERN_F32;
            int64_t rows = sizes[s][0], vocab = sizes[s][1], width = sizes[s][2];
            pair table = reals(dtype, vocab * width, 8), row = reals(dtype, rows * width, 0);
            pair index = pair_of((size_t)rows * 4, 4);
            int32_t *of = (int32_t *)(void *)(index.here + 4);
            for (int64_t i = 0; i < rows; i++) of[i] = (int32_t)(below(vocab + 2) - 1);
            kern_upload(test_device(), index.there.data, index.here, index.lead + index.bytes);
            kern_stream *stream = test_device()->stream;
            stream->device->move->scatter_add(stream, dtype, at(&table), at(&row),
                                              (int32_t *)(void *)at(&index), rows, vocab, width);
            cpu()->move->scatter_add(cpu()->stream, dtype, table.here + table.lead, row.here, of,
                                     rows, vocab, width);
            compare(&table, "scatter_add");
            compare(&row, "scatter_add's rows");
            compare(&index, "scatter_add's index");
        }
}

static void dense(int64_t *stride, const int64_t *shape, int rank) {
    int64_t step = 1;
    for (int axis = rank - 1; axis >= 0; axis--) {
        stride[axis] = step;
        step *= shape[axis];
    }
}

/* A permuted slice of a tensor, sometimes repeated along an axis, into a slice of another. */
static void check_copy(size_t bytes) {
    static const int64_t extents[] = {1, 2, 3, 8, 16, 31, 32, 33, 70};
    enum { AXES = KERN_COPY_AXES };
    int rank = (int)below(AXES + 1);
    int64_t shape[AXES], in[AXES] = {0}, out[AXES] = {0}, from[AXES], to[AXES];
    int64_t count = 1, src_count = 1;
    for (int axis = 0; axis < rank; axis++) {
        shape[axis] = extents[below(9)];
        if (count * shape[axis] > 6000) shape[axis] = 1;
        count *= shape[axis];
        in[axis] = shape[axis] + (below(3) ? 0 : 8);
        out[axis] = shape[axis] + (below(3) ? 0 : 8);
        src_count *= in[axis];
    }
    dense(from, in, rank);
    dense(to, out, rank);
    int64_t dst_count = rank ? to[0] * out[0] : 1;
    for (int axis = 0; axis < rank; axis++) {
        int other = (int)below(axis + 1);
        if (shape[axis] != shape[other] && below(4)) continue;
        int64_t swap = from[axis];
        if (shape[axis] == shape[other] && in[axis] == in[other]) {
            from[axis] = from[other];
            from[other] = swap;
        }
        if (!below(6)) from[axis] = 0;
    }
    pair src = pair_of((size_t)src_count * bytes, bytes * (size_t)below(3));
    pair dst = pair_of((size_t)dst_count * bytes, bytes * (size_t)below(3));
    kern_stream *stream = test_device()->stream;
    stream->device->move->copy(stream, at(&dst), to, at(&src), from, shape, rank, bytes);
    kern_copy_strided(dst.here + dst.lead, to, src.here + src.lead, from, shape, rank, bytes);
    compare(&dst, "copy");
    compare(&src, "copy's source");
}

/* [rows, columns] turned, which goes by tiles, within more axes. */
static void check_turn(size_t bytes, int64_t items, int64_t rows, int64_t columns) {
    int64_t shape[] = {items, columns, rows}, from[] = {rows * columns, 1, columns}, to[3];
    dense(to, shape, 3);
    size_t size = (size_t)(items * rows * columns) * bytes;
    pair src = pair_of(size, 0), dst = pair_of(size, bytes);
    kern_stream *stream = test_device()->stream;
    stream->device->move->copy(stream, at(&dst), to, at(&src), from, shape, 3, bytes);
    kern_copy_strided(dst.here + dst.lead, to, src.here, from, shape, 3, bytes);
    compare(&dst, "turned copy");
    compare(&src, "turned copy's source");
}

static void test_copy(void **unused) {
    (void)unused;
    static const size_t sizes[] = {2, 4, 8};
    for (int i = 0; i < 150; i++) check_copy(sizes[i % 3]);
    for (int s = 0; s < 3; s++) {
        static const int64_t edges[] = {2, 31, 32, 33};
        for (int r = 0; r < 4; r++)
            for (int c = 0; c < 4; c++) check_turn(sizes[s], 3, edges[r], edges[c]);
        check_turn(sizes[s], 2 * 256 + 3, 2, 5); /* more than the grid has layers */
    }
}

static void test_round(void **unused) {
    (void)unused;
    static const int64_t counts[] = {0, 1, 3, 4, 5, 1023, 1024, 1025, 5000};
    for (int lead = 0; lead <= 4; lead += 4)
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            pair from = pair_of((size_t)counts[c] * 4, (size_t)lead);
            pair to = pair_of((size_t)counts[c] * 2, 0);
            kern_stream *stream = test_device()->stream;
            stream->device->move->round(stream, (uint16_t *)(void *)at(&to),
                                        (float *)(void *)at(&from), counts[c]);
            cpu()->move->round(cpu()->stream, (uint16_t *)(void *)to.here,
                               (float *)(void *)(from.here + lead), counts[c]);
            compare(&to, "round");
            compare(&from, "round's source");
        }
}

/* Runs of bytes, pitches apart, and zeros over them. */
static void check_runs(size_t width, int64_t rows, size_t pitch, size_t to_pitch, size_t lead) {
    pair from = pair_of((size_t)rows * pitch + width, 0);
    pair to = pair_of((size_t)rows * to_pitch + width, lead);
    kern_stream *stream = test_device()->stream;
    stream->device->copy(stream, at(&to), to_pitch, at(&from), pitch, width, rows);
    cpu()->copy(cpu()->stream, to.here + to.lead, to_pitch, from.here, pitch, width, rows);
    stream->device->zero(stream, at(&from), pitch, width - 1, rows);
    cpu()->zero(cpu()->stream, from.here, pitch, width - 1, rows);
    compare(&to, "runs");
    compare(&from, "zeros");
}

static void test_runs(void **unused) {
    (void)unused;
    static const size_t widths[] = {1, 4, 12, 16, 100, 4096, 5000};
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
        for (int64_t rows = 0; rows < 4; rows++)
            for (size_t pitch = widths[w]; pitch < widths[w] + 48; pitch += 12)
                check_runs(widths[w], rows, pitch, pitch + 4, 4);
    check_runs(32, 3, 32, 36, 0); /* all is aligned but one pitch */
    check_runs(32, 3, 36, 48, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gather), cmocka_unit_test(test_scatter_add),
        cmocka_unit_test(test_copy),   cmocka_unit_test(test_round),
        cmocka_unit_test(test_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
