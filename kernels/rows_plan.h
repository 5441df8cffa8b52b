/* Row programs made ready to run: what kernels/rows*.c share and nobody else includes.
 * A program becomes a shape (tiles and parts), then a plan for each way in which outputs alias
 * inputs: a list of steps on slots of a thread's memory. */
#ifndef KERNELS_ROWS_PLAN_H
#define KERNELS_ROWS_PLAN_H

#include "kernels/rows.h"

typedef struct {
    kern_dtype compute;
    size_t bytes; /* of one element of the compute type */
    int axes;     /* leading axes, merged where every operand allows; those of extent 1 are gone */
    int64_t lead[KERN_ROW_LEAD];
    int64_t rows, n;
    bool whole_rows;              /* what happens to a column depends on others */
    int64_t tile_rows, tile_cols; /* tile_cols < n only with tile_rows = 1 */
    int64_t inner;                /* no tile crosses a multiple of this many rows */
    int64_t blocks, block_rows;   /* no part crosses a block: the rows of one result of the sums */
    int64_t pieces, piece_rows;   /* each block is cut into pieces ... */
    int64_t col_parts, part_cols; /* ... and each piece into columns; that is a part */
    int64_t parts;
} kern_row_shape;

/* An own copy of a program, its operands and registers rewritten by its shape: `lead` and `n` are
 * as they were, those of the shape count. */
typedef struct {
    kern_row_program program;
    kern_row_shape shape;
    kern_row_operand *operand;
    kern_row_instr *instr;
    bool *wide;
} kern_row_shaped;

/* Asserts that the program is well formed, merges axes, flattens what has no rows to speak of and
 * chooses tiles and parts. */
void kern_row_shaped_make(kern_row_shaped *shaped, const kern_row_program *program);
void kern_row_shaped_free(kern_row_shaped *shaped);

/* Steps beyond the operations of a program. */
enum {
    KERN_STEP_REPEAT = KERN_ROW_OPS, /* d = a repeated, along the row if per_row, else everywhere */
    KERN_STEP_DOT,                   /* narrow d = sum of a * b over the row */
    /* d = (a op b) op' c, the sources being those of b and c: KERN_STEP_CHAIN + 4 op + op' with op
     * from 0 add, 1 subtract, 2 multiply; op' also 3, subtract from c. */
    KERN_STEP_CHAIN,
    KERN_STEP_OPS = KERN_STEP_CHAIN + 12
};

/* What sources of an elementwise step are: V one value an element, S one a row or one for all. The
 * first source of SELECT is V, the letters are its others. */
typedef enum {
    KERN_STEP_VV,
    KERN_STEP_VS,
    KERN_STEP_SV,
    KERN_STEP_SS,
    KERN_STEP_SOURCES
} kern_step_sources;

typedef struct {
    int64_t rows, cols;
    int64_t index[KERN_ROW_LEAD]; /* of the first row */
    int64_t part_row;             /* the first row, counted in the part */
    int64_t col, part_col;        /* first column in the row, in the part */
    const kern_row_shape *shape;
    void *const *operand;
    void **slot;
} kern_row_tile;

typedef struct kern_row_step kern_row_step;
typedef void (*kern_row_kernel)(const kern_row_step *step, const kern_row_tile *tile);

struct kern_row_step {
    kern_row_kernel run;
    int op; /* kern_row_op or above */
    kern_step_sources sources;
    int d, a, b, c; /* registers while planning, then slots; -1 for none */
    bool wide;      /* the destination; for STORE and SUM_LEAD the source */
    bool per_row;   /* an S source has one value a row; in a chain this is said of b */
    bool c_per_row;
    bool contiguous; /* the operand's rows of a tile are adjacent */
    int operand;
    kern_dtype dtype; /* the operand's */
    int64_t stride[KERN_ROW_LEAD];
    double value;
};

/* Slot `slot` points into operand `operand` at the tile. */
typedef struct {
    int slot, operand;
    bool wide;
    int64_t stride[KERN_ROW_LEAD];
} kern_row_bound;

typedef struct {
    int operand, slot; /* slot: the sums of the running part */
    kern_dtype dtype;
    bool wide;   /* a result a column; else one, and a slot of KERN_ROW_LEAD_LANES */
    bool direct; /* each part is a whole result */
    int64_t blocks;
    size_t partials; /* offset in the workspace of [blocks * pieces of the shape, n or 1] */
} kern_row_sum;

typedef struct {
    kern_row_step *prologue, *step; /* the prologue runs once a thread */
    kern_row_bound *bound;
    kern_row_sum *sum;
    size_t *slot_offset; /* in the thread's memory */
    /* Slots of a page or more: they move with the tile, see kern_row_plan_slots. */
    int *shifted;
    int prologues, steps, bounds, sums, slots, shifteds;
    size_t partial_bytes, thread_bytes;
} kern_row_plan;

/* Arithmetic of one instruction set and compute type. */
typedef struct {
    kern_row_kernel (*kernel)(int op, kern_step_sources sources);
    /* dst[0 .. count) = src converted from the compute type */
    void (*store)(void *dst, kern_dtype dtype, const void *src, int64_t count);
    /* sum[j] += rows[0][j], then += rows[1][j], ...; rows are `stride` elements apart */
    void (*add_rows)(void *sum, const void *rows, int64_t count, int64_t width, int64_t stride);
    void (*halve_lead)(void *lane); /* lane[0] = the sum of KERN_ROW_LEAD_LANES */
} kern_row_arithmetic;

/* Of the instruction set in use. */
const kern_row_arithmetic *kern_row_arithmetic_of(kern_dtype compute);

/* True where the operand's values are the same in all rows. */
bool kern_row_repeats(const kern_row_shape *shape, const kern_row_operand *operand);

/* True where the rows of a tile are adjacent in the operand. */
bool kern_row_contiguous(const kern_row_shape *shape, const kern_row_operand *operand);

/* uniform[r]: register r holds one value for all elements of the run. */
void kern_row_uniform(bool *uniform, const kern_row_shape *shape, const kern_row_program *program);

/* Operands with equal same[] are the same memory; NULL: all differ. */
void kern_row_plan_make(kern_row_plan *plan, const kern_row_shape *shape,
                        const kern_row_program *program, const int *same);
/* Puts pairs of steps into one where the first one's result has no other use: half the traffic
 * between them and the cache, the same bits. */
void kern_row_plan_chain(kern_row_plan *plan, const kern_row_shape *shape);
void kern_row_plan_free(kern_row_plan *plan);

/* Registers of a plan while it is made. */
typedef struct {
    bool wide, uniform, hoisted;
    int def, last;    /* steps: where it gets its value, where that is needed last */
    int load, stored; /* operand it was loaded from, operand whose memory it lives in; or -1 */
    int slot;
} kern_row_register;

enum { KERN_ROW_PAGE = 4096 };

/* Binds registers to operands where that saves a copy, drops the steps that became empty, and gives
 * slots to all; the last part of kern_row_plan_make. Large tile slots start at the same place in a
 * page as the tile's first operand: a processor takes a load for dependent on an earlier store
 * whose address is equal in its low 12 bits, and streams that are nearly in step would wait for
 * each other (measured: half the speed). */
void kern_row_plan_slots(kern_row_plan *plan, const kern_row_shape *shape,
                         const kern_row_program *program, kern_row_register *registers, int count,
                         const int *same);

#endif
