/* Source text of a row program (kernels/rows.h): one text that is CUDA C and C11, so that a GPU
 * runs what tests have run on a CPU, where it must give the bits of kern_rows_run. It stands behind
 * kern_row_prelude, which says how it is built; nothing else is included. Compile it without
 * contraction (--fmad=false, -ffp-contract=off) and with IEEE division and square root, which NVRTC
 * has by default.
 *
 * How it runs: a block of 256 threads takes as many rows as there are teams in it. A team has the
 * threads that share a row, a quarter of the lanes of kern_row_sum_order; a thread has four
 * adjacent columns every so often, read and written 16 bytes at a time where addresses allow. What
 * phases share of a row (all before a reduction is one phase) a thread keeps in registers, up to
 * 8192 columns; longer rows are computed again from memory in each phase. Rows whose columns are
 * independent are cut, so that many blocks share a long one. With SUM_LEAD a block takes one piece
 * of rows (kern_row_sum_pieces), and a second kernel adds up the pieces. */
#ifndef KERNELS_ROWS_TEXT_H
#define KERNELS_ROWS_TEXT_H

#include "kernels/rows.h"

/* What a run takes; a function of the program. */
typedef struct {
    int threads;        /* of every block */
    int64_t blocks;     /* of kernel NAME */
    int64_t sum_blocks; /* of kernel NAME_sums, to be run after it; 0: there is none */
    size_t shared;      /* bytes of a block, part of the kernel itself; at most 48 KiB */
    size_t workspace;   /* bytes, aligned to 64 */
    int memories;       /* addresses that both kernels are handed: the operands, the workspace */
} kern_row_launch;

/* The text of kernels `name` and, if need be, `name`_sums; free() it. The program must be well
 * formed; outputs may alias inputs as in kern_rows_run. */
char *kern_row_text(const kern_row_program *program, const char *name, kern_row_launch *launch);

/* What stands before such texts, once. Ends with a 0. */
extern const char kern_row_prelude[];

#endif
