#include "autodiff/graph.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "autodiff/op.h"

enum { SCOPE_BYTES = 96, SCOPE_DEPTH = 16, ERROR_BYTES = 1024 };

struct ad_graph {
    ad_node *node;
    int64_t nodes, node_capacity;
    int32_t *bucket; /* open addressing: node index or -1 */
    int64_t buckets;
    char (*scope)[SCOPE_BYTES];
    int64_t scopes, scope_capacity;
    int scope_stack[SCOPE_DEPTH], scope_depth;
    char (*input_name)[SCOPE_BYTES];
    int64_t input_names, input_name_capacity;
    bool failed;
    char error[ERROR_BYTES];
};

ad_type ad_type_of(kern_dtype dtype, int rank, const int64_t *dim) {
    ASSERT(rank >= 1 && rank <= AD_AXES);
    ad_type type = {.dtype = dtype, .rank = rank};
    for (int axis = 0; axis < AD_AXES; axis++) type.dim[axis] = axis < rank ? dim[axis] : 1;
    return type;
}

ad_type ad_varying(ad_type type) {
    type.varies = true;
    return type;
}

bool ad_type_same(ad_type a, ad_type b) {
    return a.dtype == b.dtype && a.rank == b.rank && !memcmp(a.dim, b.dim, sizeof a.dim);
}

int64_t ad_elements(ad_type type) {
    int64_t elements = 1;
    for (int axis = 0; axis < type.rank; axis++) elements *= type.dim[axis];
    return elements;
}

size_t ad_bytes(ad_type type) {
    return (size_t)ad_elements(type) * kern_dtype_bytes(type.dtype);
}
int64_t ad_last(ad_type type) {
    return type.dim[type.rank - 1];
}

ad_type ad_cotangent_type(ad_type type) {
    if (type.dtype == KERN_BF16) type.dtype = KERN_F32;
    return type;
}

const char *ad_type_text(char text[AD_TYPE_TEXT], ad_type type) {
    int used = snprintf(text, AD_TYPE_TEXT, "%s%s[", type.varies ? "varying " : "",
                        kern_dtype_name(type.dtype));
    for (int axis = 0; axis < type.rank; axis++)
        used += snprintf(text + used, (size_t)(AD_TYPE_TEXT - used), "%s%" PRId64, axis ? "," : "",
                         type.dim[axis]);
    snprintf(text + used, (size_t)(AD_TYPE_TEXT - used), "]");
    return text;
}

static void rehash(ad_graph *graph, int64_t buckets);

ad_graph *ad_graph_create(void) {
    ad_graph *graph = kern_array(1, sizeof *graph);
    graph->scope = kern_grow(NULL, &graph->scope_capacity, 1, sizeof *graph->scope);
    graph->scope[graph->scopes++][0] = 0;
    rehash(graph, 1024);
    return graph;
}

void ad_graph_destroy(ad_graph *graph) {
    if (!graph) return;
    free(graph->node);
    free(graph->bucket);
    free(graph->scope);
    free(graph->input_name);
    free(graph);
}

kern_status ad_graph_status(const ad_graph *graph) {
    return graph->failed ? kern_fail(KERN_ERR_GRAPH, "%s", graph->error) : KERN_OK;
}

bool ad_failed(const ad_graph *graph) {
    return graph->failed;
}

static int intern_scope(ad_graph *graph, const char *name) {
    for (int64_t scope = 0; scope < graph->scopes; scope++)
        if (!strcmp(graph->scope[scope], name)) return (int)scope;
    graph->scope =
        kern_grow(graph->scope, &graph->scope_capacity, graph->scopes + 1, sizeof *graph->scope);
    snprintf(graph->scope[graph->scopes], SCOPE_BYTES, "%.*s", SCOPE_BYTES - 1, name);
    return (int)graph->scopes++;
}

int ad_scope_current(const ad_graph *graph) {
    return graph->scope_depth ? graph->scope_stack[graph->scope_depth - 1] : 0;
}

static void push_scope(ad_graph *graph, const char *name) {
    ASSERT(graph->scope_depth < SCOPE_DEPTH);
    int scope = intern_scope(graph, name);
    graph->scope_stack[graph->scope_depth++] = scope;
}

void ad_scope_push(ad_graph *graph, const char *format, ...) {
    char name[SCOPE_BYTES];
    const char *outer = graph->scope[ad_scope_current(graph)];
    int used = snprintf(name, sizeof name, "%s%s", outer, *outer ? "." : "");
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name + used, sizeof name - (size_t)used, format, arguments);
    va_end(arguments);
    push_scope(graph, name);
}

void ad_scope_enter(ad_graph *graph, int scope, const char *suffix) {
    char name[2 * SCOPE_BYTES];
    snprintf(name, sizeof name, "%s%s", graph->scope[scope], suffix);
    name[SCOPE_BYTES - 1] = 0;
    push_scope(graph, name);
}

void ad_scope_leave(ad_graph *graph) {
    ad_scope_pop(graph);
}

void ad_scope_pop(ad_graph *graph) {
    ASSERT(graph->scope_depth > 0);
    graph->scope_depth--;
}

const char *ad_scope_name(const ad_graph *graph, int scope) {
    ASSERT(scope >= 0 && scope < graph->scopes);
    return graph->scope[scope];
}

int ad_nodes(const ad_graph *graph) {
    return (int)graph->nodes;
}

const ad_node *ad_node_at(const ad_graph *graph, int node) {
    ASSERT(node >= 0 && node < graph->nodes);
    return &graph->node[node];
}

ad_type ad_type_at(const ad_graph *graph, ad_value value) {
    if (graph->failed && value.node == AD_POISON.node) return AD_TYPE(KERN_F32, 1);
    const ad_node *node = ad_node_at(graph, value.node);
    ASSERT(value.out >= 0 && value.out < node->outputs);
    return node->type[value.out];
}

const char *ad_value_name(const ad_graph *graph, ad_value value, char text[AD_TYPE_TEXT]) {
    const ad_node *node = ad_node_at(graph, value.node);
    if (node->op == AD_OP_input) return graph->input_name[node->attrs.i[0]];
    if (node->outputs == 1)
        snprintf(text, AD_TYPE_TEXT, "%%%d", (int)value.node);
    else
        snprintf(text, AD_TYPE_TEXT, "%%%d.%d", (int)value.node, (int)value.out);
    return text;
}

ad_value ad_node_input(const ad_graph *graph, int node, int input) {
    ASSERT(input < ad_node_at(graph, node)->inputs);
    return ad_node_at(graph, node)->input[input];
}

bool ad_is_fill(const ad_graph *graph, ad_value value, double *constant) {
    const ad_node *node = ad_node_at(graph, value.node);
    if (node->op != AD_OP_fill) return false;
    if (constant) *constant = node->attrs.f;
    return true;
}

ad_value ad_poison(ad_graph *graph, const char *format, ...) {
    if (graph->failed) return AD_POISON;
    graph->failed = true;
    const char *scope = graph->scope[ad_scope_current(graph)];
    int used =
        snprintf(graph->error, sizeof graph->error, "graph%s%s: ", *scope ? ", in " : "", scope);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(graph->error + used, sizeof graph->error - (size_t)used, format, arguments);
    va_end(arguments);
    return AD_POISON;
}

/* ---- hash-consing ---- */

static uint64_t mix(uint64_t hash, const void *data, size_t bytes) {
    const unsigned char *byte = data;
    for (size_t i = 0; i < bytes; i++) hash = (hash ^ byte[i]) * 0x100000001b3u;
    return hash ^ (hash >> 29);
}

static uint64_t hash_node(const ad_node *node) {
    uint64_t hash = mix(0xcbf29ce484222325u, &node->op, sizeof node->op);
    hash = mix(hash, node->input, (size_t)node->inputs * sizeof *node->input);
    hash = mix(hash, node->attrs.i, sizeof node->attrs.i);
    hash = mix(hash, &node->attrs.f, sizeof node->attrs.f);
    return mix(hash, node->type[0].dim, sizeof node->type[0].dim);
}

static bool equal_nodes(const ad_node *a, const ad_node *b) {
    return a->op == b->op && a->inputs == b->inputs && a->outputs == b->outputs &&
           !memcmp(a->input, b->input, (size_t)a->inputs * sizeof *a->input) &&
           !memcmp(a->attrs.i, b->attrs.i, sizeof a->attrs.i) &&
           !memcmp(&a->attrs.f, &b->attrs.f, sizeof a->attrs.f) && /* bits: -0 is not 0 */
           ad_type_same(a->type[0], b->type[0]);
}

static int32_t *find_bucket(const ad_graph *graph, const ad_node *node) {
    uint64_t at = hash_node(node) & (uint64_t)(graph->buckets - 1);
    while (graph->bucket[at] >= 0 && !equal_nodes(&graph->node[graph->bucket[at]], node))
        at = (at + 1) & (uint64_t)(graph->buckets - 1);
    return &graph->bucket[at];
}

static void rehash(ad_graph *graph, int64_t buckets) {
    free(graph->bucket);
    graph->buckets = buckets;
    graph->bucket = kern_array(buckets, sizeof *graph->bucket);
    memset(graph->bucket, -1, (size_t)buckets * sizeof *graph->bucket);
    for (int64_t node = 0; node < graph->nodes; node++)
        *find_bucket(graph, &graph->node[node]) = (int32_t)node;
}

static ad_value append(ad_graph *graph, const ad_node *node) {
    int32_t *bucket = find_bucket(graph, node);
    if (*bucket >= 0) return (ad_value){*bucket, 0};
    if (2 * (graph->nodes + 1) > graph->buckets) {
        rehash(graph, 2 * graph->buckets);
        bucket = find_bucket(graph, node);
    }
    graph->node =
        kern_grow(graph->node, &graph->node_capacity, graph->nodes + 1, sizeof *graph->node);
    graph->node[graph->nodes] = *node;
    graph->node[graph->nodes].scope = ad_scope_current(graph);
    *bucket = (int32_t)graph->nodes;
    return (ad_value){(int32_t)graph->nodes++, 0};
}

static ad_value refuse(ad_graph *graph, const ad_node *node, const char *reason) {
    char shapes[AD_INPUTS * 48] = "", text[AD_TYPE_TEXT];
    for (int i = 0; i < node->inputs; i++) {
        size_t used = strlen(shapes);
        snprintf(shapes + used, sizeof shapes - used, "%s%s", i ? ", " : "",
                 ad_is_value(node->input[i]) ? ad_type_text(text, ad_type_at(graph, node->input[i]))
                                             : "none");
    }
    return ad_poison(graph, "%s(%s): %s", ad_op_name(node->op), shapes, reason);
}

ad_value ad_build(ad_graph *graph, const ad_node *wanted) {
    ad_node node;
    memset(&node, 0, sizeof node); /* padding too: nodes are compared as bytes */
    node.op = wanted->op;
    node.inputs = wanted->inputs;
    node.attrs = wanted->attrs;
    if (node.attrs.f == 0 && node.op != AD_OP_fill) node.attrs.f = 0;
    const ad_op_def *op = ad_op_definition(node.op);
    for (int i = 0; i < node.inputs; i++) {
        node.input[i] = wanted->input[i];
        if (node.input[i].node == AD_POISON.node) return AD_POISON;
        ASSERT(ad_is_none(node.input[i]) || node.input[i].node < graph->nodes);
        if (ad_is_none(node.input[i]) && !(op->optional >> i & 1))
            return refuse(graph, &node, "an operand is absent (a cotangent that is zero?)");
    }
    if (node.op == AD_OP_input || node.op == AD_OP_fill) {
        node.outputs = 1;
        node.type[0] = wanted->type[0];
        node.constant = node.op == AD_OP_fill;
        return append(graph, &node);
    }
    char text[AD_RANKS_TEXT];
    const char *reason = op->type(graph, &node);
    if (!reason) reason = ad_ranks_rule(graph, &node, text);
    if (reason) return refuse(graph, &node, reason);
    if (op->fold) {
        ad_value simpler = op->fold(graph, &node);
        if (!ad_is_none(simpler)) return simpler;
    }
    return append(graph, &node);
}

static ad_value add_input(ad_graph *graph, ad_type type, bool scalar, const char *format,
                          va_list arguments) {
    graph->input_name = kern_grow(graph->input_name, &graph->input_name_capacity,
                                  graph->input_names + 1, sizeof *graph->input_name);
    vsnprintf(graph->input_name[graph->input_names], SCOPE_BYTES, format, arguments);
    ad_node node = {.op = AD_OP_input, .attrs.i = {graph->input_names++, scalar}};
    node.type[0] = type;
    return ad_build(graph, &node);
}

ad_value ad_input(ad_graph *graph, ad_type type, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    ad_value value = add_input(graph, type, false, format, arguments);
    va_end(arguments);
    return value;
}

ad_value ad_scalar(ad_graph *graph, kern_dtype dtype, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    ad_value value = add_input(graph, AD_TYPE(dtype, 1), true, format, arguments);
    va_end(arguments);
    return value;
}

bool ad_is_scalar(const ad_graph *graph, ad_value value) {
    const ad_node *node = ad_node_at(graph, value.node);
    return node->op == AD_OP_input && node->attrs.i[1];
}

ad_value ad_fill(ad_graph *graph, ad_type type, double value) {
    if (type.dtype == KERN_I32) return ad_poison(graph, "fill: integers can only be inputs");
    type.varies = false;
    ad_node node = {.op = AD_OP_fill,
                    .attrs.f = value,
                    .attrs.i[0] = (int64_t)type.dtype,
                    .attrs.i[1] = type.rank};
    node.type[0] = type;
    return ad_build(graph, &node);
}

void ad_print(const ad_graph *graph, FILE *file) {
    char text[AD_TYPE_TEXT];
    for (int64_t i = 0; i < graph->nodes; i++) {
        const ad_node *node = &graph->node[i];
        fprintf(file, "%s", ad_value_name(graph, (ad_value){(int32_t)i, 0}, text));
        for (int out = 0; out < node->outputs; out++)
            fprintf(file, " %s", ad_type_text(text, node->type[out]));
        fprintf(file, " = %s", ad_op_name(node->op));
        for (int in = 0; in < node->inputs; in++)
            fprintf(file, " %s",
                    ad_is_none(node->input[in]) ? "-"
                                                : ad_value_name(graph, node->input[in], text));
        if (node->op == AD_OP_fill) fprintf(file, " %g", node->attrs.f);
        fprintf(file, "   %s\n", graph->scope[node->scope]);
    }
}

void ad_check(const ad_graph *graph) {
    for (int64_t i = 0; i < graph->nodes; i++) {
        const ad_node *node = &graph->node[i];
        ASSERT(node->op >= 0 && node->op < AD_OP_COUNT);
        ASSERT(node->outputs >= 1 && node->outputs <= AD_OUTPUTS);
        ASSERT(node->scope >= 0 && node->scope < graph->scopes);
        for (int in = 0; in < node->inputs; in++) {
            if (ad_is_none(node->input[in])) continue;
            ASSERT(node->input[in].node >= 0 && node->input[in].node < i);
            ASSERT(node->input[in].out < graph->node[node->input[in].node].outputs);
        }
        if (node->op == AD_OP_input || node->op == AD_OP_fill) continue;
        ad_node again = *node;
        char text[AD_RANKS_TEXT];
        ASSERT(!ad_op_definition(node->op)->type(graph, &again));
        ASSERT(!ad_ranks_rule(graph, &again, text));
        ASSERT(again.outputs == node->outputs && again.constant == node->constant);
        for (int out = 0; out < node->outputs; out++)
            ASSERT(ad_type_same(again.type[out], node->type[out]) &&
                   again.type[out].varies == node->type[out].varies);
    }
}
