#include "kernels/matmul.h"

#include <dnnl.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/isa.h"
#include "kernels/matmul_bf16.h"
#include "kernels/matmul_f64.h"
#include "kernels/matmul_few.h"

enum { PARALLEL_FLOPS = 1 << 20 }; /* less is done before another thread has woken */
enum { CONVERT_DEPTH = 1024 };     /* bf16 without native support: k columns converted at a time */
enum { PACKED = 1 << 18 };         /* floats of a transposed a's tile that are worth a copy */

struct kern_matmul {
    kern_matmul_shape shape;
    int64_t tile_m, tile_n, parts_m, parts_n;
    size_t scratch; /* bytes a thread */
    bool few;       /* few rows: cut as `cut` says; the tiles above are not used */
    kern_few_cut cut;
    /* bf16 where native: [last row of tiles?][last column of tiles?], NULL where there is none */
    kern_bf16_product *products[2][2];
};

bool kern_matmul_native_bf16(void) {
#if defined(__x86_64__)
    unsigned bf16 = dnnl_cpu_isa_avx512_core_bf16;
    return ((unsigned)dnnl_get_effective_cpu_isa() & bf16) == bf16;
#else
    return false;
#endif
}

/* The limits between which tiles are cut, by measurement: wide enough that packing is amortised;
 * a transposed b wants tall tiles. */
typedef struct {
    int64_t max_m, max_n, min_m, min_n;
    double flops; /* tiles are not halved below this */
} tile_limits;

static tile_limits limits_of(const kern_matmul_shape *shape) {
    if (shape->dtype == KERN_F64) return (tile_limits){KERN_F64_TILE, KERN_F64_TILE, 32, 32, 1e6};
    if (shape->dtype == KERN_BF16) return (tile_limits){256, 576, 64, 128, 32e6};
    if (shape->transpose_b) return (tile_limits){256, 256, 128, 128, 16e6};
    return (tile_limits){128, 400, 32, 192, 12e6};
}

enum {
    PARTS = 256, /* wanted */
    FEW_PARTS = 32,
    MANY_MIN_M = 64, /* tiles are not made lower than this beyond that many */
};

static void cut_into(kern_matmul *matmul, int64_t parts_m, int64_t parts_n) {
    const kern_matmul_shape *s = &matmul->shape;
    matmul->tile_m = kern_divide_up(s->m, parts_m);
    matmul->tile_n = kern_min(s->n, kern_divide_up(kern_divide_up(s->n, parts_n), 16) * 16);
    matmul->parts_m = kern_divide_up(s->m, matmul->tile_m);
    matmul->parts_n = kern_divide_up(s->n, matmul->tile_n);
}

/* Halves tiles while there are few of them and they stay worth a thread's while: while there are
 * very few the side that a product's speed depends on less, then the longer one. A pure function of
 * the shape: the bits of the result may depend on the tiles. */
static void partition(kern_matmul *matmul) {
    const kern_matmul_shape *s = &matmul->shape;
    tile_limits limits = limits_of(s);
    int64_t parts_m = kern_divide_up(s->m, limits.max_m),
            parts_n = kern_divide_up(s->n, limits.max_n);
    /* A product of few rows is bound by reading b: its bytes count, as 8 rows' FLOPs would. */
    double flops = 2.0 * (double)(s->m < 8 ? 8 : s->m) * (double)s->n * (double)s->k;
    for (;;) {
        cut_into(matmul, parts_m, parts_n);
        int64_t parts = s->batch * parts_m * parts_n;
        int64_t tile_m = kern_divide_up(s->m, parts_m), tile_n = kern_divide_up(s->n, parts_n);
        double tile_flops = flops / (double)(parts_m * parts_n);
        if (s->batch * matmul->parts_m * matmul->parts_n >= PARTS) return;
        if ((parts >= 2 && tile_flops < 2 * limits.flops) || tile_flops < 1e6) return;
        bool few = parts < FEW_PARTS;
        int64_t min_m = few || limits.min_m > MANY_MIN_M ? limits.min_m : MANY_MIN_M;
        bool can_m = tile_m >= 2 * min_m, can_n = tile_n >= 2 * limits.min_n;
        if (!can_m && !can_n) return;
        if (can_m && (!can_n || (few ? !s->transpose_b : tile_m > tile_n)))
            parts_m *= 2;
        else
            parts_n *= 2;
    }
}

/* A batch that shares b is one taller product. */
static void fold_batch(kern_matmul_shape *s) {
    bool dense = s->stride_a == s->m * s->k && s->stride_c == s->m * s->n;
    if (s->batch == 1 || s->stride_b != 0 || s->transpose_a || !dense) return;
    s->m *= s->batch;
    s->batch = 1;
}

static int64_t tile_rows(const kern_matmul *matmul, bool last) {
    return last ? matmul->shape.m - (matmul->parts_m - 1) * matmul->tile_m : matmul->tile_m;
}

static int64_t tile_columns(const kern_matmul *matmul, bool last) {
    return last ? matmul->shape.n - (matmul->parts_n - 1) * matmul->tile_n : matmul->tile_n;
}

static kern_bf16_rows rows_of(const kern_matmul_shape *s) {
    return (kern_bf16_rows){
        .a = s->transpose_a ? s->m : s->k, .b = s->transpose_b ? s->k : s->n, .c = s->n};
}

static kern_status create_products(kern_matmul *matmul) {
    kern_status status = KERN_OK;
    for (int last_m = 0; last_m < 2; last_m++)
        for (int last_n = 0; last_n < 2; last_n++) {
            if ((!last_m && matmul->parts_m == 1) || (!last_n && matmul->parts_n == 1)) continue;
            kern_matmul_shape shape = matmul->shape;
            shape.m = tile_rows(matmul, last_m);
            shape.n = tile_columns(matmul, last_n);
            kern_bf16_product **product = &matmul->products[last_m][last_n];
            TRY(kern_bf16_create(product, &shape, rows_of(&matmul->shape)));
            size_t bytes = kern_bf16_workspace(*product);
            if (bytes > matmul->scratch) matmul->scratch = bytes;
        }
done:
    return status;
}

kern_status kern_matmul_create(kern_matmul **matmul, const kern_matmul_shape *shape) {
    kern_status status = KERN_OK;
    *matmul = NULL;
    ASSERT(shape->m >= 1 && shape->n >= 1 && shape->k >= 1 && shape->batch >= 1);
    ASSERT(shape->dtype == KERN_F32 || shape->dtype == KERN_F64 || shape->dtype == KERN_BF16);
    kern_matmul *made = calloc(1, sizeof *made);
    if (!made) return kern_fail(KERN_ERR_MEMORY, "no memory for a product; use a smaller model");
    made->shape = *shape;
    if (shape->k == 1) made->shape.transpose_a = made->shape.transpose_b = false; /* lie the same */
    fold_batch(&made->shape);
    partition(made);
    made->few = kern_few_takes(&made->shape);
    if (made->few) {
        made->cut = kern_few_cut_of(&made->shape);
    } else if (shape->dtype == KERN_F64) {
        made->scratch = KERN_F64_WORKSPACE * sizeof(double);
    } else if (shape->dtype == KERN_F32) {
        bool packs = shape->transpose_a && made->parts_m > 1 && made->tile_m * shape->k <= PACKED;
        made->scratch = packs ? (size_t)(made->tile_m * shape->k) * sizeof(float) : 0;
    } else if (shape->dtype == KERN_BF16 && kern_matmul_native_bf16()) {
        TRY(create_products(made));
    } else if (shape->dtype == KERN_BF16) {
        int64_t depth = kern_min(shape->k, CONVERT_DEPTH);
        made->scratch = sizeof(float) * (size_t)(depth * (made->tile_m + made->tile_n));
    }
    made->scratch = kern_align(made->scratch);
    *matmul = made;
    made = NULL;
done:
    kern_matmul_destroy(made);
    return status;
}

void kern_matmul_destroy(kern_matmul *matmul) {
    if (!matmul) return;
    for (int i = 0; i < 4; i++) kern_bf16_destroy(matmul->products[i / 2][i % 2]);
    free(matmul);
}

int64_t kern_matmul_parts(const kern_matmul *matmul) {
    const kern_few_cut *cut = &matmul->cut;
    return matmul->shape.batch *
           (matmul->few ? cut->parts_n * cut->parts_k : matmul->parts_m * matmul->parts_n);
}

size_t kern_matmul_workspace(const kern_matmul *matmul, int threads) {
    if (matmul->few) return kern_few_workspace(&matmul->shape, &matmul->cut);
    return matmul->scratch * (size_t)threads;
}

/* One tile of one product: rows i.., columns j.., and the first elements that it reads. */
typedef struct {
    int64_t i, j, m, n;
    const void *a, *b; /* the whole matrices */
    void *c;
    void *scratch;
} tile_task;

static void sgemm(const kern_matmul_shape *s, const tile_task *t, int64_t k, bool accumulate,
                  const float *a, int64_t a_row, const float *b, int64_t b_row) {
    float *c = (float *)t->c + t->i * s->n + t->j;
    dnnl_status_t status =
        dnnl_sgemm(s->transpose_a ? 'T' : 'N', s->transpose_b ? 'T' : 'N', t->m, t->n, k, 1.0f, a,
                   a_row, b, b_row, accumulate ? 1.0f : 0.0f, c, s->n);
    ASSERT(status == dnnl_success);
}

/* A tile of a transposed a has a short run in each of a's rows, which may lie pages apart: oneDNN
 * would go over them again and again, so they are put together first. The same bits. */
static void run_f32(const kern_matmul *matmul, const tile_task *t) {
    const kern_matmul_shape *s = &matmul->shape;
    kern_bf16_rows rows = rows_of(s);
    const float *a = (const float *)t->a + (s->transpose_a ? t->i : t->i * rows.a);
    const float *b = (const float *)t->b + (s->transpose_b ? t->j * rows.b : t->j);
    if (matmul->scratch) {
        float *packed = t->scratch;
        for (int64_t p = 0; p < s->k; p++)
            memcpy(packed + p * t->m, a + p * rows.a, (size_t)t->m * sizeof *a);
        a = packed;
        rows.a = t->m;
    }
    sgemm(s, t, s->k, s->accumulate, a, rows.a, b, rows.b);
}

static void run_f64(const kern_matmul_shape *s, const tile_task *t) {
#if defined(__x86_64__)
    static kern_f64_tile *const variants[KERN_ISAS] = {kern_f64_tile_v2, kern_f64_tile_v3,
                                                       kern_f64_tile_v4};
#else
    static kern_f64_tile *const variants[KERN_ISAS] = {kern_f64_tile_v2, kern_f64_tile_v2,
                                                       kern_f64_tile_v2};
#endif
    kern_f64_matrix a = {t->a, s->transpose_a ? 1 : s->k, s->transpose_a ? s->m : 1};
    kern_f64_matrix b = {t->b, s->transpose_b ? 1 : s->n, s->transpose_b ? s->k : 1};
    a.data += t->i * a.row;
    b.data += t->j * b.column;
    variants[kern_isa()]((double *)t->c + t->i * s->n + t->j, s->n, a, b, t->m, t->n, s->k,
                         s->accumulate, t->scratch);
}

/* wide [rows, columns] = narrow, whose rows are `stride` apart. */
static void widen(float *wide, const uint16_t *narrow, int64_t rows, int64_t columns,
                  int64_t stride) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) {
            uint32_t bits = (uint32_t)narrow[i * stride + j] << 16;
            memcpy(&wide[i * columns + j], &bits, sizeof bits);
        }
}

/* Where the processor has no bf16 products: the same exact products of bf16 numbers, summed in f32,
 * several times as fast as oneDNN's emulation (which some processors do not get at all). */
static void run_widened(const kern_matmul_shape *s, const tile_task *t) {
    kern_bf16_rows rows = rows_of(s);
    for (int64_t p = 0; p < s->k; p += CONVERT_DEPTH) {
        int64_t depth = kern_min(s->k - p, CONVERT_DEPTH);
        float *a = t->scratch, *b = a + t->m * depth;
        const uint16_t *from_a = t->a, *from_b = t->b;
        if (s->transpose_a)
            widen(a, from_a + p * rows.a + t->i, depth, t->m, rows.a);
        else
            widen(a, from_a + t->i * rows.a + p, t->m, depth, rows.a);
        if (s->transpose_b)
            widen(b, from_b + t->j * rows.b + p, t->n, depth, rows.b);
        else
            widen(b, from_b + p * rows.b + t->j, depth, t->n, rows.b);
        sgemm(s, t, depth, s->accumulate || p > 0, a, s->transpose_a ? t->m : depth, b,
              s->transpose_b ? depth : t->n);
    }
}

static void run_bf16(const kern_matmul *matmul, const tile_task *t) {
    const kern_matmul_shape *s = &matmul->shape;
    bool last_m = t->i + t->m == s->m, last_n = t->j + t->n == s->n;
    const kern_bf16_product *product = matmul->products[last_m][last_n];
    if (!product) {
        run_widened(s, t);
        return;
    }
    kern_bf16_rows rows = rows_of(s);
    const uint16_t *a = (const uint16_t *)t->a + (s->transpose_a ? t->i : t->i * rows.a);
    const uint16_t *b = (const uint16_t *)t->b + (s->transpose_b ? t->j * rows.b : t->j);
    kern_bf16_run(product, (float *)t->c + t->i * rows.c + t->j, a, b, t->scratch);
}

static void run_tile(const kern_matmul *matmul, const tile_task *task) {
    switch (matmul->shape.dtype) {
    case KERN_F32: run_f32(matmul, task); break;
    case KERN_F64: run_f64(&matmul->shape, task); break;
    default: run_bf16(matmul, task);
    }
}

void kern_matmul_run(const kern_matmul *matmul, void *c, const void *a, const void *b,
                     void *workspace) {
    const kern_matmul_shape *s = &matmul->shape;
    if (matmul->few) {
        kern_few_run(s, &matmul->cut, c, a, b, workspace);
        return;
    }
    int64_t tiles = matmul->parts_m * matmul->parts_n;
    size_t bytes = kern_dtype_bytes(s->dtype), c_bytes = s->dtype == KERN_F64 ? 8 : 4;
    double flops = 2.0 * (double)s->batch * (double)s->m * (double)s->n * (double)s->k;
    int threads = flops < PARALLEL_FLOPS ? 1 : omp_get_max_threads();
#pragma omp parallel num_threads(threads)
    {
        /* Else oneDNN would open its own threads where this team has but one. */
        omp_set_num_threads(1);
        void *scratch = (char *)workspace + (size_t)omp_get_thread_num() * matmul->scratch;
#pragma omp for schedule(dynamic, 1)
        for (int64_t t = 0; t < s->batch * tiles; t++) {
            int64_t item = t / tiles, row = t % tiles / matmul->parts_n;
            int64_t column = t % matmul->parts_n;
            tile_task task = {
                .i = row * matmul->tile_m,
                .j = column * matmul->tile_n,
                .m = tile_rows(matmul, row == matmul->parts_m - 1),
                .n = tile_columns(matmul, column == matmul->parts_n - 1),
                .a = (const char *)a + (size_t)(item * s->stride_a) * bytes,
                .b = (const char *)b + (size_t)(item * s->stride_b) * bytes,
                .c = (char *)c + (size_t)(item * s->stride_c) * c_bytes,
                .scratch = scratch,
            };
            run_tile(matmul, &task);
        }
    }
}

static double seconds_of(const kern_matmul *matmul, void *memory, size_t matrix, double budget) {
    char *a = memory, *b = a + matrix, *c = b + matrix, *workspace = c + matrix;
    double best = 1e30, begin = kern_seconds();
    for (int repeat = 0; repeat < 3 || kern_seconds() - begin < budget; repeat++) {
        double start = kern_seconds();
        kern_matmul_run(matmul, c, a, b, workspace);
        double taken = kern_seconds() - start;
        if (taken < best) best = taken;
    }
    return best;
}

bool kern_is_brief(void) {
    const char *brief = getenv("TTT_BRIEF_PEAK");
    return brief && *brief;
}

double kern_matmul_peak(kern_dtype dtype, int threads) {
    static const int64_t sizes[] = {512, 768, 1152};
    bool whole = !kern_is_brief();
    int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    double peak = 0;
    for (size_t i = 0; i < (whole ? sizeof sizes / sizeof *sizes : 1); i++) {
        int64_t n = sizes[i];
        kern_matmul_shape shape = {.dtype = dtype, .batch = 1, .m = n, .n = n, .k = n};
        size_t matrix = (size_t)(n * n) * 8;
        kern_matmul *matmul = NULL;
        void *memory = NULL;
        if (kern_matmul_create(&matmul, &shape) == KERN_OK &&
            kern_alloc(&memory, 3 * matrix + kern_matmul_workspace(matmul, threads),
                       "measuring the peak") == KERN_OK) {
            memset(memory, 0x3c, 3 * matrix); /* 0.01 in every dtype */
            double flops = 2.0 * (double)n * (double)n * (double)n;
            double rate = flops / seconds_of(matmul, memory, matrix, whole ? 0.1 : 0);
            if (rate > peak) peak = rate;
        }
        kern_free(memory);
        kern_matmul_destroy(matmul);
    }
    omp_set_num_threads(before);
    return peak;
}
