#include "kernels/device_paper.h"

#include <stdlib.h>

#include "kernels/cuda/attention_cudnn_scratch.h"

/* What the libraries and kernels of an accelerator ask for; states are NULL, there is nothing to
 * destroy. */
enum { PRODUCT_WORKSPACE = 32 << 20, SUM_PIECES = 256 };

static kern_status matmul_create(void **state, const kern_matmul_shape *shape, int threads,
                                 size_t *workspace) {
    (void)shape, (void)threads;
    *state = NULL;
    *workspace = PRODUCT_WORKSPACE;
    return KERN_OK;
}

/* Statistics of each row and head, in f32 or f64: delta, tau and h. */
static kern_status attention_create(void **state, const kern_attention_shape *shape, int stage,
                                    int64_t past, int threads, size_t *workspace) {
    (void)past, (void)threads;
    size_t real = shape->dtype == KERN_F64 ? sizeof(double) : sizeof(float);
    *state = NULL;
    *workspace = stage ? 3 * (size_t)(shape->batch * shape->rows * shape->heads) * real : 0;
    return KERN_OK;
}

/* By cuDNN where it takes the shape, else as above, which our own kernels' state needs, too. */
static kern_status attention_cudnn_create(void **state, const kern_attention_shape *shape,
                                          int stage, int64_t past, int threads, size_t *workspace) {
    kern_status status = attention_create(state, shape, stage, past, threads, workspace);
    if (!kern_cudnn_attends(shape, stage, past)) return status;
    size_t theirs = kern_align(kern_cudnn_most_workspace(shape, stage));
    *workspace = kern_max_bytes(*workspace, kern_cudnn_scratch_of(shape, stage).theirs + theirs);
    return status;
}

/* Sums over leading axes go through a sum of each piece of the rows. */
static kern_status rows_create(void **state, const kern_row_program *program, int threads,
                               size_t *workspace) {
    (void)threads;
    *state = NULL;
    for (int i = 0; i < program->instrs; i++) {
        const kern_row_instr *instr = &program->instr[i];
        if (instr->op != KERN_ROW_SUM_LEAD) continue;
        size_t width = program->operand[instr->operand].wide ? (size_t)program->n : 1;
        *workspace += SUM_PIECES * width * kern_dtype_bytes(program->compute);
    }
    return KERN_OK;
}

static void no_state(void *state) {
    ASSERT(!state);
}

static const kern_matmul_ops matmul = {.create = matmul_create, .destroy = no_state};
static const kern_attention_ops attention = {.create = attention_create, .destroy = no_state};
static const kern_attention_ops attention_cudnn = {.create = attention_cudnn_create,
                                                   .destroy = no_state};
static const kern_rows_ops rows = {.create = rows_create, .destroy = no_state};

static kern_status alloc(void **memory, size_t bytes, const char *what) {
    (void)bytes;
    *memory = NULL;
    return kern_fail(KERN_ERR_CONFIG, "no memory for %s: this device is planned for, not here",
                     what);
}

kern_device *kern_device_paper_create(const kern_machine *machine, bool cudnn) {
    kern_device *device = kern_array(1, sizeof *device);
    *device = (kern_device){.name = machine->name,
                            .machine = machine,
                            .alloc = alloc,
                            .matmul = &matmul,
                            .attention = cudnn ? &attention_cudnn : &attention,
                            .rows = &rows};
    return device;
}

void kern_device_paper_destroy(kern_device *device) {
    free(device);
}
