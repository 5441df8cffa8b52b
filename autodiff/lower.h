/* What the passes of lowering share. Internal to autodiff/. */
#ifndef AUTODIFF_LOWER_H
#define AUTODIFF_LOWER_H

#include "autodiff/op.h"
#include "autodiff/plan.h"

/* Values are numbered node * AD_OUTPUTS + out. */
static inline int ad_number(ad_value value) {
    return value.node * AD_OUTPUTS + value.out;
}
static inline ad_value ad_numbered(int number) {
    return (ad_value){number / AD_OUTPUTS, number % AD_OUTPUTS};
}

enum { AD_NO_STORAGE = -1 };

/* A piece of memory: in the arena, or bound by the caller. */
typedef struct {
    size_t bytes;
    bool external;   /* bound: an input, a cut or an output */
    int first, last; /* steps between which the arena's bytes are in use */
    size_t offset;
    ad_buffer buffer; /* at run time */
} ad_storage;

/* What a row program may have: longer ones gain nothing and need more registers. */
enum { AD_UNIT_NODES = 96, AD_UNIT_INSTRS = 1024 };

/* Work of one step: one row program or one kernel call. */
typedef struct {
    /* Members, ascending: nodes that it makes for itself or for others. Those that it stores are
     * its own, by unit_of; others make them too. */
    int *node;
    int nodes;
    int64_t capacity;
    bool rows;    /* a row program */
    int instrs;   /* the most instructions that it can come to, whatever it joins */
    int add_from; /* >= 0: the step adds this value into output `add_output` */
    int add_output;
    int workspace; /* storage, or AD_NO_STORAGE */
    void *state;   /* the kernel's, or the device's of the row program */
    /* operands of the row program */
    int operands;
    void **operand;          /* addresses, refreshed at each run */
    ad_value *operand_value; /* AD_NONE: the plan's output operand_output */
    int *operand_output;
    int *operand_storage;
    size_t *operand_offset;
    char *operand_written; /* 0 read; 1 stored, may take a dying operand's memory; 2 a sum */
    unsigned wanted;       /* bit i: somebody reads the kernel's result i */
    bool adds;             /* the kernel adds into its result 0 */
    double seconds, bytes;
} ad_unit;

typedef struct {
    const ad_graph *graph;
    ad_plan_spec spec; /* with its own copies of the arrays */
    int nodes;
    /* resolve */
    bool *live;      /* [nodes] has to be computed */
    bool *cut;       /* [values] given by the caller, and read from there */
    bool *view;      /* [values] bound as views */
    int *uses;       /* [values] of roots: readers, outputs */
    int *root;       /* [values] the value whose memory it shares, -1 if never needed */
    int64_t *offset; /* [values] elements from the root's first */
    /* [nodes] the value to whose memory, where it is a summand, the node's kernel adds; or -1 */
    int *summand;
    int *after;     /* [nodes] the collective that comes before this one; or -1 */
    int *output_of; /* [values] the plan's output in whose memory it is made or added; or -1 */
    /* fuse, schedule */
    int *unit_of; /* [nodes] or -1 */
    ad_unit *unit;
    int64_t units, unit_capacity;
    int *instrs;  /* [nodes] instructions of the node as a program of its own */
    bool *stored; /* [nodes] its result is loaded by others, or an output */
    int *order;   /* [units] schedule */
    /* memory */
    int *storage_of; /* [values] of roots */
    ad_storage *storage;
    int64_t storages, storage_capacity;
    int *output_storage; /* [outputs] */
    size_t arena_bytes;
    int scalar_storage; /* of all scalars, SCALAR_BYTES each; AD_NO_STORAGE: there are none */
    int scalars;
    int fault_storage; /* whether a rank met what is not finite; AD_NO_STORAGE: all learn it alone
                        */
} ad_lowering;

enum { AD_SCALAR_BYTES = 8 };

/* A run with some addresses, in so many parts: seen once, then recorded. */
typedef struct {
    ad_buffer *bound; /* [storages], and the arena with the number of parts */
    void **recording; /* [parts], or NULL */
} ad_run_record;

/* What plan.c compiles, plan_run.c runs and plan_debug.c shows. */
struct ad_plan {
    ad_lowering low;
    char *scalar; /* [scalars] as they go to the device */
    bool *is_set;
    ad_run_record *record;
    int records, next_record;
    bool profile;
    int64_t runs; /* profiled */
};

/* Each pass asserts what it promises. */
void ad_lower_resolve(ad_lowering *low);
kern_status ad_lower_check_views(const ad_lowering *low);
void ad_lower_fuse(ad_lowering *low);
void ad_lower_repeat(ad_lowering *low);
void ad_lower_schedule(ad_lowering *low);
kern_status ad_lower_memory(ad_lowering *low); /* storages, kernels, offsets */

void ad_plan_forget_runs(ad_plan *plan);
ad_plan_step_cost ad_unit_cost(const ad_plan *plan, const ad_unit *unit, int64_t before);

/* Places the storages of the arena by their sizes and lifetimes. */
void ad_lower_offsets(ad_lowering *low);

/* Where a value lies while the plan runs; its memory is bound. {0} if it has none. */
ad_buffer ad_buffer_of(const ad_lowering *low, ad_value value);
/* Bytes from one item of the first axis to the next. */
static inline size_t ad_item_step(ad_buffer buffer, ad_type type) {
    return (size_t)buffer.stride * kern_dtype_bytes(type.dtype);
}
/* After the unit ran: its first result that is not finite, as an error with op, scope and shapes.
 */
kern_status ad_check_unit(const ad_lowering *low, const ad_unit *unit);
/* The ranks of a debug plan tell each other whether they `met` a failure: all fail here, or none.
 * unit: the collective that is next, which would wait for a rank that fails alone; or NULL. */
kern_status ad_share_failure(const ad_lowering *low, kern_status met, const ad_unit *unit);

/* What ranks do together, of a node that is live or not. */
bool ad_is_collective(const ad_lowering *low, int node);
static inline bool ad_is_unit_collective(const ad_lowering *low, const ad_unit *unit) {
    return !unit->rows && ad_is_collective(low, unit->node[0]);
}

/* The place of a node among a unit's members, or -1. */
int ad_member_of(const ad_unit *unit, int node);
void ad_add_member(ad_unit *unit, int node);

/* Sets `instrs` of all units, each of one node, and of nodes. */
void ad_lower_count_instrs(ad_lowering *low);
/* The row program of a unit, its operands' storages and offsets set in `unit`. */
kern_status ad_lower_emit(ad_lowering *low, ad_unit *unit);

/* The producer of a value after views and chains: the live node, or -1 for bound memory. */
int ad_producer(const ad_lowering *low, ad_value value);
/* Value read as operand `in` of a node (its root). AD_NONE stays. */
ad_value ad_root(const ad_lowering *low, ad_value value);
bool ad_is_bound(const ad_lowering *low, ad_value root); /* an input or a cut */
/* What a row program reads for it: the operand of a broadcast that is not computed, of a
 * stop_gradient or of a vary, else itself. */
ad_value ad_row_source(const ad_lowering *low, ad_value value);
size_t ad_offset_bytes(const ad_lowering *low, ad_value value); /* of a view in its root */
int ad_new_storage(ad_lowering *low, size_t bytes, bool external);

/* The loop of a row-program node: leading axes and row size (0: any, all its values have last axis
 * 1), and the type that is computed in. */
typedef struct {
    int rank;
    int64_t lead[KERN_ROW_LEAD], n;
    kern_dtype compute;
} ad_space;
ad_space ad_space_of(const ad_graph *graph, const ad_node *node);

#endif
