/* Row programs from units: members in order, operands of other units loaded once, results that
 * others read stored at the end (so that a result may take the memory of an operand). */
#include <stdlib.h>
#include <string.h>

#include "autodiff/lower.h"

struct ad_emitter {
    ad_lowering *low;
    ad_unit *unit;
    ad_space space;
    int64_t n;     /* 1 where all values have a last axis of 1 */
    bool counting; /* all registers are narrow, so that whatever may be widened is */
    int instrs, operands, registers;
    /* Each register and each operand belongs to an instruction of its own. */
    kern_row_instr instr[AD_UNIT_INSTRS];
    kern_row_operand operand[AD_UNIT_INSTRS];
    ad_value operand_value[AD_UNIT_INSTRS]; /* as read or written; AD_NONE: operand_output */
    int operand_output[AD_UNIT_INSTRS];
    bool wide[AD_UNIT_INSTRS];
    int reg[AD_UNIT_NODES]; /* [members] -1: none yet */
};

static kern_row_instr *add_instr(ad_emitter *e, kern_row_op op) {
    ASSERT(e->instrs < AD_UNIT_INSTRS);
    kern_row_instr *instr = &e->instr[e->instrs++];
    *instr = (kern_row_instr){.op = op, .d = -1, .a = -1, .b = -1, .c = -1, .operand = -1};
    return instr;
}

static int new_register(ad_emitter *e, bool wide) {
    e->wide[e->registers] = wide && !e->counting;
    return e->registers++;
}

int ad_emit(ad_emitter *e, kern_row_op op, int a, int b, int c) {
    bool wide = e->wide[a] || (b >= 0 && e->wide[b]) || (c >= 0 && e->wide[c]);
    kern_row_instr *instr = add_instr(e, op);
    instr->a = a;
    instr->b = b;
    instr->c = c;
    return instr->d = new_register(e, wide);
}

int ad_emit_const(ad_emitter *e, double value) {
    kern_row_instr *instr = add_instr(e, KERN_ROW_CONST);
    instr->value = value;
    return instr->d = new_register(e, false);
}

/* Repeats a narrow register along the row. */
static int widen(ad_emitter *e, int a) {
    if (e->wide[a]) return a;
    int one = ad_emit_const(e, 1);
    kern_row_instr *instr = add_instr(e, KERN_ROW_MUL);
    instr->a = a;
    instr->b = one;
    return instr->d = new_register(e, true);
}

int ad_emit_narrow(ad_emitter *e, kern_row_op op, int a) {
    a = widen(e, a);
    kern_row_instr *instr = add_instr(e, op);
    instr->a = a;
    return instr->d = new_register(e, false);
}

int ad_emit_wide(ad_emitter *e, kern_row_op op, int a) {
    a = widen(e, a);
    kern_row_instr *instr = add_instr(e, op);
    instr->a = a;
    return instr->d = new_register(e, true);
}

static int add_operand(ad_emitter *e, ad_value value, ad_type type, int output, int kept) {
    ASSERT(type.rank == e->space.rank);
    kern_row_operand *operand = &e->operand[e->operands];
    *operand = (kern_row_operand){.dtype = type.dtype,
                                  .wide = ad_last(type) == e->n && type.dtype != KERN_I32};
    int64_t step = ad_last(type);
    for (int axis = type.rank - 2; axis >= 0; axis--) {
        bool repeated = type.dim[axis] != e->space.lead[axis] || axis >= kept;
        ASSERT(type.dim[axis] == 1 || !repeated || axis >= kept);
        operand->stride[axis] = repeated || type.dim[axis] == 1 ? 0 : step;
        step *= type.dim[axis];
    }
    e->operand_value[e->operands] = value;
    e->operand_output[e->operands] = output;
    return e->operands++;
}

static int operand_of(ad_emitter *e, ad_value value) {
    for (int i = 0; i < e->operands; i++)
        if (ad_same(e->operand_value[i], value) && e->operand_output[i] < 0) return i;
    return add_operand(e, value, ad_type_at(e->low->graph, value), -1, KERN_ROW_LEAD);
}

int ad_emit_indexed(ad_emitter *e, kern_row_op op, int a, ad_value index) {
    if (op == KERN_ROW_PICK) a = widen(e, a);
    int operand = operand_of(e, index);
    kern_row_instr *instr = add_instr(e, op);
    instr->a = a;
    instr->operand = operand;
    return instr->d = new_register(e, op == KERN_ROW_UNPICK);
}

static int load(ad_emitter *e, ad_value value) {
    double constant;
    if (ad_is_fill(e->low->graph, ad_root(e->low, value), &constant))
        return ad_emit_const(e, constant);
    int operand = operand_of(e, value);
    for (int i = 0; i < e->instrs; i++)
        if (e->instr[i].op == KERN_ROW_LOAD && e->instr[i].operand == operand) return e->instr[i].d;
    kern_row_instr *instr = add_instr(e, KERN_ROW_LOAD);
    instr->operand = operand;
    return instr->d = new_register(e, e->operand[operand].wide);
}

/* Which member of the unit makes a value, or -1: it is loaded. */
static int member_of(const ad_emitter *e, ad_value value) {
    if (ad_number(ad_root(e->low, value)) != ad_number(value) || ad_producer(e->low, value) < 0)
        return -1;
    return ad_member_of(e->unit, value.node);
}

static int source(ad_emitter *e, const ad_node *node, int in) {
    ad_value value = ad_row_source(e->low, node->input[in]);
    if (ad_type_at(e->low->graph, value).dtype == KERN_I32) return -1; /* an index */
    int member = member_of(e, value);
    if (member < 0) return load(e, value);
    ASSERT(e->reg[member] >= 0);
    return e->reg[member];
}

static void emit_member(ad_emitter *e, int m) {
    const ad_node *node = ad_node_at(e->low->graph, e->unit->node[m]);
    const ad_op_def *op = ad_op_definition(node->op);
    int reg[AD_INPUTS];
    for (int in = 0; in < node->inputs; in++) reg[in] = source(e, node, in);
    e->reg[m] = op->rows == AD_ROWS_LEAD ? reg[0] : op->emit(e, e->low->graph, node, reg);
}

static void store_member(ad_emitter *e, int m) {
    int i = e->unit->node[m];
    const ad_node *node = ad_node_at(e->low->graph, i);
    bool lead = ad_op_definition(node->op)->rows == AD_ROWS_LEAD;
    int kept = lead ? (int)node->attrs.i[0] : KERN_ROW_LEAD;
    int operand = add_operand(e, (ad_value){i, 0}, node->type[0], -1, kept);
    int reg = e->operand[operand].wide ? widen(e, e->reg[m]) : e->reg[m];
    kern_row_instr *instr = add_instr(e, lead ? KERN_ROW_SUM_LEAD : KERN_ROW_STORE);
    instr->a = reg;
    instr->operand = operand;
    instr->kept = lead ? kept : 0;
}

/* output (+)= value: for outputs that are no unit's own memory. */
static void emit_add(ad_emitter *e) {
    ad_value value = ad_numbered(e->unit->add_from);
    bool add = e->low->spec.output[e->unit->add_output].mode == AD_ADD;
    int reg = load(e, value);
    ad_type type = ad_type_at(e->low->graph, value);
    int operand = add_operand(e, AD_NONE, type, e->unit->add_output, KERN_ROW_LEAD);
    if (add) {
        kern_row_instr *instr = add_instr(e, KERN_ROW_LOAD);
        instr->operand = operand;
        int sum = instr->d = new_register(e, e->operand[operand].wide);
        reg = ad_emit(e, KERN_ROW_ADD, sum, reg, -1);
    }
    if (e->operand[operand].wide) reg = widen(e, reg);
    kern_row_instr *instr = add_instr(e, KERN_ROW_STORE);
    instr->a = reg;
    instr->operand = operand;
}

static void choose_space(ad_emitter *e) {
    if (e->unit->add_from >= 0) {
        ad_type type = ad_type_at(e->low->graph, ad_numbered(e->unit->add_from));
        e->space = (ad_space){.rank = type.rank, .n = ad_last(type), .compute = KERN_F32};
        if (type.dtype == KERN_F64) e->space.compute = KERN_F64;
        for (int axis = 0; axis < KERN_ROW_LEAD; axis++)
            e->space.lead[axis] = axis < type.rank - 1 ? type.dim[axis] : 1;
    } else {
        for (int m = 0; m < e->unit->nodes; m++) {
            ad_space space =
                ad_space_of(e->low->graph, ad_node_at(e->low->graph, e->unit->node[m]));
            if (m == 0 || space.n) e->space = space;
        }
    }
    e->n = e->space.n ? e->space.n : 1;
}

static kern_status hand_over(ad_emitter *e) {
    ad_unit *unit = e->unit;
    kern_row_program program = {.compute = e->space.compute,
                                .n = e->n,
                                .operands = e->operands,
                                .instrs = e->instrs,
                                .registers = e->registers,
                                .operand = e->operand,
                                .instr = e->instr,
                                .wide = e->wide};
    memcpy(program.lead, e->space.lead, sizeof program.lead);
    unit->bytes = kern_row_program_cost(&program).bytes;
    unit->operands = e->operands;
    unit->operand = kern_array(e->operands, sizeof *unit->operand);
    unit->operand_value = kern_array(e->operands, sizeof *unit->operand_value);
    unit->operand_output = kern_array(e->operands, sizeof *unit->operand_output);
    unit->operand_storage = kern_array(e->operands, sizeof *unit->operand_storage);
    unit->operand_offset = kern_array(e->operands, sizeof *unit->operand_offset);
    unit->operand_written = kern_array(e->operands, sizeof *unit->operand_written);
    memcpy(unit->operand_value, e->operand_value, (size_t)e->operands * sizeof(ad_value));
    memcpy(unit->operand_output, e->operand_output, (size_t)e->operands * sizeof(int));
    for (int i = 0; i < e->instrs; i++)
        if (e->instr[i].op == KERN_ROW_STORE || e->instr[i].op == KERN_ROW_SUM_LEAD)
            unit->operand_written[e->instr[i].operand] = e->instr[i].op == KERN_ROW_STORE ? 1 : 2;
    size_t workspace = 0;
    kern_status status =
        e->low->spec.device->rows->create(&unit->state, &program, e->low->spec.threads, &workspace);
    if (status != KERN_OK) {
        const ad_graph *graph = e->low->graph;
        int last = unit->nodes ? unit->node[unit->nodes - 1] : ad_numbered(unit->add_from).node;
        return kern_fail_context(status, "rows in %s",
                                 ad_scope_name(graph, ad_node_at(graph, last)->scope));
    }
    if (workspace) unit->workspace = ad_new_storage(e->low, workspace, false);
    return KERN_OK;
}

/* Of the emitter's places, 100 kB, most are never touched, nor zeroed. */
static void begin(ad_emitter *e, ad_lowering *low, ad_unit *unit, bool counting) {
    ASSERT(unit->nodes <= AD_UNIT_NODES);
    e->low = low;
    e->unit = unit;
    e->counting = counting;
    e->instrs = e->operands = e->registers = 0;
    for (int m = 0; m < unit->nodes; m++) e->reg[m] = -1;
    choose_space(e);
}

/* A node by itself loads all its operands and stores its result; in a longer program it only does
 * without some of these. */
void ad_lower_count_instrs(ad_lowering *low) {
    ad_emitter emitter, *e = &emitter;
    for (int64_t u = 0; u < low->units; u++) {
        ad_unit *unit = &low->unit[u];
        if (!unit->rows || !unit->nodes) continue;
        begin(e, low, unit, true);
        emit_member(e, 0);
        store_member(e, 0);
        unit->instrs = low->instrs[unit->node[0]] = e->instrs;
    }
}

kern_status ad_lower_emit(ad_lowering *low, ad_unit *unit) {
    ad_emitter emitter, *e = &emitter;
    begin(e, low, unit, false);
    for (int m = 0; m < unit->nodes; m++) emit_member(e, m);
    for (int m = 0; m < unit->nodes; m++)
        if (low->unit_of[unit->node[m]] == unit - low->unit && low->stored[unit->node[m]])
            store_member(e, m);
    if (unit->add_from >= 0) emit_add(e);
    ASSERT(unit->add_from >= 0 || e->instrs <= unit->instrs);
    return hand_over(e);
}
