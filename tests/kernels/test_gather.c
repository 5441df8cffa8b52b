/* Rows of a table by index and back, against plain loops; indices outside the table, repeated
 * indices, the same bits with any number of threads. */
#include "kernels/gather.h"
#include "tests/kernels/rows_naive.h"

static uint64_t state = 11;
static int64_t below(int64_t n) {
    return (int64_t)(naive_random(&state) % (uint64_t)n);
}
static double number(void) {
    return (double)below(2000001) * 1e-6 - 1;
}

static void *random_tensor(kern_dtype dtype, int64_t count) {
    void *memory = guarded((size_t)count * kern_dtype_bytes(dtype), 0);
    for (int64_t i = 0; i < count; i++) naive_write(dtype, memory, i, number());
    return memory;
}

static int32_t *random_index(int64_t rows, int64_t vocab) {
    int32_t *index = guarded((size_t)rows * 4, 0);
    for (int64_t i = 0; i < rows; i++)
        index[i] = (int32_t)(below(8) ? below(vocab) : below(2) ? vocab + below(3) : -1 - below(3));
    return index;
}

static void check_gather(kern_dtype dtype, int64_t rows, int64_t vocab, int64_t width) {
    size_t each = (size_t)width * kern_dtype_bytes(dtype);
    void *table = random_tensor(dtype, vocab * width);
    int32_t *index = random_index(rows, vocab);
    char *out = guarded((size_t)rows * each, 0);
    kern_gather(dtype, out, table, index, rows, vocab, width);
    for (int64_t i = 0; i < rows; i++) {
        char *row = out + (size_t)i * each;
        if (index[i] >= 0 && index[i] < vocab)
            assert_memory_equal(row, (char *)table + (size_t)index[i] * each, each);
        else
            for (int64_t j = 0; j < width; j++) assert_true(isnan(naive_read(dtype, row, j)));
    }
    free_guarded(table, (size_t)vocab * each);
    free_guarded(index, (size_t)rows * 4);
    free_guarded(out, (size_t)rows * each);
}

static void gathers(void **unused) {
    (void)unused;
    static const kern_dtype dtypes[] = {KERN_F32, KERN_F64, KERN_BF16};
    static const int64_t sizes[][3] = {{1, 1, 1}, {7, 3, 17}, {1000, 257, 64}, {0, 5, 3}};
    for (int d = 0; d < 3; d++)
        for (int s = 0; s < 4; s++) check_gather(dtypes[d], sizes[s][0], sizes[s][1], sizes[s][2]);
}

static void check_scatter(kern_dtype dtype, int64_t rows, int64_t vocab, int64_t width) {
    size_t size = (size_t)(vocab * width) * kern_dtype_bytes(dtype);
    void *start = random_tensor(dtype, vocab * width), *row = random_tensor(dtype, rows * width);
    int32_t *index = random_index(rows, vocab);
    void *want = guarded(size, 0), *got = guarded(size, 0);
    memcpy(want, start, size);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < width && index[i] >= 0 && index[i] < vocab; j++) {
            int64_t at = index[i] * width + j;
            double sum = naive_read(dtype, want, at) + naive_read(dtype, row, i * width + j);
            naive_write(dtype, want, at, sum);
        }
    int before = omp_get_max_threads();
    for (int threads = 1; threads <= 5; threads++) {
        omp_set_num_threads(threads);
        memcpy(got, start, size);
        kern_scatter_add(dtype, got, row, index, rows, vocab, width);
        assert_memory_equal(got, want, size);
    }
    omp_set_num_threads(before);
    free_guarded(start, size);
    free_guarded(row, (size_t)(rows * width) * kern_dtype_bytes(dtype));
    free_guarded(index, (size_t)rows * 4);
    free_guarded(want, size);
    free_guarded(got, size);
}

static void scatters(void **unused) {
    (void)unused;
    static const int64_t sizes[][3] = {{1, 1, 1},       {7, 3, 17},     {1000, 257, 64},
                                       {3000, 50, 200}, {5000, 999, 5}, {20000, 2, 1},
                                       {0, 5, 3},       {300, 4, 257}};
    for (int s = 0; s < 8; s++) {
        check_scatter(KERN_F32, sizes[s][0], sizes[s][1], sizes[s][2]);
        check_scatter(KERN_F64, sizes[s][0], sizes[s][1], sizes[s][2]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(gathers), cmocka_unit_test(scatters)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
