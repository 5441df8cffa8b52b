/* cublasLt by plain loops, column-major as it is; sums in f64 rounded once, or f64. */
#include <stdlib.h>
#include <string.h>

#include "kernels/base.h"
#include "kernels/cuda/libraries.h"
#include "kernels/vector_math.h"
#include "tests/kernels/cuda/bench.h"

enum { INVALID = 7, NOT_SUPPORTED = 15, FAILED = 14, WORKSPACE = 192, ALGORITHMS = 2 };

#define MAY_FAIL(call)                                                                             \
    if (bench_fails("cublasLt" #call)) return FAILED

typedef struct {
    int type;
    int64_t rows, columns, step;
    int32_t batch;
    int64_t stride;
} layout;

typedef struct {
    int compute, scale;
    int32_t transpose[2];
} description;

typedef struct {
    uint64_t workspace;
    uint32_t reductions, alignment[4];
} preference;

static int bench_Create(void **handle) {
    static int the_handle;
    MAY_FAIL(Create);
    *handle = &the_handle;
    return 0;
}

static int bench_MatmulDescCreate(void **made, int compute, int scale) {
    MAY_FAIL(MatmulDescCreate);
    description *d = kern_array(1, sizeof *d);
    *d = (description){compute, scale, {0, 0}};
    *made = d;
    return 0;
}

static int bench_MatmulDescSetAttribute(void *desc, int attribute, const void *value,
                                        size_t bytes) {
    MAY_FAIL(MatmulDescSetAttribute);
    if (attribute < KERN_CUBLAS_TRANSPOSE_A || attribute > KERN_CUBLAS_TRANSPOSE_B || bytes != 4)
        return INVALID;
    memcpy(&((description *)desc)->transpose[attribute - KERN_CUBLAS_TRANSPOSE_A], value, bytes);
    return 0;
}

static int bench_MatmulDescDestroy(void *desc) {
    free(desc);
    return 0;
}

static int bench_MatrixLayoutCreate(void **made, int type, uint64_t rows, uint64_t columns,
                                    int64_t step) {
    MAY_FAIL(MatrixLayoutCreate);
    if (step < (int64_t)rows) return INVALID;
    layout *l = kern_array(1, sizeof *l);
    *l = (layout){type, (int64_t)rows, (int64_t)columns, step, 1, 0};
    *made = l;
    return 0;
}

static int bench_MatrixLayoutSetAttribute(void *handle, int attribute, const void *value,
                                          size_t bytes) {
    MAY_FAIL(MatrixLayoutSetAttribute);
    layout *l = handle;
    if (attribute == KERN_CUBLAS_BATCH && bytes == 4)
        memcpy(&l->batch, value, bytes);
    else if (attribute == KERN_CUBLAS_STRIDE && bytes == 8)
        memcpy(&l->stride, value, bytes);
    else
        return INVALID;
    return 0;
}

static int bench_MatrixLayoutDestroy(void *handle) {
    free(handle);
    return 0;
}

static int bench_MatmulPreferenceCreate(void **made) {
    MAY_FAIL(MatmulPreferenceCreate);
    preference *p = kern_array(1, sizeof *p);
    *p = (preference){0, 7, {256, 256, 256, 256}};
    *made = p;
    return 0;
}

static int bench_MatmulPreferenceSetAttribute(void *handle, int attribute, const void *value,
                                              size_t bytes) {
    MAY_FAIL(MatmulPreferenceSetAttribute);
    preference *p = handle;
    if (attribute == KERN_CUBLAS_WORKSPACE && bytes == 8)
        memcpy(&p->workspace, value, bytes);
    else if (attribute == KERN_CUBLAS_REDUCTIONS && bytes == 4)
        memcpy(&p->reductions, value, bytes);
    else if (attribute >= KERN_CUBLAS_ALIGNMENT && attribute < KERN_CUBLAS_ALIGNMENT + 4 &&
             bytes == 4)
        memcpy(&p->alignment[attribute - KERN_CUBLAS_ALIGNMENT], value, bytes);
    else
        return INVALID;
    return 0;
}

static int bench_MatmulPreferenceDestroy(void *handle) {
    free(handle);
    return 0;
}

/* Whether the shapes and types of d = op(a) op(b) + c fit each other. */
static bool fits(const description *desc, const layout *a, const layout *b, const layout *c,
                 const layout *d) {
    int64_t m = desc->transpose[0] ? a->columns : a->rows;
    int64_t k = desc->transpose[0] ? a->rows : a->columns;
    int64_t n = desc->transpose[1] ? b->rows : b->columns;
    int64_t depth = desc->transpose[1] ? b->columns : b->rows;
    bool f64 = a->type == KERN_CUDA_F64;
    return k == depth && m == c->rows && n == c->columns && m == d->rows && n == d->columns &&
           a->type == b->type && c->type == d->type &&
           c->type == (f64 ? KERN_CUDA_F64 : KERN_CUDA_F32) && desc->scale == c->type &&
           (desc->compute == (f64 ? KERN_CUBLAS_SUM_F64 : KERN_CUBLAS_SUM_F32) ||
            (desc->compute == KERN_CUBLAS_SUM_TF32 && a->type == KERN_CUDA_F32)) &&
           a->batch == d->batch && b->batch == d->batch && c->batch == d->batch;
}

static int bench_MatmulAlgoGetHeuristic(void *handle, void *desc, void *a, void *b, void *c,
                                        void *d, void *wanted, int most, kern_cublas_choice *choice,
                                        int *found) {
    MAY_FAIL(MatmulAlgoGetHeuristic);
    const preference *p = wanted;
    (void)handle;
    *found = 0;
    if (!fits(desc, a, b, c, d) || most < 1) return INVALID;
    if (p->reductions & 1 || p->workspace < WORKSPACE) return NOT_SUPPORTED;
    *choice = (kern_cublas_choice){.workspace = WORKSPACE};
    for (int i = 0; i < 4; i++) choice->algorithm.word[i] = p->alignment[i];
    choice->algorithm.word[4] = bench_number("TTT_BENCH_ALGORITHM", 0);
    *found = 1;
    return 0;
}

static int bench_MatmulAlgoCheck(void *handle, void *desc, void *a, void *b, void *c, void *d,
                                 const kern_cublas_algorithm *algorithm,
                                 kern_cublas_choice *result) {
    MAY_FAIL(MatmulAlgoCheck);
    (void)handle;
    if (!fits(desc, a, b, c, d) || algorithm->word[4] >= ALGORITHMS) return NOT_SUPPORTED;
    *result = (kern_cublas_choice){.workspace = WORKSPACE};
    return 0;
}

typedef struct {
    description desc;
    layout a, b, d;
    const void *a_data, *b_data;
    void *d_data, *workspace;
    double beta;
    bool brief; /* sums are rounded to f32 after each summand */
} product;

/* f32 with 10 bits behind the point. */
static double tf32(double value) {
    return (double)kern_from_bits_f32((kern_bits_f32((float)value) + 0x1000u) & 0xffffe000u);
}

static double element(int type, const void *data, int64_t i) {
    if (type == KERN_CUDA_F64) return ((const double *)data)[i];
    if (type == KERN_CUDA_F32) return (double)((const float *)data)[i];
    return (double)kern_bf16_to_f32(((const uint16_t *)data)[i]);
}

/* op(x) of one item, row-major, `rows` x `columns`, or its transpose. */
static double *unpack(const product *p, const layout *l, bool transpose, const void *data,
                      int64_t item) {
    double *packed = kern_array(l->rows * l->columns, sizeof *packed);
    for (int64_t j = 0; j < l->columns; j++)
        for (int64_t i = 0; i < l->rows; i++) {
            double value = element(l->type, data, item * l->stride + j * l->step + i);
            if (p->desc.compute == KERN_CUBLAS_SUM_TF32) value = tf32(value);
            packed[transpose ? j * l->rows + i : i * l->columns + j] = value;
        }
    return packed;
}

static void multiply(const product *p, const double *a, const double *b, int64_t item) {
    int64_t m = p->d.rows, n = p->d.columns, k = p->desc.transpose[0] ? p->a.rows : p->a.columns;
    double *sum = kern_array(n, sizeof *sum);
    for (int64_t i = 0; i < m; i++) {
        memset(sum, 0, (size_t)n * sizeof *sum);
        for (int64_t l = 0; l < k; l++)
            for (int64_t j = 0; j < n; j++) {
                sum[j] += a[i * k + l] * b[l * n + j];
                if (p->brief) sum[j] = (double)(float)sum[j];
            }
        for (int64_t j = 0; j < n; j++) {
            int64_t at = item * p->d.stride + j * p->d.step + i;
            double before = p->beta != 0 ? p->beta * element(p->d.type, p->d_data, at) : 0;
            if (p->d.type == KERN_CUDA_F64)
                ((double *)p->d_data)[at] = before + sum[j];
            else
                ((float *)p->d_data)[at] = (float)(before + sum[j]);
        }
    }
    free(sum);
}

static void product_late(void *arguments) {
    const product *p = arguments;
    memset(p->workspace, 0xff, WORKSPACE);
    for (int64_t item = 0; item < p->d.batch; item++) {
        double *a = unpack(p, &p->a, p->desc.transpose[0], p->a_data, item);
        double *b = unpack(p, &p->b, p->desc.transpose[1], p->b_data, item);
        multiply(p, a, b, item);
        free(a);
        free(b);
    }
}

static size_t bytes_of(const layout *l) {
    int64_t elements = (l->batch - 1) * l->stride + (l->columns - 1) * l->step + l->rows;
    return (size_t)elements * (l->type == KERN_CUDA_F64 ? 8 : l->type == KERN_CUDA_F32 ? 4 : 2);
}

static int bench_Matmul(void *handle, void *desc, const void *alpha, const void *a, void *a_layout,
                        const void *b, void *b_layout, const void *beta, const void *c,
                        void *c_layout, void *d, void *d_layout,
                        const kern_cublas_algorithm *algorithm, void *workspace,
                        size_t workspace_bytes, void *stream) {
    MAY_FAIL(Matmul);
    const layout *l = d_layout;
    (void)handle;
    if (!fits(desc, a_layout, b_layout, c_layout, d_layout) || c != d) return INVALID;
    if (element(l->type, alpha, 0) != 1 || workspace_bytes < WORKSPACE) return INVALID;
    if ((uintptr_t)a % algorithm->word[0] || (uintptr_t)b % algorithm->word[1] ||
        (uintptr_t)c % algorithm->word[2] || (uintptr_t)d % algorithm->word[3])
        return INVALID;
    bench_check_memory(workspace, workspace_bytes, "cublasLtMatmul");
    bench_check_memory(a, bytes_of(a_layout), "cublasLtMatmul");
    bench_check_memory(b, bytes_of(b_layout), "cublasLtMatmul");
    bench_check_memory(d, bytes_of(d_layout), "cublasLtMatmul");
    *(product *)bench_note(stream, product_late, sizeof(product)) =
        (product){.desc = *(const description *)desc,
                  .a = *(const layout *)a_layout,
                  .b = *(const layout *)b_layout,
                  .d = *l,
                  .a_data = a,
                  .b_data = b,
                  .d_data = d,
                  .workspace = workspace,
                  .beta = element(l->type, beta, 0),
                  .brief = algorithm->word[4] == 1};
    return 0;
}

static size_t bench_version(void) {
    return bench_number("TTT_BENCH_CUBLAS", 1);
}

static const char *bench_error(int status) {
    return status == FAILED ? "told to fail by TTT_BENCH_FAIL" : "invalid";
}

#define FILL(name, arguments) .name = bench_##name,
const kern_cublas kern_cublas_table = {KERN_CUBLAS(FILL).error = bench_error,
                                       .version = bench_version};
