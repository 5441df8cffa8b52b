/* The order of sums, over a row and over rows: every bit, by plain loops written from the words of
 * kernels/rows.h, at lengths around every edge. */
#include "tests/kernels/rows_naive.h"

static uint64_t state = 7;

static double uniform(double from, double to) {
    return from + (to - from) * (double)(naive_random(&state) >> 11) * 0x1p-53;
}

static double rounded(kern_dtype dtype, double x) {
    return dtype == KERN_F32 ? (double)(float)x : x;
}

/* lane[0] + ... in halves, as kernels/rows.h says; every addition rounds to the type (the sum of
 * two floats is exact enough in double to be rounded once). */
static double halved(kern_dtype dtype, double *lane, int lanes) {
    for (int half = lanes / 2; half >= 1; half /= 2)
        for (int l = 0; l < half; l++) lane[l] = rounded(dtype, lane[l] + lane[l + half]);
    return lane[0];
}

/* The sum of a row by the words of kernels/rows.h. */
static double worded_sum(kern_dtype dtype, const double *row, int64_t n) {
    double lane[1024] = {0};
    int lanes = 32, parts = 1;
    while (lanes < 1024 && n > 8 * lanes) lanes *= 2;
    if (lanes > 128) parts = lanes / 128;
    int64_t each = n, width = lanes / parts;
    if (parts > 1)
        for (each = 128; each * parts < n;) each += 128;
    for (int64_t i = 0; i < n; i++) {
        int64_t part = i / each, j = i % each;
        double *mine = &lane[part * width + j % width];
        *mine = rounded(dtype, *mine + row[i]);
    }
    return halved(dtype, lane, lanes);
}

static void check_order(kern_dtype compute, kern_dtype in_dtype, int64_t rows, int64_t n) {
    size_t bytes = (size_t)(rows * n) * kern_dtype_bytes(in_dtype);
    void *in = guarded(bytes, 0), *out = guarded((size_t)rows * 8, 0);
    double *row = calloc((size_t)n, sizeof *row);
    assert_non_null(row);
    for (int64_t i = 0; i < rows * n; i++) naive_write(in_dtype, in, i, uniform(-1, 1));
    small_program s;
    make_unary(&s, compute, KERN_ROW_ROW_SUM, rows, n, in_dtype, compute, true);
    run_small(&s, in, out, 2);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t j = 0; j < n; j++) row[j] = naive_read(in_dtype, in, r * n + j);
        double got = naive_read(compute, out, r), want = worded_sum(compute, row, n);
        if (got != want)
            fail_msg("%s of %s, n %lld: %.17g, not %.17g", kern_dtype_name(compute),
                     kern_dtype_name(in_dtype), (long long)n, got, want);
    }
    free(row);
    free_guarded(in, bytes);
    free_guarded(out, (size_t)rows * 8);
}

static void row_sums_have_their_order(void **unused) {
    (void)unused;
    static const int64_t edges[] = {64, 128, 256, 512, 768, 1024, 2048, 4096, 8192, 12288, 50304};
    for (int64_t n = 1; n < 40; n++) {
        check_order(KERN_F32, KERN_F32, 3, n);
        check_order(KERN_F64, KERN_F64, 3, n);
    }
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++)
        for (int64_t n = edges[i] - 1; n <= edges[i] + 1; n++) {
            check_order(KERN_F32, KERN_F32, 3, n);
            check_order(KERN_F64, KERN_F64, 3, n);
            check_order(KERN_F32, KERN_BF16, 3, n);
        }
    for (int i = 0; i < 40; i++)
        check_order(KERN_F32, KERN_F32, 2, 257 + (int64_t)(naive_random(&state) % 9000));
    check_order(KERN_F32, KERN_F32, 2, 128256);
    check_order(KERN_F64, KERN_F64, 1, 50257);
}

/* One result of a sum over leading axes by the words of kernels/rows.h: rows first, first + 1, ...
 * of in [rows, n], column j. */
static double worded_lead(kern_dtype dtype, const void *in, int64_t n, int64_t j, int64_t first,
                          int64_t count, int64_t run, int64_t piece) {
    double sum = 0;
    for (int64_t begin = 0; begin < count; begin += run)
        for (int64_t from = 0; from < run; from += piece) {
            int64_t rows = kern_min(piece, run - from);
            double lane[32] = {0};
            for (int64_t i = 0; i < rows; i++) {
                double *mine = &lane[n > 1 ? 0 : i % 32];
                double x = naive_read(dtype, in, (first + begin + from + i) * n + j);
                *mine = rounded(dtype, *mine + x);
            }
            double whole = n > 1 ? lane[0] : halved(dtype, lane, 32);
            sum = begin + from ? rounded(dtype, sum + whole) : whole;
        }
    return sum;
}

static void check_lead_order(kern_dtype dtype, const int64_t *lead, int64_t n, int kept) {
    int64_t rows = lead[0] * lead[1] * lead[2], results = 1;
    size_t bytes = (size_t)(rows * n) * kern_dtype_bytes(dtype);
    void *in = guarded(bytes, 0), *out = guarded(bytes, 0);
    for (int64_t i = 0; i < rows * n; i++) naive_write(dtype, in, i, uniform(-1, 1));
    small_program s;
    make_unary(&s, dtype, KERN_ROW_SUM_LEAD, 1, n, dtype, dtype, false);
    memcpy(s.p.lead, lead, sizeof s.p.lead);
    int64_t stride = n, out_stride = n;
    for (int axis = 3; axis >= 0; axis--) {
        s.operand[0].stride[axis] = stride;
        s.operand[1].stride[axis] = axis < kept ? out_stride : 0;
        stride *= lead[axis];
        if (axis < kept) out_stride *= lead[axis];
        if (axis < kept) results *= lead[axis];
    }
    s.instr[1] = (kern_row_instr){.op = KERN_ROW_SUM_LEAD, .a = 0, .operand = 1, .kept = kept};
    s.p.instrs = 2;
    s.p.registers = 1;
    run_small(&s, in, out, 2);
    kern_row_pieces pieces = kern_row_sum_pieces(&s.p);
    assert_int_equal(pieces.blocks, results);
    int64_t count = rows / results;
    for (int64_t i = 0; i < results * n; i++) {
        double want = worded_lead(dtype, in, n, i % n, i / n * count, count, rows / pieces.blocks,
                                  pieces.rows);
        if (naive_read(dtype, out, i) != want)
            fail_msg("n %lld kept %d element %lld: %.17g, not %.17g", (long long)n, kept,
                     (long long)i, naive_read(dtype, out, i), want);
    }
    free_guarded(in, bytes);
    free_guarded(out, bytes);
}

/* One value a row, whose tiles end anywhere. */
static void check_lead_of_row_sums(kern_dtype dtype, int64_t rows, int64_t n) {
    size_t bytes = (size_t)(rows * n) * kern_dtype_bytes(dtype);
    void *in = guarded(bytes, 0), *sums = guarded((size_t)rows * 8, 0), *out = guarded(8, 0);
    double *row = calloc((size_t)n, sizeof *row);
    assert_non_null(row);
    for (int64_t i = 0; i < rows * n; i++) naive_write(dtype, in, i, uniform(-1, 1));
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t j = 0; j < n; j++) row[j] = naive_read(dtype, in, r * n + j);
        naive_write(dtype, sums, r, worded_sum(dtype, row, n));
    }
    small_program s;
    make_unary(&s, dtype, KERN_ROW_ROW_SUM, rows, n, dtype, dtype, true);
    memset(s.operand[1].stride, 0, sizeof s.operand[1].stride);
    s.instr[2] = (kern_row_instr){.op = KERN_ROW_SUM_LEAD, .a = 1, .operand = 1};
    run_small(&s, in, out, 2);
    int64_t piece = kern_row_sum_pieces(&s.p).rows;
    double want = worded_lead(dtype, sums, 1, 0, 0, rows, rows, piece);
    assert_true(naive_read(dtype, out, 0) == want);
    free(row);
    free_guarded(in, bytes);
    free_guarded(sums, (size_t)rows * 8);
    free_guarded(out, 8);
}

static void lead_sums_have_their_order(void **unused) {
    (void)unused;
    static const int64_t lead[4] = {3, 70, 11, 1}, many[4] = {2, 300, 217, 1};
    for (int kept = 0; kept <= 2; kept++) {
        check_lead_order(KERN_F32, lead, 129, kept);
        check_lead_order(KERN_F64, lead, 7, kept);
        check_lead_order(KERN_F32, many, 1, kept);
        check_lead_order(KERN_F32, many, 5, kept);
    }
    check_lead_of_row_sums(KERN_F32, 3001, 5);
    check_lead_of_row_sums(KERN_F64, 777, 65);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_sums_have_their_order),
        cmocka_unit_test(lead_sums_have_their_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
