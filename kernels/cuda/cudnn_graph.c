#include "kernels/cuda/cudnn_graph.h"

#include <string.h>

kern_cudnn kern_cudnn_table;

kern_status kern_cudnn_check(int result, const char *call) {
    char says[1024] = "";
    if (!result) return KERN_OK;
    kern_cudnn_table.last_error(says, sizeof says);
    return kern_fail(KERN_ERR_DEVICE, "%s: %s (error %d)%s%s", call, kern_cudnn_table.error(result),
                     result, *says ? ": " : "", says);
}

#define CUDNN(name, ...) kern_cudnn_check(kern_cudnn_table.name(__VA_ARGS__), "cudnn" #name)
#define ON_GRAPH(graph, call) ((graph)->status = (graph)->status ? (graph)->status : (call))

void kern_cudnn_destroy(kern_cudnn_graph *graph) {
    while (graph->descriptors)
        kern_cudnn_table.BackendDestroyDescriptor(graph->descriptor[--graph->descriptors]);
    *graph = (kern_cudnn_graph){.status = KERN_OK};
}

/* ---- descriptors ---- */

static void *make(kern_cudnn_graph *graph, int kind) {
    void *made = NULL;
    ON_GRAPH(graph, CUDNN(BackendCreateDescriptor, kind, &made));
    if (graph->status) return NULL;
    ASSERT(graph->descriptors < KERN_CUDNN_DESCRIPTORS);
    return graph->descriptor[graph->descriptors++] = made;
}

static void set(kern_cudnn_graph *graph, void *of, int name, int type, int64_t count,
                const void *value) {
    ON_GRAPH(graph, CUDNN(BackendSetAttribute, of, name, type, count, value));
}

static void finish(kern_cudnn_graph *graph, void *made) {
    ON_GRAPH(graph, CUDNN(BackendFinalize, made));
}

static void set_type(kern_cudnn_graph *graph, void *of, int name, int type) {
    set(graph, of, name, KERN_CUDNN_A_DATA_TYPE, 1, &type);
}

static void set_number(kern_cudnn_graph *graph, void *of, int name, int64_t value) {
    set(graph, of, name, KERN_CUDNN_AN_INT64, 1, &value);
}

static void set_bool(kern_cudnn_graph *graph, void *of, int name, bool value) {
    set(graph, of, name, KERN_CUDNN_A_BOOLEAN, 1, &value);
}

static void set_part(kern_cudnn_graph *graph, void *of, int name, void *part) {
    set(graph, of, name, KERN_CUDNN_A_DESCRIPTOR, 1, &part);
}

/* ---- tensors ---- */

static void *tensor(kern_cudnn_graph *graph, int64_t number, bool is_virtual, bool is_value,
                    int type, kern_cudnn_shape shape) {
    void *made = make(graph, KERN_CUDNN_TENSOR);
    set_type(graph, made, KERN_CUDNN_TENSOR_TYPE, type);
    set(graph, made, KERN_CUDNN_TENSOR_SHAPE, KERN_CUDNN_AN_INT64, 4, shape.dim);
    set(graph, made, KERN_CUDNN_TENSOR_STRIDES, KERN_CUDNN_AN_INT64, 4, shape.stride);
    set_number(graph, made, KERN_CUDNN_TENSOR_NUMBER, number);
    set_number(graph, made, KERN_CUDNN_TENSOR_ALIGNMENT, 16);
    set_bool(graph, made, KERN_CUDNN_TENSOR_IS_VIRTUAL, is_virtual);
    set_bool(graph, made, KERN_CUDNN_TENSOR_IS_VALUE, is_value);
    finish(graph, made);
    return made;
}

static void *given(kern_cudnn_graph *graph, int number, bool is_value, int type,
                   kern_cudnn_shape shape) {
    ASSERT(graph->given < KERN_CUDNN_GIVEN && number >= 0 && number < KERN_CUDNN_GIVEN);
    graph->number[graph->given++] = number;
    return tensor(graph, number, false, is_value, type, shape);
}

void *kern_cudnn_memory(kern_cudnn_graph *graph, int number, int type, kern_cudnn_shape shape) {
    return given(graph, number, false, type, shape);
}

void *kern_cudnn_value(kern_cudnn_graph *graph, int number) {
    return given(graph, number, true, KERN_CUDNN_F32,
                 (kern_cudnn_shape){{1, 1, 1, 1}, {1, 1, 1, 1}});
}

void *kern_cudnn_within(kern_cudnn_graph *graph, int type, kern_cudnn_shape shape) {
    return tensor(graph, KERN_CUDNN_GIVEN + graph->next++, true, false, type, shape);
}

/* ---- operations ---- */

static void add_operation(kern_cudnn_graph *graph, void *operation) {
    finish(graph, operation);
    ASSERT(graph->operations < KERN_CUDNN_OPERATIONS);
    graph->operation[graph->operations++] = operation;
}

/* axis -1: it has none; b, mask: NULL where it has none. */
static void pointwise(kern_cudnn_graph *graph, int mode, int precision, int axis, void *y, void *x,
                      void *b, void *mask) {
    void *description = make(graph, KERN_CUDNN_POINTWISE);
    set(graph, description, KERN_CUDNN_POINTWISE_MODE, KERN_CUDNN_A_POINTWISE, 1, &mode);
    set_type(graph, description, KERN_CUDNN_POINTWISE_PRECISION, precision);
    if (axis >= 0) set_number(graph, description, KERN_CUDNN_POINTWISE_AXIS, axis);
    finish(graph, description);
    void *operation = make(graph, KERN_CUDNN_OPERATION_POINTWISE);
    set_part(graph, operation, KERN_CUDNN_POINTWISE_DESCRIPTION, description);
    set_part(graph, operation, KERN_CUDNN_POINTWISE_X, x);
    if (b) set_part(graph, operation, KERN_CUDNN_POINTWISE_B, b);
    if (mask) set_part(graph, operation, KERN_CUDNN_POINTWISE_MASK, mask);
    set_part(graph, operation, KERN_CUDNN_POINTWISE_Y, y);
    add_operation(graph, operation);
}

void kern_cudnn_pointwise(kern_cudnn_graph *graph, int mode, int precision, void *y, void *x,
                          void *b) {
    pointwise(graph, mode, precision, -1, y, x, b, NULL);
}

void kern_cudnn_index(kern_cudnn_graph *graph, void *y, void *x, int axis) {
    pointwise(graph, KERN_CUDNN_INDEX, KERN_CUDNN_F32, axis, y, x, NULL, NULL);
}

void kern_cudnn_select(kern_cudnn_graph *graph, void *y, void *mask, void *x, void *b) {
    pointwise(graph, KERN_CUDNN_SELECT, KERN_CUDNN_F32, -1, y, x, b, mask);
}

void kern_cudnn_reduce(kern_cudnn_graph *graph, int mode, void *y, void *x) {
    void *description = make(graph, KERN_CUDNN_REDUCTION);
    set(graph, description, KERN_CUDNN_REDUCTION_MODE, KERN_CUDNN_A_REDUCTION, 1, &mode);
    set_type(graph, description, KERN_CUDNN_REDUCTION_PRECISION, KERN_CUDNN_F32);
    finish(graph, description);
    void *operation = make(graph, KERN_CUDNN_OPERATION_REDUCTION);
    set_part(graph, operation, KERN_CUDNN_REDUCTION_DESCRIPTION, description);
    set_part(graph, operation, KERN_CUDNN_REDUCTION_X, x);
    set_part(graph, operation, KERN_CUDNN_REDUCTION_Y, y);
    add_operation(graph, operation);
}

void kern_cudnn_multiply(kern_cudnn_graph *graph, void *c, void *a, void *b) {
    void *description = make(graph, KERN_CUDNN_MATMUL);
    set_type(graph, description, KERN_CUDNN_MATMUL_PRECISION, KERN_CUDNN_F32);
    finish(graph, description);
    void *operation = make(graph, KERN_CUDNN_OPERATION_MATMUL);
    set_part(graph, operation, KERN_CUDNN_MATMUL_DESCRIPTION, description);
    set_part(graph, operation, KERN_CUDNN_MATMUL_A, a);
    set_part(graph, operation, KERN_CUDNN_MATMUL_B, b);
    set_part(graph, operation, KERN_CUDNN_MATMUL_C, c);
    add_operation(graph, operation);
}

void kern_cudnn_reshape(kern_cudnn_graph *graph, void *y, void *x) {
    void *operation = make(graph, KERN_CUDNN_OPERATION_RESHAPE);
    set_part(graph, operation, KERN_CUDNN_RESHAPE_X, x);
    set_part(graph, operation, KERN_CUDNN_RESHAPE_Y, y);
    add_operation(graph, operation);
}

/* ---- the plan ---- */

/* What the heuristic puts first: no timing, the same at every start. */
static void *choose(kern_cudnn_graph *graph, void *operations, void *device) {
    int mode = KERN_CUDNN_HEURISTIC_A;
    int64_t count = 0;
    void *heuristic = make(graph, KERN_CUDNN_HEURISTIC);
    set_part(graph, heuristic, KERN_CUDNN_HEURISTIC_GRAPH, operations);
    set(graph, heuristic, KERN_CUDNN_HEURISTIC_MODE, KERN_CUDNN_A_HEURISTIC, 1, &mode);
    if (device) set_part(graph, heuristic, KERN_CUDNN_HEURISTIC_DEVICE, device);
    finish(graph, heuristic);
    void *config = make(graph, KERN_CUDNN_ENGINE_CONFIG);
    ON_GRAPH(graph, CUDNN(BackendGetAttribute, heuristic, KERN_CUDNN_HEURISTIC_RESULTS,
                          KERN_CUDNN_A_DESCRIPTOR, 1, &count, &config));
    if (!graph->status && count < 1)
        graph->status = kern_fail(KERN_ERR_DEVICE,
                                  "cuDNN %zu has no plan for these operations; "
                                  "CUDNN_LOGLEVEL_DBG=2 CUDNN_LOGDEST_DBG=stderr "
                                  "has it say why",
                                  kern_cudnn_table.version());
    return config;
}

kern_status kern_cudnn_plan(kern_cudnn_graph *graph, void *handle, const char *device) {
    void *described = NULL, *operations = make(graph, KERN_CUDNN_GRAPH);
    int64_t workspace = 0, count = 0;
    if (!handle) {
        described = make(graph, KERN_CUDNN_DEVICE);
        set(graph, described, KERN_CUDNN_DEVICE_JSON, KERN_CUDNN_A_CHAR,
            (int64_t)strlen(device) + 1, device);
        finish(graph, described);
    } else
        set(graph, operations, KERN_CUDNN_GRAPH_HANDLE, KERN_CUDNN_A_HANDLE, 1, &handle);
    set(graph, operations, KERN_CUDNN_GRAPH_OPERATIONS, KERN_CUDNN_A_DESCRIPTOR, graph->operations,
        graph->operation);
    finish(graph, operations);
    void *config = choose(graph, operations, described), *plan = make(graph, KERN_CUDNN_PLAN);
    if (handle)
        set(graph, plan, KERN_CUDNN_PLAN_HANDLE, KERN_CUDNN_A_HANDLE, 1, &handle);
    else
        set_part(graph, plan, KERN_CUDNN_PLAN_DEVICE, described);
    set_part(graph, plan, KERN_CUDNN_PLAN_CONFIG, config);
    finish(graph, plan);
    ON_GRAPH(graph, CUDNN(BackendGetAttribute, plan, KERN_CUDNN_PLAN_WORKSPACE, KERN_CUDNN_AN_INT64,
                          1, &count, &workspace));
    graph->plan = plan;
    graph->workspace = (size_t)workspace;
    return graph->status;
}

kern_status kern_cudnn_run(const kern_cudnn_graph *graph, void *handle, void *const *address,
                           void *workspace) {
    void *given_address[KERN_CUDNN_GIVEN];
    kern_cudnn_graph pack = {.status = KERN_OK};
    for (int i = 0; i < graph->given; i++) given_address[i] = address[graph->number[i]];
    void *made = make(&pack, KERN_CUDNN_PACK);
    set(&pack, made, KERN_CUDNN_PACK_NUMBERS, KERN_CUDNN_AN_INT64, graph->given, graph->number);
    set(&pack, made, KERN_CUDNN_PACK_ADDRESSES, KERN_CUDNN_A_POINTER, graph->given, given_address);
    set(&pack, made, KERN_CUDNN_PACK_WORKSPACE, KERN_CUDNN_A_POINTER, 1, &workspace);
    finish(&pack, made);
    ON_GRAPH(&pack, CUDNN(BackendExecute, handle, graph->plan, made));
    kern_status status = pack.status;
    kern_cudnn_destroy(&pack);
    return status;
}
