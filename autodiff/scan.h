/* A loop over chunks of a sequence, and its reverse: not an op, but two compiled plans. All local.
 * `body` maps a carry and a chunk to the next carry and outputs; its vjp runs over the chunks
 * backwards.
 *
 *     forward    for i = 0 .. n-1:   carry_{i+1}, outputs_i = body(constants, carry_i, slices_i)
 *     backward   for i = n-1 .. 0:   vjp of body at i, from the cotangents of carry_{i+1}, of the
 *                                    losses and of the keys and values that later chunks read
 *
 * What the vjp needs of a chunk's forward values is kept in slots of the chunk (products first) or
 * computed again; carries are saved for every k-th chunk and replayed in between; a memory budget
 * decides both. The last chunk's carry is never used, so the body and its vjp have a second form
 * without it. Keys and values live in one history per attention that body appends to and are never
 * copied from chunk to chunk; their cotangents live in a window that slides back over it. */
#ifndef AUTODIFF_SCAN_H
#define AUTODIFF_SCAN_H

#include "autodiff/plan.h"

/* carry_i and carry_{i+1} in the graph; equal types, f32 or f64. `zero`: carry_0 is zero, and the
 * scan's own; the caller is not asked for it, nor told of its cotangent. */
typedef struct {
    ad_value in, out;
    bool zero;
} ad_scan_carry;

/* An input of the chunk: `value` [B * C, ...] is rows i*C .. of each of B items of a caller's
 * buffer [B, T, ...]; or, unbatched, [C, ...] of a buffer [T, ...]. */
typedef struct {
    ad_value value;
    bool batched, differentiable;
} ad_scan_slice;

/* A result of the chunk: [B * C, ...] into rows i*C .. of [B, T, ...] if by_row, else [B, ...] into
 * item i of [n, B, ...]. A differentiable one is by_row and has a cotangent, read likewise. One
 * that is stepped belongs to the step to the next carry; the last chunk does not make it. */
typedef struct {
    ad_value value;
    bool by_row, differentiable, stepped;
} ad_scan_output;

/* Rows that later chunks attend to: fresh [B, C, G, K] is appended, past [B, P, G, K] is the view
 * of the last min(i*C, P) rows before the chunk, whose number goes into past_rows (an i32 scalar).
 */
typedef struct {
    ad_value fresh, past, past_rows;
} ad_scan_history;

typedef struct {
    ad_graph *graph; /* grows by the vjp; owned by the caller, must outlive the scan */
    int64_t batch, chunk, chunks;
    int carries, constants, slices, outputs, histories;
    const ad_scan_carry *carry; /* none: every chunk has the last one's form */
    const ad_value *constant;   /* differentiable inputs that every chunk shares */
    const ad_scan_slice *slice;
    const ad_scan_output *output;
    const ad_scan_history *history;
    ad_value loss;             /* [B, 1], one of the outputs' values; or AD_NONE */
    double loss_scale;         /* cotangent of each element of the loss */
    bool backward;             /* false: forward only; no carries or slots are kept */
    const kern_device *device; /* whose memory everything bound is; NULL: the CPU */
    const kern_comm *comm;     /* the ranks that run it together (ad_plan_spec); NULL: one */
    int threads;
    bool debug; /* plans without fusion and reuse that check every value */
} ad_scan_spec;

typedef struct ad_scan ad_scan;

/* Builds the vjp and finds what is worth keeping. The arrays of the spec are copied. Fails on a
 * poisoned graph, or where body cannot be differentiated; *scan is then NULL. */
kern_status ad_scan_create(ad_scan **scan, const ad_scan_spec *spec);
void ad_scan_destroy(ad_scan *scan);

/* What a budget of bytes for saved carries and slots buys: the bytes that would be used, more than
 * the budget only where nothing fits (then the least there is), and the FLOPs of products that the
 * reverse then computes again, all chunks together. Quick; zeros without backward. */
typedef struct {
    double bytes, repeated;
} ad_scan_offer;
ad_scan_offer ad_scan_offered(const ad_scan *scan, double budget);

/* Decides by the budget what is kept. It may be decided anew until something is allocated; plans
 * that were compiled are then dropped. */
void ad_scan_choose(ad_scan *scan, double budget);

/* Compiles the plans of what was chosen, before all that follows. Allocates nothing large. Fails
 * where a kernel refuses its shapes; the scan can then only be destroyed. */
kern_status ad_scan_compile(ad_scan *scan);

/* Bytes by kind, known before anything is allocated; before the plans are compiled, what they take
 * and do (arena, FLOPs and bytes) is 0. */
typedef struct {
    size_t carries; /* saved ones, and the cotangents of one */
    size_t slots, history, arena;
    int64_t every;           /* a carry is saved for every `every`-th chunk */
    double flops, vjp_flops; /* executed, one pass over all chunks */
    double bytes, vjp_bytes; /* moved by row programs, likewise */
    double moved;            /* about, by copies between plans, both passes together */
    double kept_fraction;    /* of the forward FLOPs that the vjp need not repeat */
} ad_scan_memory;
ad_scan_memory ad_scan_plan(const ad_scan *scan);

/* Allocates carries, slots and history; the arena (ad_scan_plan().arena bytes) is the caller's. */
kern_status ad_scan_allocate(ad_scan *scan);

/* Binding: memory is borrowed. Constants and any other input of the graph: */
void ad_scan_bind(ad_scan *scan, ad_value input, const void *memory);
/* The number of a scalar input. */
void ad_scan_set(ad_scan *scan, ad_value input, double value);
/* Where the cotangent of constant c is added to. */
void ad_scan_bind_constant_ct(ad_scan *scan, int constant, void *memory);
/* Slice s and, if differentiable and running backward, where its cotangent is written. */
void ad_scan_bind_slice(ad_scan *scan, int slice, const void *memory, void *ct);
/* Output o and, if differentiable and running backward, its cotangent (f32 or f64), read. */
void ad_scan_bind_output(ad_scan *scan, int output, void *memory, const void *ct);

/* Makes the calls of all chunks, on the device's stream. carry[c]: the first carry, read until the
 * backward pass is over. final (or NULL; only without backward): per carry, where the last one
 * goes; then the last chunk takes its step too. Of carries that begin as zero nothing is looked at
 * here and below; the arrays may be NULL where there are no others. */
kern_status ad_scan_forward(ad_scan *scan, const void *const *carry, void *const *final,
                            void *arena);
/* After a forward pass. ct_carry[c]: cotangent of the first carry, written (zeros where
 * there is one chunk only). */
kern_status ad_scan_backward(ad_scan *scan, void *const *ct_carry, void *arena);

/* The same; when the first chunk's run, the last one, has come so far it tells of which constants
 * the cotangent is complete. marks->mark [constants]; NULL: nothing is told. */
kern_status ad_scan_backward_marked(ad_scan *scan, void *const *ct_carry, void *arena,
                                    const ad_marks *marks);

/* Tells of each run of a plan that a pass forwards and one backwards make, in their order: of which
 * plan, with how many rows before the chunk that attention sees, and whether it is the backward
 * pass that makes it (which runs bodies again for what was not kept). */
typedef void (*ad_scan_visit)(void *context, const ad_plan *plan, int64_t before, bool backward);
void ad_scan_visit_runs(const ad_scan *scan, ad_scan_visit visit, void *context);

/* The compiled plans, for profiles: body, body of the last chunk, vjp, vjp of the last chunk. */
enum { AD_SCAN_BODY, AD_SCAN_BODY_LAST, AD_SCAN_VJP, AD_SCAN_VJP_LAST, AD_SCAN_PLANS };
ad_plan *ad_scan_plan_of(const ad_scan *scan, int which); /* NULL where there is none */

#endif
