/* The text of one phase: first what is one value a row, then steps over the columns, then the lanes
 * of reductions, folded until few are left for everyone to add up. */
#include "kernels/rows_text_plan.h"

#include <stdlib.h>

/* The first lines of each part of a phase: which thread of which row this is. */
static void add_member(kern_text *text, const kern_text_plan *plan) {
    kern_text_add(text, "        const int member = thread %% %d, slot = thread / %d;\n",
                  plan->team, plan->team);
}

static void add_first(kern_text *text, const kern_text_plan *plan) {
    kern_text_add(
        text,
        "        const int active = row0 + slot < row_end;\n"
        "        const int64_t limit = active ? column_end : 0;\n"
        "        const int64_t first = column0 + member / %d * %lldll + member %% %d * 4;\n",
        plan->lanes / 4, (long long)plan->part, plan->lanes / 4);
}

/* Where the row lies in the operands: kept for all phases. */
static void add_offsets(kern_text *text, const kern_text_plan *plan) {
    const kern_row_shape *shape = plan->shape;
    const char *type = shape->rows < INT32_MAX ? "uint32_t" : "int64_t";
    if (!shape->axes) return;
    kern_text_add(text, "        %s index = (%s)(active ? row0 + slot : row_end - 1);\n", type,
                  type);
    for (int axis = shape->axes - 1; axis > 0; axis--)
        kern_text_add(text, "        const %s axis%d = index %% %lld; index /= %lld;\n", type, axis,
                      (long long)shape->lead[axis], (long long)shape->lead[axis]);
    for (int o = 0; o < plan->program->operands; o++) {
        if (kern_row_repeats(plan->shape, &plan->program->operand[o])) continue;
        const int64_t *stride = plan->program->operand[o].stride;
        kern_text_add(text, "        KEPT.at%d = (int64_t)index * %lldll", o, (long long)stride[0]);
        for (int axis = 1; axis < shape->axes; axis++)
            if (stride[axis])
                kern_text_add(text, " + (int64_t)axis%d * %lldll", axis, (long long)stride[axis]);
        kern_text_add(text, ";\n");
    }
}

/* What happens in a phase. */
typedef struct {
    const kern_text_plan *plan;
    kern_text *text;
    int phase;
    bool *here; /* by instruction */
    bool has_steps;
} phase_writer;

static void find_work(phase_writer *w) {
    const kern_text_plan *plan = w->plan;
    const kern_row_program *p = plan->program;
    bool *wanted = kern_array(p->registers, sizeof *wanted);
    for (int i = p->instrs - 1; i >= 0; i--) {
        const kern_row_instr *instr = &p->instr[i];
        bool makes = kern_text_makes(instr), reduces = kern_text_reduces(plan, instr);
        if (makes && !plan->live[instr->d]) continue;
        if (!makes || reduces)
            w->here[i] = plan->at[i] == w->phase;
        else if (plan->scalar[instr->d] || !plan->again)
            w->here[i] = plan->phase[instr->d] == w->phase;
        else
            w->here[i] = wanted[instr->d];
        if (!w->here[i]) continue;
        const int source[3] = {instr->a, instr->b, instr->c};
        for (int k = 0; k < kern_row_op_sources(instr->op); k++) wanted[source[k]] = true;
        bool stores = instr->op == KERN_ROW_STORE && p->operand[instr->operand].wide;
        bool sums = kern_text_is_wide_sum(plan, instr) && plan->teams == 1;
        if (plan->shape->n > 1 && (stores || sums || reduces || (makes && !plan->scalar[instr->d])))
            w->has_steps = true;
    }
    free(wanted);
}

/* The reduction's place in shared memory: the how-many-eth of its phase it is. */
static int place_of(const kern_text_plan *plan, int at) {
    int place = 0;
    for (int i = 0; i < at; i++)
        place += kern_text_reduces(plan, &plan->program->instr[i]) && plan->at[i] == plan->at[at] &&
                 plan->live[plan->program->instr[i].d];
    return place;
}

static const char *kind_of(const kern_row_instr *instr) {
    return instr->op == KERN_ROW_ROW_SUM ? "sum" : "max";
}

/* Appends where the reduction's picked value, or its lanes of a level, are in shared memory. */
static void add_picked(kern_text *text, const kern_text_plan *plan, int i) {
    kern_text_add(text, "picked[%d + slot]",
                  (plan->at[i] % 2 * plan->reductions + place_of(plan, i)) * plan->teams);
}

static void add_lanes(kern_text *text, const kern_text_plan *plan, int i, int level) {
    kern_text_add(text, "lanes + %d + slot * %d",
                  place_of(plan, i) * KERN_TEXT_LANES + plan->folds.offset[level],
                  plan->folds.count[level]);
}

static void add_result(kern_text *text, const kern_text_plan *plan, int i) {
    const kern_row_instr *instr = &plan->program->instr[i];
    if (instr->op == KERN_ROW_PICK) {
        add_picked(text, plan, i);
        return;
    }
    kern_text_add(text, "rows_tree_%s_%s(", kind_of(instr), kern_text_suffix(plan));
    add_lanes(text, plan, i, plan->folds.levels);
    kern_text_add(text, ", %d)%s", plan->folds.count[plan->folds.levels],
                  instr->op == KERN_ROW_ROW_MAX ? " + 0" : "");
}

/* Values that there is one of in a row, in the program's order. */
static void add_scalars(const phase_writer *w) {
    const kern_text_plan *plan = w->plan;
    for (int i = 0; i < plan->program->instrs; i++) {
        const kern_row_instr *instr = &plan->program->instr[i];
        bool reduces = kern_text_reduces(plan, instr);
        if (!kern_text_makes(instr) || !plan->live[instr->d]) continue;
        bool here = plan->scalar[instr->d] && plan->phase[instr->d] == w->phase;
        if (instr->op == KERN_ROW_UNPICK && plan->shape->n > 1 && w->here[i]) {
            kern_text_add(w->text, "        const int64_t index%d = ", instr->d);
            kern_text_index(w->text, plan, instr->operand);
            kern_text_add(w->text, ";\n");
        }
        if (!here) continue;
        if (plan->kept[instr->d])
            kern_text_add(w->text, "        KEPT.r%d = ", instr->d);
        else
            kern_text_add(w->text, "        const %s r%d = ", kern_text_real(plan), instr->d);
        if (reduces)
            add_result(w->text, plan, i);
        else
            kern_text_expression(w->text, plan, instr);
        kern_text_add(w->text, ";\n");
    }
}

static void begin_steps(const phase_writer *w) {
    const kern_text_plan *plan = w->plan;
    if (plan->again)
        kern_text_add(w->text, "        for (int64_t k = 0; k < %lldll; k++) {\n",
                      (long long)plan->groups);
    else
        kern_text_add(w->text, "        UNROLL for (int k = 0; k < %lld; k++) {\n",
                      (long long)plan->groups);
    kern_text_add(w->text,
                  "            const int64_t column = first + k * %lldll;\n"
                  "            const int left = rows_left(limit, column);\n",
                  (long long)plan->stride);
}

static void add_load(const phase_writer *w, const kern_row_instr *instr) {
    const kern_text_plan *plan = w->plan;
    kern_text_add(w->text, "            rows_load4_%s_%s(%sr%d%s, ROWS_MEMORY(%d), ",
                  kern_dtype_name(plan->program->operand[instr->operand].dtype),
                  kern_text_suffix(plan), plan->kept[instr->d] ? "KEPT." : "", instr->d,
                  plan->again ? "" : "[k]", instr->operand);
    kern_text_offset(w->text, plan, instr->operand);
    kern_text_add(w->text, " + column, left, whole%d);\n", instr->operand);
}

/* Loads of all steps come first: nobody knows that a store does not write over them. */
static void add_loads_ahead(const phase_writer *w) {
    const kern_text_plan *plan = w->plan;
    bool any = false;
    for (int i = 0; i < plan->program->instrs; i++) {
        const kern_row_instr *instr = &plan->program->instr[i];
        if (instr->op != KERN_ROW_LOAD || !w->here[i] || plan->scalar[instr->d]) continue;
        any = true;
        if (!plan->kept[instr->d])
            kern_text_add(w->text, "        %s r%d[%lld][4];\n", kern_text_real(plan), instr->d,
                          (long long)plan->groups);
    }
    if (!any) return;
    begin_steps(w);
    for (int i = 0; i < plan->program->instrs; i++) {
        const kern_row_instr *instr = &plan->program->instr[i];
        if (instr->op == KERN_ROW_LOAD && w->here[i] && !plan->scalar[instr->d]) add_load(w, instr);
    }
    kern_text_add(w->text, "        }\n");
}

static void add_accumulation(const phase_writer *w, int i) {
    const kern_row_instr *instr = &w->plan->program->instr[i];
    kern_text_add(w->text, "            ROWS_FOR4 if (c < left");
    if (instr->op == KERN_ROW_PICK) {
        kern_text_add(w->text, " && index%d == column + c) ", instr->d);
        add_picked(w->text, w->plan, i);
        kern_text_add(w->text, " = ");
    } else if (instr->op == KERN_ROW_ROW_SUM) {
        kern_text_add(w->text, ") s%d[c] += ", instr->d);
    } else {
        kern_text_add(w->text, ") s%d[c] = rows_max_%s(", instr->d, kern_text_suffix(w->plan));
    }
    kern_text_value(w->text, w->plan, instr->a, "c");
    if (instr->op == KERN_ROW_ROW_MAX) kern_text_add(w->text, ", s%d[c])", instr->d);
    kern_text_add(w->text, ";\n");
}

static void add_wide_store(const phase_writer *w, const kern_row_instr *instr) {
    const kern_text_plan *plan = w->plan;
    kern_text_add(w->text,
                  "            {\n                %s x[4];\n                ROWS_FOR4 x[c] = ",
                  kern_text_real(plan));
    kern_text_value(w->text, plan, instr->a, "c");
    kern_text_add(w->text, ";\n                rows_store4_%s_%s(ROWS_MEMORY(%d), ",
                  kern_dtype_name(plan->program->operand[instr->operand].dtype),
                  kern_text_suffix(plan), instr->operand);
    kern_text_offset(w->text, plan, instr->operand);
    kern_text_add(w->text, " + column, x, left, whole%d);\n            }\n", instr->operand);
}

/* One team a block: each thread has the sums of its own columns, in registers or, of long rows, in
 * the workspace. */
static void add_own_sum(const phase_writer *w, int i) {
    const kern_text_plan *plan = w->plan;
    const kern_row_instr *instr = &plan->program->instr[i];
    if (plan->again) {
        kern_text_add(
            w->text,
            "            ROWS_FOR4 if (c < left) sum%d[column + c] = (row0 == row_begin ? 0 "
            ": sum%d[column + c]) + ",
            i, i);
    } else {
        kern_text_add(w->text, "            ROWS_FOR4 if (c < left) KEPT.sum%d[k][c] += ", i);
    }
    kern_text_value(w->text, plan, instr->a, "c");
    kern_text_add(w->text, ";\n");
}

static void add_steps(const phase_writer *w) {
    const kern_text_plan *plan = w->plan;
    const char *real = kern_text_real(plan);
    begin_steps(w);
    for (int i = 0; i < plan->program->instrs && plan->again; i++) {
        const kern_row_instr *instr = &plan->program->instr[i];
        if (instr->op != KERN_ROW_LOAD || !w->here[i] || plan->scalar[instr->d]) continue;
        kern_text_add(w->text, "            %s r%d[4];\n", real, instr->d);
        add_load(w, instr);
    }
    for (int i = 0; i < plan->program->instrs; i++) {
        const kern_row_instr *instr = &plan->program->instr[i];
        if (!w->here[i]) continue;
        if (kern_text_reduces(plan, instr)) {
            add_accumulation(w, i);
        } else if (kern_text_makes(instr)) {
            if (plan->scalar[instr->d] || instr->op == KERN_ROW_LOAD) continue;
            if (!plan->kept[instr->d])
                kern_text_add(w->text, "            %s r%d[4];\n", real, instr->d);
            kern_text_add(w->text, "            ROWS_FOR4 ");
            kern_text_value(w->text, plan, instr->d, "c");
            kern_text_add(w->text, " = ");
            kern_text_expression(w->text, plan, instr);
            kern_text_add(w->text, ";\n");
        } else if (instr->op == KERN_ROW_STORE && plan->program->operand[instr->operand].wide) {
            add_wide_store(w, instr);
        } else if (kern_text_is_wide_sum(plan, instr) && plan->teams == 1) {
            add_own_sum(w, i);
        }
    }
    kern_text_add(w->text, "        }\n");
}

static void begin_reductions(const phase_writer *w) {
    const kern_text_plan *plan = w->plan;
    const char *real = kern_text_real(plan);
    for (int i = 0; i < plan->program->instrs; i++) {
        const kern_row_instr *instr = &plan->program->instr[i];
        if (!kern_text_reduces(plan, instr) || !w->here[i]) continue;
        if (instr->op == KERN_ROW_PICK) {
            kern_text_add(w->text, "        const int64_t index%d = ", instr->d);
            kern_text_index(w->text, plan, instr->operand);
            /* also where there is no row, or what was never written would be read */
            kern_text_add(w->text,
                          ";\n        if (member == 0 && (!active || index%d < 0 || index%d >= "
                          "%lldll)) ",
                          instr->d, instr->d, (long long)plan->shape->n);
            add_picked(w->text, plan, i);
            kern_text_add(w->text, " = NAN;\n");
        } else {
            const char *none = instr->op == KERN_ROW_ROW_SUM ? "0" : "-INFINITY";
            kern_text_add(w->text, "        %s s%d[4] = {%s, %s, %s, %s};\n", real, instr->d, none,
                          none, none, none);
        }
    }
}

static void end_reductions(const phase_writer *w) {
    const kern_text_plan *plan = w->plan;
    bool any = false, lanes = false;
    for (int i = 0; i < plan->program->instrs; i++) {
        const kern_row_instr *instr = &plan->program->instr[i];
        if (!kern_text_reduces(plan, instr) || !w->here[i]) continue;
        any = true;
        if (instr->op == KERN_ROW_PICK) continue;
        lanes = true;
        kern_text_add(w->text, "        ROWS_FOR4 lanes[%d + 4 * thread + c] = s%d[c];\n",
                      place_of(plan, i) * KERN_TEXT_LANES, instr->d);
    }
    for (int level = 0; any && lanes && level < plan->folds.levels; level++) {
        int quarter = plan->folds.count[level + 1];
        kern_text_add(w->text, "    ROWS_BARRIER\n");
        add_member(w->text, plan);
        for (int i = 0; i < plan->program->instrs; i++) {
            const kern_row_instr *instr = &plan->program->instr[i];
            if (!kern_text_reduces(plan, instr) || !w->here[i] || instr->op == KERN_ROW_PICK)
                continue;
            kern_text_add(w->text, "        if (member < %d) (", quarter);
            add_lanes(w->text, plan, i, level + 1);
            kern_text_add(w->text, ")[member] = rows_fold_%s_%s(", kind_of(instr),
                          kern_text_suffix(plan));
            add_lanes(w->text, plan, i, level);
            kern_text_add(w->text, ", %d, member);\n", quarter);
        }
    }
}

static void add_scalar_stores(const phase_writer *w) {
    const kern_text_plan *plan = w->plan;
    for (int i = 0; i < plan->program->instrs; i++) {
        const kern_row_instr *instr = &plan->program->instr[i];
        if (instr->op != KERN_ROW_STORE || !w->here[i]) continue;
        if (plan->program->operand[instr->operand].wide && plan->shape->n > 1) continue;
        kern_text_add(w->text,
                      "        if (active && member == 0) rows_store_%s_%s(ROWS_MEMORY(%d), ",
                      kern_dtype_name(plan->program->operand[instr->operand].dtype),
                      kern_text_suffix(plan), instr->operand);
        kern_text_offset(w->text, plan, instr->operand);
        kern_text_add(w->text, ", ");
        kern_text_value(w->text, plan, instr->a, "c");
        kern_text_add(w->text, ");\n");
    }
}

void kern_text_phase(kern_text *text, const kern_text_plan *plan, int phase) {
    phase_writer w = {.plan = plan, .text = text, .phase = phase};
    w.here = kern_array(plan->program->instrs, sizeof *w.here);
    find_work(&w);
    kern_text_add(text, "    ROWS_THREADS /* phase %d */\n", phase);
    add_member(text, plan);
    add_first(text, plan);
    if (phase == 0) add_offsets(text, plan);
    add_scalars(&w);
    add_scalar_stores(&w);
    begin_reductions(&w);
    if (w.has_steps && !plan->again) add_loads_ahead(&w);
    if (w.has_steps) add_steps(&w);
    end_reductions(&w);
    kern_text_add(text, "    ROWS_END\n");
    free(w.here);
}
