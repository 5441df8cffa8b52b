/* Work and memory are divided among many threads: each kernel's parts at the paper's shapes, and
 * who touches memory first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <omp.h>
#include <sys/resource.h>

#include "kernels/attention.h"
#include "kernels/matmul.h"
#include "kernels/rows.h"

enum { WANTED = 256, CHUNK = 1024, WINDOW = 8192, TILE = 64, VOCAB = 128256 };

/* The paper's models, of one sequence at a time: 125m to 3b. */
static const struct {
    int64_t heads, dim, mlp, mlp_e2e;
} sizes[] = {{12, 768, 2048, 1664},
             {16, 1024, 2816, 2304},
             {16, 1536, 4096, 3328},
             {32, 2048, 5376, 4352},
             {32, 2560, 6912, 5632}};
enum { SIZES = sizeof sizes / sizeof *sizes };

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t tiles_of(int64_t n, int64_t tile) {
    return (n + tile - 1) / tile;
}

/* Tiles: those of query rows in the forward; in the vjps, where rows meet keys, the fewer of those
 * of rows and of keys. */
static void check_attention(kern_attention_shape shape, int64_t past) {
    int64_t seen = least(past, shape.window - 1) + shape.rows;
    int64_t of_rows = shape.batch * shape.heads * tiles_of(shape.rows, TILE);
    int64_t of_keys = shape.batch * shape.groups * tiles_of(seen, TILE);
    for (int stage = 0; stage < 3; stage++) {
        int64_t tiles = stage ? least(of_rows, of_keys) : of_rows;
        int64_t parts = kern_attention_parts(&shape, stage, past);
        if (parts < least(WANTED, tiles))
            fail_msg("stage %d of %d heads, %d for keys, %d rows after %d: %d parts", stage,
                     (int)shape.heads, (int)shape.groups, (int)shape.rows, (int)past, (int)parts);
    }
}

/* Chunks at the beginning, in the middle and at the end of 8 and 128 thousand tokens, and whole
 * sequences; a key head for each query head, and one for all. */
static void test_attention(void **state) {
    (void)state;
    static const int64_t rows[] = {CHUNK, 8192}, past[] = {0, CHUNK, 7168, 8192, 130048};
    static const int64_t windows[] = {WINDOW, 1 << 30};
    for (int i = 0; i < SIZES; i++)
        for (int r = 0; r < 2; r++)
            for (int w = 0; w < 2; w++)
                for (size_t p = 0; p < sizeof past / sizeof *past; p++)
                    for (int one = 0; one < 2; one++)
                        check_attention(
                            (kern_attention_shape){.dtype = KERN_BF16,
                                                   .batch = 1,
                                                   .rows = rows[r],
                                                   .heads = sizes[i].heads,
                                                   .groups = one ? 1 : sizes[i].heads,
                                                   .head_size = sizes[i].dim / sizes[i].heads,
                                                   .window = windows[w],
                                                   .scale = 0.125},
                            past[p]);
}

/* As many tiles of 128 x 256 as there are, or the smallest that is worth a thread's while: 32 MFLOP
 * and more are cut. */
static void check_product(kern_dtype dtype, int64_t m, int64_t n, int64_t k, int transposed) {
    kern_matmul_shape shape = {.dtype = dtype,
                               .batch = 1,
                               .m = m,
                               .n = n,
                               .k = k,
                               .transpose_a = transposed == 1,
                               .transpose_b = transposed == 2,
                               .stride_a = m * k,
                               .stride_b = k * n,
                               .stride_c = m * n};
    kern_matmul *matmul = NULL;
    assert_int_equal(kern_matmul_create(&matmul, &shape), KERN_OK);
    double flops = 2.0 * (double)m * (double)n * (double)k;
    int64_t tiles = least(m / 128 * (n / 256), (int64_t)(flops / 64e6));
    int64_t parts = kern_matmul_parts(matmul);
    if (parts < least(WANTED, tiles))
        fail_msg("%s product of m=%d n=%d k=%d: %d parts of %d", kern_dtype_name(dtype), (int)m,
                 (int)n, (int)k, (int)parts, (int)tiles);
    kern_matmul_destroy(matmul);
}

static void check_products(int64_t m, int64_t n, int64_t k) {
    static const kern_dtype dtypes[] = {KERN_F32, KERN_BF16};
    for (int d = 0; d < 2; d++) {
        check_product(dtypes[d], m, n, k, 0);
        check_product(dtypes[d], m, k, n, 2);
        check_product(dtypes[d], k, n, m, 1);
    }
}

static void test_products(void **state) {
    (void)state;
    for (int i = 0; i < SIZES; i++)
        for (int64_t rows = CHUNK; rows <= 8192; rows *= 8) {
            check_products(rows, sizes[i].dim, sizes[i].dim);
            check_products(rows, sizes[i].mlp, sizes[i].dim);
            check_products(rows, sizes[i].mlp_e2e, sizes[i].dim);
            check_products(rows, VOCAB / 8, sizes[i].dim);
        }
}

/* Products of few rows are bound by reading b: tiles are its pieces of half a MiB, and the parts a
 * power of two. */
static void check_few(kern_dtype dtype, int64_t m, int64_t n, int64_t k, bool transposed) {
    kern_matmul_shape shape = {.dtype = dtype,
                               .batch = 1,
                               .m = m,
                               .n = n,
                               .k = k,
                               .transpose_b = transposed,
                               .stride_a = m * k,
                               .stride_b = k * n,
                               .stride_c = m * n};
    kern_matmul *matmul = NULL;
    assert_int_equal(kern_matmul_create(&matmul, &shape), KERN_OK);
    int64_t tiles = n * k * (int64_t)kern_dtype_bytes(dtype) / (512 << 10);
    int64_t parts = kern_matmul_parts(matmul), wanted = WANTED;
    while (wanted > tiles) wanted /= 2;
    if (wanted <= 16) wanted -= wanted / 4; /* few parts are whole runs of 64 columns */
    if (parts < wanted)
        fail_msg("%s product of %d rows, n=%d k=%d%s: %d parts of %d", kern_dtype_name(dtype),
                 (int)m, (int)n, (int)k, transposed ? ", b transposed" : "", (int)parts,
                 (int)wanted);
    kern_matmul_destroy(matmul);
}

static void test_few_rows(void **state) {
    (void)state;
    static const kern_dtype dtypes[] = {KERN_F32, KERN_BF16};
    for (int i = 0; i < SIZES; i++) {
        const int64_t wide[] = {sizes[i].dim, sizes[i].mlp, sizes[i].mlp_e2e, VOCAB};
        for (int w = 0; w < 4; w++)
            for (int64_t rows = 1; rows <= 8; rows *= 2)
                for (int transposed = 0; transposed < 2; transposed++)
                    for (int d = 0; d < 2; d++) {
                        if (dtypes[d] == KERN_BF16 && transposed && rows > 4) continue;
                        check_few(dtypes[d], rows, wide[w], sizes[i].dim, transposed);
                        if (w < 3 || !transposed) /* the head's is not taken so */
                            check_few(dtypes[d], rows, sizes[i].dim, wide[w], transposed);
                    }
    }
}

/* y = x + x, and without a store the sum of x over the rows. */
static int64_t parts_of_rows(int64_t rows, int64_t n, bool summed) {
    const kern_row_operand operand[2] = {
        {.dtype = KERN_F32, .wide = true, .stride = {n, 0, 0, 0}},
        {.dtype = KERN_F32, .wide = true, .stride = {summed ? 0 : n, 0, 0, 0}}};
    const kern_row_instr instr[] = {
        {.op = KERN_ROW_LOAD, .d = 0, .operand = 0},
        {.op = KERN_ROW_ROW_SUM, .d = 1, .a = 0},
        {.op = KERN_ROW_MUL, .d = 2, .a = 0, .b = 1},
        {.op = summed ? KERN_ROW_SUM_LEAD : KERN_ROW_STORE, .a = 2, .operand = 1}};
    const bool wide[3] = {true, false, true};
    kern_rows *made = kern_rows_create(&(kern_row_program){.compute = KERN_F32,
                                                           .lead = {rows, 1, 1, 1},
                                                           .n = n,
                                                           .operands = 2,
                                                           .instrs = 4,
                                                           .registers = 3,
                                                           .operand = operand,
                                                           .instr = instr,
                                                           .wide = wide});
    int64_t parts = kern_rows_parts(made);
    kern_rows_destroy(made);
    return parts;
}

static void test_rows(void **state) {
    (void)state;
    for (int i = 0; i < SIZES; i++)
        for (int64_t rows = CHUNK; rows <= 8192; rows *= 8) {
            int64_t worth = rows * sizes[i].dim / 16384; /* elements that are worth a thread */
            for (int summed = 0; summed < 2; summed++)
                assert_true(parts_of_rows(rows, sizes[i].dim, summed) >=
                            least(WANTED, worth) * 3 / 4);
        }
}

/* Each of two threads has page faults: about half of those of the largest pages, at least. */
static void test_first_touch(void **state) {
    (void)state;
    enum { BYTES = 64 << 20 };
    long faults[2][2] = {{0}};
    void *memory;
    omp_set_num_threads(2);
    for (int after = 0; after < 2; after++) {
        if (after) assert_int_equal(kern_alloc_zero(&memory, BYTES, "test"), KERN_OK);
#pragma omp parallel
        {
            struct rusage usage;
            getrusage(RUSAGE_THREAD, &usage);
            faults[omp_get_thread_num()][after] = usage.ru_minflt;
        }
    }
    for (size_t i = 0; i < BYTES; i += 4096) assert_int_equal(((const char *)memory)[i], 0);
    kern_free(memory);
    long first = faults[0][1] - faults[0][0], second = faults[1][1] - faults[1][0];
    long pages = BYTES / (2 << 20);
    if (first < pages / 3 || second < pages / 3) fail_msg("%ld and %ld faults", first, second);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention),   cmocka_unit_test(test_products),
        cmocka_unit_test(test_few_rows),    cmocka_unit_test(test_rows),
        cmocka_unit_test(test_first_touch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
