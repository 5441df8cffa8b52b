/* Attention by cuDNN's fused kernels, where it has one for a shape and our own are not needed for
 * a second derivative; for other shapes, and for operands that do not begin at 16 bytes, our own.
 * It writes results in bf16 and a row's statistic by heads first: they are copied from and into
 * what the stages of kernels/attention.h have. */
#include "kernels/cuda/attention_cudnn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/cuda.h"

/* ---- plans, by shape ---- */

typedef struct {
    kern_attention_shape shape;
    int stage;
    kern_cudnn_graph graph;
    float value[KERN_CUDNN_GIVEN]; /* of those numbers that are values */
} prepared;

static void *library;
static prepared **plans;
static int64_t plan_count, plan_capacity;

kern_status kern_cuda_cudnn_open(size_t *version) {
    kern_status status = KERN_OK;
    TRY(kern_cudnn_open(&kern_cudnn_table));
    *version = kern_cudnn_table.version();
    if (*version < KERN_CUDNN_VERSION)
        return kern_fail(KERN_ERR_CONFIG,
                         "device cuda+cudnn: cuDNN %zu is too old, %d is needed: older ones have "
                         "faults where tiles are not full",
                         *version, KERN_CUDNN_VERSION);
    if (!library) TRY(kern_cudnn_check(kern_cudnn_table.Create(&library), "cudnnCreate"));
    TRY(kern_cudnn_check(kern_cudnn_table.SetStream(library, kern_cuda_stream), "cudnnSetStream"));
done:
    return status;
}

static bool is_same(const kern_attention_shape *a, const kern_attention_shape *b) {
    return a->batch == b->batch && a->rows == b->rows && a->heads == b->heads &&
           a->groups == b->groups && a->head_size == b->head_size && a->window == b->window &&
           fabs(a->scale - b->scale) <= 0;
}

static kern_status plan_of(const prepared **found, const kern_attention_shape *shape, int stage) {
    typedef long long number; /* what %lld prints */
    for (int64_t i = 0; i < plan_count; i++)
        if (plans[i]->stage == stage && is_same(&plans[i]->shape, shape)) {
            *found = plans[i];
            return KERN_OK;
        }
    prepared *made = kern_array(1, sizeof *made);
    *made = (prepared){.shape = *shape,
                       .stage = stage,
                       .value = {[CUDNN_SCALE] = (float)shape->scale,
                                 [CUDNN_HIDDEN] = -INFINITY,
                                 [CUDNN_HIDDEN_BEHIND] = -INFINITY,
                                 [CUDNN_WINDOW] = (float)shape->window,
                                 [CUDNN_ONE] = 1}};
    kern_cudnn_attention_graph(&made->graph, shape, stage);
    kern_status status = kern_cudnn_plan(&made->graph, library, NULL);
    if (status) {
        kern_cudnn_destroy(&made->graph);
        free(made);
        return kern_fail_context(
            status, "cuDNN's attention%s, %lld rows, %lld heads of %lld (%lld of keys)",
            stage ? "'" : "", (number)shape->rows, (number)shape->heads, (number)shape->head_size,
            (number)shape->groups);
    }
    plans = kern_grow(plans, &plan_capacity, plan_count + 1, sizeof *plans);
    *found = plans[plan_count++] = made;
    return KERN_OK;
}

/* ---- the device's attention ---- */

typedef struct {
    void *own;            /* our kernels' state */
    const prepared *plan; /* NULL: cuDNN has none for the shape */
} attention;

/* Of ours, and of the plan that there is. */
static size_t scratch_bytes(const prepared *p) {
    return kern_cudnn_scratch_of(&p->shape, p->stage).theirs + kern_align(p->graph.workspace);
}

static void destroy(void *state) {
    attention *at = state;
    if (at->own) kern_cuda_attention.destroy(at->own);
    free(at);
}

static kern_status create(void **state, const kern_attention_shape *shape, int stage, int64_t past,
                          int threads, size_t *workspace) {
    kern_status status = KERN_OK;
    attention *at = kern_array(1, sizeof *at);
    *at = (attention){.own = NULL};
    *state = at;
    kern_attention_shape cut = *shape;
    cut.window = kern_min(shape->window, shape->rows);
    TRY(kern_cuda_attention.create(&at->own, shape, stage, past, threads, workspace));
    if (!kern_cudnn_attends(shape, stage, past)) goto done;
    TRY(plan_of(&at->plan, &cut, stage));
    *workspace = kern_max_bytes(*workspace, scratch_bytes(at->plan));
done:
    return status;
}

/* Between a row's statistics [B, C, H] and [B, H, C]. */
static void turn(kern_stream *stream, const kern_attention_shape *s, void *to, const void *from,
                 bool heads_first) {
    int64_t shape[] = {s->batch, s->rows, s->heads};
    int64_t plain[] = {s->rows * s->heads, s->heads, 1}, first[] = {s->rows * s->heads, 1, s->rows};
    kern_cuda_move.copy(stream, to, heads_first ? first : plain, from, heads_first ? plain : first,
                        shape, 3, sizeof(float));
}

static bool is_aligned(const kern_attention_arguments *c) {
    return ((uintptr_t)c->q | (uintptr_t)c->k | (uintptr_t)c->v | (uintptr_t)c->ct_o |
            (uintptr_t)c->o | (uintptr_t)c->ct_q | (uintptr_t)c->ct_k | (uintptr_t)c->ct_v) %
               16 ==
           0;
}

static void run_plan(kern_stream *stream, const prepared *p, const kern_attention_arguments *call) {
    const kern_attention_shape *s = &p->shape;
    const kern_cudnn_scratch at = kern_cudnn_scratch_of(s, p->stage);
    char *memory = call->workspace;
    int64_t rows = s->batch * s->rows * s->heads * s->head_size;
    int64_t keys = s->batch * s->rows * s->groups * s->head_size;
    void *address[KERN_CUDNN_GIVEN] = {
        [CUDNN_Q] = (void *)(uintptr_t)call->q,    [CUDNN_K] = (void *)(uintptr_t)call->k,
        [CUDNN_V] = (void *)(uintptr_t)call->v,    [CUDNN_O] = memory + at.o,
        [CUDNN_STATISTIC] = memory + at.statistic, [CUDNN_CT_O] = (void *)(uintptr_t)call->ct_o,
        [CUDNN_CT_Q] = memory + at.ct_q,           [CUDNN_CT_K] = memory + at.ct_k,
        [CUDNN_CT_V] = memory + at.ct_v,           [CUDNN_DELTA] = memory + at.delta};
    for (int i = CUDNN_SCALE; i <= CUDNN_ONE; i++) address[i] = (void *)(uintptr_t)&p->value[i];
    if (p->stage) {
        kern_cuda_move.round(stream, address[CUDNN_O], call->o, rows);
        turn(stream, s, address[CUDNN_STATISTIC], call->lse, true);
    }
    ON_STREAM(stream, kern_cudnn_run(&p->graph, library, address, memory + at.theirs));
    if (p->stage) {
        if (call->ct_q) kern_cuda_widen(stream, call->ct_q, address[CUDNN_CT_Q], rows);
        if (call->ct_k) kern_cuda_widen(stream, call->ct_k, address[CUDNN_CT_K], keys);
        if (call->ct_v) kern_cuda_widen(stream, call->ct_v, address[CUDNN_CT_V], keys);
    } else {
        if (call->o) kern_cuda_widen(stream, call->o, address[CUDNN_O], rows);
        if (call->lse) turn(stream, s, call->lse, address[CUDNN_STATISTIC], false);
    }
}

static void run(kern_stream *stream, const void *state, const kern_attention_arguments *call) {
    const attention *at = state;
    if (at->plan && is_aligned(call))
        run_plan(stream, at->plan, call);
    else
        kern_cuda_attention.run(stream, at->own, call);
}

const kern_attention_ops kern_cuda_attention_cudnn = {create, run, destroy};
