/* Random row programs of any instruction, type, width and layout, on numbers that round. */
#ifndef TESTS_ROWS_PROGRAMS_H
#define TESTS_ROWS_PROGRAMS_H

#include "tests/kernels/rows_naive.h"

enum { PROGRAM_INSTRS = 64 };

typedef struct {
    uint64_t state;
    kern_row_program p;
    kern_row_operand operand[NAIVE_OPERANDS];
    kern_row_instr instr[PROGRAM_INSTRS];
    bool wide[PROGRAM_INSTRS];
    int alias[NAIVE_OPERANDS]; /* the operand whose memory it is, or -1 */
    bool is_output[NAIVE_OPERANDS], is_index[NAIVE_OPERANDS];
} random_program;

static inline int64_t program_below(random_program *g, int64_t n) {
    return (int64_t)(naive_random(&g->state) % (uint64_t)n);
}

static inline int program_operand(random_program *g, kern_dtype dtype, bool wide, bool dense) {
    kern_row_operand *o = &g->operand[g->p.operands];
    *o = (kern_row_operand){.dtype = dtype, .wide = wide};
    int64_t stride = wide ? g->p.n : 1;
    if (!program_below(g, 4)) stride += 3;
    if (!program_below(g, 4)) stride = kern_round_up(stride, 4);
    for (int axis = KERN_ROW_LEAD - 1; axis >= 0; axis--) {
        o->stride[axis] = stride;
        stride *= g->p.lead[axis];
        if (!program_below(g, 6)) stride += 5;
    }
    for (int axis = 0; axis < KERN_ROW_LEAD && !dense; axis++)
        if (!program_below(g, 3)) o->stride[axis] = 0;
    if (!dense && !program_below(g, 4)) memset(o->stride, 0, sizeof o->stride);
    g->alias[g->p.operands] = -1;
    return g->p.operands++;
}

static inline int program_instr(random_program *g, kern_row_op op, bool wide, int a, int b, int c) {
    g->instr[g->p.instrs++] =
        (kern_row_instr){.op = op, .d = g->p.registers, .a = a, .b = b, .c = c, .operand = -1};
    g->wide[g->p.registers] = wide;
    return g->p.registers++;
}

static inline void program_load(random_program *g) {
    static const kern_dtype dtypes[] = {KERN_F32, KERN_F64, KERN_BF16, KERN_I32};
    kern_dtype dtype = program_below(g, 2) ? g->p.compute : dtypes[program_below(g, 4)];
    bool wide = program_below(g, 3) > 0;
    int operand = -1;
    for (int i = 0; i < g->p.operands; i++) /* one that was loaded before */
        if (g->operand[i].wide == wide && !g->is_output[i] && !g->is_index[i] &&
            !program_below(g, 3))
            operand = i;
    if (operand < 0) operand = program_operand(g, dtype, wide, program_below(g, 2));
    program_instr(g, KERN_ROW_LOAD, wide || !program_below(g, 4), -1, -1, -1);
    g->instr[g->p.instrs - 1].operand = operand;
}

static inline int program_picked(random_program *g, int a) {
    int operand = program_operand(g, KERN_I32, false, program_below(g, 2));
    g->is_index[operand] = true;
    int d = program_instr(g, KERN_ROW_PICK, false, a, -1, -1);
    g->instr[g->p.instrs - 1].operand = operand;
    return d;
}

static inline void program_row_op(random_program *g, int a) {
    int64_t which = program_below(g, 6);
    if (which <= 1 && g->wide[a])
        program_instr(g, KERN_ROW_ROW_SUM, false, a, -1, -1);
    else if (which == 2 && g->wide[a])
        program_instr(g, KERN_ROW_ROW_MAX, false, a, -1, -1);
    else if (which == 3 && g->wide[a] && g->p.n % 2 == 0)
        program_instr(g, KERN_ROW_ROTATE, true, a, -1, -1);
    else if (which == 4 && g->wide[a])
        program_picked(g, a);
    else if (which == 5 && !g->wide[a]) {
        int operand = program_operand(g, KERN_I32, false, program_below(g, 2));
        g->is_index[operand] = true;
        program_instr(g, KERN_ROW_UNPICK, true, a, -1, -1);
        g->instr[g->p.instrs - 1].operand = operand;
    }
}

static inline void program_elementwise(random_program *g, int a) {
    static const kern_row_op ops[] = {
        KERN_ROW_ADD,  KERN_ROW_SUB,     KERN_ROW_MUL,     KERN_ROW_MUL,   KERN_ROW_DIV,
        KERN_ROW_MAX,  KERN_ROW_NEG,     KERN_ROW_ABS,     KERN_ROW_EXP,   KERN_ROW_LOG,
        KERN_ROW_SQRT, KERN_ROW_SIGMOID, KERN_ROW_GREATER, KERN_ROW_SELECT};
    kern_row_op op = ops[program_below(g, sizeof ops / sizeof *ops)];
    int b = (int)program_below(g, g->p.registers), c = (int)program_below(g, g->p.registers);
    if ((op == KERN_ROW_LOG || op == KERN_ROW_SQRT) && program_below(g, 4))
        a = program_instr(g, KERN_ROW_ABS, g->wide[a], a, -1, -1);
    int sources = kern_row_op_sources(op);
    bool wide = g->wide[a] || (sources > 1 && g->wide[b]) || (sources > 2 && g->wide[c]);
    program_instr(g, op, wide || !program_below(g, 8), a, sources > 1 ? b : -1,
                  sources > 2 ? c : -1);
}

/* The output takes the memory of the first input that allows it. */
static inline void program_alias(random_program *g, int operand) {
    for (int i = 0; i < operand; i++) {
        const kern_row_operand *o = &g->operand[i];
        bool taken = g->is_output[i] || o->wide != g->operand[operand].wide || o->dtype == KERN_I32;
        for (int j = 0; j < operand; j++) taken = taken || g->alias[j] == i;
        for (int axis = 0; axis < KERN_ROW_LEAD; axis++) taken = taken || o->stride[axis] == 0;
        if (taken || program_below(g, 2)) continue;
        g->operand[operand] = *o;
        g->alias[operand] = i;
        return;
    }
}

static inline void program_output(random_program *g, int a) {
    static const kern_dtype dtypes[] = {KERN_F32, KERN_F64, KERN_BF16};
    bool wide = g->wide[a] || !program_below(g, 4), sum = !program_below(g, 3);
    int kept = (int)program_below(g, KERN_ROW_LEAD + 1);
    kern_dtype dtype = program_below(g, 2) ? g->p.compute : dtypes[program_below(g, 3)];
    int operand = program_operand(g, dtype, wide, true);
    g->is_output[operand] = true;
    int64_t stride = wide ? g->p.n : 1;
    for (int axis = KERN_ROW_LEAD - 1; axis >= 0 && sum; axis--) {
        g->operand[operand].stride[axis] = axis < kept ? stride : 0;
        stride *= axis < kept ? g->p.lead[axis] : 1;
    }
    if (!sum) program_alias(g, operand);
    g->instr[g->p.instrs++] = (kern_row_instr){.op = sum ? KERN_ROW_SUM_LEAD : KERN_ROW_STORE,
                                               .d = -1,
                                               .a = a,
                                               .b = -1,
                                               .c = -1,
                                               .operand = operand,
                                               .kept = kept};
}

static inline int program_dense_load(random_program *g, bool wide) {
    int operand = program_operand(g, g->p.compute, wide, true);
    int d = program_instr(g, KERN_ROW_LOAD, wide, -1, -1, -1);
    g->instr[g->p.instrs - 1].operand = operand;
    return d;
}

static inline void program_store_over(random_program *g, int a, int load) {
    int operand = program_operand(g, g->p.compute, g->wide[a], true);
    for (int i = 0; i < g->p.instrs; i++) {
        bool taken = g->instr[i].op != KERN_ROW_LOAD || g->instr[i].d != load;
        for (int j = 0; j < operand; j++) taken = taken || g->alias[j] == g->instr[i].operand;
        if (taken) continue;
        g->operand[operand] = g->operand[g->instr[i].operand];
        g->alias[operand] = g->instr[i].operand;
    }
    g->is_output[operand] = true;
    g->instr[g->p.instrs++] = (kern_row_instr){
        .op = KERN_ROW_STORE, .d = -1, .a = a, .b = -1, .c = -1, .operand = operand};
}

/* What normalisations and their gradients consist of: sums of rows that scale them, in place, one
 * value a row and sums over rows beside them. */
static inline void program_norm(random_program *g) {
    int x = program_dense_load(g, true), narrow = program_dense_load(g, false);
    if (program_below(g, 2)) program_instr(g, KERN_ROW_MUL, true, x, narrow, -1);
    int y = g->p.registers - 1 == narrow ? x : g->p.registers - 1;
    int sum = program_instr(g, KERN_ROW_ROW_SUM, false, y, -1, -1);
    if (program_below(g, 2)) sum = program_instr(g, KERN_ROW_ROW_MAX, false, y, -1, -1);
    if (!program_below(g, 3)) sum = program_picked(g, y);
    int scaled = program_instr(g, KERN_ROW_MUL, true, y, sum, -1);
    if (!program_below(g, 3)) program_output(g, program_picked(g, scaled));
    if (program_below(g, 2)) {
        int again = program_instr(g, KERN_ROW_ROW_SUM, false, scaled, -1, -1);
        scaled = program_instr(g, KERN_ROW_SUB, true, x, again, -1);
    }
    if (program_below(g, 2)) program_store_over(g, program_below(g, 2) ? y : scaled, x);
    if (program_below(g, 2))
        program_store_over(
            g,
            program_instr(g, KERN_ROW_ADD, false, narrow, program_below(g, 2) ? sum : narrow, -1),
            narrow);
    if (program_below(g, 2)) program_output(g, sum);
    if (program_below(g, 2)) program_output(g, scaled);
}

/* Rows of n elements, about `elements` in all at most. */
static inline void program_generate(random_program *g, uint64_t seed, int64_t n, int64_t elements) {
    static const int64_t leads[] = {1, 1, 1, 2, 3, 5, 40, 300};
    memset(g, 0, sizeof *g);
    g->state = seed;
    g->p.compute = program_below(g, 3) ? KERN_F32 : KERN_F64;
    g->p.n = n;
    int64_t rows = 1;
    for (int axis = 0; axis < KERN_ROW_LEAD; axis++) {
        int64_t lead = leads[program_below(g, 8)];
        g->p.lead[axis] = rows * lead * n > elements ? 1 : lead;
        rows *= g->p.lead[axis];
    }
    g->p.operand = g->operand;
    g->p.instr = g->instr;
    g->p.wide = g->wide;
    if (program_below(g, 2)) program_norm(g);
    for (int64_t i = 1 + program_below(g, 3); i >= 0; i--) program_load(g);
    if (program_below(g, 2)) {
        program_instr(g, KERN_ROW_CONST, program_below(g, 2), -1, -1, -1);
        g->instr[g->p.instrs - 1].value = (double)program_below(g, 9) / 3 - 1;
    }
    for (int64_t i = 2 + program_below(g, 12); i > 0; i--) {
        int a = (int)program_below(g, g->p.registers);
        int64_t kind = program_below(g, 12);
        if (kind == 0 && g->p.operands < 8)
            program_load(g);
        else if (kind == 1 && g->p.operands < 11)
            program_output(g, a);
        else if (kind <= 5 && g->p.operands < 10)
            program_row_op(g, a);
        else
            program_elementwise(g, a);
    }
    for (int64_t i = 1 + program_below(g, 2); i > 0; i--)
        program_output(g, program_below(g, 3) ? g->p.registers - 1
                                              : (int)program_below(g, g->p.registers));
}

/* Numbers between -2 and 2; in some operands with special ones among them, or zeros of either sign
 * alone. Most indices lie in the row. */
static inline void program_fill(random_program *g, int operand, void *memory) {
    static const double special[] = {0.0, -0.0, 1e30, -1e-41, (double)INFINITY, (double)NAN};
    bool specials = !program_below(g, 12), zeros = !program_below(g, 12);
    const int64_t outside[] = {-1, g->p.n, g->p.n + 1, INT32_MAX, INT32_MIN};
    kern_dtype dtype = g->operand[operand].dtype;
    for (int64_t i = 0; i < naive_extent(&g->p, operand); i++) {
        double x = (double)(naive_random(&g->state) >> 11) * 0x1p-51 - 2;
        if (g->is_index[operand])
            x = (double)(program_below(g, 5) ? program_below(g, g->p.n)
                                             : outside[program_below(g, 5)]);
        else if (dtype == KERN_I32)
            x = (double)program_below(g, 5) - 2;
        else if (zeros)
            x = program_below(g, 2) ? 0.0 : -0.0;
        else if (specials && !program_below(g, 50))
            x = special[program_below(g, 6)];
        naive_write(dtype, memory, i, x);
    }
}

/* The same bits; of NaN there are many. */
static inline void program_compare(const random_program *g, uint64_t seed, int operand,
                                   const char *got, const char *want) {
    kern_dtype dtype = g->operand[operand].dtype;
    size_t each = kern_dtype_bytes(dtype);
    for (int64_t i = 0; i < naive_extent(&g->p, operand); i++) {
        if (!memcmp(got + (size_t)i * each, want + (size_t)i * each, each)) continue;
        double x = naive_read(dtype, got, i), y = naive_read(dtype, want, i);
        if (!isnan(x) || !isnan(y))
            fail_msg("seed %llu: n %lld operand %d element %lld is %.17g, not %.17g",
                     (unsigned long long)seed, (long long)g->p.n, operand, (long long)i, x, y);
    }
}

#endif
