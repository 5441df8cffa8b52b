/* Products of few rows by kernels of our own (matmul_few.cu), others by cublasLt. It counts columns
 * first: our row-major c = op(a) op(b) is its c' = b' a', where x' is x as its columns lie.
 * Algorithms come from its heuristic, never from timing, and no two sums of parts race: the same
 * bits at every run. */
#include <stdio.h>
#include <stdlib.h>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/kernels.h"

enum {
    ALIGNED = 16,
    LEAST_BYTES = 64 << 10, /* of b, for few rows: less is read as soon as a kernel begins */
    BLOCKS = 512,           /* of few rows, wanted side by side */
    LEAST_PART = 128        /* of k, in a block of them: there are no more of them than that */
};

typedef struct {
    kern_matmul_shape shape;
    int parts, depth; /* of few rows: how k is cut; parts 0: for cublasLt */
    void *description, *a, *b, *c;
    /* for operands that are all aligned to ALIGNED, and for others */
    kern_cublas_choice aligned, loose;
} product;

static void *library;

kern_status kern_cuda_matmul_open(void) {
    return library ? KERN_OK : CUBLAS(Create, &library);
}

static int type_of(kern_dtype dtype) {
    return dtype == KERN_F64 ? KERN_CUDA_F64 : dtype == KERN_F32 ? KERN_CUDA_F32 : KERN_CUDA_BF16;
}

/* Of a matrix of `rows` rows of `columns` elements, each adjacent. */
static kern_status lay_out(void **layout, kern_dtype dtype, int64_t rows, int64_t columns,
                           int64_t batch, int64_t stride) {
    kern_status status = KERN_OK;
    int32_t items = (int32_t)batch;
    TRY(CUBLAS(MatrixLayoutCreate, layout, type_of(dtype), (uint64_t)columns, (uint64_t)rows,
               columns));
    TRY(CUBLAS(MatrixLayoutSetAttribute, *layout, KERN_CUBLAS_BATCH, &items, sizeof items));
    TRY(CUBLAS(MatrixLayoutSetAttribute, *layout, KERN_CUBLAS_STRIDE, &stride, sizeof stride));
done:
    return status;
}

static int sums_of(kern_dtype dtype) {
    if (dtype == KERN_F64) return KERN_CUBLAS_SUM_F64;
    return dtype == KERN_F32 && kern_cuda_gpu.tf32 ? KERN_CUBLAS_SUM_TF32 : KERN_CUBLAS_SUM_F32;
}

static kern_status describe(product *p) {
    const kern_matmul_shape *s = &p->shape;
    bool f64 = s->dtype == KERN_F64;
    int32_t transposed = KERN_CUBLAS_TRANSPOSED;
    kern_status status = KERN_OK;
    TRY(CUBLAS(MatmulDescCreate, &p->description, sums_of(s->dtype),
               f64 ? KERN_CUDA_F64 : KERN_CUDA_F32));
    if (s->transpose_b)
        TRY(CUBLAS(MatmulDescSetAttribute, p->description, KERN_CUBLAS_TRANSPOSE_A, &transposed,
                   sizeof transposed));
    if (s->transpose_a)
        TRY(CUBLAS(MatmulDescSetAttribute, p->description, KERN_CUBLAS_TRANSPOSE_B, &transposed,
                   sizeof transposed));
    TRY(lay_out(&p->a, s->dtype, s->transpose_a ? s->k : s->m, s->transpose_a ? s->m : s->k,
                s->batch, s->stride_a));
    TRY(lay_out(&p->b, s->dtype, s->transpose_b ? s->n : s->k, s->transpose_b ? s->k : s->n,
                s->batch, s->stride_b));
    TRY(lay_out(&p->c, f64 ? KERN_F64 : KERN_F32, s->m, s->n, s->batch, s->stride_c));
done:
    return status;
}

/* A question to the heuristic: operands a and b are aligned to `input` bytes, c to `result`. */
typedef struct {
    const product *product;
    size_t input, result;
} question;

static kern_status ask(kern_cublas_choice *choice, const void *how) {
    const question *q = how;
    const product *p = q->product;
    void *wanted = NULL;
    uint64_t workspace = KERN_CUBLAS_WORKSPACE_MOST;
    uint32_t reductions = KERN_CUBLAS_NOT_IN_PLACE;
    uint32_t input = (uint32_t)q->input, result = (uint32_t)q->result;
    uint32_t alignment[] = {input, input, result, result};
    int found = 0;
    kern_status status = KERN_OK;
    TRY(CUBLAS(MatmulPreferenceCreate, &wanted));
    TRY(CUBLAS(MatmulPreferenceSetAttribute, wanted, KERN_CUBLAS_WORKSPACE, &workspace,
               sizeof workspace));
    TRY(CUBLAS(MatmulPreferenceSetAttribute, wanted, KERN_CUBLAS_REDUCTIONS, &reductions,
               sizeof reductions));
    for (int i = 0; i < 4; i++)
        TRY(CUBLAS(MatmulPreferenceSetAttribute, wanted, KERN_CUBLAS_ALIGNMENT + i, &alignment[i],
                   sizeof alignment[i]));
    TRY(CUBLAS(MatmulAlgoGetHeuristic, library, p->description, p->b, p->a, p->c, p->c, wanted, 1,
               choice, &found));
    if (!found || choice->status)
        status = kern_fail(KERN_ERR_DEVICE, "cublasLt knows no algorithm");
done:
    if (wanted) kern_cublas_table.MatmulPreferenceDestroy(wanted);
    return status;
}

static kern_status choose(const product *p, kern_cublas_choice *choice, size_t input,
                          size_t result) {
    typedef long long number; /* what %lld prints */
    const kern_matmul_shape *s = &p->shape;
    const question q = {p, input, result};
    const kern_cublas_product parts = {library, p->description, p->b, p->a, p->c};
    bool tf32 = sums_of(s->dtype) == KERN_CUBLAS_SUM_TF32;
    char kind[KERN_CUDA_KIND];
    snprintf(kind, sizeof kind, "%s %c%c [%lld, %lld, %lld] x %lld, strides %lld %lld %lld, at %zu",
             tf32 ? "tf32" : kern_dtype_name(s->dtype), s->transpose_a ? 'T' : 'N',
             s->transpose_b ? 'T' : 'N', (number)s->m, (number)s->k, (number)s->n, (number)s->batch,
             (number)s->stride_a, (number)s->stride_b, (number)s->stride_c, input);
    return kern_cuda_algorithm(choice, kind, &parts, ask, &q);
}

static void destroy(void *state) {
    product *p = state;
    if (!p) return;
    if (p->description) kern_cublas_table.MatmulDescDestroy(p->description);
    if (p->a) kern_cublas_table.MatrixLayoutDestroy(p->a);
    if (p->b) kern_cublas_table.MatrixLayoutDestroy(p->b);
    if (p->c) kern_cublas_table.MatrixLayoutDestroy(p->c);
    free(p);
}

/* Whether each item of the operand begins at a multiple of ALIGNED. */
static bool is_aligned(const kern_matmul_shape *s, const void *data, int64_t stride,
                       size_t element) {
    uintptr_t apart = s->batch > 1 ? (uintptr_t)stride * element : 0;
    return ((uintptr_t)data | apart) % ALIGNED == 0;
}

/* ---- few rows ---- */

typedef struct {
    const char *name;
    const void *kernel;
} entry;

#define ENTRY(name)                                                                                \
    { #name, &name }
#define FEW(suffix)                                                                                \
    {                                                                                              \
        {ENTRY(matmul_lines_8_##suffix), ENTRY(matmul_lines_1_##suffix)},                          \
            {ENTRY(matmul_dots_8_##suffix), ENTRY(matmul_dots_1_##suffix)},                        \
            ENTRY(matmul_join_##suffix)                                                            \
    }
static const struct {
    entry lines[2], dots[2]; /* for any number of rows, for one */
    entry join;
} few[] = {[KERN_F32] = FEW(f32), [KERN_F64] = FEW(f64), [KERN_BF16] = FEW(bf16)};

/* A batch that shares b is one product of more rows. */
static void fold_batch(kern_matmul_shape *s) {
    bool dense = s->stride_a == s->m * s->k && s->stride_c == s->m * s->n;
    if (s->stride_b != 0 || s->transpose_a || !dense) return;
    s->m *= s->batch;
    s->batch = 1;
}

static int columns_of(const kern_matmul_shape *s) { /* of a block of _lines */
    return 32 * (16 / (int)kern_dtype_bytes(s->dtype));
}

/* A function of the shape. */
static void cut(product *p) {
    const kern_matmul_shape *s = &p->shape;
    p->parts = p->depth = 0;
    if (s->m > MATMUL_FEW_ROWS || (s->transpose_a && s->m > 1) || s->batch > 65535) return;
    if (s->n * s->k * (int64_t)kern_dtype_bytes(s->dtype) < LEAST_BYTES) return;
    p->parts = 1;
    if (s->transpose_b) return;
    int64_t blocks = kern_divide_up(s->n, columns_of(s)) * s->batch;
    int64_t parts = kern_min(kern_divide_up(BLOCKS, blocks), s->k / LEAST_PART);
    parts = kern_max(parts, kern_divide_up(s->k, MATMUL_FEW_PART));
    p->depth = (int)kern_divide_up(s->k, parts);
    p->parts = (int)kern_divide_up(s->k, p->depth);
}

static size_t few_workspace(const product *p) {
    const kern_matmul_shape *s = &p->shape;
    size_t sums = (size_t)(s->batch * p->parts * s->m * s->n) * (s->dtype == KERN_F64 ? 8 : 4);
    return p->parts > 1 ? kern_align(sums) : 0;
}

static void launch_few(kern_stream *stream, entry e, const kern_matmul_shape *s, int64_t x,
                       int64_t y, size_t shared, const matmul_few_args *args) {
    kern_cuda_launch(stream, e.name, e.kernel,
                     (kern_cuda_extent){(unsigned)x, (unsigned)y, (unsigned)s->batch},
                     MATMUL_FEW_THREADS, shared, args);
}

static void run_few(kern_stream *stream, const product *p, void *c, const void *a, const void *b,
                    void *workspace) {
    const kern_matmul_shape *s = &p->shape;
    size_t element = kern_dtype_bytes(s->dtype), real = s->dtype == KERN_F64 ? 8 : 4;
    bool one = s->m == 1;
    matmul_few_args args = {.a = a,
                            .b = b,
                            .c = c,
                            .part = workspace,
                            .n = s->n,
                            .k = s->k,
                            .stride_a = s->stride_a,
                            .stride_b = s->stride_b,
                            .stride_c = s->stride_c,
                            .rows = (int)s->m,
                            .parts = p->parts,
                            .depth = p->depth,
                            .add = s->accumulate};
    int64_t row = s->transpose_b ? s->k : s->n;
    args.packed = is_aligned(s, b, s->stride_b, element) && (size_t)row * element % ALIGNED == 0;
    if (s->transpose_b) {
        args.packed = args.packed && is_aligned(s, a, s->stride_a, element);
        launch_few(stream, few[s->dtype].dots[one], s, kern_divide_up(s->n, MATMUL_FEW_COLUMNS), 1,
                   0, &args);
        return;
    }
    int rows = one ? 1 : MATMUL_FEW_ROWS, sums = MATMUL_FEW_SUMS(columns_of(s) / 32);
    launch_few(stream, few[s->dtype].lines[one], s, kern_divide_up(s->n, columns_of(s)), p->parts,
               (size_t)(rows * MATMUL_FEW_PART + (one ? 1 : 2) * sums) * real, &args);
    if (p->parts > 1)
        launch_few(stream, few[s->dtype].join, s, kern_divide_up(s->m * s->n, MATMUL_FEW_THREADS),
                   1, 0, &args);
}

static kern_status create(void **state, const kern_matmul_shape *shape, int threads,
                          size_t *workspace) {
    product *p = kern_array(1, sizeof *p);
    size_t element = kern_dtype_bytes(shape->dtype);
    kern_status status = KERN_OK;
    (void)threads;
    p->shape = *shape;
    fold_batch(&p->shape);
    *state = NULL;
    cut(p);
    if (p->parts) {
        *workspace = few_workspace(p);
        *state = p;
        return KERN_OK;
    }
    p->shape = *shape;
    TRY(describe(p));
    TRY(choose(p, &p->aligned, ALIGNED, ALIGNED));
    TRY(choose(p, &p->loose, element, shape->dtype == KERN_F64 ? 8 : 4));
    *workspace = kern_align(kern_max_bytes(p->aligned.workspace, p->loose.workspace));
    *state = p;
done:
    if (status != KERN_OK) {
        kern_fail_context(status, "product of [%lld, %lld] and [%lld, %lld] in %s",
                          (long long)shape->m, (long long)shape->k, (long long)shape->k,
                          (long long)shape->n, kern_dtype_name(shape->dtype));
        destroy(p);
    }
    return status;
}

static void run(kern_stream *stream, const void *state, void *c, const void *a, const void *b,
                void *workspace) {
    const product *p = state;
    const kern_matmul_shape *s = &p->shape;
    if (p->parts) {
        run_few(stream, p, c, a, b, workspace);
        return;
    }
    size_t element = kern_dtype_bytes(s->dtype), result = s->dtype == KERN_F64 ? 8 : 4;
    bool aligned = is_aligned(s, a, s->stride_a, element) &&
                   is_aligned(s, b, s->stride_b, element) && is_aligned(s, c, s->stride_c, result);
    const kern_cublas_choice *choice = aligned ? &p->aligned : &p->loose;
    const float one = 1, add = s->accumulate ? 1 : 0;
    const double one_f64 = 1, add_f64 = s->accumulate ? 1 : 0;
    bool f64 = s->dtype == KERN_F64;
    ON_STREAM(stream, CUBLAS(Matmul, library, p->description,
                             f64 ? (const void *)&one_f64 : (const void *)&one, b, p->b, a, p->a,
                             f64 ? (const void *)&add_f64 : (const void *)&add, c, p->c, c, p->c,
                             &choice->algorithm, workspace, choice->workspace, kern_cuda_stream));
}

const kern_matmul_ops kern_cuda_matmul = {create, run, destroy};
