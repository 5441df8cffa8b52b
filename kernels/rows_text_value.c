/* Names and formulas in the text of a row program: what a register is called, how it is made. */
#include "kernels/rows_text_plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void kern_text_add(kern_text *text, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int bytes = vsnprintf(NULL, 0, format, args);
    va_end(args);
    ASSERT(bytes >= 0);
    text->data = kern_grow(text->data, &text->capacity, text->bytes + bytes + 1, 1);
    va_start(args, format);
    vsnprintf(text->data + text->bytes, (size_t)bytes + 1, format, args);
    va_end(args);
    text->bytes += bytes;
}

const char *kern_text_suffix(const kern_text_plan *plan) {
    return plan->shape->compute == KERN_F64 ? "f64" : "f32";
}

const char *kern_text_real(const kern_text_plan *plan) {
    return plan->shape->compute == KERN_F64 ? "double" : "float";
}

void kern_text_offset(kern_text *text, const kern_text_plan *plan, int operand) {
    if (kern_row_repeats(plan->shape, &plan->program->operand[operand]))
        kern_text_add(text, "0");
    else
        kern_text_add(text, "KEPT.at%d", operand);
}

void kern_text_value(kern_text *text, const kern_text_plan *plan, int reg, const char *c) {
    kern_text_add(text, "%sr%d", plan->kept[reg] ? "KEPT." : "", reg);
    if (plan->scalar[reg]) return;
    if (plan->kept[reg] || plan->ahead[reg]) kern_text_add(text, "[k]");
    kern_text_add(text, "[%s]", c);
}

void kern_text_index(kern_text *text, const kern_text_plan *plan, int operand) {
    kern_text_add(text, "((const int32_t *)ROWS_MEMORY(%d))[", operand);
    kern_text_offset(text, plan, operand);
    kern_text_add(text, "]");
}

static void add_const(kern_text *text, const kern_text_plan *plan, double value) {
    float near = (float)value;
    uint32_t bits;
    uint64_t wide_bits;
    memcpy(&bits, &near, sizeof bits);
    memcpy(&wide_bits, &value, sizeof wide_bits);
    if (plan->shape->compute == KERN_F64)
        kern_text_add(text, "kern_from_bits_f64(0x%llXull)", (unsigned long long)wide_bits);
    else
        kern_text_add(text, "kern_from_bits_f32(0x%lXu)", (unsigned long)bits);
    kern_text_add(text, " /* %g */", value);
}

/* `format` has A, B, C for the sources, S for the type's suffix; all else stands as it is. */
static void add_formula(kern_text *text, const kern_text_plan *plan, const kern_row_instr *instr,
                        const char *format) {
    for (; *format; format++) {
        const int source[3] = {instr->a, instr->b, instr->c};
        if (*format >= 'A' && *format <= 'C')
            kern_text_value(text, plan, source[*format - 'A'], "c");
        else if (*format == 'S')
            kern_text_add(text, "%s", kern_text_suffix(plan));
        else
            kern_text_add(text, "%c", *format);
    }
}

void kern_text_expression(kern_text *text, const kern_text_plan *plan,
                          const kern_row_instr *instr) {
    static const char *const formula[KERN_ROW_OPS] = {
        [KERN_ROW_ADD] = "A + B",
        [KERN_ROW_SUB] = "A - B",
        [KERN_ROW_MUL] = "A * B",
        [KERN_ROW_DIV] = "A / B",
        [KERN_ROW_MAX] = "rows_max_S(A, B)",
        [KERN_ROW_NEG] = "-A",
        [KERN_ROW_ABS] = "rows_abs_S(A)",
        [KERN_ROW_EXP] = "kern_exp_S(A)",
        [KERN_ROW_LOG] = "kern_log_S(A)",
        [KERN_ROW_SQRT] = "sqrt_S(A)",
        [KERN_ROW_SIGMOID] = "kern_sigmoid_S(A)",
        [KERN_ROW_GREATER] = "A > B ? 1 : 0",
        [KERN_ROW_SELECT] = "A != 0 ? B : C",
        [KERN_ROW_ROW_SUM] = "A + 0", /* here and below: of rows of one element */
        [KERN_ROW_ROW_MAX] = "A + 0",
        [KERN_ROW_PICK] = " == 0 ? A : NAN",
        [KERN_ROW_UNPICK] = " == 0 ? A : 0",
    };
    if (instr->op == KERN_ROW_CONST) {
        add_const(text, plan, instr->value);
    } else if (instr->op == KERN_ROW_LOAD) {
        kern_text_add(text, "rows_load_%s_%s(ROWS_MEMORY(%d), ",
                      kern_dtype_name(plan->program->operand[instr->operand].dtype),
                      kern_text_suffix(plan), instr->operand);
        kern_text_offset(text, plan, instr->operand);
        kern_text_add(text, ")");
    } else if (instr->op == KERN_ROW_ROTATE) {
        kern_text_add(text, "c %% 2 ? ");
        kern_text_value(text, plan, instr->a, "c ^ 1");
        kern_text_add(text, " : -");
        kern_text_value(text, plan, instr->a, "c ^ 1");
    } else if (instr->op == KERN_ROW_UNPICK && plan->shape->n > 1) {
        kern_text_add(text, "index%d == column + c ? ", instr->d);
        kern_text_value(text, plan, instr->a, "c");
        kern_text_add(text, " : 0");
    } else {
        ASSERT(formula[instr->op]);
        if (instr->op == KERN_ROW_PICK || instr->op == KERN_ROW_UNPICK)
            kern_text_index(text, plan, instr->operand);
        add_formula(text, plan, instr, formula[instr->op]);
    }
}
