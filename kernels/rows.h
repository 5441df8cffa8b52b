/* Row programs: what chains of elementwise operations and reductions over the last axis become.
 * A program runs over `rows` rows of `n` elements, tile by tile: load, compute, reduce, compute,
 * store, all registers of a tile in cache. Parallel over parts of the rows; the partition depends
 * on the shape alone, so bits do not depend on the number of threads. */
#ifndef KERNELS_ROWS_H
#define KERNELS_ROWS_H

#include "kernels/base.h"

enum { KERN_ROW_LEAD = 4 }; /* leading axes: tensors have at most 5 */

/* d, a, b, c name registers. A register is wide (n elements a row) or narrow (one element a row);
 * a narrow source of a wide destination is repeated along the row. Arithmetic is IEEE in the
 * program's compute type, without contraction; the same bits in vector body and tail. */
typedef enum {
    KERN_ROW_LOAD,     /* d = operand[operand], converted to the compute type */
    KERN_ROW_STORE,    /* operand[operand] = a, converted (round to nearest even) */
    KERN_ROW_SUM_LEAD, /* operand[operand] = sum of a over the leading axes from `kept` on */
    KERN_ROW_CONST,    /* d = value */
    KERN_ROW_ADD,      /* d = a + b */
    KERN_ROW_SUB,      /* d = a - b */
    KERN_ROW_MUL,      /* d = a * b */
    KERN_ROW_DIV,      /* d = a / b */
    KERN_ROW_MAX,      /* d = a > b ? a : b, NaN if either is NaN */
    KERN_ROW_NEG,      /* d = -a */
    KERN_ROW_ABS,      /* d = |a| */
    KERN_ROW_EXP,  /* d = e^a, at most 1 ulp off in f64, 2 in f32; 0 below, inf above the range */
    KERN_ROW_LOG,  /* d = ln a, likewise; -inf at 0, NaN below */
    KERN_ROW_SQRT, /* d = sqrt a */
    KERN_ROW_SIGMOID, /* d = 1 / (1 + e^-a), no overflow on either side */
    KERN_ROW_GREATER, /* d = a > b ? 1 : 0 */
    KERN_ROW_SELECT,  /* d = a != 0 ? b : c */
    KERN_ROW_ROW_SUM, /* narrow d = sum of wide a over the row, in the order below */
    KERN_ROW_ROW_MAX, /* narrow d = largest of wide a over the row, + 0; NaN if any is NaN */
    KERN_ROW_ROTATE,  /* wide d: d[2i] = -a[2i+1], d[2i+1] = a[2i]; n is even */
    KERN_ROW_PICK,    /* narrow d = a[row][index], index = the narrow i32 operand[operand] */
    KERN_ROW_UNPICK,  /* wide d = 0 but d[row][index] = narrow a; index likewise */
    KERN_ROW_OPS
} kern_row_op;

typedef struct {
    kern_row_op op;
    int d, a, b, c; /* registers */
    int operand;    /* LOAD, STORE, SUM_LEAD, PICK, UNPICK */
    int kept;       /* SUM_LEAD: leading axes 0 .. kept-1 remain, the others are summed */
    double value;   /* CONST */
} kern_row_instr;

/* A tensor that the program reads or writes. Element (i0, i1, i2, i3, j) lies at
 * i0*stride[0] + ... + i3*stride[3] + (wide ? j : 0); a stride of 0 repeats along its axis (for
 * SUM_LEAD strides of summed axes are 0 and the kept ones are dense). Elements of a row are
 * adjacent. */
typedef struct {
    kern_dtype dtype; /* f32, f64, bf16; i32 for indices */
    bool wide;
    int64_t stride[KERN_ROW_LEAD]; /* elements */
} kern_row_operand;

/* The order in which ROW_SUM adds the n elements of a row. It follows from n alone, for any type,
 * device and number of threads; a thread of a GPU has four lanes, and 256 of them share a long row.
 *
 * There are `lanes` lanes: the least of 32, 64, 128 ... 1024 for which a lane gets at most 8
 * elements, or 1024. The row is cut into `parts` parts of 128 lanes (one, if there are fewer):
 * elements part * p and following are part p, the last parts may be short or empty. Element j of
 * part p belongs to lane p * w + j % w, where w = lanes / parts. A lane begins at +0 and adds its
 * elements in ascending order. Then lane l adds lane l + half, for all l < half, with half =
 * lanes / 2, lanes / 4, ... 1, and lane 0 is the sum. Each addition rounds to the compute type. */
enum { KERN_ROW_LANES = 1024, KERN_ROW_LEAD_LANES = 32 };
typedef struct {
    int lanes, parts;
    int64_t part; /* elements: a multiple of 128, or n where parts is 1 */
} kern_row_order;

static inline kern_row_order kern_row_sum_order(int64_t n) {
    kern_row_order order = {.lanes = 32, .parts = 1, .part = n};
    while (order.lanes < KERN_ROW_LANES && (int64_t)order.lanes * 8 < n) order.lanes *= 2;
    if (order.lanes <= 128) return order;
    order.parts = order.lanes / 128;
    order.part = kern_round_up(kern_divide_up(n, order.parts), 128);
    return order;
}

/* The order in which SUM_LEAD adds: the rows of one result are cut into pieces, a function of the
 * program (kern_row_sum_pieces). Within a piece a wide result's column begins at +0 and adds its
 * rows in ascending order; a narrow result (or n = 1) has 32 lanes, row i of the piece belongs to
 * lane i % 32, and they are added up as those of a row are. Pieces are then added to the first one
 * in ascending order: on a GPU by a second kernel. Each addition rounds to the compute type, the
 * result once more to the operand's.
 * `blocks` is the greatest number of results (of one column) that a SUM_LEAD of the program has; it
 * cuts the rows into so many equal runs, and those into `pieces` pieces of `rows` rows, of which
 * the last may be shorter. A SUM_LEAD of fewer results adds up the pieces of several runs. */
typedef struct {
    int64_t blocks, pieces, rows;
} kern_row_pieces;

/* Registers are single-assignment as given; kern_rows_prepare assigns tile buffers by liveness. */
typedef struct {
    kern_dtype compute;          /* f32 or f64 */
    int64_t lead[KERN_ROW_LEAD]; /* rows = their product; unused axes are 1 */
    int64_t n;                   /* elements of a wide row */
    int operands, instrs, registers;
    const kern_row_operand *operand;
    const kern_row_instr *instr;
    const bool *wide; /* [registers] */
} kern_row_program;

/* Asserts that the program is well formed. */
void kern_row_program_check(const kern_row_program *program);

/* What one run takes: steps on elements, a transcendental one counted 8 times; bytes loaded and
 * stored. */
typedef struct {
    double work, bytes;
} kern_row_cost;
kern_row_cost kern_row_program_cost(const kern_row_program *program);

kern_row_pieces kern_row_sum_pieces(const kern_row_program *program);

typedef struct kern_rows kern_rows; /* a program made ready to run; immutable, shareable */

/* On the CPU. Copies and prepares `program` (which must be well formed: that is asserted). */
kern_rows *kern_rows_create(const kern_row_program *program);
void kern_rows_destroy(kern_rows *rows);

/* Bytes of scratch that kern_rows_run needs with up to `threads` threads (64-byte aligned). */
size_t kern_rows_workspace(const kern_rows *rows, int threads);

/* Runs the program. `operand[i]` is the base of operand i. An output may alias an input of the same
 * strides and dtype. Out-of-range indices of PICK and UNPICK are clamped away: PICK gives NaN,
 * UNPICK an all-zero row. */
void kern_rows_run(const kern_rows *rows, void *const *operand, void *workspace);

/* Parts that a run is cut into, a function of the program: so many threads have work. */
int64_t kern_rows_parts(const kern_rows *rows);

/* The operation's name in printed programs ("exp"), and how many register sources it takes. */
const char *kern_row_op_name(kern_row_op op);
int kern_row_op_sources(kern_row_op op);

#endif
