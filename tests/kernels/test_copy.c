/* Copies against one loop over all elements, for random shapes, permutations and slices. */
#include "kernels/copy.h"
#include "tests/kernels/rows_naive.h"

enum { AXES = KERN_COPY_AXES };

static uint64_t state = 7;
static int64_t below(int64_t n) {
    return (int64_t)(naive_random(&state) % (uint64_t)n);
}

static void fill_random(void *memory, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) ((unsigned char *)memory)[i] = (unsigned char)below(256);
}

static void dense_strides(int64_t *stride, const int64_t *shape, int rank) {
    int64_t step = 1;
    for (int axis = rank - 1; axis >= 0; axis--) {
        stride[axis] = step;
        step *= shape[axis];
    }
}

static int64_t count_of(const int64_t *shape, int rank) {
    int64_t count = 1;
    for (int axis = 0; axis < rank; axis++) count *= shape[axis];
    return count;
}

static void naive_copy(char *dst, const int64_t *dst_stride, const char *src,
                       const int64_t *src_stride, const int64_t *shape, int rank, size_t bytes) {
    for (int64_t i = 0; i < count_of(shape, rank); i++) {
        int64_t at = i, d = 0, s = 0;
        for (int axis = rank - 1; axis >= 0; axis--) {
            d += at % shape[axis] * dst_stride[axis];
            s += at % shape[axis] * src_stride[axis];
            at /= shape[axis];
        }
        memcpy(dst + d * (int64_t)bytes, src + s * (int64_t)bytes, bytes);
    }
}

static void random_shape(int64_t *shape, int rank) {
    static const int64_t extents[] = {1, 2, 3, 7, 16, 17, 33, 70};
    int64_t count = 1;
    for (int axis = 0; axis < rank; axis++) {
        shape[axis] = extents[below(8)];
        if (count * shape[axis] > 60000) shape[axis] = 1;
        count *= shape[axis];
    }
}

static void check_permutation(size_t bytes) {
    int rank = (int)below(AXES + 1), permutation[AXES];
    int64_t shape[AXES], extent[AXES], dense[AXES], from[AXES], to[AXES];
    random_shape(shape, rank);
    for (int axis = 0; axis < rank; axis++) {
        int other = (int)below(axis + 1);
        permutation[axis] = axis;
        permutation[axis] = permutation[other];
        permutation[other] = axis;
    }
    dense_strides(dense, shape, rank);
    for (int axis = 0; axis < rank; axis++) {
        from[axis] = dense[permutation[axis]];
        extent[axis] = shape[permutation[axis]];
    }
    dense_strides(to, extent, rank);
    size_t size = (size_t)count_of(shape, rank) * bytes;
    char *src = guarded(size, 0), *got = guarded(size, 1), *want = guarded(size, 2);
    fill_random(src, size);
    naive_copy(want, to, src, from, extent, rank, bytes);
    kern_copy_strided(got, to, src, from, extent, rank, bytes);
    assert_memory_equal(got, want, size);
    free_guarded(src, size);
    free_guarded(got, size);
    free_guarded(want, size);
}

static void permutations(void **unused) {
    (void)unused;
    for (int i = 0; i < 900; i++) check_permutation((size_t[]){2, 4, 8}[i % 3]);
}

/* A slice at random offsets of a larger tensor into another larger one; src axes may repeat. */
static void check_slice(size_t bytes) {
    int rank = 1 + (int)below(AXES);
    int64_t shape[AXES], in[AXES], out[AXES], from[AXES], to[AXES], src_at = 0, dst_at = 0;
    random_shape(shape, rank);
    for (int axis = 0; axis < rank; axis++) {
        in[axis] = shape[axis] + (below(2) ? below(3) : 0);
        out[axis] = shape[axis] + (below(2) ? below(3) : 0);
    }
    dense_strides(from, in, rank);
    dense_strides(to, out, rank);
    for (int axis = 0; axis < rank; axis++) {
        src_at += below(in[axis] - shape[axis] + 1) * from[axis];
        dst_at += below(out[axis] - shape[axis] + 1) * to[axis];
        if (!below(5)) from[axis] = 0;
    }
    size_t src_size = (size_t)count_of(in, rank) * bytes;
    size_t size = (size_t)count_of(out, rank) * bytes;
    char *src = guarded(src_size, 0), *got = guarded(size, 3), *want = guarded(size, 3);
    fill_random(src, src_size);
    naive_copy(want + dst_at * (int64_t)bytes, to, src + src_at * (int64_t)bytes, from, shape, rank,
               bytes);
    kern_copy_strided(got + dst_at * (int64_t)bytes, to, src + src_at * (int64_t)bytes, from, shape,
                      rank, bytes);
    assert_memory_equal(got, want, size);
    free_guarded(src, src_size);
    free_guarded(got, size);
    free_guarded(want, size);
}

static void slices(void **unused) {
    (void)unused;
    for (int i = 0; i < 900; i++) check_slice((size_t[]){2, 4, 8}[i % 3]);
    int64_t long_one = 1 << 20, one = 1, odd = 1000003;
    char *src = guarded(4 << 20, 0), *got = guarded(4 << 20, 1);
    fill_random(src, 4 << 20);
    kern_copy_strided(got, &one, src, &one, &long_one, 1, 4);
    assert_memory_equal(got, src, 4 << 20);
    memset(got, 0, 4 << 20);
    kern_copy_strided(got, &one, src, &one, &odd, 1, 4);
    assert_memory_equal(got, src, 4 * 1000003);
    assert_int_equal(got[4 * 1000003], 0);
    int64_t empty[2] = {3, 0}, strides[2] = {1, 1};
    kern_copy_strided(got, strides, src, strides, empty, 2, 4);
    assert_memory_equal(got, src, 4 * 1000003);
    free_guarded(src, 4 << 20);
    free_guarded(got, 4 << 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(permutations), cmocka_unit_test(slices)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
