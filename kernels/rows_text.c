/* The text of a row program's kernels around its phases: where a block's rows are, sums over rows,
 * and the second kernel that adds up their pieces. */
#include "kernels/rows_text.h"

#include "kernels/rows_text_plan.h"

#include <stdio.h>

/* What a thread keeps from phase to phase. */
static void add_kept(kern_text *text, const kern_text_plan *plan, const char *name) {
    const kern_row_program *p = plan->program;
    const char *real = kern_text_real(plan);
    kern_text_add(text, "typedef struct {\n    char none;\n");
    for (int o = 0; o < p->operands; o++)
        if (!kern_row_repeats(plan->shape, &p->operand[o]))
            kern_text_add(text, "    int64_t at%d;\n", o);
    for (int r = 0; r < p->registers; r++) {
        if (!plan->kept[r]) continue;
        kern_text_add(text, "    %s r%d", real, r);
        if (!plan->scalar[r]) kern_text_add(text, "[%lld][4]", (long long)plan->groups);
        kern_text_add(text, ";\n");
    }
    for (int i = 0; i < p->instrs; i++) {
        if (p->instr[i].op != KERN_ROW_SUM_LEAD) continue;
        bool wide = kern_text_is_wide_sum(plan, &p->instr[i]);
        if (!wide)
            kern_text_add(text, "    %s sum%d;\n", real, i);
        else if (!plan->again)
            kern_text_add(text, "    %s sum%d[%lld][%d];\n", real, i, (long long)plan->groups,
                          plan->own);
    }
    kern_text_add(text, "} %s_kept;\n", name);
}

/* Four elements of a row may be aligned: where the first one is decides. */
static bool may_be_whole(const kern_text_plan *plan, int operand) {
    for (int axis = 0; axis < plan->shape->axes; axis++)
        if (plan->program->operand[operand].stride[axis] % 4) return false;
    return true;
}

static void add_whole(kern_text *text, const kern_text_plan *plan) {
    const kern_row_program *p = plan->program;
    for (int o = 0; o < p->operands; o++) {
        if (!p->operand[o].wide || plan->shape->n == 1) continue;
        if (may_be_whole(plan, o))
            kern_text_add(text, "    const int whole%d = rows_aligned(ROWS_MEMORY(%d), %d);\n", o,
                          o, p->operand[o].dtype == KERN_BF16 ? 8 : 16);
        else
            kern_text_add(text, "    const int whole%d = 0;\n", o);
    }
}

/* Which rows and columns are the block's. */
static void add_place(kern_text *text, const kern_text_plan *plan) {
    const kern_row_shape *shape = plan->shape;
    if (plan->cuts > 1)
        kern_text_add(
            text,
            "    const int64_t column0 = block %% %lldll * %lldll, take = block / %lldll;\n"
            "    const int64_t column_end = rows_least(column0 + %lldll, %lldll);\n",
            (long long)plan->cuts, (long long)plan->cut, (long long)plan->cuts,
            (long long)plan->cut, (long long)shape->n);
    else
        kern_text_add(text, "    const int64_t column0 = 0, column_end = %lldll, take = block;\n",
                      (long long)shape->n);
    if (plan->has_sums)
        kern_text_add(
            text,
            "    const int64_t result = take / %lldll, piece = take %% %lldll;\n"
            "    const int64_t row_begin = result * %lldll + piece * %lldll;\n"
            "    const int64_t row_end = rows_least(row_begin + %lldll, (result + 1) * %lldll);\n",
            (long long)shape->pieces, (long long)shape->pieces, (long long)shape->block_rows,
            (long long)shape->piece_rows, (long long)shape->piece_rows,
            (long long)shape->block_rows);
    else
        kern_text_add(text,
                      "    const int64_t row_begin = take * %d;\n"
                      "    const int64_t row_end = rows_least(row_begin + %d, %lldll);\n",
                      plan->teams, plan->teams, (long long)shape->rows);
}

static void begin_sums(kern_text *text, const kern_text_plan *plan) {
    const kern_row_program *p = plan->program;
    if (!plan->has_sums) return;
    kern_text_add(text, "    ROWS_THREADS\n");
    for (int i = 0; i < p->instrs; i++) {
        if (p->instr[i].op != KERN_ROW_SUM_LEAD) continue;
        if (!kern_text_is_wide_sum(plan, &p->instr[i]))
            kern_text_add(text, "        KEPT.sum%d = 0;\n", i);
        else if (!plan->again)
            kern_text_add(text,
                          "        UNROLL for (int k = 0; k < %lld; k++)\n"
                          "            UNROLL for (int c = 0; c < %d; c++) KEPT.sum%d[k][c] = "
                          "0;\n",
                          (long long)plan->groups, plan->own, i);
    }
    kern_text_add(text, "    ROWS_END\n");
    for (int i = 0; i < p->instrs; i++)
        if (kern_text_is_wide_sum(plan, &p->instr[i]) && plan->again)
            kern_text_add(
                text, "    %s *sum%d = (%s *)((char *)ROWS_MEMORY(%d) + %zu) + take * %lldll;\n",
                kern_text_real(plan), i, kern_text_real(plan), p->operands, plan->partials[i],
                (long long)plan->shape->n);
}

/* Several rows a block: their columns pass through shared memory to the thread that adds them up,
 * row after row. Steps are written out: NVRTC unrolls no loop that has barriers. */
static void add_wide_exchange(kern_text *text, const kern_text_plan *plan, int i) {
    int lanes = 4 * plan->team;
    for (int64_t k = 0; k < plan->groups; k++) {
        kern_text_add(text,
                      "    ROWS_THREADS\n"
                      "        enum { k = %d };\n"
                      "        ROWS_FOR4 lanes[4 * thread + c] = ",
                      (int)k);
        kern_text_value(text, plan, plan->program->instr[i].a, "c");
        kern_text_add(text,
                      ";\n"
                      "    ROWS_BARRIER\n"
                      "        UNROLL for (int c = 0; c < %d; c++) if (%d * thread + c < %d)\n"
                      "            for (int r = 0; r < %d && row0 + r < row_end; r++)\n"
                      "                KEPT.sum%d[%d][c] += lanes[r * %d + %d * thread + c];\n"
                      "    ROWS_END\n",
                      plan->own, plan->own, lanes, plan->teams, i, (int)k, lanes, plan->own);
    }
}

static void add_narrow_exchange(kern_text *text, const kern_text_plan *plan, int i) {
    kern_text_add(text,
                  "    ROWS_THREADS\n"
                  "        if (thread %% %d == 0) lanes[thread / %d] = ",
                  plan->team, plan->team);
    kern_text_value(text, plan, plan->program->instr[i].a, "c");
    kern_text_add(text,
                  ";\n"
                  "    ROWS_BARRIER\n"
                  "        int r = (int)(((int64_t)thread - (row0 - row_begin)) & %d);\n"
                  "        for (; thread < %d && r < %d && row0 + r < row_end; r += %d)\n"
                  "            KEPT.sum%d += lanes[r];\n"
                  "    ROWS_END\n",
                  KERN_ROW_LEAD_LANES - 1, KERN_ROW_LEAD_LANES, plan->teams, KERN_ROW_LEAD_LANES,
                  i);
}

static void add_exchanges(kern_text *text, const kern_text_plan *plan, int phase) {
    for (int i = 0; i < plan->program->instrs; i++) {
        const kern_row_instr *instr = &plan->program->instr[i];
        if (instr->op != KERN_ROW_SUM_LEAD || plan->at[i] != phase) continue;
        if (!kern_text_is_wide_sum(plan, instr))
            add_narrow_exchange(text, plan, i);
        else if (plan->teams > 1)
            add_wide_exchange(text, plan, i);
    }
}

/* Appends the statement that puts `value` where sum i of a block or of all goes: element `at` of
 * the operand, or of the piece's place in the workspace. */
static void add_put(kern_text *text, const kern_text_plan *plan, int i, const char *at,
                    const char *value) {
    const kern_row_program *p = plan->program;
    const char *real = kern_text_real(plan);
    if (plan->direct[i])
        kern_text_add(text, "rows_store_%s_%s(ROWS_MEMORY(%d), %s, %s);\n",
                      kern_dtype_name(p->operand[p->instr[i].operand].dtype),
                      kern_text_suffix(plan), p->instr[i].operand, at, value);
    else
        kern_text_add(text, "((%s *)((char *)ROWS_MEMORY(%d) + %zu))[%s] = %s;\n", real,
                      p->operands, plan->partials[i], at, value);
}

static void end_sum(kern_text *text, const kern_text_plan *plan, int i) {
    char value[64];
    if (kern_text_is_wide_sum(plan, &plan->program->instr[i])) {
        kern_text_add(text,
                      "    ROWS_THREADS\n"
                      "        UNROLL for (int k = 0; k < %lld; k++)\n"
                      "            UNROLL for (int c = 0; c < %d; c++) {\n"
                      "                const int lane = %d * thread + c;\n"
                      "                const int64_t column = column0 + lane / %d * %lldll + k * "
                      "%lldll + lane %% %d;\n"
                      "                if (lane < %d && column < column_end) ",
                      (long long)plan->groups, plan->own, plan->own, plan->lanes,
                      (long long)plan->part, (long long)plan->stride, plan->lanes, 4 * plan->team);
        char at[64];
        snprintf(at, sizeof at, "take * %lldll + column", (long long)plan->shape->n);
        snprintf(value, sizeof value, "KEPT.sum%d[k][c]", i);
        add_put(text, plan, i, at, value);
        kern_text_add(text, "            }\n    ROWS_END\n");
        return;
    }
    kern_text_add(text,
                  "    ROWS_THREADS\n"
                  "        if (thread < %d) lanes[thread] = KEPT.sum%d;\n"
                  "    ROWS_BARRIER\n"
                  "        if (thread == 0) ",
                  KERN_ROW_LEAD_LANES, i);
    snprintf(value, sizeof value, "rows_tree_sum_%s(lanes, %d)", kern_text_suffix(plan),
             KERN_ROW_LEAD_LANES);
    add_put(text, plan, i, "take", value);
    kern_text_add(text, "    ROWS_END\n");
}

static void add_kernel(kern_text *text, const kern_text_plan *plan, const char *name) {
    const kern_row_program *p = plan->program;
    add_kept(text, plan, name);
    kern_text_add(text, "ROWS_KERNEL(%s, %d) {\n    ROWS_START(%s_kept)\n", name,
                  plan->launch.memories, name);
    if (plan->exchanges)
        kern_text_add(text, "    ROWS_SHARED(%s, lanes, %d)\n", kern_text_real(plan),
                      plan->exchanges * KERN_TEXT_LANES);
    if (plan->reductions)
        kern_text_add(text, "    ROWS_SHARED(%s, picked, %d)\n", kern_text_real(plan),
                      2 * plan->reductions * plan->teams);
    add_place(text, plan);
    add_whole(text, plan);
    begin_sums(text, plan);
    if (plan->has_sums)
        kern_text_add(text, "    for (int64_t row0 = row_begin; row0 < row_end; row0 += %d) {\n",
                      plan->teams);
    else
        kern_text_add(text, "    const int64_t row0 = row_begin;\n");
    for (int phase = 0; phase < plan->phases; phase++) {
        kern_text_phase(text, plan, phase);
        add_exchanges(text, plan, phase);
    }
    if (plan->has_sums) kern_text_add(text, "    }\n");
    for (int i = 0; i < p->instrs; i++)
        if (p->instr[i].op == KERN_ROW_SUM_LEAD &&
            !(kern_text_is_wide_sum(plan, &p->instr[i]) && plan->again))
            end_sum(text, plan, i);
    kern_text_add(text, "}\n");
}

/* A thread has one result, and adds up its pieces in ascending order. */
static void add_sums_kernel(kern_text *text, const kern_text_plan *plan, const char *name) {
    const kern_row_program *p = plan->program;
    const kern_row_shape *shape = plan->shape;
    const char *real = kern_text_real(plan);
    kern_text_add(text,
                  "ROWS_KERNEL(%s_sums, %d) {\n"
                  "    ROWS_START(char)\n"
                  "    ROWS_THREADS\n"
                  "        int64_t at = block * %d + thread;\n",
                  name, plan->launch.memories, KERN_TEXT_THREADS);
    for (int i = 0; i < p->instrs; i++) {
        if (p->instr[i].op != KERN_ROW_SUM_LEAD || plan->direct[i]) continue;
        long long width = kern_text_is_wide_sum(plan, &p->instr[i]) ? shape->n : 1;
        long long results = kern_text_sum_results(plan, &p->instr[i]);
        long long pieces = shape->blocks / results * shape->pieces;
        kern_text_add(text,
                      "        if (at >= 0 && at < %lldll) {\n"
                      "            const %s *from = (const %s *)((const char *)ROWS_MEMORY(%d) + "
                      "%zu) + at / %lldll * %lldll + at %% %lldll;\n"
                      "            %s x = from[0];\n"
                      "            for (int64_t i = 1; i < %lldll; i++) x += from[i * %lldll];\n"
                      "            rows_store_%s_%s(ROWS_MEMORY(%d), at, x);\n"
                      "        }\n"
                      "        at -= %lldll;\n",
                      results * width, real, real, p->operands, plan->partials[i], width,
                      pieces * width, width, real, pieces, width,
                      kern_dtype_name(p->operand[p->instr[i].operand].dtype),
                      kern_text_suffix(plan), p->instr[i].operand, results * width);
    }
    kern_text_add(text, "    ROWS_END\n}\n");
}

char *kern_row_text(const kern_row_program *program, const char *name, kern_row_launch *launch) {
    kern_text text = {0};
    kern_text_plan plan;
    kern_text_plan_make(&plan, program);
    add_kernel(&text, &plan, name);
    if (plan.launch.sum_blocks) add_sums_kernel(&text, &plan, name);
    *launch = plan.launch;
    kern_text_plan_free(&plan);
    return text.data;
}
