/* A plan: the part of a graph that computes some outputs, lowered to a list of kernel calls on one
 * arena. Passes, a file each, each checked after it ran: resolve (dead code, views, accumulation),
 * fuse, repeat, schedule, memory. Everything is known before anything runs: bytes, FLOPs,
 * workspace. All local but ad_plan_run. */
#ifndef AUTODIFF_PLAN_H
#define AUTODIFF_PLAN_H

#include "autodiff/graph.h"
#include "kernels/comm.h"

typedef enum { AD_WRITE, AD_ADD } ad_output_mode; /* the bound memory is overwritten, or added to */

typedef struct {
    ad_value value;
    ad_output_mode mode;
} ad_plan_output;

typedef struct {
    int outputs;
    const ad_plan_output *output;
    /* [outputs] or NULL: an input that lies in the memory of this AD_ADD output and is read before
     * anything is added; AD_NONE: no input does. */
    const ad_value *over;
    /* Values that the caller provides although nodes compute them: the cut between two plans of one
     * graph. They are bound like inputs; what only they needed is not computed. */
    int cuts;
    const ad_value *cut;
    /* Inputs and outputs' values that are bound as views. One that anything but attention reads, as
     * its past, or writes, as the past's cotangent, is refused. */
    int views;
    const ad_value *view;
    /* Nodes below this number are recomputation: each runs just before its first reader, not in the
     * order in which it was built. 0: everything in order. */
    int lazy;
    const kern_device *device; /* NULL: the CPU */
    /* The ranks that run this plan together, on memory of the device; borrowed. NULL: one. */
    const kern_comm *comm;
    int threads;   /* for workspace; at least as many as will run, which each run asserts */
    bool repeats;  /* runs come back to the same addresses: devices that record shall */
    bool unfused;  /* every node by itself: no row programs, no products that add up */
    bool no_reuse; /* every result keeps its own memory */
    bool debug;    /* both; and each result is checked to be finite */
} ad_plan_spec;

typedef struct ad_plan ad_plan;

/* What bounds the time of a call. */
typedef enum {
    AD_CALL_MOVE, /* memory: copies, gather, scatter_add, and what ranks do together */
    AD_CALL_ROWS, /* memory: row programs */
    AD_CALL_PRODUCT,
    AD_CALL_ATTENTION,
    AD_CALL_ATTENTION_VJP, /* its first and its second reverse */
    AD_CALL_KINDS
} ad_call_kind;

/* `graph` must outlive the plan and may grow meanwhile. Fails on a poisoned graph, where a
 * kernel refuses its shapes, or where one cannot take a view; *plan is then NULL. */
kern_status ad_plan_compile(ad_plan **plan, const ad_graph *graph, const ad_plan_spec *spec);
void ad_plan_destroy(ad_plan *plan);

/* What ad_plan_reads() would say, of the graph's values by number (node * AD_OUTPUTS + output), of
 * the plan that the spec describes; nothing is compiled. The array is the caller's to free. The
 * graph is not poisoned. */
bool *ad_plan_would_read(const ad_graph *graph, const ad_plan_spec *spec);

size_t ad_plan_arena_bytes(const ad_plan *plan);
/* Executed by one run, elementwise work not counted; `before`: rows of the sequence before this
 * chunk, INT64_MAX for as many as attention has room for. */
double ad_plan_flops(const ad_plan *plan, int64_t before);
double ad_plan_bytes(const ad_plan *plan); /* loaded and stored by row programs */
int ad_plan_steps(const ad_plan *plan);
/* Whether a run reads the memory of this input or cut; what it does not read need not be bound. */
bool ad_plan_reads(const ad_plan *plan, ad_value input);
/* Whether this output (of mode AD_WRITE) may be bound to the input's memory: each element is
 * written after the last step that reads the input, or by that step where it reads it. */
bool ad_plan_over(const ad_plan *plan, int output, ad_value input);

/* All memory is the device's. The number of a scalar input, from the next run on; one that the plan
 * does not read is ignored. */
void ad_plan_set(ad_plan *plan, ad_value input, double value);

/* Memory of an input or cut, dense; it is borrowed. Inputs that the plan does not read are ignored.
 */
void ad_plan_bind(ad_plan *plan, ad_value input, const void *memory);
/* The same for one of spec->view, an operand of attention's past: items of the first axis lie
 * `stride` elements apart. */
void ad_plan_bind_view(ad_plan *plan, ad_value input, const void *memory, int64_t stride);
/* Memory of spec->output[output]. It may be that of an input only where the spec or ad_plan_over()
 * says so, or where each element is written by the one row program that reads it (an optimiser's
 * update in place). */
void ad_plan_bind_output(ad_plan *plan, int output, void *memory);
void ad_plan_bind_output_view(ad_plan *plan, int output, void *memory, int64_t stride);

/* Makes the calls of all steps on the device's stream; everything that is read must be bound, every
 * scalar set. `arena` is ad_plan_arena_bytes of memory aligned to 64 bytes, contents undefined
 * before and after. With spec.repeats, where the device records, a run with the same addresses as
 * an earlier one is recorded and replayed from then on. Fails where a call was refused, with op and
 * scope; debug plans wait after each step and fail where a value is not finite, the first being
 * named by op, scope and shapes.
 * Collective over spec.comm where the plan has collectives; debug plans of all its ranks then fail
 * together, those that met no such value by saying that another rank did. */
kern_status ad_plan_run(ad_plan *plan, void *arena);

/* Where a run tells how far it has come: reached(context, mark), for each mark from 0 on, once the
 * calls have been made after which all outputs of that mark and lower ones are complete. */
typedef struct {
    int marks;
    const int *mark; /* [outputs], or what else has them; -1: none */
    void (*reached)(void *context, int mark);
    void *context;
} ad_marks;

/* ad_plan_run that tells. marks NULL: of nothing. */
kern_status ad_plan_run_marked(ad_plan *plan, void *arena, const ad_marks *marks);

/* Seconds spent by step since this was last called, if profiling is on (off at first). */
void ad_plan_profile(ad_plan *plan, bool on);
typedef struct {
    const char *op, *scope; /* of a row program: of its last node; op "rows" */
    int nodes;              /* fused into it */
    double seconds;         /* all runs together */
    int64_t runs;
    /* What one run takes: FLOPs (those of row programs not counted), with `before` rows of the
     * sequence before this chunk as in ad_plan_flops; bytes that are read and written if each is
     * moved once; kernels that a device starts where each needs one, of sums over leading axes and
     * of attention's reverse more. */
    ad_call_kind kind;
    double flops, bytes;
    int launches;
    kern_dtype dtype;    /* of the operands of products and attention */
    int64_t batch, m, n; /* a product's result [batch, m, n] */
} ad_plan_step_cost;
ad_plan_step_cost ad_plan_step(const ad_plan *plan, int step, int64_t before);

/* What the ranks do together in a run, in this order: recomputation just before its first reader,
 * all else as it was built. Returns a hash of operations, types and scopes, which is the same on
 * all ranks or they would wait for each other for ever; *count (if not NULL): how many; file (if
 * not NULL) gets a line for each. None with one rank. */
uint64_t ad_plan_collectives(const ad_plan *plan, int *count, FILE *file);

/* One line a step: results, operands, offsets. */
void ad_plan_print(const ad_plan *plan, FILE *file);

#endif
