/* Row programs one instruction at a time over whole tensors, in plain C with libm: what
 * kernels/rows.h must agree with. Also guarded buffers, a runner on such, and small programs. */
#ifndef TESTS_ROWS_NAIVE_H
#define TESTS_ROWS_NAIVE_H

#include "kernels/rows.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { GUARD = 64, NAIVE_OPERANDS = 16 };

static inline uint64_t naive_random(uint64_t *state) {
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* Memory with guard bytes behind it. */
static inline void *guarded(size_t bytes, int fill) {
    char *memory = NULL;
    assert_int_equal(kern_alloc((void **)&memory, bytes + GUARD, "test buffer"), KERN_OK);
    memset(memory, fill, bytes);
    memset(memory + bytes, 0x5A, GUARD);
    return memory;
}

static inline void free_guarded(void *memory, size_t bytes) {
    for (size_t i = 0; i < GUARD; i++) assert_int_equal(((char *)memory)[bytes + i], 0x5A);
    kern_free(memory);
}

static inline double naive_read(kern_dtype dtype, const void *base, int64_t at) {
    if (dtype == KERN_F32) return (double)((const float *)base)[at];
    if (dtype == KERN_F64) return ((const double *)base)[at];
    if (dtype == KERN_I32) return (double)((const int32_t *)base)[at];
    uint32_t bits = (uint32_t)((const uint16_t *)base)[at] << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return (double)value;
}

/* bf16 to the nearest, ties to even, by trying both neighbours. */
static inline uint16_t naive_bf16(double x) {
    float toward = (float)x;
    uint32_t bits;
    memcpy(&bits, &toward, sizeof bits);
    if (isnan(x)) return (uint16_t)(bits >> 16 | 0x40u);
    if (fabs((double)toward) > fabs(x)) bits--; /* truncated, not rounded */
    uint16_t low = (uint16_t)(bits >> 16), high = (uint16_t)(low + 1u);
    double below = naive_read(KERN_BF16, &low, 0), above = naive_read(KERN_BF16, &high, 0);
    if (isinf(x)) return low;
    if (isinf(above)) above = copysign(0x1p128, x);
    double to_low = fabs(x - below), to_high = fabs(above - x);
    return to_low < to_high || (to_low == to_high && low % 2 == 0) ? low : high;
}

static inline void naive_write(kern_dtype dtype, void *base, int64_t at, double value) {
    if (dtype == KERN_F32)
        ((float *)base)[at] = (float)value;
    else if (dtype == KERN_F64)
        ((double *)base)[at] = value;
    else if (dtype == KERN_I32)
        ((int32_t *)base)[at] = (int32_t)value;
    else
        ((uint16_t *)base)[at] = naive_bf16(value);
}

static inline int64_t naive_rows(const kern_row_program *p) {
    return p->lead[0] * p->lead[1] * p->lead[2] * p->lead[3];
}

static inline int64_t naive_offset(const kern_row_program *p, int operand, int64_t row) {
    int64_t offset = 0;
    for (int axis = KERN_ROW_LEAD - 1; axis >= 0; axis--) {
        offset += row % p->lead[axis] * p->operand[operand].stride[axis];
        row /= p->lead[axis];
    }
    return offset;
}

static inline int64_t naive_extent(const kern_row_program *p, int operand) {
    int64_t extent = p->operand[operand].wide ? p->n : 1;
    for (int axis = 0; axis < KERN_ROW_LEAD; axis++)
        extent += (p->lead[axis] - 1) * p->operand[operand].stride[axis];
    return extent;
}

static inline double naive_value(kern_row_op op, double a, double b, double c) {
    switch (op) {
    case KERN_ROW_ADD: return a + b;
    case KERN_ROW_SUB: return a - b;
    case KERN_ROW_MUL: return a * b;
    case KERN_ROW_DIV: return a / b;
    case KERN_ROW_MAX: return isnan(a) || isnan(b) ? (double)NAN : a > b ? a : b;
    case KERN_ROW_NEG: return -a;
    case KERN_ROW_ABS: return fabs(a);
    case KERN_ROW_EXP: return (double)expl((long double)a);
    case KERN_ROW_LOG: return (double)logl((long double)a);
    case KERN_ROW_SQRT: return sqrt(a);
    case KERN_ROW_SIGMOID: return (double)(1 / (1 + expl(-(long double)a)));
    case KERN_ROW_GREATER: return a > b;
    case KERN_ROW_SELECT: return a != 0 ? b : c;
    default: return a;
    }
}

typedef struct {
    const kern_row_program *p;
    double **reg; /* [registers][rows, n or 1] */
    void *const *operand;
} naive;

static inline double naive_get(const naive *v, int reg, int64_t row, int64_t j) {
    return v->p->wide[reg] ? v->reg[reg][row * v->p->n + j] : v->reg[reg][row];
}

static inline void naive_reduce(const naive *v, const kern_row_instr *s, int64_t row) {
    long double sum = 0;
    double max = -(double)INFINITY, picked = (double)NAN;
    double at = s->op == KERN_ROW_PICK ? naive_read(KERN_I32, v->operand[s->operand],
                                                    naive_offset(v->p, s->operand, row))
                                       : 0;
    for (int64_t j = 0; j < v->p->n; j++) {
        double x = naive_get(v, s->a, row, j);
        sum += (long double)x;
        max = naive_value(KERN_ROW_MAX, max, x, 0);
        if ((double)j == at) picked = x;
    }
    v->reg[s->d][row] = s->op == KERN_ROW_ROW_SUM   ? (double)sum
                        : s->op == KERN_ROW_ROW_MAX ? max
                                                    : picked;
}

static inline void naive_row(const naive *v, const kern_row_instr *s, int64_t row) {
    const kern_row_program *p = v->p;
    bool stores = s->op == KERN_ROW_STORE;
    int64_t width = (stores ? p->operand[s->operand].wide : p->wide[s->d]) ? p->n : 1;
    bool moves = stores || s->op == KERN_ROW_LOAD || s->op == KERN_ROW_UNPICK;
    int64_t offset = moves ? naive_offset(p, s->operand, row) : 0;
    for (int64_t j = 0; j < width; j++) {
        double x = 0, y = 0, z = 0, *d = stores ? NULL : &v->reg[s->d][row * width + j];
        int sources = kern_row_op_sources(s->op);
        if (sources > 0) x = naive_get(v, s->a, row, s->op == KERN_ROW_ROTATE ? j ^ 1 : j);
        if (sources > 1) y = naive_get(v, s->b, row, j);
        if (sources > 2) z = naive_get(v, s->c, row, j);
        if (s->op == KERN_ROW_LOAD)
            *d = naive_read(p->operand[s->operand].dtype, v->operand[s->operand],
                            offset + (p->operand[s->operand].wide ? j : 0));
        else if (stores)
            naive_write(p->operand[s->operand].dtype, v->operand[s->operand], offset + j, x);
        else if (s->op == KERN_ROW_CONST)
            *d = s->value;
        else if (s->op == KERN_ROW_ROTATE)
            *d = j % 2 ? x : -x;
        else if (s->op == KERN_ROW_UNPICK)
            *d = naive_read(KERN_I32, v->operand[s->operand], offset) == (double)j ? x : 0;
        else
            *d = naive_value(s->op, x, y, z);
        if (d && p->compute == KERN_F32) *d = (double)(float)*d;
    }
}

static inline void naive_sum_lead(const naive *v, const kern_row_instr *s) {
    const kern_row_program *p = v->p;
    int64_t blocks = 1, width = p->operand[s->operand].wide ? p->n : 1;
    for (int axis = 0; axis < s->kept; axis++) blocks *= p->lead[axis];
    int64_t each = naive_rows(p) / blocks;
    for (int64_t at = 0; at < blocks * width; at++) {
        long double sum = 0;
        for (int64_t i = 0; i < each; i++)
            sum += (long double)naive_get(v, s->a, at / width * each + i, at % width);
        double rounded = p->compute == KERN_F32 ? (double)(float)sum : (double)sum;
        naive_write(p->operand[s->operand].dtype, v->operand[s->operand], at, rounded);
    }
}

/* Outputs must not alias inputs here. */
static inline void naive_run(const kern_row_program *p, void *const *operand) {
    naive v = {p, calloc((size_t)p->registers + 1, sizeof(double *)), operand};
    int64_t rows = naive_rows(p);
    for (int r = 0; r < p->registers; r++)
        v.reg[r] = calloc((size_t)(rows * (p->wide[r] ? p->n : 1)), sizeof(double));
    for (int i = 0; i < p->instrs; i++) {
        const kern_row_instr *s = &p->instr[i];
        bool reduces =
            s->op == KERN_ROW_ROW_SUM || s->op == KERN_ROW_ROW_MAX || s->op == KERN_ROW_PICK;
        if (s->op == KERN_ROW_SUM_LEAD) naive_sum_lead(&v, s);
        for (int64_t row = 0; row < rows && s->op != KERN_ROW_SUM_LEAD; row++)
            if (reduces) {
                naive_reduce(&v, s, row);
                if (p->compute == KERN_F32) v.reg[s->d][row] = (double)(float)v.reg[s->d][row];
            } else {
                naive_row(&v, s, row);
            }
    }
    for (int r = 0; r < p->registers; r++) free(v.reg[r]);
    free(v.reg);
}

static inline size_t naive_bytes(const kern_row_program *p, int operand) {
    return (size_t)naive_extent(p, operand) * kern_dtype_bytes(p->operand[operand].dtype);
}

/* Runs the program with `threads` threads on fresh copies of `input` (NULL for outputs, whose gaps
 * keep the byte 0xFF) into `output`; alias[i] >= 0: operand i is that operand's memory. */
static inline void run_guarded(const kern_row_program *p, void *const *input, const int *alias,
                               int threads, void **output) {
    void *memory[NAIVE_OPERANDS];
    int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    for (int i = 0; i < p->operands; i++) {
        memory[i] = guarded(naive_bytes(p, i), 0xFF);
        if (input[i]) memcpy(memory[i], input[i], naive_bytes(p, i));
    }
    void *bound[NAIVE_OPERANDS];
    for (int i = 0; i < p->operands; i++) bound[i] = memory[alias && alias[i] >= 0 ? alias[i] : i];
    kern_rows *rows = kern_rows_create(p);
    size_t bytes = kern_rows_workspace(rows, threads);
    void *workspace = guarded(bytes, 0xFF);
    kern_rows_run(rows, bound, workspace);
    free_guarded(workspace, bytes);
    kern_rows_destroy(rows);
    omp_set_num_threads(before);
    for (int i = 0; i < p->operands; i++)
        if (output[i]) memcpy(output[i], bound[i], naive_bytes(p, i));
    for (int i = 0; i < p->operands; i++) free_guarded(memory[i], naive_bytes(p, i));
}

/* One operand in, one out, one operation between them, [rows, n] dense. */
typedef struct {
    kern_row_program p;
    kern_row_operand operand[3];
    kern_row_instr instr[4];
    bool wide[3];
} small_program;

static inline void make_unary(small_program *s, kern_dtype compute, kern_row_op op, int64_t rows,
                              int64_t n, kern_dtype in, kern_dtype out, bool narrow) {
    memset(s, 0, sizeof *s);
    for (int o = 0; o < 2; o++) {
        s->operand[o].wide = !(o && narrow);
        s->operand[o].dtype = o ? out : in;
        for (int axis = 0; axis < KERN_ROW_LEAD; axis++)
            s->operand[o].stride[axis] = s->operand[o].wide ? n : 1;
    }
    s->wide[0] = true;
    s->wide[1] = !narrow;
    s->instr[0] = (kern_row_instr){.op = KERN_ROW_LOAD, .d = 0, .operand = 0};
    s->instr[1] = (kern_row_instr){.op = op, .d = 1, .a = 0};
    s->instr[2] = (kern_row_instr){.op = KERN_ROW_STORE, .a = 1, .operand = 1};
    s->p = (kern_row_program){.compute = compute,
                              .lead = {rows, 1, 1, 1},
                              .n = n,
                              .operands = 2,
                              .instrs = 3,
                              .registers = 2,
                              .operand = s->operand,
                              .instr = s->instr,
                              .wide = s->wide};
}

static inline void run_small(const small_program *s, void *in, void *out, int threads) {
    void *input[2] = {in, NULL}, *output[2] = {NULL, out};
    run_guarded(&s->p, input, NULL, threads, output);
}

#endif
