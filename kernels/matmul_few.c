#include "kernels/matmul_few.h"

#include "kernels/isa.h"

enum {
    MOST_ROWS = 8,
    MOST_ROWS_BF16_DOTS = 4,    /* native bf16 products are faster beyond */
    COLUMNS = 8192,             /* of a part whose sums stay in the nearest cache */
    COLUMN_UNIT = 64,           /* parts begin at whole cache lines of b's rows */
    DOTS_UNIT = 16,             /* a line of c, where b's rows are columns and parts are many */
    ADDED = 128,                /* columns whose parts are added in one go */
    TASKS = 256,                /* wanted, where b is large enough */
    FEW_TASKS = 16,             /* up to here k alone is cut, of a b that is not transposed */
    LEAST_COLUMNS = 512,        /* of such a b's parts: its rows are read in runs of these */
    LEAST_BYTES = 128 << 10,    /* of b: a task is not made smaller than this, */
    TASK_BYTES = 512 << 10,     /* nor, where there are four, than this */
    PARALLEL_BYTES = 256 << 10, /* of b, in all */
};

static size_t sum_bytes(const kern_matmul_shape *s) {
    return s->dtype == KERN_F64 ? 8 : 4;
}

bool kern_few_takes(const kern_matmul_shape *shape) {
    bool dots = shape->dtype == KERN_BF16 && shape->transpose_b;
    if (shape->k == 1) return !shape->transpose_b;
    return shape->m <= (dots ? MOST_ROWS_BF16_DOTS : MOST_ROWS) &&
           (!shape->transpose_a || shape->m == 1);
}

/* Tasks of an item, of `bytes` in all: a power of two, which many numbers of threads divide. */
static int64_t tasks_wanted(const kern_matmul_shape *s, int64_t bytes) {
    int64_t tasks = 1;
    while (tasks * s->batch < TASKS &&
           bytes / (2 * tasks) >= (tasks < 4 ? LEAST_BYTES : TASK_BYTES))
        tasks *= 2;
    return tasks;
}

/* Whole units of columns; of many parts rather one more than one less. */
static int64_t tile_of_columns(const kern_matmul_shape *s, int64_t parts) {
    bool many = parts > FEW_TASKS;
    int64_t unit = many && s->transpose_b ? DOTS_UNIT : COLUMN_UNIT;
    int64_t tile = kern_divide_up(s->n, parts);
    return unit * (many && tile > unit ? tile / unit : kern_divide_up(tile, unit));
}

/* Cuts k, because runs of b's rows stay long so, then columns, whose parts need no sums beside c,
 * then k again. */
static void cut_both(kern_few_cut *cut, const kern_matmul_shape *s, int64_t tasks) {
    int64_t runs = kern_divide_up(s->n, COLUMNS);
    int64_t of_k = kern_divide_up(kern_min(tasks, FEW_TASKS), runs);
    int64_t of_n = kern_min(kern_divide_up(tasks, of_k), s->n / LEAST_COLUMNS);
    cut->parts_n = kern_max(runs, of_n);
    cut->parts_k = kern_max(of_k, kern_divide_up(tasks, cut->parts_n));
}

kern_few_cut kern_few_cut_of(const kern_matmul_shape *s) {
    int64_t bytes = s->n * s->k * (int64_t)kern_dtype_bytes(s->dtype);
    bool columns = s->transpose_b || s->k == 1;
    if (s->k == 1) bytes += s->m * s->n * (int64_t)sum_bytes(s);
    int64_t tasks = tasks_wanted(s, bytes);
    kern_few_cut cut = {
        .parallel = bytes * s->batch >= PARALLEL_BYTES, .parts_n = tasks, .parts_k = 1};
    if (!columns) cut_both(&cut, s, tasks);
    cut.tile_n = tile_of_columns(s, cut.parts_n);
    cut.parts_n = kern_divide_up(s->n, cut.tile_n);
    cut.tile_k = kern_divide_up(s->k, cut.parts_k);
    cut.parts_k = kern_divide_up(s->k, cut.tile_k);
    return cut;
}

size_t kern_few_workspace(const kern_matmul_shape *s, const kern_few_cut *cut) {
    if (cut->parts_k == 1) return 0;
    return sum_bytes(s) * (size_t)(s->batch * cut->parts_k * s->m * s->n);
}

static kern_few_tile *variant(kern_dtype dtype) {
#if defined(__x86_64__)
    static kern_few_tile *const tiles[2][KERN_ISAS] = {
        {kern_few_f32_v2, kern_few_f32_v3, kern_few_f32_v4},
        {kern_few_f64_v2, kern_few_f64_v3, kern_few_f64_v4}};
    return tiles[dtype == KERN_F64][kern_isa()];
#else
    return dtype == KERN_F64 ? kern_few_f64_v2 : kern_few_f32_v2;
#endif
}

/* A product's operands; sums: those of the parts of k, or NULL if there is but one. */
typedef struct {
    char *c, *sums;
    const char *a, *b;
} operands;

static kern_few_task task_of(const kern_matmul_shape *s, const kern_few_cut *cut, operands o,
                             int64_t index) {
    int64_t column = index % cut->parts_n, part = index / cut->parts_n % cut->parts_k;
    int64_t item = index / cut->parts_n / cut->parts_k;
    int64_t j = column * cut->tile_n, p = part * cut->tile_k, b_row = s->transpose_b ? s->k : s->n;
    size_t bytes = kern_dtype_bytes(s->dtype);
    int64_t from_b = item * s->stride_b + (s->transpose_b ? j * b_row + p : p * b_row + j);
    int64_t to_sums = (item * cut->parts_k + part) * s->m * s->n + j;
    char *c = o.c + (size_t)(item * s->stride_c + j) * sum_bytes(s);
    return (kern_few_task){
        .bf16 = s->dtype == KERN_BF16,
        .transpose_b = s->transpose_b,
        .accumulate = s->accumulate && !o.sums,
        .m = s->m,
        .n = kern_min(cut->tile_n, s->n - j),
        .k = kern_min(cut->tile_k, s->k - p),
        .a_row = s->k,
        .b_row = b_row,
        .c_row = s->n,
        .a = o.a + (size_t)(item * s->stride_a + p) * bytes,
        .b = o.b + (size_t)from_b * bytes,
        .c = o.sums ? o.sums + (size_t)to_sums * sum_bytes(s) : c,
    };
}

static void add_f32(float *c, const float *sums, int64_t parts, int64_t stride, int64_t n,
                    bool accumulate) {
    float sum[ADDED];
    for (int64_t j = 0; j < n; j++) sum[j] = sums[j];
    for (int64_t part = 1; part < parts; part++)
        for (int64_t j = 0; j < n; j++) sum[j] += sums[part * stride + j];
    for (int64_t j = 0; j < n; j++) c[j] = accumulate ? c[j] + sum[j] : sum[j];
}

static void add_f64(double *c, const double *sums, int64_t parts, int64_t stride, int64_t n,
                    bool accumulate) {
    double sum[ADDED];
    for (int64_t j = 0; j < n; j++) sum[j] = sums[j];
    for (int64_t part = 1; part < parts; part++)
        for (int64_t j = 0; j < n; j++) sum[j] += sums[part * stride + j];
    for (int64_t j = 0; j < n; j++) c[j] = accumulate ? c[j] + sum[j] : sum[j];
}

/* A run of one row of c from the sums of its parts. */
static void add_parts(const kern_matmul_shape *s, const kern_few_cut *cut, operands o,
                      int64_t index) {
    int64_t runs = kern_divide_up(s->n, ADDED), row = index / runs, j = index % runs * ADDED;
    int64_t n = kern_min(ADDED, s->n - j), item = row / s->m, i = row % s->m;
    int64_t to = item * s->stride_c + i * s->n + j;
    int64_t from = (item * cut->parts_k * s->m + i) * s->n + j, stride = s->m * s->n;
    if (s->dtype == KERN_F64)
        add_f64((double *)o.c + to, (const double *)o.sums + from, cut->parts_k, stride, n,
                s->accumulate);
    else
        add_f32((float *)o.c + to, (const float *)o.sums + from, cut->parts_k, stride, n,
                s->accumulate);
}

void kern_few_run(const kern_matmul_shape *s, const kern_few_cut *cut, void *c, const void *a,
                  const void *b, void *workspace) {
    kern_few_tile *tile = variant(s->dtype);
    operands o = {.c = c, .sums = cut->parts_k > 1 ? workspace : NULL, .a = a, .b = b};
    int64_t tasks = s->batch * cut->parts_k * cut->parts_n;
    if (!cut->parallel) { /* then parts_k is 1 */
        for (int64_t t = 0; t < tasks; t++) {
            kern_few_task task = task_of(s, cut, o, t);
            tile(&task);
        }
        return;
    }
#pragma omp parallel
    {
#pragma omp for schedule(guided, 1) /* threads read on where they were */
        for (int64_t t = 0; t < tasks; t++) {
            kern_few_task task = task_of(s, cut, o, t);
            tile(&task);
        }
        if (o.sums) {
#pragma omp for schedule(static)
            for (int64_t t = 0; t < s->batch * s->m * kern_divide_up(s->n, ADDED); t++)
                add_parts(s, cut, o, t);
        }
    }
}
