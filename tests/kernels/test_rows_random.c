/* Random row programs against the naive interpreter. All values are small integers, so that every
 * order of additions gives the same number and results must agree exactly; functions with rounding
 * are followed by a comparison. Also: the same bits with 1, 2 and 3 threads, nothing written
 * outside operands and workspace, and outputs that alias inputs. */
#include "tests/kernels/rows_naive.h"

enum { MAX_INSTRS = 64 };

typedef struct {
    uint64_t state;
    kern_row_program p;
    kern_row_operand operand[NAIVE_OPERANDS];
    kern_row_instr instr[MAX_INSTRS];
    bool wide[MAX_INSTRS];
    double bound[MAX_INSTRS]; /* of a register's absolute values */
    int alias[NAIVE_OPERANDS];
    bool is_output[NAIVE_OPERANDS], is_index[NAIVE_OPERANDS];
    double limit;
} generator;

static int64_t below(generator *g, int64_t n) {
    return (int64_t)(naive_random(&g->state) % (uint64_t)n);
}

static int add_operand(generator *g, kern_dtype dtype, bool wide, bool dense) {
    kern_row_operand *o = &g->operand[g->p.operands];
    *o = (kern_row_operand){.dtype = dtype, .wide = wide};
    int64_t stride = wide ? g->p.n : 1;
    if (!below(g, 4)) stride += 3;
    for (int axis = KERN_ROW_LEAD - 1; axis >= 0; axis--) {
        o->stride[axis] = stride;
        stride *= g->p.lead[axis];
        if (!below(g, 6)) stride += 5;
    }
    for (int axis = 0; axis < KERN_ROW_LEAD && !dense; axis++)
        if (!below(g, 3)) o->stride[axis] = 0;
    if (!dense && !below(g, 4)) memset(o->stride, 0, sizeof o->stride);
    g->alias[g->p.operands] = -1;
    g->is_output[g->p.operands] = false;
    return g->p.operands++;
}

/* A register that holds integers. */
static int any_register(generator *g) {
    int reg = (int)below(g, g->p.registers);
    while (g->bound[reg] >= g->limit) reg = (reg + 1) % g->p.registers;
    return reg;
}

static int emit(generator *g, kern_row_op op, bool wide, int a, int b, int c, double bound) {
    g->instr[g->p.instrs++] =
        (kern_row_instr){.op = op, .d = g->p.registers, .a = a, .b = b, .c = c, .operand = -1};
    g->wide[g->p.registers] = wide;
    g->bound[g->p.registers] = bound;
    return g->p.registers++;
}

static int constant(generator *g, bool wide, double value) {
    int d = emit(g, KERN_ROW_CONST, wide, -1, -1, -1, fabs(value));
    g->instr[g->p.instrs - 1].value = value;
    return d;
}

static void emit_load(generator *g) {
    static const kern_dtype dtypes[] = {KERN_F32, KERN_F64, KERN_BF16, KERN_I32};
    kern_dtype dtype = below(g, 2) ? g->p.compute : dtypes[below(g, 4)];
    bool wide = below(g, 3) > 0;
    int operand = -1;
    for (int i = 0; i < g->p.operands; i++) /* one that was loaded before */
        if (g->operand[i].wide == wide && !g->is_output[i] && !g->is_index[i] && !below(g, 3))
            operand = i;
    if (operand < 0) operand = add_operand(g, dtype, wide, below(g, 2));
    emit(g, KERN_ROW_LOAD, wide || !below(g, 4), -1, -1, -1, 2);
    g->instr[g->p.instrs - 1].operand = operand;
}

/* A function with rounding, then a comparison that no rounding can change. */
static void emit_function(generator *g, int a) {
    static const kern_row_op op[] = {KERN_ROW_EXP, KERN_ROW_SIGMOID, KERN_ROW_SQRT, KERN_ROW_LOG};
    static const double threshold[] = {1.5, 0.6, 1.2, 0.5};
    int64_t which = below(g, 4);
    if (which >= 2) a = emit(g, KERN_ROW_ABS, g->wide[a], a, -1, -1, g->bound[a]);
    int value = emit(g, op[which], g->wide[a], a, -1, -1, g->limit);
    int border = constant(g, below(g, 2) && g->wide[a], threshold[which]);
    g->bound[border] = g->limit; /* no integer */
    emit(g, KERN_ROW_GREATER, g->wide[a], value, border, -1, 1);
}

static void emit_row_op(generator *g, int a) {
    int64_t which = below(g, 5);
    if (which == 0 && g->wide[a] && g->bound[a] * (double)g->p.n < g->limit) {
        emit(g, KERN_ROW_ROW_SUM, false, a, -1, -1, g->bound[a] * (double)g->p.n);
    } else if (which == 1 && g->wide[a]) {
        emit(g, KERN_ROW_ROW_MAX, false, a, -1, -1, g->bound[a]);
    } else if (which == 2 && g->wide[a] && g->p.n % 2 == 0) {
        emit(g, KERN_ROW_ROTATE, true, a, -1, -1, g->bound[a]);
    } else if (which >= 3 && g->wide[a] == (which == 3)) {
        int operand = add_operand(g, KERN_I32, false, below(g, 2));
        g->is_index[operand] = true;
        emit(g, which == 3 ? KERN_ROW_PICK : KERN_ROW_UNPICK, which == 4, a, -1, -1, g->bound[a]);
        g->instr[g->p.instrs - 1].operand = operand;
    }
}

static void emit_elementwise(generator *g, int a, int b) {
    int c = any_register(g);
    bool wide = g->wide[a] || g->wide[b] || !below(g, 8);
    double x = g->bound[a], y = g->bound[b];
    switch (below(g, 9)) {
    case 0:
    case 1:
        if (x + y < g->limit) emit(g, KERN_ROW_ADD, wide, a, b, -1, x + y);
        break;
    case 2:
        if (x + y < g->limit) emit(g, KERN_ROW_SUB, wide, a, b, -1, x + y);
        break;
    case 3:
    case 4:
        if (x * y < g->limit) emit(g, KERN_ROW_MUL, wide, a, b, -1, x * y);
        break;
    case 5: emit(g, KERN_ROW_MAX, wide, a, b, -1, fmax(x, y)); break;
    case 6: emit(g, KERN_ROW_NEG, wide, wide == g->wide[a] ? a : b, -1, -1, fmax(x, y)); break;
    case 7: emit(g, KERN_ROW_GREATER, wide, a, b, -1, 1); break;
    default:
        wide = wide || g->wide[c];
        emit(g, KERN_ROW_SELECT, wide, a, b, c, fmax(y, g->bound[c]));
    }
}

static void emit_output(generator *g, int a) {
    bool wide = g->wide[a] || !below(g, 4);
    int64_t kept = below(g, KERN_ROW_LEAD + 1), each = 1;
    for (int axis = (int)kept; axis < KERN_ROW_LEAD; axis++) each *= g->p.lead[axis];
    bool sum = !below(g, 3) && g->bound[a] * (double)each < g->limit;
    static const kern_dtype dtypes[] = {KERN_F32, KERN_F64, KERN_BF16};
    int operand = add_operand(g, below(g, 2) ? g->p.compute : dtypes[below(g, 3)], wide, true);
    g->is_output[operand] = true;
    if (sum) {
        int64_t stride = wide ? g->p.n : 1;
        for (int axis = KERN_ROW_LEAD - 1; axis >= 0; axis--) {
            g->operand[operand].stride[axis] = axis < kept ? stride : 0;
            stride *= axis < kept ? g->p.lead[axis] : 1;
        }
    }
    for (int i = 0; !sum && i < operand; i++) { /* alias the first input that allows it */
        const kern_row_operand *o = &g->operand[i];
        bool taken = g->is_output[i] || o->wide != wide || o->dtype == KERN_I32;
        for (int j = 0; j < operand; j++) taken = taken || g->alias[j] == i;
        for (int axis = 0; axis < KERN_ROW_LEAD; axis++) taken = taken || o->stride[axis] == 0;
        if (taken || below(g, 2)) continue;
        g->operand[operand] = *o;
        g->alias[operand] = i;
        break;
    }
    g->instr[g->p.instrs++] = (kern_row_instr){.op = sum ? KERN_ROW_SUM_LEAD : KERN_ROW_STORE,
                                               .d = -1,
                                               .a = a,
                                               .b = -1,
                                               .c = -1,
                                               .operand = operand,
                                               .kept = (int)kept};
}

static void generate(generator *g, uint64_t seed) {
    static const int64_t leads[] = {1, 1, 1, 2, 3, 5, 40};
    static const int64_t widths[] = {1, 2, 6, 7, 16, 17, 33, 64, 511, 512, 2050, 5000};
    memset(g, 0, sizeof *g);
    g->state = seed;
    g->p.compute = below(g, 3) ? KERN_F32 : KERN_F64;
    g->limit = g->p.compute == KERN_F32 ? 0x1p23 : 0x1p50;
    g->p.n = widths[below(g, 12)];
    int64_t rows = 1;
    for (int axis = 0; axis < KERN_ROW_LEAD; axis++) {
        int64_t lead = leads[below(g, 7)];
        g->p.lead[axis] = rows * lead * g->p.n > 40000 ? 1 : lead;
        rows *= g->p.lead[axis];
    }
    g->p.operand = g->operand;
    g->p.instr = g->instr;
    g->p.wide = g->wide;
    for (int64_t i = 1 + below(g, 3); i >= 0; i--) emit_load(g);
    if (below(g, 2)) constant(g, below(g, 2), (double)below(g, 5) - 2);
    for (int64_t i = 2 + below(g, 12); i > 0; i--) {
        int a = any_register(g), b = any_register(g);
        int64_t kind = below(g, 12);
        if (kind == 0 && g->p.operands < 8)
            emit_load(g);
        else if (kind == 1 && g->p.operands < 11)
            emit_output(g, a);
        else if (kind == 2)
            emit_function(g, a);
        else if (kind <= 5 && g->p.operands < 10)
            emit_row_op(g, a);
        else
            emit_elementwise(g, a, b);
    }
    for (int64_t i = 1 + below(g, 2); i > 0; i--) {
        int a = any_register(g);
        int late = g->p.registers - 1;
        emit_output(g, below(g, 3) && g->bound[late] < g->limit ? late : a);
    }
}

static void fill_input(generator *g, int operand, void *memory) {
    const kern_row_operand *o = &g->operand[operand];
    for (int64_t i = 0; i < naive_extent(&g->p, operand); i++) {
        double value = (double)below(g, 5) - 2;
        if (g->is_index[operand])
            value = (double)(below(g, 10) ? below(g, g->p.n) : below(g, 9) - 4);
        naive_write(o->dtype, memory, i, value);
    }
}

static void compare(const generator *g, uint64_t seed, int operand, const void *got,
                    const void *want) {
    kern_dtype dtype = g->operand[operand].dtype;
    for (int64_t i = 0; i < naive_extent(&g->p, operand); i++) {
        double x = naive_read(dtype, got, i), y = naive_read(dtype, want, i);
        if (x != y && !(isnan(x) && isnan(y)))
            fail_msg("seed %llu: operand %d element %lld is %g, not %g", (unsigned long long)seed,
                     operand, (long long)i, x, y);
    }
}

static void check_seed(uint64_t seed) {
    generator g;
    generate(&g, seed);
    void *input[NAIVE_OPERANDS], *want[NAIVE_OPERANDS];
    void *got[NAIVE_OPERANDS], *again[NAIVE_OPERANDS];
    for (int i = 0; i < g.p.operands; i++) {
        size_t bytes = naive_bytes(&g.p, i);
        input[i] = g.is_output[i] ? NULL : guarded(bytes, 0);
        if (input[i]) fill_input(&g, i, input[i]);
    }
    for (int i = 0; i < g.p.operands; i++) {
        size_t bytes = naive_bytes(&g.p, i);
        want[i] = guarded(bytes, 0xFF);
        got[i] = guarded(bytes, 0);
        again[i] = guarded(bytes, 0);
        int from = g.alias[i] >= 0 ? g.alias[i] : i; /* gaps keep what was there */
        if (input[from]) memcpy(want[i], input[from], bytes);
    }
    naive_run(&g.p, want);
    run_guarded(&g.p, input, g.alias, 1, got);
    for (int i = 0; i < g.p.operands; i++)
        if (g.is_output[i]) compare(&g, seed, i, got[i], want[i]);
    for (int threads = 2; threads <= 3; threads++) {
        run_guarded(&g.p, input, g.alias, threads, again);
        for (int i = 0; i < g.p.operands; i++)
            if (g.is_output[i]) assert_memory_equal(got[i], again[i], naive_bytes(&g.p, i));
    }
    for (int i = 0; i < g.p.operands; i++) {
        size_t bytes = naive_bytes(&g.p, i);
        if (input[i]) free_guarded(input[i], bytes);
        free_guarded(want[i], bytes);
        free_guarded(got[i], bytes);
        free_guarded(again[i], bytes);
    }
}

static void random_programs_agree(void **unused) {
    (void)unused;
    const char *only = getenv("TTT_TEST_SEED");
    if (only) {
        check_seed(strtoull(only, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= 1500; seed++) check_seed(seed);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_programs_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
