/* Row programs: the text of kernels/rows_text.h, compiled for the GPU. */
#include "kernels/rows_text.h"

#include <stdlib.h>

#include "kernels/cuda/cuda.h"

typedef struct {
    kern_row_launch launch;
    int operands;
    void *kernel, *sums; /* sums NULL: there is no second one */
} program;

static const char kernel_name[] = "ttt_rows";

static kern_status create(void **state, const kern_row_program *of, int threads,
                          size_t *workspace) {
    program *made = kern_array(1, sizeof *made);
    char *text = kern_row_text(of, kernel_name, &made->launch);
    (void)threads;
    made->operands = of->operands;
    kern_status status = kern_cuda_compile(text, kernel_name, &made->kernel,
                                           made->launch.sum_blocks ? &made->sums : NULL);
    free(text);
    *workspace = made->launch.workspace;
    *state = made;
    if (status != KERN_OK) {
        free(made);
        *state = NULL;
    }
    return status;
}

static kern_cuda_extent blocks_of(int64_t blocks) {
    ASSERT(blocks <= INT32_MAX);
    return (kern_cuda_extent){(unsigned)blocks, 1, 1};
}

static void run(kern_stream *stream, const void *state, void *const *operand, void *workspace) {
    const program *p = state;
    enum { FEW = 64 };
    void *few[FEW], **memory = few;
    if (p->operands >= FEW) memory = kern_array(p->operands + 1, sizeof *memory);
    for (int i = 0; i < p->operands; i++) memory[i] = operand[i];
    memory[p->operands] = workspace;
    kern_cuda_launch(stream, "of a row program", p->kernel, blocks_of(p->launch.blocks),
                     p->launch.threads, 0, memory);
    if (p->sums)
        kern_cuda_launch(stream, "of a row program's sums", p->sums,
                         blocks_of(p->launch.sum_blocks), p->launch.threads, 0, memory);
    if (memory != few) free(memory);
}

const kern_rows_ops kern_cuda_rows = {create, run, free};
