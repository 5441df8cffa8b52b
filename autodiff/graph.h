/* The graph: values, their types, nodes, scopes. Static, append-only, topologically ordered by
 * construction; building the same node twice gives the same value. Builders never run anything and
 * never fail loudly: a failed one returns a poisoned value, the graph keeps the first error, and
 * ad_graph_status reports it. There is no implicit broadcast, cast or in-place. All local. */
#ifndef AUTODIFF_GRAPH_H
#define AUTODIFF_GRAPH_H

#include <stdio.h>

#include "kernels/base.h"

enum { AD_AXES = 5, AD_INPUTS = 12, AD_OUTPUTS = 6, AD_ATTRS = 6 };

/* One result of one node. */
typedef struct {
    int32_t node, out;
} ad_value;

#define AD_POISON ((ad_value){-1, 0}) /* result of a failed builder */
#define AD_NONE ((ad_value){-2, 0})   /* an absent operand; a cotangent that is zero */

static inline bool ad_same(ad_value a, ad_value b) {
    return a.node == b.node && a.out == b.out;
}
static inline bool ad_is_none(ad_value v) {
    return v.node == -2;
}
static inline bool ad_is_value(ad_value v) {
    return v.node >= 0;
}

/* Shape and element type. Row-major; axes from `rank` on are 1.
 *
 * varies: where several ranks run the graph together (kernels/comm.h), each has a value of its own,
 * such as the columns of a matrix that is split; else all have the same. One rule holds for every
 * operation and is checked where its node is built: operands vary all or not at all, and so then do
 * the results. Three operations change it (ops.h): `vary`, `reduce` and `reduce_max`. What is made
 * of fills alone is the same everywhere and goes with either. A value's cotangent varies as the
 * value does: of what varies, it is the derivative by this rank's. So rules need not know of ranks,
 * and a reduce or vary that was forgotten is an error of the builder, not a wrong number.
 *
 * All ranks build the same graph: numbers that differ by rank are inputs that vary, never constants
 * or attributes, which would fold on one rank and not on another. */
typedef struct {
    kern_dtype dtype;
    int rank;
    int64_t dim[AD_AXES];
    bool varies;
} ad_type;

ad_type ad_type_of(kern_dtype dtype, int rank, const int64_t *dim);
#define AD_TYPE(dtype, ...)                                                                        \
    ad_type_of(dtype, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),                   \
               (int64_t[]){__VA_ARGS__})
ad_type ad_varying(ad_type type);        /* the same, and it varies */
bool ad_type_same(ad_type a, ad_type b); /* in shape and element type */
int64_t ad_elements(ad_type type);
size_t ad_bytes(ad_type type);
int64_t ad_last(ad_type type);        /* size of the last axis */
ad_type ad_cotangent_type(ad_type t); /* the same shape; bf16 has f32 cotangents */
/* "f32[2,256,512]", or "varying f32[2,256,512]", into text, which is returned. */
enum { AD_TYPE_TEXT = 128 };
const char *ad_type_text(char text[AD_TYPE_TEXT], ad_type type);

/* Numbers that belong to a node's identity; their meaning is the op's (autodiff/ops/NAME.c). */
typedef struct {
    int64_t i[AD_ATTRS];
    double f;
} ad_attrs;

typedef struct {
    int op; /* enum ad_op (autodiff/ops.h) */
    int inputs, outputs;
    ad_value input[AD_INPUTS];
    ad_attrs attrs;
    ad_type type[AD_OUTPUTS];
    bool constant; /* made of fills alone */
    int scope;
} ad_node;

typedef struct ad_graph ad_graph;

ad_graph *ad_graph_create(void);
void ad_graph_destroy(ad_graph *graph);

/* KERN_OK, or the first error of any builder, with op, scope and shapes in kern_error(). */
kern_status ad_graph_status(const ad_graph *graph);

bool ad_failed(const ad_graph *graph);

/* Nodes built between push and pop belong to scope "outer.inner". */
void ad_scope_push(ad_graph *graph, const char *format, ...) __attribute__((format(printf, 2, 3)));
void ad_scope_pop(ad_graph *graph);
const char *ad_scope_name(const ad_graph *graph, int scope);

int ad_nodes(const ad_graph *graph);
const ad_node *ad_node_at(const ad_graph *graph, int node); /* invalid after the next builder */
ad_type ad_type_at(const ad_graph *graph, ad_value value);  /* of poison: f32[1] */
/* The name of an input node's value, else "%node.out". */
const char *ad_value_name(const ad_graph *graph, ad_value value, char text[AD_TYPE_TEXT]);

/* A value that a plan's caller provides; its type says whether it varies. Each call is a new input.
 * The name is copied. */
ad_value ad_input(ad_graph *graph, ad_type type, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* An input of one number, the same on all ranks, that the plan keeps: ad_plan_set gives it, and
 * nothing is bound. */
ad_value ad_scalar(ad_graph *graph, kern_dtype dtype, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool ad_is_scalar(const ad_graph *graph, ad_value value);

/* One line a node: `%7 f32[2,256] = add %3 %5   suffix.2.attn`. */
void ad_print(const ad_graph *graph, FILE *file);

/* Asserts what every graph promises: topological order, types as the op's rule says, scopes. */
void ad_check(const ad_graph *graph);

/* For op files: the value of a node (folded, shared or new), or poison with an error. Only op,
 * inputs, input[] and attrs of `node` are read. */
ad_value ad_build(ad_graph *graph, const ad_node *node);
/* Records an error at the current scope unless there is one; returns poison. */
ad_value ad_poison(ad_graph *graph, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The scope in which the next node is built; for ad_vjp. */
int ad_scope_current(const ad_graph *graph);
void ad_scope_enter(ad_graph *graph, int scope, const char *suffix);
void ad_scope_leave(ad_graph *graph);

#endif
