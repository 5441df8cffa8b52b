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
    KERN_ROW_ROW_SUM, /* narrow d = sum of wide a over the row, in a fixed order */
    KERN_ROW_ROW_MAX, /* narrow d = largest of wide a over the row; NaN if any is NaN */
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
