/* Lowers a row program to steps: values that are the same everywhere move to the prologue, sources
 * get the form that a step takes (a vector, one value a row, one for all), x * y summed over the
 * row becomes a dot product. */
#include "kernels/rows_plan.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    const kern_row_shape *shape;
    const kern_row_program *program;
    kern_row_plan *plan;
    kern_row_register *reg;
    int64_t reg_capacity, step_capacity, prologue_capacity, sum_capacity;
    int regs;
    int *uses, *maker; /* of the program's registers: times used; instruction that makes it */
    bool *uniform;
} planner;

static int add_register(planner *p, bool wide) {
    p->reg = kern_grow(p->reg, &p->reg_capacity, p->regs + 1, sizeof *p->reg);
    p->reg[p->regs] = (kern_row_register){.wide = wide, .load = -1, .stored = -1, .slot = -1};
    return p->regs++;
}

static void add_step(planner *p, kern_row_step step) {
    kern_row_plan *plan = p->plan;
    step.run = kern_row_arithmetic_of(p->shape->compute)->kernel(step.op, step.sources);
    ASSERT(step.run);
    plan->step = kern_grow(plan->step, &p->step_capacity, plan->steps + 1, sizeof step);
    plan->step[plan->steps++] = step;
}

static void add_prologue(planner *p, kern_row_step step) {
    kern_row_plan *plan = p->plan;
    step.run = kern_row_arithmetic_of(p->shape->compute)->kernel(step.op, step.sources);
    ASSERT(step.run);
    plan->prologue =
        kern_grow(plan->prologue, &p->prologue_capacity, plan->prologues + 1, sizeof step);
    plan->prologue[plan->prologues++] = step;
}

static kern_row_step make_step(int op, bool wide, int d, int a, int b, int c) {
    return (kern_row_step){.op = op, .wide = wide, .d = d, .a = a, .b = b, .c = c, .operand = -1};
}

static void set_operand(planner *p, kern_row_step *step, int operand) {
    const kern_row_operand *o = &p->program->operand[operand];
    step->operand = operand;
    step->dtype = o->dtype;
    step->contiguous = kern_row_contiguous(p->shape, o);
    memcpy(step->stride, o->stride, sizeof step->stride);
}

/* Narrow and wide are the same thing in rows of one element. */
static bool same_width(const planner *p, bool a, bool b) {
    return a == b || p->shape->n == 1;
}

static bool is_vector(const planner *p, int reg, bool wide) {
    return !p->reg[reg].uniform && same_width(p, p->reg[reg].wide, wide);
}

/* A register with a value for every element (wide) or row of what `reg` holds. */
static int as_vector(planner *p, int reg, bool wide) {
    if (is_vector(p, reg, wide)) return reg;
    ASSERT(p->reg[reg].uniform || wide);
    int d = add_register(p, wide);
    kern_row_step step = make_step(KERN_STEP_REPEAT, wide, d, reg, -1, -1);
    step.per_row = !p->reg[reg].uniform;
    add_step(p, step);
    return d;
}

static void lower_load(planner *p, const kern_row_instr *instr) {
    const kern_row_operand *o = &p->program->operand[instr->operand];
    const kern_row_shape *shape = p->shape;
    kern_row_register *d = &p->reg[instr->d];
    bool in_place = o->dtype == shape->compute && shape->tile_rows == 1;
    if (o->wide && shape->axes && kern_row_repeats(shape, o) && shape->tile_cols == shape->n &&
        !in_place) {
        d->hoisted = true;
        kern_row_step step = make_step(KERN_ROW_LOAD, true, instr->d, -1, -1, -1);
        set_operand(p, &step, instr->operand);
        step.contiguous = false;
        add_prologue(p, step);
        return;
    }
    int loaded = instr->d;
    if (!same_width(p, o->wide, d->wide)) {
        ASSERT(d->wide);
        loaded = add_register(p, false);
    }
    kern_row_step step = make_step(KERN_ROW_LOAD, o->wide, loaded, -1, -1, -1);
    set_operand(p, &step, instr->operand);
    add_step(p, step);
    if (loaded == instr->d) return;
    step = make_step(KERN_STEP_REPEAT, true, instr->d, loaded, -1, -1);
    step.per_row = true;
    add_step(p, step);
}

static void lower_uniform(planner *p, const kern_row_instr *instr) {
    kern_row_step step = make_step((int)instr->op, false, instr->d, -1, -1, -1);
    int sources = kern_row_op_sources(instr->op);
    if (sources > 0) step.a = instr->a;
    if (sources > 1) step.b = instr->b;
    if (sources > 2) step.c = instr->c;
    if (instr->op == KERN_ROW_LOAD) set_operand(p, &step, instr->operand);
    step.value = instr->value;
    add_prologue(p, step);
}

static void lower_binary(planner *p, const kern_row_instr *instr) {
    bool wide = p->reg[instr->d].wide;
    int a = instr->a, b = instr->b;
    bool a_vector = is_vector(p, a, wide), b_vector = is_vector(p, b, wide);
    if (!a_vector && !b_vector) {
        a = as_vector(p, a, wide);
        a_vector = true;
    }
    kern_row_step step = make_step((int)instr->op, wide, instr->d, a, b, -1);
    step.sources = !b_vector ? KERN_STEP_VS : !a_vector ? KERN_STEP_SV : KERN_STEP_VV;
    if (step.sources != KERN_STEP_VV)
        step.per_row = !p->reg[step.sources == KERN_STEP_VS ? b : a].uniform;
    add_step(p, step);
}

static void lower_select(planner *p, const kern_row_instr *instr) {
    bool wide = p->reg[instr->d].wide;
    int a = as_vector(p, instr->a, wide);
    int b = p->reg[instr->b].uniform ? instr->b : as_vector(p, instr->b, wide);
    int c = p->reg[instr->c].uniform ? instr->c : as_vector(p, instr->c, wide);
    kern_row_step step = make_step((int)instr->op, wide, instr->d, a, b, c);
    bool b_vector = !p->reg[b].uniform, c_vector = !p->reg[c].uniform;
    step.sources = b_vector ? (c_vector ? KERN_STEP_VV : KERN_STEP_VS)
                            : (c_vector ? KERN_STEP_SV : KERN_STEP_SS);
    add_step(p, step);
}

/* A product that only this sum needs is not stored; its step was left out (is_dotted). */
static bool is_dotted(const planner *p, int reg) {
    if (p->uses[reg] != 1 || p->maker[reg] < 0) return false;
    const kern_row_instr *maker = &p->program->instr[p->maker[reg]];
    return maker->op == KERN_ROW_MUL && p->reg[reg].wide && is_vector(p, maker->a, true) &&
           is_vector(p, maker->b, true);
}

static bool feeds_dot(const planner *p, int at) {
    int d = p->program->instr[at].d;
    if (p->program->instr[at].op != KERN_ROW_MUL || !is_dotted(p, d)) return false;
    for (int i = at + 1; i < p->program->instrs; i++)
        if (p->program->instr[i].op == KERN_ROW_ROW_SUM && p->program->instr[i].a == d) return true;
    return false;
}

static void lower_row_sum(planner *p, const kern_row_instr *instr) {
    if (is_dotted(p, instr->a)) {
        const kern_row_instr *maker = &p->program->instr[p->maker[instr->a]];
        add_step(p, make_step(KERN_STEP_DOT, false, instr->d, maker->a, maker->b, -1));
        return;
    }
    int a = as_vector(p, instr->a, true);
    add_step(p, make_step(KERN_ROW_ROW_SUM, false, instr->d, a, -1, -1));
}

static void lower_sum_lead(planner *p, const kern_row_instr *instr) {
    kern_row_plan *plan = p->plan;
    bool wide = p->program->operand[instr->operand].wide && p->shape->n > 1;
    int a = as_vector(p, instr->a, wide);
    kern_row_step step = make_step(KERN_ROW_SUM_LEAD, wide, plan->sums, a, -1, -1);
    add_step(p, step);
    int64_t blocks = 1;
    for (int axis = 0; axis < instr->kept; axis++) blocks *= p->program->lead[axis];
    plan->sum = kern_grow(plan->sum, &p->sum_capacity, plan->sums + 1, sizeof *plan->sum);
    plan->sum[plan->sums++] = (kern_row_sum){
        .operand = instr->operand,
        .dtype = p->program->operand[instr->operand].dtype,
        .wide = wide,
        .blocks = blocks,
        .direct = blocks == p->shape->blocks && p->shape->pieces == 1,
    };
}

static void lower_other(planner *p, const kern_row_instr *instr) {
    bool wide = instr->op == KERN_ROW_STORE ? p->program->operand[instr->operand].wide
                                            : p->reg[instr->d].wide;
    int a;
    if (instr->op == KERN_ROW_UNPICK)
        a = p->reg[instr->a].uniform ? instr->a : as_vector(p, instr->a, false);
    else
        a = as_vector(p, instr->a,
                      wide || instr->op == KERN_ROW_ROW_MAX || instr->op == KERN_ROW_PICK);
    int d = instr->op == KERN_ROW_STORE ? -1 : instr->d;
    kern_row_step step = make_step((int)instr->op, wide, d, a, -1, -1);
    step.per_row = instr->op == KERN_ROW_UNPICK && !p->reg[a].uniform;
    if (instr->op == KERN_ROW_STORE || instr->op == KERN_ROW_PICK || instr->op == KERN_ROW_UNPICK)
        set_operand(p, &step, instr->operand);
    add_step(p, step);
}

static void lower(planner *p, int at) {
    const kern_row_instr *instr = &p->program->instr[at];
    bool makes = instr->op != KERN_ROW_STORE && instr->op != KERN_ROW_SUM_LEAD;
    if (makes && p->uniform[instr->d]) {
        lower_uniform(p, instr);
        return;
    }
    switch (instr->op) {
    case KERN_ROW_LOAD: lower_load(p, instr); break;
    case KERN_ROW_SUM_LEAD: lower_sum_lead(p, instr); break;
    case KERN_ROW_SELECT: lower_select(p, instr); break;
    case KERN_ROW_ROW_SUM: lower_row_sum(p, instr); break;
    case KERN_ROW_ADD:
    case KERN_ROW_SUB:
    case KERN_ROW_MUL:
    case KERN_ROW_DIV:
    case KERN_ROW_MAX:
    case KERN_ROW_GREATER:
        if (!feeds_dot(p, at)) lower_binary(p, instr);
        break;
    default: lower_other(p, instr); break;
    }
}

static void survey(planner *p) {
    for (int r = 0; r < p->program->registers; r++) {
        int reg = add_register(p, p->program->wide[r]);
        p->reg[reg].uniform = p->uniform[r];
        p->maker[r] = -1;
    }
    for (int i = 0; i < p->program->instrs; i++) {
        const kern_row_instr *instr = &p->program->instr[i];
        const int source[3] = {instr->a, instr->b, instr->c};
        for (int k = 0; k < kern_row_op_sources(instr->op); k++) p->uses[source[k]]++;
        if (instr->op != KERN_ROW_STORE && instr->op != KERN_ROW_SUM_LEAD) p->maker[instr->d] = i;
    }
}

void kern_row_plan_make(kern_row_plan *plan, const kern_row_shape *shape,
                        const kern_row_program *program, const int *same) {
    *plan = (kern_row_plan){0};
    planner p = {.shape = shape, .program = program, .plan = plan};
    int64_t uses = 0, makers = 0, uniforms = 0;
    p.uses = kern_grow(NULL, &uses, program->registers + 1, sizeof *p.uses);
    p.maker = kern_grow(NULL, &makers, program->registers + 1, sizeof *p.maker);
    p.uniform = kern_grow(NULL, &uniforms, program->registers + 1, sizeof *p.uniform);
    memset(p.uses, 0, (size_t)uses * sizeof *p.uses);
    memset(p.uniform, 0, (size_t)uniforms * sizeof *p.uniform);
    kern_row_uniform(p.uniform, shape, program);
    survey(&p);
    for (int i = 0; i < program->instrs; i++) lower(&p, i);
    kern_row_plan_chain(plan, shape);
    kern_row_plan_slots(plan, shape, program, p.reg, p.regs, same);
    free(p.reg);
    free(p.uses);
    free(p.maker);
    free(p.uniform);
}

void kern_row_plan_free(kern_row_plan *plan) {
    free(plan->prologue);
    free(plan->step);
    free(plan->bound);
    free(plan->sum);
    free(plan->slot_offset);
    free(plan->shifted);
}
