/* cuDNN's descriptors, as its API wants them: attributes that they have, of the right type and
 * number, set before they are finished; parts finished before; no plan that was not asked for. */
#include "tests/kernels/cuda/bench_cudnn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kernels/cuda/bench.h"

enum { TOLD = 5000, ATTRIBUTES = 16, MOST = 64, KINDS = 40, GIVEN = 32 };

static char why[256];

#define MAY_FAIL(call)                                                                             \
    if (bench_fails("cudnn" #call)) return TOLD

typedef struct {
    int name, type;
    int64_t count;
    union {
        void *part[MOST];
        int64_t number[MOST];
        int mode[MOST];
        bool truth[MOST];
    } value;
} attribute;

typedef struct {
    int kind, attributes;
    bool finished;
    attribute attribute[ATTRIBUTES];
    bench_cudnn_graph *graph; /* of a graph, and what is made of it */
} descriptor;

/* What a kind of descriptor has: how many of what type, 0: any number; `must` be there. */
static const struct {
    int kind, name, type, count;
    bool must;
} known[] = {
#define KNOW(kind, name, type, count, must)                                                        \
    { KERN_CUDNN_##kind, KERN_CUDNN_##name, KERN_CUDNN_##type, count, must }
    KNOW(POINTWISE, POINTWISE_MODE, A_POINTWISE, 1, true),
    KNOW(POINTWISE, POINTWISE_PRECISION, A_DATA_TYPE, 1, true),
    KNOW(POINTWISE, POINTWISE_AXIS, AN_INT64, 1, false),
    KNOW(OPERATION_POINTWISE, POINTWISE_DESCRIPTION, A_DESCRIPTOR, 1, true),
    KNOW(OPERATION_POINTWISE, POINTWISE_X, A_DESCRIPTOR, 1, true),
    KNOW(OPERATION_POINTWISE, POINTWISE_B, A_DESCRIPTOR, 1, false),
    KNOW(OPERATION_POINTWISE, POINTWISE_MASK, A_DESCRIPTOR, 1, false),
    KNOW(OPERATION_POINTWISE, POINTWISE_Y, A_DESCRIPTOR, 1, true),
    KNOW(MATMUL, MATMUL_PRECISION, A_DATA_TYPE, 1, true),
    KNOW(OPERATION_MATMUL, MATMUL_DESCRIPTION, A_DESCRIPTOR, 1, true),
    KNOW(OPERATION_MATMUL, MATMUL_A, A_DESCRIPTOR, 1, true),
    KNOW(OPERATION_MATMUL, MATMUL_B, A_DESCRIPTOR, 1, true),
    KNOW(OPERATION_MATMUL, MATMUL_C, A_DESCRIPTOR, 1, true),
    KNOW(REDUCTION, REDUCTION_MODE, A_REDUCTION, 1, true),
    KNOW(REDUCTION, REDUCTION_PRECISION, A_DATA_TYPE, 1, true),
    KNOW(OPERATION_REDUCTION, REDUCTION_DESCRIPTION, A_DESCRIPTOR, 1, true),
    KNOW(OPERATION_REDUCTION, REDUCTION_X, A_DESCRIPTOR, 1, true),
    KNOW(OPERATION_REDUCTION, REDUCTION_Y, A_DESCRIPTOR, 1, true),
    KNOW(OPERATION_RESHAPE, RESHAPE_X, A_DESCRIPTOR, 1, true),
    KNOW(OPERATION_RESHAPE, RESHAPE_Y, A_DESCRIPTOR, 1, true),
    KNOW(TENSOR, TENSOR_ALIGNMENT, AN_INT64, 1, true),
    KNOW(TENSOR, TENSOR_TYPE, A_DATA_TYPE, 1, true),
    KNOW(TENSOR, TENSOR_SHAPE, AN_INT64, 4, true),
    KNOW(TENSOR, TENSOR_STRIDES, AN_INT64, 4, true),
    KNOW(TENSOR, TENSOR_NUMBER, AN_INT64, 1, true),
    KNOW(TENSOR, TENSOR_IS_VIRTUAL, A_BOOLEAN, 1, false),
    KNOW(TENSOR, TENSOR_IS_VALUE, A_BOOLEAN, 1, false),
    KNOW(GRAPH, GRAPH_HANDLE, A_HANDLE, 1, true),
    KNOW(GRAPH, GRAPH_OPERATIONS, A_DESCRIPTOR, 0, true),
    KNOW(HEURISTIC, HEURISTIC_GRAPH, A_DESCRIPTOR, 1, true),
    KNOW(HEURISTIC, HEURISTIC_MODE, A_HEURISTIC, 1, true),
    KNOW(PLAN, PLAN_HANDLE, A_HANDLE, 1, true),
    KNOW(PLAN, PLAN_CONFIG, A_DESCRIPTOR, 1, true),
    KNOW(PACK, PACK_NUMBERS, AN_INT64, 0, true),
    KNOW(PACK, PACK_ADDRESSES, A_POINTER, 0, true),
    KNOW(PACK, PACK_WORKSPACE, A_POINTER, 1, true),
#undef KNOW
};
enum { KNOWN = sizeof known / sizeof *known };

static int the_handle;
static void *the_stream;

static int bad(const char *what) {
    snprintf(why, sizeof why, "%s", what);
    return BENCH_CUDNN_BAD;
}

static size_t bytes_of(int type) {
    switch (type) {
    case KERN_CUDNN_A_BOOLEAN: return sizeof(bool);
    case KERN_CUDNN_AN_INT64: return sizeof(int64_t);
    case KERN_CUDNN_A_HANDLE:
    case KERN_CUDNN_A_POINTER:
    case KERN_CUDNN_A_DESCRIPTOR: return sizeof(void *);
    default: return sizeof(int);
    }
}

static const attribute *find(const descriptor *d, int name) {
    for (int i = 0; i < d->attributes; i++)
        if (d->attribute[i].name == name) return &d->attribute[i];
    return NULL;
}

static descriptor *part(const descriptor *d, int name) {
    const attribute *a = find(d, name);
    return a ? a->value.part[0] : NULL;
}

static int mode(const descriptor *d, int name) {
    return find(d, name)->value.mode[0];
}

/* ---- making and setting ---- */

static int bench_Create(void **handle) {
    MAY_FAIL(Create);
    *handle = &the_handle;
    return 0;
}

static int bench_SetStream(void *handle, void *stream) {
    MAY_FAIL(SetStream);
    the_stream = stream;
    return handle == &the_handle ? 0 : bad("not a handle");
}

static int bench_BackendCreateDescriptor(int kind, void **made) {
    MAY_FAIL(BackendCreateDescriptor);
    descriptor *d = kern_array(1, sizeof *d);
    memset(d, 0, sizeof *d);
    d->kind = kind;
    *made = d;
    return 0;
}

static int bench_BackendDestroyDescriptor(void *of) {
    descriptor *d = of;
    if (d->kind == KERN_CUDNN_GRAPH) free(d->graph);
    free(d);
    return 0;
}

static int bench_BackendSetAttribute(void *of, int name, int type, int64_t count,
                                     const void *value) {
    MAY_FAIL(BackendSetAttribute);
    descriptor *d = of;
    int at = 0;
    if (!d || d->finished) return bad("set after it was finished");
    if (find(d, name)) return bad("set twice");
    while (at < KNOWN && (known[at].kind != d->kind || known[at].name != name)) at++;
    if (at == KNOWN) return bad("it has no such attribute");
    if (known[at].type != type) return bad("an attribute's type");
    if (count < 1 || count > MOST || (known[at].count && known[at].count != count))
        return bad("how many values");
    attribute *a = &d->attribute[d->attributes++];
    *a = (attribute){.name = name, .type = type, .count = count};
    memcpy(&a->value, value, (size_t)count * bytes_of(type));
    for (int64_t i = 0; type == KERN_CUDNN_A_DESCRIPTOR && i < count; i++) {
        const descriptor *p = a->value.part[i];
        if (!p || !p->finished) return bad("a part that is not finished");
    }
    if (type == KERN_CUDNN_A_HANDLE && a->value.part[0] != &the_handle) return bad("a handle");
    return 0;
}

/* ---- graphs ---- */

static bool is_same(const bench_cudnn_tensor *a, const bench_cudnn_tensor *b) {
    return a->type == b->type && a->is_virtual == b->is_virtual && a->is_value == b->is_value &&
           !memcmp(a->dim, b->dim, sizeof a->dim) &&
           !memcmp(a->stride, b->stride, sizeof a->stride);
}

/* The tensor's place in the graph, where it comes when it is not there. */
static int place_of(bench_cudnn_graph *g, const descriptor *d) {
    if (!d) return -1;
    bench_cudnn_tensor t = {.number = find(d, KERN_CUDNN_TENSOR_NUMBER)->value.number[0],
                            .type = mode(d, KERN_CUDNN_TENSOR_TYPE)};
    const attribute *is_virtual = find(d, KERN_CUDNN_TENSOR_IS_VIRTUAL);
    const attribute *is_value = find(d, KERN_CUDNN_TENSOR_IS_VALUE);
    memcpy(t.dim, find(d, KERN_CUDNN_TENSOR_SHAPE)->value.number, sizeof t.dim);
    memcpy(t.stride, find(d, KERN_CUDNN_TENSOR_STRIDES)->value.number, sizeof t.stride);
    t.is_virtual = is_virtual && is_virtual->value.truth[0];
    t.is_value = is_value && is_value->value.truth[0];
    for (int i = 0; i < g->tensors; i++)
        if (g->tensor[i].number == t.number) return is_same(&g->tensor[i], &t) ? i : -2;
    if (g->tensors == BENCH_CUDNN_TENSORS) return -2;
    g->tensor[g->tensors] = t;
    return g->tensors++;
}

static bench_cudnn_operation operation_of(bench_cudnn_graph *g, const descriptor *d) {
    bench_cudnn_operation o = {.kind = d->kind, .b = -1, .mask = -1};
    const descriptor *what;
    switch (d->kind) {
    case KERN_CUDNN_OPERATION_POINTWISE:
        what = part(d, KERN_CUDNN_POINTWISE_DESCRIPTION);
        o.mode = mode(what, KERN_CUDNN_POINTWISE_MODE);
        o.precision = mode(what, KERN_CUDNN_POINTWISE_PRECISION);
        o.axis = find(what, KERN_CUDNN_POINTWISE_AXIS)
                     ? find(what, KERN_CUDNN_POINTWISE_AXIS)->value.number[0]
                     : -1;
        o.x = place_of(g, part(d, KERN_CUDNN_POINTWISE_X));
        o.b = place_of(g, part(d, KERN_CUDNN_POINTWISE_B));
        o.mask = place_of(g, part(d, KERN_CUDNN_POINTWISE_MASK));
        o.y = place_of(g, part(d, KERN_CUDNN_POINTWISE_Y));
        break;
    case KERN_CUDNN_OPERATION_MATMUL:
        o.precision = mode(part(d, KERN_CUDNN_MATMUL_DESCRIPTION), KERN_CUDNN_MATMUL_PRECISION);
        o.x = place_of(g, part(d, KERN_CUDNN_MATMUL_A));
        o.b = place_of(g, part(d, KERN_CUDNN_MATMUL_B));
        o.y = place_of(g, part(d, KERN_CUDNN_MATMUL_C));
        break;
    case KERN_CUDNN_OPERATION_REDUCTION:
        what = part(d, KERN_CUDNN_REDUCTION_DESCRIPTION);
        o.mode = mode(what, KERN_CUDNN_REDUCTION_MODE);
        o.precision = mode(what, KERN_CUDNN_REDUCTION_PRECISION);
        o.x = place_of(g, part(d, KERN_CUDNN_REDUCTION_X));
        o.y = place_of(g, part(d, KERN_CUDNN_REDUCTION_Y));
        break;
    default:
        o.precision = KERN_CUDNN_F32;
        o.x = place_of(g, part(d, KERN_CUDNN_RESHAPE_X));
        o.y = place_of(g, part(d, KERN_CUDNN_RESHAPE_Y));
    }
    return o;
}

static bool is_operation(int kind) {
    return kind == KERN_CUDNN_OPERATION_POINTWISE || kind == KERN_CUDNN_OPERATION_MATMUL ||
           kind == KERN_CUDNN_OPERATION_REDUCTION || kind == KERN_CUDNN_OPERATION_RESHAPE;
}

static int finish_graph(descriptor *d) {
    const attribute *operations = find(d, KERN_CUDNN_GRAPH_OPERATIONS);
    bench_cudnn_graph *g = d->graph = kern_array(1, sizeof *g);
    memset(g, 0, sizeof *g);
    if (operations->count > BENCH_CUDNN_OPERATIONS) return bad("too many operations");
    for (int64_t i = 0; i < operations->count; i++) {
        const descriptor *o = operations->value.part[i];
        if (!is_operation(o->kind)) return bad("not an operation");
        g->operation[g->operations++] = operation_of(g, o);
    }
    const char *what = NULL;
    int result = bench_cudnn_check(g, &what);
    if (result) snprintf(why, sizeof why, "%s", what);
    return result;
}

/* Kinds that parts must have. */
static bool is_of_parts(const descriptor *d) {
    static const int wanted[][2] = {
        {KERN_CUDNN_POINTWISE_DESCRIPTION, KERN_CUDNN_POINTWISE},
        {KERN_CUDNN_POINTWISE_X, KERN_CUDNN_TENSOR},
        {KERN_CUDNN_POINTWISE_B, KERN_CUDNN_TENSOR},
        {KERN_CUDNN_POINTWISE_MASK, KERN_CUDNN_TENSOR},
        {KERN_CUDNN_POINTWISE_Y, KERN_CUDNN_TENSOR},
        {KERN_CUDNN_MATMUL_DESCRIPTION, KERN_CUDNN_MATMUL},
        {KERN_CUDNN_MATMUL_A, KERN_CUDNN_TENSOR},
        {KERN_CUDNN_MATMUL_B, KERN_CUDNN_TENSOR},
        {KERN_CUDNN_MATMUL_C, KERN_CUDNN_TENSOR},
        {KERN_CUDNN_REDUCTION_DESCRIPTION, KERN_CUDNN_REDUCTION},
        {KERN_CUDNN_REDUCTION_X, KERN_CUDNN_TENSOR},
        {KERN_CUDNN_REDUCTION_Y, KERN_CUDNN_TENSOR},
        {KERN_CUDNN_RESHAPE_X, KERN_CUDNN_TENSOR},
        {KERN_CUDNN_RESHAPE_Y, KERN_CUDNN_TENSOR},
        {KERN_CUDNN_HEURISTIC_GRAPH, KERN_CUDNN_GRAPH},
        {KERN_CUDNN_PLAN_CONFIG, KERN_CUDNN_ENGINE_CONFIG},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        const descriptor *p = part(d, wanted[i][0]);
        if (p && p->kind != wanted[i][1]) return false;
    }
    return true;
}

static int bench_BackendFinalize(void *of) {
    MAY_FAIL(BackendFinalize);
    descriptor *d = of;
    if (!d || d->finished) return bad("finished twice");
    for (int i = 0; i < KNOWN; i++)
        if (known[i].kind == d->kind && known[i].must && !find(d, known[i].name))
            return bad("an attribute is missing");
    if (!is_of_parts(d)) return bad("a part of another kind");
    int result = 0;
    if (d->kind == KERN_CUDNN_GRAPH)
        result = finish_graph(d);
    else if (d->kind == KERN_CUDNN_HEURISTIC)
        d->graph = part(d, KERN_CUDNN_HEURISTIC_GRAPH)->graph;
    else if (d->kind == KERN_CUDNN_PLAN)
        d->graph = part(d, KERN_CUDNN_PLAN_CONFIG)->graph;
    d->finished = !result;
    return result;
}

static int bench_BackendGetAttribute(void *of, int name, int type, int64_t most, int64_t *count,
                                     void *value) {
    MAY_FAIL(BackendGetAttribute);
    const descriptor *d = of;
    if (!d->finished || most < 1) return bad("asked for too early");
    *count = 1;
    if (d->kind == KERN_CUDNN_HEURISTIC && name == KERN_CUDNN_HEURISTIC_RESULTS &&
        type == KERN_CUDNN_A_DESCRIPTOR &&
        mode(d, KERN_CUDNN_HEURISTIC_MODE) == KERN_CUDNN_HEURISTIC_A) {
        descriptor *config = *(descriptor **)value;
        if (config->kind != KERN_CUDNN_ENGINE_CONFIG) return bad("where results go");
        config->graph = d->graph;
        config->finished = true;
        return 0;
    }
    if (d->kind != KERN_CUDNN_PLAN || name != KERN_CUDNN_PLAN_WORKSPACE ||
        type != KERN_CUDNN_AN_INT64)
        return bad("what is asked for");
    *(int64_t *)value = (int64_t)bench_cudnn_scratch(d->graph);
    return 0;
}

/* ---- running ---- */

typedef struct {
    const bench_cudnn_graph *graph;
    void *address[BENCH_CUDNN_TENSORS], *workspace;
    float value[BENCH_CUDNN_TENSORS];
    size_t bytes;
} noted;

static void run_late(void *arguments) {
    const noted *n = arguments;
    memset(n->workspace, 0xff, n->bytes);
    bench_cudnn_compute(n->graph, n->address, n->value);
}

static int take(noted *n, const descriptor *pack) {
    const attribute *numbers = find(pack, KERN_CUDNN_PACK_NUMBERS);
    const attribute *addresses = find(pack, KERN_CUDNN_PACK_ADDRESSES);
    if (numbers->count != addresses->count) return bad("as many addresses as numbers");
    for (int at = 0; at < n->graph->tensors; at++) {
        const bench_cudnn_tensor *t = &n->graph->tensor[at];
        int64_t i = 0;
        if (t->is_virtual) continue;
        while (i < numbers->count && numbers->value.number[i] != t->number) i++;
        if (i == numbers->count) return bad("a tensor has no address");
        void *address = addresses->value.part[i];
        if ((uintptr_t)address % (t->is_value ? 4 : 16)) return bad("an address' alignment");
        if (t->is_value) {
            memcpy(&n->value[at], address, sizeof(float));
            continue;
        }
        n->address[at] = address;
        bench_check_memory(address, (size_t)bench_cudnn_reach(t) * bench_cudnn_element(t->type),
                           "cudnnBackendExecute");
    }
    return 0;
}

static int bench_BackendExecute(void *handle, void *of, void *with) {
    MAY_FAIL(BackendExecute);
    const descriptor *plan = of, *pack = with;
    if (handle != &the_handle || plan->kind != KERN_CUDNN_PLAN || !plan->finished ||
        pack->kind != KERN_CUDNN_PACK || !pack->finished)
        return bad("what is to be run");
    noted n = {.graph = plan->graph, .bytes = bench_cudnn_scratch(plan->graph)};
    int result = take(&n, pack);
    if (result) return result;
    n.workspace = part(pack, KERN_CUDNN_PACK_WORKSPACE);
    bench_check_memory(n.workspace, n.bytes, "cudnnBackendExecute");
    *(noted *)bench_note(the_stream, run_late, sizeof n) = n;
    return 0;
}

/* ---- the table ---- */

static const char *bench_error(int status) {
    return status == TOLD              ? "told to fail by TTT_BENCH_FAIL"
           : status == BENCH_CUDNN_BAD ? "bad parameter"
                                       : "not supported";
}

static void bench_last_error(char *message, size_t bytes) {
    snprintf(message, bytes, "%s", why);
}

static size_t bench_version(void) {
    return bench_number("TTT_BENCH_CUDNN", KERN_CUDNN_VERSION);
}

kern_status kern_cudnn_open(kern_cudnn *table) {
#define FILL(name, arguments) .name = bench_##name,
    *table = (kern_cudnn){KERN_CUDNN(FILL).error = bench_error, .last_error = bench_last_error,
                          .version = bench_version};
    return KERN_OK;
}
