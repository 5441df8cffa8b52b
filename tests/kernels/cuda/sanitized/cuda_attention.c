/* Attention's kernels, a small call of each stage, run by themselves in a program that a sanitizer
 * watches: thread finds races between a block's threads, address what is read or written outside
 * of operands, results and shared memory. Their numbers are tests/kernels/test_device_attention.c's
 * business. */
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/cuda.h"
#include "tests/kernels/cuda/emulator.h"

kern_gpu kern_cuda_gpu = {.shared_bytes = 101376, .name = "emulator"};

void kern_cuda_launch(kern_stream *stream, const char *name, const void *kernel,
                      kern_cuda_extent grid, int threads, size_t shared_bytes, const void *args) {
    (void)stream, (void)name;
    const unsigned extent[3] = {grid.x, grid.y, grid.z};
    emulator_run(kernel, args, extent, threads, shared_bytes);
}

enum { MEMORIES = 32 };
static void *memories[MEMORIES];
static int memory_count;

/* Memory of just so many elements, all of them 1. */
static void *ones(int64_t count, kern_dtype dtype) {
    size_t bytes = (size_t)count * kern_dtype_bytes(dtype);
    void *memory = malloc(bytes);
    ASSERT(memory && memory_count < MEMORIES);
    for (int64_t i = 0; i < count; i++) {
        if (dtype == KERN_BF16)
            ((uint16_t *)memory)[i] = 0x3f80;
        else
            kern_real_put(memory, dtype, i, 1);
    }
    return memories[memory_count++] = memory;
}

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
    call.workspace = malloc(workspace);
    kern_cuda_attention.run(NULL, state, &call);
    kern_cuda_attention.destroy(state);
    free(call.workspace);
    while (memory_count) free(memories[--memory_count]);
}

int main(void) {
    /* plain, two row tiles; tensor cores, two; a few rows */
    static const struct {
        kern_attention_shape shape;
        int32_t past;
        int stages;
    } calls[] = {
        {{KERN_F64, 1, ATTENTION_TILE_F64 + 1, 2, 1, 34, 20, 0.2}, 35, 3},
        {{KERN_BF16, 1, ATTENTION_MMA_TILE + 1, 2, 1, 24, 50, 0.2}, 40, 3},
        {{KERN_BF16, 1, ATTENTION_MMA_TILE + 1, 1, 1, 104, 50, 0.2}, 40, 3},
        {{KERN_BF16, 1, 2, 2, 1, 72, 100, 0.2}, 300, 1},
    };
    emulator_seed(2);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        for (int stage = 0; stage < calls[i].stages; stage++)
            run_stage(&calls[i].shape, stage, calls[i].past);
    return 0;
}
