/* What a row of the op table points to; for op files and for the engine's passes. */
#ifndef AUTODIFF_OP_H
#define AUTODIFF_OP_H

#include "autodiff/ops.h"
#include "autodiff/plan.h"
#include "kernels/comm.h"

enum { AD_SMOOTH = 1000 }; /* differentiable as often as anyone asks */

/* Row programs: an elementwise operation emits instructions (kernels/rows.h). */
typedef struct ad_emitter ad_emitter;
/* A new register holding op(a, b, c); unused sources are -1. Wide if a source is. */
int ad_emit(ad_emitter *emitter, kern_row_op op, int a, int b, int c);
int ad_emit_const(ad_emitter *emitter, double value);
int ad_emit_narrow(ad_emitter *emitter, kern_row_op op, int a); /* ROW_SUM, ROW_MAX */
int ad_emit_wide(ad_emitter *emitter, kern_row_op op, int a);   /* ROTATE */
int ad_emit_indexed(ad_emitter *emitter, kern_row_op op, int a, ad_value index); /* PICK, UNPICK */

/* Memory of an operand at run time. stride: elements between items of its first axis; it differs
 * from dense only for values bound as views (ad_plan_bind_view). */
typedef struct {
    void *data;
    int64_t stride;
} ad_buffer;

/* How operations that are not row programs run. */
typedef struct {
    /* Prepares a call of `node` on a device. accumulate: output 0 is added to. *workspace: bytes it
     * needs. */
    kern_status (*create)(void **state, const kern_device *device, const ad_graph *graph,
                          const ad_node *node, bool accumulate, int threads, size_t *workspace);
    /* Makes the calls. output[i].data is NULL for results that nobody reads; absent inputs are
     * NULL. */
    void (*run)(const void *state, kern_stream *stream, const ad_buffer *output,
                const ad_buffer *input, void *workspace);
    void (*destroy)(const kern_device *device, void *state);
    /* FLOPs of a run; `before`: rows that come before the chunk's, of which attention sees what its
     * past has room for. */
    double (*flops)(const ad_graph *graph, const ad_node *node, unsigned wanted_outputs,
                    int64_t before);
    ad_call_kind kind;
    int launches; /* of a device that starts a kernel for each pass; 0: one */
    /* Bytes read and written by a run that does not touch all of its operands; NULL: all of them,
     * and the results that are wanted. */
    double (*bytes)(const ad_graph *graph, const ad_node *node, bool accumulate);
    bool accumulates;      /* can add into output 0 instead of writing it */
    unsigned adds_outputs; /* bit i: output i is always added to (the caller zeroes it) */
    /* bit i: operand i, result i may be bound as a view; the others' strides are not looked at */
    unsigned view_inputs, view_outputs;
} ad_kernel;

/* Which loop of a row program a node belongs to. */
typedef enum {
    AD_ROWS_NONE,
    AD_ROWS_ELEMENTWISE, /* result and operands have the result's shape */
    AD_ROWS_REDUCE,      /* operand wide, result narrow */
    AD_ROWS_SPREAD,      /* broadcast, unpick: result wide */
    AD_ROWS_LEAD,        /* lead_sum: ends a program */
} ad_rows_kind;

typedef struct {
    int orders;        /* how often it can be differentiated */
    unsigned optional; /* bit i: operand i may be AD_NONE */
    /* Fills node->outputs and node->type; NULL if fine, else what is wrong with the operands. */
    const char *(*type)(const ad_graph *graph, ad_node *node);
    /* An equal simpler value, or AD_NONE; may be NULL. */
    ad_value (*fold)(ad_graph *graph, const ad_node *node);
    /* Cotangents of the inputs with wanted[i] from those of the results (AD_NONE: zero). What it
     * leaves AD_NONE is zero. NULL: no gradient flows (if orders > 0), or asking is an error. */
    void (*vjp)(ad_graph *graph, int node, const ad_value *ct, const bool *wanted, ad_value *ct_in);
    bool varies; /* results vary over the ranks though the operand does not: vary */
    /* Exactly one of the four ways to compute it: */
    ad_rows_kind rows;
    int (*emit)(ad_emitter *emitter, const ad_graph *graph, const ad_node *node, const int *reg);
    const ad_kernel *kernel;
    /* What all ranks do together, so that a varying operand becomes a result that is the same on
     * all: makes the call on `from`, of this type. With one rank the result is the operand. */
    void (*collect)(const kern_comm *comm, kern_stream *stream, ad_type type, void *to,
                    const void *from);
    /* True if the result is input 0's memory from element *offset on. A kernel serves otherwise. */
    bool (*view)(const ad_graph *graph, const ad_node *node, int64_t *offset);
    /* Tests draw operands of UNARY and BINARY rows from [low, high]; both 0: [-2, 2]. */
    double low, high;
} ad_op_def;

const ad_op_def *ad_op_definition(int op);

/* The rule of what varies (graph.h): sets `constant` and the types' bits of a node whose types are
 * there; or what is wrong, which may be in `text`. */
enum { AD_RANKS_TEXT = 512 };
const char *ad_ranks_rule(const ad_graph *graph, ad_node *node, char text[AD_RANKS_TEXT]);

/* For op files. */
ad_value ad_build_op(ad_graph *graph, int op, int inputs, const ad_value *input,
                     const ad_attrs *attrs);
const char *ad_type_like_input(const ad_graph *graph, ad_node *node); /* all inputs equal */
void ad_free_state(const kern_device *device, void *state);           /* made by kern_alloc */
bool ad_is_view(const ad_graph *graph, const ad_node *node, int64_t *offset);
bool ad_view_whole(const ad_graph *graph, const ad_node *node, int64_t *offset); /* .view: always */
bool ad_is_fill(const ad_graph *graph, ad_value value, double *constant);
ad_value ad_node_input(const ad_graph *graph, int node, int input);

#endif
