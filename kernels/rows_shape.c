/* Shape of a row program: merged axes, tiles and parts. All of it follows from the program alone,
 * never from the number of threads, because the order of sums depends on it. */
#include "kernels/rows_plan.h"

#include <stdlib.h>
#include <string.h>

enum {
    TILE_BYTES = 4096, /* of one register: a few of them fit the first-level cache */
    PART_ELEMENTS = 16384,
    PARTS = 256,          /* enough for a large machine; of a sum each has its own */
    FLAT_REGISTERS = 512, /* larger programs are not worth a look */
};

/* Operands of SUM_LEAD are addressed by block; their strides do not count. */
static bool is_summed(const kern_row_program *program, int operand) {
    for (int i = 0; i < program->instrs; i++)
        if (program->instr[i].op == KERN_ROW_SUM_LEAD && program->instr[i].operand == operand)
            return true;
    return false;
}

/* Merged axes are written over the first ones. */
static void merge_axes(kern_row_shape *shape, const kern_row_program *program,
                       kern_row_operand *operand) {
    int axes = 0;
    for (int axis = 0; axis < KERN_ROW_LEAD; axis++) {
        int64_t extent = program->lead[axis];
        if (extent == 1) continue;
        bool merge = axes > 0;
        for (int o = 0; merge && o < program->operands; o++)
            merge = is_summed(program, o) ||
                    operand[o].stride[axes - 1] == operand[o].stride[axis] * extent;
        int into = merge ? axes - 1 : axes++;
        shape->lead[into] = merge ? shape->lead[into] * extent : extent;
        for (int o = 0; o < program->operands; o++)
            operand[o].stride[into] = operand[o].stride[axis];
    }
    shape->axes = axes;
    for (int axis = axes; axis < KERN_ROW_LEAD; axis++) {
        shape->lead[axis] = 1;
        for (int o = 0; o < program->operands; o++) operand[o].stride[axis] = 0;
    }
}

static bool row_dense(const kern_row_shape *shape, const kern_row_operand *operand) {
    int64_t expected = operand->wide ? shape->n : 1;
    for (int axis = shape->axes - 1; axis >= 0; axis--) {
        if (operand->stride[axis] != expected) return false;
        expected *= shape->lead[axis];
    }
    return true;
}

bool kern_row_repeats(const kern_row_shape *shape, const kern_row_operand *operand) {
    for (int axis = 0; axis < shape->axes; axis++)
        if (operand->stride[axis] != 0) return false;
    return true;
}

bool kern_row_contiguous(const kern_row_shape *shape, const kern_row_operand *operand) {
    if (shape->tile_rows == 1) return true;
    if (shape->inner == shape->rows && shape->axes != 1) return row_dense(shape, operand);
    return operand->stride[shape->axes - 1] == (operand->wide ? shape->n : 1);
}

void kern_row_uniform(bool *uniform, const kern_row_shape *shape, const kern_row_program *program) {
    for (int i = 0; i < program->instrs; i++) {
        const kern_row_instr *instr = &program->instr[i];
        const int source[3] = {instr->a, instr->b, instr->c};
        bool same = instr->op == KERN_ROW_CONST ||
                    (instr->op >= KERN_ROW_ADD && instr->op <= KERN_ROW_SELECT);
        if (instr->op == KERN_ROW_LOAD)
            same = !program->operand[instr->operand].wide &&
                   kern_row_repeats(shape, &program->operand[instr->operand]);
        else
            for (int k = 0; k < kern_row_op_sources(instr->op); k++)
                same = same && uniform[source[k]];
        if (instr->op != KERN_ROW_STORE && instr->op != KERN_ROW_SUM_LEAD) uniform[instr->d] = same;
    }
}

/* Programs that mix elements of a row, and those whose narrow results would be computed once for
 * each piece of a row, need whole rows. */
static bool needs_whole_rows(const kern_row_program *program, const bool *wide) {
    for (int i = 0; i < program->instrs; i++) {
        const kern_row_instr *instr = &program->instr[i];
        if (instr->op >= KERN_ROW_ROW_SUM && instr->op != KERN_ROW_ROTATE) return true;
        if ((instr->op == KERN_ROW_STORE && !program->operand[instr->operand].wide) ||
            (instr->op == KERN_ROW_SUM_LEAD && !wide[instr->a]))
            return true;
    }
    return false;
}

/* True if elements are independent and every operand is dense or one value: then the rows may be
 * seen as a single long one. */
static bool is_flat(const kern_row_shape *shape, const kern_row_program *program,
                    const bool *wide) {
    bool uniform[FLAT_REGISTERS];
    if (program->registers > FLAT_REGISTERS) return false;
    kern_row_uniform(uniform, shape, program);
    for (int i = 0; i < program->instrs; i++) {
        const kern_row_instr *instr = &program->instr[i];
        if (instr->op == KERN_ROW_SUM_LEAD || instr->op >= KERN_ROW_ROW_SUM) return false;
        bool stores = instr->op == KERN_ROW_STORE;
        if (!stores && uniform[instr->d]) continue;
        if (!stores && shape->n > 1 && !wide[instr->d]) return false;
        if (!stores && instr->op != KERN_ROW_LOAD) continue;
        const kern_row_operand *operand = &program->operand[instr->operand];
        if ((shape->n > 1 && !operand->wide) || !row_dense(shape, operand)) return false;
    }
    return true;
}

static void flatten(kern_row_shape *shape, kern_row_program *program, kern_row_operand *operand,
                    bool *wide) {
    for (int o = 0; o < program->operands; o++) {
        operand[o].wide =
            !kern_row_repeats(shape, &operand[o]) || (operand[o].wide && shape->n > 1);
        memset(operand[o].stride, 0, sizeof operand[o].stride);
    }
    for (int r = 0; r < program->registers; r++) wide[r] = true;
    shape->n *= shape->rows;
    shape->rows = 1;
    shape->axes = 0;
    for (int axis = 0; axis < KERN_ROW_LEAD; axis++) shape->lead[axis] = 1;
}

static void cut_parts(kern_row_shape *shape, const kern_row_program *program) {
    shape->blocks = 1;
    for (int i = 0; i < program->instrs; i++) {
        if (program->instr[i].op != KERN_ROW_SUM_LEAD) continue;
        int64_t blocks = 1;
        for (int axis = 0; axis < program->instr[i].kept; axis++) blocks *= program->lead[axis];
        shape->blocks = kern_max(shape->blocks, blocks);
    }
    shape->block_rows = shape->rows / shape->blocks;
    int64_t wanted = kern_max(shape->rows * shape->n / PART_ELEMENTS, 1);
    wanted = kern_min(wanted, PARTS);
    int64_t tiles = kern_divide_up(shape->block_rows, shape->tile_rows);
    int64_t pieces = kern_min(kern_divide_up(wanted, shape->blocks), tiles);
    shape->piece_rows = kern_round_up(kern_divide_up(shape->block_rows, pieces), shape->tile_rows);
    shape->pieces = kern_divide_up(shape->block_rows, shape->piece_rows);
    int64_t cols = kern_min(kern_divide_up(wanted, shape->blocks * shape->pieces),
                            kern_divide_up(shape->n, shape->tile_cols));
    shape->part_cols = kern_round_up(kern_divide_up(shape->n, cols), shape->tile_cols);
    shape->col_parts = kern_divide_up(shape->n, shape->part_cols);
    shape->parts = shape->blocks * shape->pieces * shape->col_parts;
}

static void make_shape(kern_row_shape *shape, kern_row_program *program, kern_row_operand *operand,
                       bool *wide) {
    *shape = (kern_row_shape){.compute = program->compute,
                              .bytes = kern_dtype_bytes(program->compute),
                              .rows = 1,
                              .n = program->n};
    bool any_wide = false;
    for (int r = 0; r < program->registers; r++) any_wide = any_wide || wide[r];
    for (int o = 0; o < program->operands; o++) any_wide = any_wide || operand[o].wide;
    if (!any_wide) shape->n = 1;
    for (int axis = 0; axis < KERN_ROW_LEAD; axis++) shape->rows *= program->lead[axis];
    merge_axes(shape, program, operand);
    if (is_flat(shape, program, wide)) flatten(shape, program, operand, wide);
    int64_t tile = TILE_BYTES / (int64_t)shape->bytes;
    shape->whole_rows = needs_whole_rows(program, wide);
    bool cut = shape->n > tile && !shape->whole_rows;
    shape->tile_cols = cut ? tile : shape->n;
    shape->tile_rows = kern_min(kern_max(tile / shape->n, 1), shape->rows);
    int64_t inner = shape->axes ? shape->lead[shape->axes - 1] : 1;
    shape->inner = inner >= shape->tile_rows ? inner : shape->rows;
    cut_parts(shape, program);
}

static void *copy_of(const void *source, int count, size_t item) {
    void *copy = kern_array(count, item);
    if (count) memcpy(copy, source, (size_t)count * item);
    return copy;
}

void kern_row_shaped_make(kern_row_shaped *shaped, const kern_row_program *program) {
    kern_row_program_check(program);
    shaped->operand = copy_of(program->operand, program->operands, sizeof *program->operand);
    shaped->instr = copy_of(program->instr, program->instrs, sizeof *program->instr);
    shaped->wide = copy_of(program->wide, program->registers, sizeof *program->wide);
    shaped->program = *program;
    shaped->program.operand = shaped->operand;
    shaped->program.instr = shaped->instr;
    shaped->program.wide = shaped->wide;
    make_shape(&shaped->shape, &shaped->program, shaped->operand, shaped->wide);
}

void kern_row_shaped_free(kern_row_shaped *shaped) {
    free(shaped->operand);
    free(shaped->instr);
    free(shaped->wide);
}

kern_row_pieces kern_row_sum_pieces(const kern_row_program *program) {
    kern_row_shaped shaped;
    kern_row_shaped_make(&shaped, program);
    kern_row_pieces pieces = {shaped.shape.blocks, shaped.shape.pieces, shaped.shape.piece_rows};
    kern_row_shaped_free(&shaped);
    return pieces;
}
