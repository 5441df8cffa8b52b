/* What row programs are: names, what makes one well formed, what it costs. */
#include "kernels/rows.h"

#include <stdlib.h>

static const struct {
    const char *name;
    int sources;
} ops[KERN_ROW_OPS] = {
    [KERN_ROW_LOAD] = {"load", 0},         [KERN_ROW_STORE] = {"store", 1},
    [KERN_ROW_SUM_LEAD] = {"sum_lead", 1}, [KERN_ROW_CONST] = {"const", 0},
    [KERN_ROW_ADD] = {"add", 2},           [KERN_ROW_SUB] = {"sub", 2},
    [KERN_ROW_MUL] = {"mul", 2},           [KERN_ROW_DIV] = {"div", 2},
    [KERN_ROW_MAX] = {"max", 2},           [KERN_ROW_NEG] = {"neg", 1},
    [KERN_ROW_ABS] = {"abs", 1},           [KERN_ROW_EXP] = {"exp", 1},
    [KERN_ROW_LOG] = {"log", 1},           [KERN_ROW_SQRT] = {"sqrt", 1},
    [KERN_ROW_SIGMOID] = {"sigmoid", 1},   [KERN_ROW_GREATER] = {"greater", 2},
    [KERN_ROW_SELECT] = {"select", 3},     [KERN_ROW_ROW_SUM] = {"row_sum", 1},
    [KERN_ROW_ROW_MAX] = {"row_max", 1},   [KERN_ROW_ROTATE] = {"rotate", 1},
    [KERN_ROW_PICK] = {"pick", 1},         [KERN_ROW_UNPICK] = {"unpick", 1},
};

const char *kern_row_op_name(kern_row_op op) {
    ASSERT((unsigned)op < KERN_ROW_OPS);
    return ops[op].name;
}

int kern_row_op_sources(kern_row_op op) {
    ASSERT((unsigned)op < KERN_ROW_OPS);
    return ops[op].sources;
}

static bool uses_operand(kern_row_op op) {
    return op == KERN_ROW_LOAD || op == KERN_ROW_STORE || op == KERN_ROW_SUM_LEAD ||
           op == KERN_ROW_PICK || op == KERN_ROW_UNPICK;
}

static void check_instr(const kern_row_program *p, const kern_row_instr *instr, bool *made) {
    const int source[3] = {instr->a, instr->b, instr->c};
    ASSERT((unsigned)instr->op < KERN_ROW_OPS);
    for (int k = 0; k < ops[instr->op].sources; k++)
        ASSERT(source[k] >= 0 && source[k] < p->registers && made[source[k]]);
    if (uses_operand(instr->op)) {
        ASSERT(instr->operand >= 0 && instr->operand < p->operands);
        bool index = instr->op == KERN_ROW_PICK || instr->op == KERN_ROW_UNPICK;
        const kern_row_operand *o = &p->operand[instr->operand];
        ASSERT(!index || (o->dtype == KERN_I32 && !o->wide));
        ASSERT(o->dtype != KERN_I32 || index || instr->op == KERN_ROW_LOAD);
        ASSERT(instr->op != KERN_ROW_SUM_LEAD ||
               (instr->kept >= 0 && instr->kept <= KERN_ROW_LEAD));
    }
    if (instr->op == KERN_ROW_STORE || instr->op == KERN_ROW_SUM_LEAD) {
        ASSERT(p->operand[instr->operand].wide || !p->wide[instr->a] || p->n == 1);
        return;
    }
    ASSERT(instr->d >= 0 && instr->d < p->registers && !made[instr->d]);
    made[instr->d] = true;
    ASSERT(instr->op != KERN_ROW_ROTATE || p->n % 2 == 0);
    bool narrows = instr->op == KERN_ROW_ROW_SUM || instr->op == KERN_ROW_ROW_MAX ||
                   instr->op == KERN_ROW_PICK;
    for (int k = 0; k < ops[instr->op].sources && !narrows; k++)
        ASSERT(p->wide[instr->d] || !p->wide[source[k]] || p->n == 1);
    ASSERT(!narrows || !p->wide[instr->d] || p->n == 1);
}

void kern_row_program_check(const kern_row_program *p) {
    bool *made = kern_array(p->registers, sizeof *made);
    ASSERT(p->n >= 1 && (p->compute == KERN_F32 || p->compute == KERN_F64));
    for (int axis = 0; axis < KERN_ROW_LEAD; axis++) ASSERT(p->lead[axis] >= 1);
    for (int i = 0; i < p->instrs; i++) check_instr(p, &p->instr[i], made);
    free(made);
}

kern_row_cost kern_row_program_cost(const kern_row_program *p) {
    kern_row_cost cost = {0};
    double rows = 1;
    for (int axis = 0; axis < KERN_ROW_LEAD; axis++) rows *= (double)p->lead[axis];
    double elements[2] = {rows, rows * (double)p->n};
    for (int i = 0; i < p->instrs; i++) {
        const kern_row_instr *instr = &p->instr[i];
        bool makes = instr->op != KERN_ROW_STORE && instr->op != KERN_ROW_SUM_LEAD;
        bool reduces = ops[instr->op].sources == 1 && p->wide[instr->a];
        double here = elements[reduces || (makes && p->wide[instr->d])];
        cost.work +=
            instr->op == KERN_ROW_EXP || instr->op == KERN_ROW_LOG || instr->op == KERN_ROW_SIGMOID
                ? 8 * here
                : here;
        if (!uses_operand(instr->op)) continue;
        const kern_row_operand *o = &p->operand[instr->operand];
        double distinct = o->wide ? (double)p->n : 1;
        for (int axis = 0; axis < KERN_ROW_LEAD; axis++)
            if (instr->op == KERN_ROW_SUM_LEAD ? axis < instr->kept : o->stride[axis] != 0)
                distinct *= (double)p->lead[axis];
        cost.bytes += distinct * (double)kern_dtype_bytes(o->dtype);
    }
    return cost;
}
