/* How a row program becomes the text of a kernel: what kernels/rows_text*.c share and nobody else
 * includes. */
#ifndef KERNELS_ROWS_TEXT_PLAN_H
#define KERNELS_ROWS_TEXT_PLAN_H

#include "kernels/rows_plan.h"
#include "kernels/rows_text.h"

enum { KERN_TEXT_THREADS = 256, KERN_TEXT_LANES = 1024 + 256 + 64 + 16 };

/* Shared memory of a reduction, KERN_TEXT_LANES elements: its lanes, four of each thread, folded by
 * 4 from level to level. */
typedef struct {
    int levels, offset[4], count[4]; /* of level 0 .. levels; count: lanes of a team */
} kern_text_folds;

typedef struct {
    kern_row_shaped shaped;
    const kern_row_program *program; /* the shaped one */
    const kern_row_shape *shape;
    /* By register. Scalar: one value a row. Phase: in which it is computed. Kept: needed in a later
     * one. */
    bool *live, *scalar, *kept;
    int *phase;
    int *at; /* by instruction: the phase of what is no register alone: stores, sums, reductions */
    int phases;
    int reductions; /* the most in a phase */
    int exchanges;  /* places for them in shared memory; sums over rows need one too */
    bool again;     /* wide registers are computed in each phase that needs them, never kept */
    bool has_sums;
    /* Threads of a row, rows of a block. Thread i of a team has columns first, first + stride, ...
     * in `groups` steps, four each, with first = i / (lanes / 4) * part + i % (lanes / 4) * 4. */
    int team, teams, lanes;
    int64_t part, stride, groups;
    int64_t cuts, cut; /* rows are cut into so many runs of columns, each so long */
    int own;           /* columns of a step whose sums over rows a thread has */
    size_t *partials;  /* by instruction: of a SUM_LEAD, offset in the workspace */
    bool *direct;      /* by instruction: a SUM_LEAD whose pieces are whole results */
    kern_text_folds folds;
    kern_row_launch launch;
} kern_text_plan;

void kern_text_plan_make(kern_text_plan *plan, const kern_row_program *program);
void kern_text_plan_free(kern_text_plan *plan);

/* Whether the instruction makes a register; whether that takes all columns of a row. */
bool kern_text_makes(const kern_row_instr *instr);
bool kern_text_reduces(const kern_text_plan *plan, const kern_row_instr *instr);
bool kern_text_is_wide_sum(const kern_text_plan *plan, const kern_row_instr *instr);
/* How many results (of a column) a SUM_LEAD has. */
int64_t kern_text_sum_results(const kern_text_plan *plan, const kern_row_instr *instr);

/* A text that grows. */
typedef struct {
    char *data;
    int64_t bytes, capacity;
} kern_text;

void kern_text_add(kern_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Appends the phase's text, from ROWS_THREADS to ROWS_END. */
void kern_text_phase(kern_text *text, const kern_text_plan *plan, int phase);
/* Appends register r of the row, in step `k` of its columns and column `c` of that. */
void kern_text_value(kern_text *text, const kern_text_plan *plan, int reg, const char *c);
/* Appends the element of operand o at which the row begins. */
void kern_text_offset(kern_text *text, const kern_text_plan *plan, int operand);
/* "f32", "float" */
const char *kern_text_suffix(const kern_text_plan *plan);
const char *kern_text_real(const kern_text_plan *plan);

#endif
