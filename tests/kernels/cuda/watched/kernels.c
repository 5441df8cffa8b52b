/* Kernels of the CUDA device, small calls of each, in a program that watches them: built with the
 * address sanitizer, for what is read or written outside of operands, results and shared memory,
 * and with tests/kernels/cuda/watched/watch.h, for races, reads of what is not there, and how many
 * turns and sectors accesses need, by kernel as accesses.txt has it (TTT_RENEW=1 writes it). Their
 * numbers are tests/kernels/test_device_*.c's business. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/kernels.h"
#include "tests/kernels/cuda/emulator.h"
#include "tests/kernels/cuda/watched/watch.h"

kern_gpu kern_cuda_gpu = {.shared_bytes = 101376, .name = "emulator"};
void *kern_cuda_stream;
const kern_cublas kern_cublas_table; /* not for products of few rows */

kern_status kern_cublas_check(int result, const char *call) {
    (void)result, (void)call;
    ASSERT(!"cublasLt is not here");
    return KERN_ERR_FILE;
}

void kern_cuda_launch(kern_stream *stream, const char *name, const void *kernel,
                      kern_cuda_extent grid, int threads, size_t shared_bytes, const void *args) {
    (void)stream, (void)name;
    const unsigned extent[3] = {grid.x, grid.y, grid.z};
    emulator_run(kernel, args, extent, threads, shared_bytes);
}

/* ---- memory of just so many elements ---- */

enum { MEMORIES = 32 };
static void *memories[MEMORIES];
static int memory_count;

static void *memory_of(size_t bytes) {
#ifdef EMULATOR_WATCHES
    void *memory =
        aligned_alloc(64, kern_align(bytes) + WATCH_MARGIN); /* as on a GPU, whose sectors count */
    watch_memory(memory, bytes);
#else
    void *memory = malloc(bytes);
#endif
    ASSERT(memory && memory_count < MEMORIES);
    memset(memory, 0xff, bytes); /* NaN */
    return memories[memory_count++] = memory;
}

/* All of them 1. */
static void *ones(int64_t count, kern_dtype dtype) {
    void *memory = memory_of((size_t)count * kern_dtype_bytes(dtype));
    for (int64_t i = 0; i < count; i++) {
        if (dtype == KERN_BF16)
            ((uint16_t *)memory)[i] = 0x3f80;
        else
            kern_real_put(memory, dtype, i, 1);
    }
    return memory;
}

static void forget(void) {
#ifdef EMULATOR_WATCHES
    watch_forget();
#endif
    while (memory_count) free(memories[--memory_count]);
}

/* ---- attention ---- */

static void run_stage(const kern_attention_shape *s, int stage, int32_t past) {
    kern_dtype in = s->dtype, out = s->dtype == KERN_F64 ? KERN_F64 : KERN_F32;
    int64_t query = s->batch * s->rows * s->heads * s->head_size;
    int64_t key = s->batch * s->rows * s->groups * s->head_size;
    int64_t stride = past * s->groups * s->head_size, before = s->batch * stride;
    size_t workspace;
    void *state;
    ASSERT(kern_cuda_attention.create(&state, s, stage, past, 1, &workspace) == KERN_OK);
    kern_attention_arguments call = {.q = ones(query, in),
                                     .k = ones(key, in),
                                     .v = ones(key, in),
                                     .past_k = ones(before, in),
                                     .past_v = ones(before, in),
                                     .past_rows = &past,
                                     .past_stride = stride,
                                     .o = ones(query, out),
                                     .lse = ones(query / s->head_size, out)};
    if (stage > 0) {
        call.ct_o = ones(query, in);
        call.ct_q = ones(query, out);
        call.ct_k = ones(key, out), call.ct_v = ones(key, out);
        call.ct_past_k = ones(before, out), call.ct_past_v = ones(before, out);
        call.ct_past_stride = stride;
    }
    if (stage > 1) {
        call.a = ones(query, in), call.b = ones(key, in), call.c = ones(key, in);
        call.ct_ct_o = ones(query, out);
    }
    call.workspace = memory_of(workspace);
    kern_cuda_attention.run(NULL, state, &call);
    kern_cuda_attention.destroy(state);
    forget();
}

static void attend(void) {
    /* plain, two row tiles; tensor cores, two, of each size; few rows; rows in parts of keys */
    static const struct {
        kern_attention_shape shape;
        int32_t past;
        int stages;
    } calls[] = {
        {{KERN_F64, 1, ATTENTION_TILE_F64 + 1, 2, 1, 34, 20, 0.2}, 35, 3},
        {{KERN_F32, 1, ATTENTION_TILE_F32, 1, 1, 32, 40, 0.2}, 16, 3},
        {{KERN_BF16, 1, ATTENTION_TILE_F32, 1, 1, 33, 40, 0.2}, 16, 3},
        {{KERN_BF16, 1, ATTENTION_MMA_TILE + 1, 2, 1, 24, 50, 0.2}, 40, 3},
        {{KERN_BF16, 1, ATTENTION_MMA_TILE, 1, 1, 80, 64, 0.2}, 64, 3},
        {{KERN_BF16, 1, ATTENTION_MMA_TILE, 1, 1, 96, 64, 0.2}, 64, 3},
        {{KERN_BF16, 1, ATTENTION_MMA_TILE + 1, 1, 1, 104, 50, 0.2}, 40, 3},
        {{KERN_BF16, 1, 2, 2, 1, 72, 100, 0.2}, 300, 1},
        {{KERN_F32, 1, 4, 2, 1, 64, 200, 0.2}, 300, 1},
        {{KERN_F64, 1, 3, 2, 1, 20, 200, 0.2}, 100, 1},
        {{KERN_F32, 1, 3, 2, 1, 33, 200, 0.2}, 100, 1},
        {{KERN_BF16, 1, 9, 1, 1, 64, 1000, 0.2}, 600, 1},
        {{KERN_F32, 1, 9, 1, 1, 40, 1000, 0.2}, 600, 1},
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        for (int stage = 0; stage < calls[i].stages; stage++)
            run_stage(&calls[i].shape, stage, calls[i].past);
}

/* ---- products of few rows ---- */

static void multiply(kern_dtype dtype, bool transposed, int64_t m, int64_t n, int64_t k) {
    kern_dtype result = dtype == KERN_F64 ? KERN_F64 : KERN_F32;
    kern_matmul_shape s = {dtype, false, transposed, true, 2, m, n, k, m * k, n * k, m * n};
    size_t workspace;
    void *state;
    ASSERT(kern_cuda_matmul.create(&state, &s, 1, &workspace) == KERN_OK);
    void *a = ones(2 * m * k, dtype), *b = ones(2 * n * k, dtype), *c = ones(2 * m * n, result);
    kern_cuda_matmul.run(NULL, state, c, a, b, memory_of(workspace));
    kern_cuda_matmul.destroy(state);
    forget();
}

static void multiply_all(void) {
    static const kern_dtype dtypes[] = {KERN_F32, KERN_F64, KERN_BF16};
    for (int d = 0; d < 3; d++)
        for (int transposed = 0; transposed < 2; transposed++) {
            multiply(dtypes[d], transposed, 1, 256, 520);
            multiply(dtypes[d], transposed, 8, 264, 264);
            multiply(dtypes[d], transposed, 3, 33, 1030);
        }
}

/* ---- moving ---- */

static void transpose(int64_t rows, int64_t columns, size_t bytes) {
    kern_dtype dtype = bytes == 2 ? KERN_BF16 : bytes == 4 ? KERN_F32 : KERN_F64;
    const int64_t shape[] = {columns, rows}, to[] = {rows, 1}, from[] = {1, columns};
    void *x = ones(rows * columns, dtype), *y = ones(rows * columns, dtype);
    kern_cuda_move.copy(NULL, y, to, x, from, shape, 2, bytes);
    forget();
}

static void copy(int64_t rows, int64_t columns, int64_t pitch) {
    const int64_t shape[] = {rows, columns}, to[] = {columns, 1}, from[] = {pitch, 1};
    void *x = ones(rows * pitch, KERN_F32), *y = ones(rows * columns, KERN_F32);
    kern_cuda_move.copy(NULL, y, to, x, from, shape, 2, sizeof(float));
    forget();
}

static void by_index(kern_dtype dtype, int64_t width) {
    enum { ROWS = 300, VOCAB = 40 };
    int32_t *index = memory_of(ROWS * sizeof *index);
    for (int i = 0; i < ROWS; i++) index[i] = i * 7 % (VOCAB + 2) - 1;
    void *table = ones(VOCAB * width, dtype), *rows = ones(ROWS * width, dtype);
    kern_cuda_move.gather(NULL, dtype, rows, table, index, ROWS, VOCAB, width);
    if (dtype != KERN_BF16)
        kern_cuda_move.scatter_add(NULL, dtype, table, rows, index, ROWS, VOCAB, width);
    forget();
}

static void move(void) {
    for (size_t bytes = 2; bytes <= 8; bytes *= 2) transpose(64, 33, bytes);
    copy(17, 64, 96);
    copy(5, 7, 9);
    by_index(KERN_F32, 64);
    by_index(KERN_F64, 33);
    by_index(KERN_BF16, 7);
    for (int64_t count = 1024; count < 1030; count += 3) {
        float *from = ones(count, KERN_F32);
        kern_cuda_move.round(NULL, memory_of((size_t)count * 2), from, count);
        forget();
    }
    kern_cuda_widen(NULL, memory_of(1032 * 4), ones(1032, KERN_BF16), 1032);
    forget();
}

/* ---- counts ---- */

#ifdef EMULATOR_WATCHES
static double over(int64_t is, int64_t least) {
    return least ? (double)is / (double)least : 1;
}

static void write_counts(FILE *file, const watch_counts *k, int count) {
    fprintf(file, "# kernel, threads of a block, bytes of shared memory; turns of shared memory, "
                  "sectors of the GPU's memory, each over the least\n");
    for (int i = 0; i < count; i++)
        fprintf(file, "%s %d %zu %.2f %.2f\n", k[i].kernel, k[i].threads, k[i].shared_bytes,
                over(k[i].turns, k[i].least_turns), over(k[i].sectors, k[i].least_sectors));
}

static bool is_near(double a, double b) {
    return fabs(a - b) <= 0.03 * b;
}

/* How many kernels are others than the file says. */
static int check_counts(FILE *file, const watch_counts *k, int count) {
    char name[64];
    int threads, in_file = 0, same = 0;
    size_t bytes;
    double turns, sectors;
    (void)!fscanf(file, "%*[^\n]");
    for (; fscanf(file, "%63s %d %zu %lf %lf", name, &threads, &bytes, &turns, &sectors) == 5;
         in_file++)
        for (int i = 0; i < count; i++) {
            if (strcmp(name, k[i].kernel)) continue;
            double t = over(k[i].turns, k[i].least_turns);
            double s = over(k[i].sectors, k[i].least_sectors);
            if (is_near(t, turns) && is_near(s, sectors) && threads == k[i].threads &&
                bytes == k[i].shared_bytes)
                same++;
            else
                fprintf(stderr, "%s: %d threads, %zu bytes, %.2f turns, %.2f sectors\n", name,
                        k[i].threads, k[i].shared_bytes, t, s);
        }
    if (in_file != count) fprintf(stderr, "%d kernels ran, not %d\n", count, in_file);
    return count - same + (in_file != count);
}

static int check_file(const char *path) {
    const watch_counts *k;
    int count = watch_count(&k), wrong = 0;
    bool renew = getenv("TTT_RENEW");
    FILE *file = fopen(path, renew ? "w" : "r");
    ASSERT(file);
    if (renew)
        write_counts(file, k, count);
    else
        wrong = check_counts(file, k, count);
    fclose(file);
    if (wrong) fprintf(stderr, "not as %s says; TTT_RENEW=1 writes it\n", path);
    return wrong;
}
#endif

/* Given a family, runs its kernels alone and compares no counts. */
int main(int count, char **word) {
    static const struct {
        const char *name;
        void (*run)(void);
    } families[] = {{"attention", attend}, {"matmul", multiply_all}, {"move", move}};
    emulator_seed(2);
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (count < 2 || !strcmp(word[1], families[i].name)) families[i].run();
#ifdef EMULATOR_WATCHES
    return count < 2 && check_file(TESTS_DIR "/kernels/cuda/watched/accesses.txt") != 0;
#else
    return 0;
#endif
}
