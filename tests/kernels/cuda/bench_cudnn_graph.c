/* A graph of cuDNN by its meaning: each operation on all elements of its tensors, one after the
 * other, in f64, rounded to what the result's tensor has. Nothing is known of attention here. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/vector_math.h"
#include "tests/kernels/cuda/bench_cudnn.h"

size_t bench_cudnn_element(int type) {
    return type == KERN_CUDNN_BF16 ? 2 : type == KERN_CUDNN_BOOL ? 1 : 4;
}

int64_t bench_cudnn_reach(const bench_cudnn_tensor *t) {
    int64_t last = 0;
    for (int i = 0; i < 4; i++) last += (t->dim[i] - 1) * t->stride[i];
    return last + 1;
}

static int64_t count_of(const bench_cudnn_tensor *t) {
    return t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3];
}

/* Room for the largest tensor that lies in another order for a while. */
size_t bench_cudnn_scratch(const bench_cudnn_graph *g) {
    int64_t most = 0;
    for (int i = 0; i < g->operations; i++)
        if (g->operation[i].kind == KERN_CUDNN_OPERATION_RESHAPE)
            most = kern_max(most, count_of(&g->tensor[g->operation[i].y]));
    return 256 + 2 * (size_t)most;
}

/* ---- checks ---- */

static bool is_shaped(const bench_cudnn_tensor *t) {
    for (int i = 0; i < 4; i++)
        if (t->dim[i] < 1 || t->stride[i] < 1) return false;
    return t->type == KERN_CUDNN_F32 || t->type == KERN_CUDNN_BF16 || t->type == KERN_CUDNN_I32 ||
           t->type == KERN_CUDNN_BOOL;
}

/* No two elements in one place: sorted by stride each axis steps over the one before. */
static bool is_apart(const bench_cudnn_tensor *t) {
    bool used[4] = {0};
    int64_t end = 1;
    for (int n = 0; n < 4; n++) {
        int least = -1;
        for (int i = 0; i < 4; i++)
            if (!used[i] && (least < 0 || t->stride[i] < t->stride[least] ||
                             (t->stride[i] == t->stride[least] && t->dim[i] < t->dim[least])))
                least = i;
        used[least] = true;
        if (t->dim[least] == 1) continue;
        if (t->stride[least] < end) return false;
        end = t->stride[least] * (t->dim[least] - 1) + end;
    }
    return true;
}

static bool has_shape_of(const bench_cudnn_tensor *a, const bench_cudnn_tensor *b) {
    return !memcmp(a->dim, b->dim, sizeof a->dim);
}

static bool spreads(const bench_cudnn_tensor *b, const bench_cudnn_tensor *y) {
    for (int i = 0; i < 4; i++)
        if (b->dim[i] != 1 && b->dim[i] != y->dim[i]) return false;
    return true;
}

static bool is_compare(int mode) {
    return mode == KERN_CUDNN_GREATER || mode == KERN_CUDNN_NOT_LESS;
}

static const char *check_pointwise(const bench_cudnn_operation *o, const bench_cudnn_tensor *t) {
    const bench_cudnn_tensor *y = &t[o->y], *x = &t[o->x];
    bool one =
        o->mode == KERN_CUDNN_EXP || o->mode == KERN_CUDNN_LOG || o->mode == KERN_CUDNN_INDEX;
    bool select = o->mode == KERN_CUDNN_SELECT;
    bool two = o->mode == KERN_CUDNN_ADD || o->mode == KERN_CUDNN_MUL ||
               o->mode == KERN_CUDNN_DIV || o->mode == KERN_CUDNN_SUB || is_compare(o->mode) ||
               select;
    if (!one && !two) return "a mode that is not known";
    if (!has_shape_of(x, y) || (two != (o->b >= 0)) || (two && !spreads(&t[o->b], y)))
        return "shapes of operands";
    if (select != (o->mask >= 0)) return "a mask";
    if (select && (t[o->mask].type != KERN_CUDNN_BOOL || !has_shape_of(&t[o->mask], y)))
        return "a mask's shape";
    if ((o->mode == KERN_CUDNN_INDEX) != (o->axis >= 0) || o->axis > 3) return "an axis";
    if (is_compare(o->mode) != (y->type == KERN_CUDNN_BOOL)) return "a comparison's type";
    if ((o->mode == KERN_CUDNN_INDEX) != (y->type == KERN_CUDNN_I32)) return "an index' type";
    if (o->precision != (is_compare(o->mode) ? KERN_CUDNN_BOOL : KERN_CUDNN_F32))
        return "the precision of computing";
    return NULL;
}

static const char *check_matmul(const bench_cudnn_operation *o, const bench_cudnn_tensor *t) {
    const bench_cudnn_tensor *c = &t[o->y], *a = &t[o->x], *b = &t[o->b];
    bool fits = a->dim[2] == c->dim[2] && a->dim[3] == b->dim[2] && b->dim[3] == c->dim[3];
    for (int i = 0; i < 2; i++) fits = fits && a->dim[i] == c->dim[i] && c->dim[i] % b->dim[i] == 0;
    if (!fits || a->dim[0] != b->dim[0]) return "shapes of factors";
    return b->type == KERN_CUDNN_BF16 ? NULL : "types of factors";
}

static const char *check_reduction(const bench_cudnn_operation *o, const bench_cudnn_tensor *t) {
    if (o->mode != KERN_CUDNN_SUM && o->mode != KERN_CUDNN_MAX) return "a reduction's mode";
    for (int i = 0; i < 4; i++)
        if (t[o->x].dim[i] % t[o->y].dim[i]) return "a reduction's shape";
    return NULL;
}

/* The last two axes change places. */
static const char *check_reshape(const bench_cudnn_operation *o, const bench_cudnn_tensor *t) {
    static const int turned[4] = {0, 1, 3, 2};
    for (int i = 0; i < 4; i++)
        if (t[o->y].dim[i] != t[o->x].dim[turned[i]] ||
            t[o->y].stride[i] != t[o->x].stride[turned[i]])
            return "axes of a reshape";
    return NULL;
}

static const char *check_operation(const bench_cudnn_operation *o, const bench_cudnn_tensor *t) {
    if (o->kind != KERN_CUDNN_OPERATION_POINTWISE && o->precision != KERN_CUDNN_F32)
        return "the precision of computing";
    switch (o->kind) {
    case KERN_CUDNN_OPERATION_POINTWISE: return check_pointwise(o, t);
    case KERN_CUDNN_OPERATION_MATMUL: return check_matmul(o, t);
    case KERN_CUDNN_OPERATION_REDUCTION: return check_reduction(o, t);
    default: return check_reshape(o, t);
    }
}

static const char *read_one(bench_cudnn_graph *g, int at) {
    if (at == -2) return "two tensors of one number";
    if (at < 0) return NULL;
    g->tensor[at].reads++;
    return g->tensor[at].is_virtual && !g->tensor[at].written ? "read before it is written" : NULL;
}

/* What is made for a product alone is made in the type of its factors. */
static bool is_wide_factor(const bench_cudnn_graph *g, const bench_cudnn_operation *o) {
    const bench_cudnn_tensor *a = &g->tensor[o->x];
    return o->kind == KERN_CUDNN_OPERATION_MATMUL && a->reads == 1 &&
           a->type != g->tensor[o->b].type;
}

static const char *check(bench_cudnn_graph *g) {
    for (int i = 0; i < g->operations; i++) {
        const bench_cudnn_operation *o = &g->operation[i];
        const int read[] = {o->x, o->b, o->mask};
        if (o->y < 0 || o->x < 0) return "two tensors of one number";
        for (int n = 0; n < 3; n++) {
            const char *wrong = read_one(g, read[n]);
            if (wrong) return wrong;
        }
        bench_cudnn_tensor *y = &g->tensor[o->y];
        if (y->written || y->is_value || (!y->is_virtual && y->reads)) return "written twice";
        y->written = true;
        const char *wrong = check_operation(o, g->tensor);
        if (wrong) return wrong;
    }
    for (int i = 0; i < g->operations; i++)
        if (is_wide_factor(g, &g->operation[i])) return "a factor's type";
    for (int i = 0; i < g->tensors; i++) {
        const bench_cudnn_tensor *t = &g->tensor[i];
        if (!is_shaped(t) || !is_apart(t)) return "a tensor's shape";
        if (t->is_virtual && t->is_value) return "a value that is virtual";
        if (t->is_value && (t->type != KERN_CUDNN_F32 || count_of(t) != 1)) return "a value's type";
        if (t->is_virtual && (!t->reads || !t->written)) return "a tensor that nobody reads";
    }
    return NULL;
}

int bench_cudnn_check(bench_cudnn_graph *graph, const char **why) {
    *why = check(graph);
    return *why ? BENCH_CUDNN_BAD : 0;
}

/* ---- computing ---- */

static double rounded(int type, double value) {
    if (type == KERN_CUDNN_BF16) return (double)kern_bf16_to_f32(kern_bf16_from_f32((float)value));
    return type == KERN_CUDNN_F32 ? (double)(float)value : value;
}

/* Place of element i of the shape of `all` in t, along whose axes it may be one for several. */
static int64_t place(const bench_cudnn_tensor *t, const bench_cudnn_tensor *all, int64_t i) {
    int64_t at = 0;
    for (int axis = 3; axis >= 0; axis--) {
        int64_t here = i % all->dim[axis];
        i /= all->dim[axis];
        at += here / (all->dim[axis] / t->dim[axis]) * t->stride[axis];
    }
    return at;
}

static double combine(const bench_cudnn_operation *o, double x, double b, double mask) {
    switch (o->mode) {
    case KERN_CUDNN_ADD: return x + b;
    case KERN_CUDNN_SUB: return x - b;
    case KERN_CUDNN_MUL: return x * b;
    case KERN_CUDNN_DIV: return x / b;
    case KERN_CUDNN_EXP: return exp(x);
    case KERN_CUDNN_LOG: return log(x);
    case KERN_CUDNN_GREATER: return x > b;
    case KERN_CUDNN_NOT_LESS: return x >= b;
    default: return mask > 0 ? x : b;
    }
}

static void pointwise(const bench_cudnn_graph *g, const bench_cudnn_operation *o,
                      double *const *data) {
    const bench_cudnn_tensor *y = &g->tensor[o->y];
    for (int64_t i = 0; i < count_of(y); i++) {
        double value;
        if (o->mode == KERN_CUDNN_INDEX) {
            int64_t rest = i;
            for (int axis = 3; axis > o->axis; axis--) rest /= y->dim[axis];
            value = (double)(rest % y->dim[o->axis]);
        } else
            value = combine(o, data[o->x][place(&g->tensor[o->x], y, i)],
                            o->b < 0 ? 0 : data[o->b][place(&g->tensor[o->b], y, i)],
                            o->mask < 0 ? 0 : data[o->mask][place(&g->tensor[o->mask], y, i)]);
        data[o->y][place(y, y, i)] = rounded(y->type, value);
    }
}

static void multiply(const bench_cudnn_graph *g, const bench_cudnn_operation *o,
                     double *const *data) {
    const bench_cudnn_tensor *c = &g->tensor[o->y], *a = &g->tensor[o->x], *b = &g->tensor[o->b];
    int64_t m = c->dim[2], n = c->dim[3], depth = a->dim[3];
    for (int64_t item = 0; item < c->dim[0] * c->dim[1]; item++) {
        int64_t batch = item / c->dim[1], head = item % c->dim[1];
        const double *from_a = data[o->x] + batch * a->stride[0] + head * a->stride[1];
        const double *from_b =
            data[o->b] + batch * b->stride[0] + head / (c->dim[1] / b->dim[1]) * b->stride[1];
        double *to = data[o->y] + batch * c->stride[0] + head * c->stride[1];
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                double sum = 0;
                for (int64_t l = 0; l < depth; l++)
                    sum += rounded(b->type, from_a[i * a->stride[2] + l * a->stride[3]]) *
                           from_b[l * b->stride[2] + j * b->stride[3]];
                to[i * c->stride[2] + j * c->stride[3]] = rounded(c->type, sum);
            }
    }
}

static void reduce(const bench_cudnn_graph *g, const bench_cudnn_operation *o,
                   double *const *data) {
    const bench_cudnn_tensor *y = &g->tensor[o->y], *x = &g->tensor[o->x];
    bool sum = o->mode == KERN_CUDNN_SUM;
    for (int64_t i = 0; i < count_of(y); i++) data[o->y][place(y, y, i)] = sum ? 0 : -INFINITY;
    for (int64_t i = 0; i < count_of(x); i++) {
        double *to = &data[o->y][place(y, x, i)], value = data[o->x][place(x, x, i)];
        *to = sum ? *to + value : value > *to ? value : *to;
    }
    for (int64_t i = 0; i < count_of(y); i++) {
        double *to = &data[o->y][place(y, y, i)];
        *to = rounded(y->type, *to);
    }
}

/* Its axes lie as they did: the memory is the same. */
static void reshape(const bench_cudnn_graph *g, const bench_cudnn_operation *o,
                    double *const *data) {
    const bench_cudnn_tensor *y = &g->tensor[o->y];
    for (int64_t i = 0; i < bench_cudnn_reach(y); i++)
        data[o->y][i] = rounded(y->type, data[o->x][i]);
}

static double element(int type, const void *address, int64_t i) {
    return type == KERN_CUDNN_BF16 ? (double)kern_bf16_to_f32(((const uint16_t *)address)[i])
                                   : (double)((const float *)address)[i];
}

static void put(const bench_cudnn_tensor *t, void *address, const double *data) {
    for (int64_t i = 0; i < count_of(t); i++) {
        int64_t at = place(t, t, i);
        if (t->type == KERN_CUDNN_BF16)
            ((uint16_t *)address)[at] = kern_bf16_from_f32((float)data[at]);
        else
            ((float *)address)[at] = (float)data[at];
    }
}

void bench_cudnn_compute(const bench_cudnn_graph *g, void *const *address, const float *value) {
    double *data[BENCH_CUDNN_TENSORS];
    for (int n = 0; n < g->tensors; n++) {
        const bench_cudnn_tensor *t = &g->tensor[n];
        data[n] = kern_array(bench_cudnn_reach(t), sizeof **data);
        for (int64_t i = 0; i < bench_cudnn_reach(t); i++)
            data[n][i] = t->is_value                   ? (double)value[n]
                         : t->is_virtual || t->written ? (double)NAN
                                                       : element(t->type, address[n], i);
    }
    for (int i = 0; i < g->operations; i++) {
        const bench_cudnn_operation *o = &g->operation[i];
        switch (o->kind) {
        case KERN_CUDNN_OPERATION_POINTWISE: pointwise(g, o, data); break;
        case KERN_CUDNN_OPERATION_MATMUL: multiply(g, o, data); break;
        case KERN_CUDNN_OPERATION_REDUCTION: reduce(g, o, data); break;
        default: reshape(g, o, data);
        }
    }
    for (int n = 0; n < g->tensors; n++) {
        if (g->tensor[n].written && !g->tensor[n].is_virtual)
            put(&g->tensor[n], address[n], data[n]);
        free(data[n]);
    }
}
