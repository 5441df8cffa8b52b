/* The operations of attention in cuDNN's words. */
#include "kernels/cuda/attention_cudnn.h"

static kern_cudnn_shape dense(int64_t a, int64_t b, int64_t c, int64_t d) {
    return (kern_cudnn_shape){{a, b, c, d}, {b * c * d, c * d, d, 1}};
}

/* [B, C, heads, K] as it lies, heads first. */
static kern_cudnn_shape rows_of(const kern_attention_shape *s, int64_t heads) {
    int64_t size = s->head_size;
    return (kern_cudnn_shape){{s->batch, heads, s->rows, size},
                              {s->rows * heads * size, size, heads * size, 1}};
}

static kern_cudnn_shape turned(kern_cudnn_shape shape) {
    return (kern_cudnn_shape){{shape.dim[0], shape.dim[1], shape.dim[3], shape.dim[2]},
                              {shape.stride[0], shape.stride[1], shape.stride[3], shape.stride[2]}};
}

static kern_cudnn_shape scores_of(const kern_attention_shape *s) {
    return dense(s->batch, s->heads, s->rows, s->rows);
}

static kern_cudnn_shape statistic_of(const kern_attention_shape *s) {
    return dense(s->batch, s->heads, s->rows, 1);
}

static void *pair(kern_cudnn_graph *g, const kern_attention_shape *s, int mode, void *x, void *b) {
    void *y = kern_cudnn_within(g, KERN_CUDNN_F32, scores_of(s));
    kern_cudnn_pointwise(g, mode, KERN_CUDNN_F32, y, x, b);
    return y;
}

static void *index_of(kern_cudnn_graph *g, const kern_attention_shape *s, void *score, int axis) {
    void *index = kern_cudnn_within(g, KERN_CUDNN_I32, scores_of(s));
    kern_cudnn_index(g, index, score, axis);
    return index;
}

/* score where mode(x, b), `hidden` elsewhere. */
static void *where(kern_cudnn_graph *g, const kern_attention_shape *s, int mode, void *x, void *b,
                   void *score, int hidden) {
    void *mask = kern_cudnn_within(g, KERN_CUDNN_BOOL, scores_of(s));
    void *y = kern_cudnn_within(g, KERN_CUDNN_F32, scores_of(s));
    kern_cudnn_pointwise(g, mode, KERN_CUDNN_BOOL, mask, x, b);
    kern_cudnn_select(g, y, mask, score, kern_cudnn_value(g, hidden));
    return y;
}

/* Of keys that the row does not see: row >= key, and key + window > row. */
static void *hide(kern_cudnn_graph *g, const kern_attention_shape *s, void *score) {
    void *row = index_of(g, s, score, 2), *key = index_of(g, s, score, 3);
    score = where(g, s, KERN_CUDNN_NOT_LESS, row, key, score, CUDNN_HIDDEN);
    if (s->window >= s->rows) return score;
    row = index_of(g, s, score, 2), key = index_of(g, s, score, 3);
    void *end = pair(g, s, KERN_CUDNN_ADD, key, kern_cudnn_value(g, CUDNN_WINDOW));
    return where(g, s, KERN_CUDNN_GREATER, end, row, score, CUDNN_HIDDEN_BEHIND);
}

static void *reduced(kern_cudnn_graph *g, const kern_attention_shape *s, int mode, void *x) {
    void *y = kern_cudnn_within(g, KERN_CUDNN_F32, statistic_of(s));
    kern_cudnn_reduce(g, mode, y, x);
    return y;
}

static void build_forward(kern_cudnn_graph *g, const kern_attention_shape *s) {
    void *q = kern_cudnn_memory(g, CUDNN_Q, KERN_CUDNN_BF16, rows_of(s, s->heads));
    void *k = kern_cudnn_memory(g, CUDNN_K, KERN_CUDNN_BF16, turned(rows_of(s, s->groups)));
    void *v = kern_cudnn_memory(g, CUDNN_V, KERN_CUDNN_BF16, rows_of(s, s->groups));
    void *o = kern_cudnn_memory(g, CUDNN_O, KERN_CUDNN_BF16, rows_of(s, s->heads));
    void *lse = kern_cudnn_memory(g, CUDNN_STATISTIC, KERN_CUDNN_F32, statistic_of(s));
    void *product = kern_cudnn_within(g, KERN_CUDNN_F32, scores_of(s));
    void *log_sum = kern_cudnn_within(g, KERN_CUDNN_F32, statistic_of(s));
    void *weight = kern_cudnn_within(g, KERN_CUDNN_BF16, scores_of(s));
    kern_cudnn_multiply(g, product, q, k);
    void *score = pair(g, s, KERN_CUDNN_MUL, product, kern_cudnn_value(g, CUDNN_SCALE));
    score = hide(g, s, score);
    void *most = reduced(g, s, KERN_CUDNN_MAX, score);
    void *power = pair(g, s, KERN_CUDNN_EXP, pair(g, s, KERN_CUDNN_SUB, score, most), NULL);
    void *sum = reduced(g, s, KERN_CUDNN_SUM, power);
    kern_cudnn_pointwise(g, KERN_CUDNN_LOG, KERN_CUDNN_F32, log_sum, sum, NULL);
    kern_cudnn_pointwise(g, KERN_CUDNN_ADD, KERN_CUDNN_F32, lse, most, log_sum);
    kern_cudnn_pointwise(g, KERN_CUDNN_DIV, KERN_CUDNN_F32, weight, power, sum);
    kern_cudnn_multiply(g, o, weight, v);
}

/* rowsum(ct_o o), multiplied by one and in memory: so cuDNN describes it, though 9.19 takes it
 * without either. */
static void *build_delta(kern_cudnn_graph *g, const kern_attention_shape *s, void *ct_o) {
    kern_cudnn_shape all = dense(s->batch, s->heads, s->rows, s->head_size);
    void *o = kern_cudnn_memory(g, CUDNN_O, KERN_CUDNN_BF16, rows_of(s, s->heads));
    void *product = kern_cudnn_within(g, KERN_CUDNN_F32, all);
    void *delta = kern_cudnn_memory(g, CUDNN_DELTA, KERN_CUDNN_F32, statistic_of(s));
    kern_cudnn_pointwise(g, KERN_CUDNN_MUL, KERN_CUDNN_F32, product, ct_o, o);
    void *sum = reduced(g, s, KERN_CUDNN_SUM, product);
    kern_cudnn_pointwise(g, KERN_CUDNN_MUL, KERN_CUDNN_F32, delta, sum,
                         kern_cudnn_value(g, CUDNN_ONE));
    return delta;
}

/* ct = x^T rows, added up over the query heads of each key head. */
static void build_columns(kern_cudnn_graph *g, const kern_attention_shape *s, int number, void *x,
                          void *rows) {
    void *ct = kern_cudnn_memory(g, number, KERN_CUDNN_BF16, rows_of(s, s->groups));
    void *across = kern_cudnn_within(g, KERN_CUDNN_BF16, turned(scores_of(s)));
    kern_cudnn_reshape(g, across, x);
    if (s->heads == s->groups) {
        kern_cudnn_multiply(g, ct, across, rows);
        return;
    }
    void *each =
        kern_cudnn_within(g, KERN_CUDNN_BF16, dense(s->batch, s->heads, s->rows, s->head_size));
    kern_cudnn_multiply(g, each, across, rows);
    kern_cudnn_reduce(g, KERN_CUDNN_SUM, ct, each);
}

/* ct_q is a product, and no sum in memory that several blocks would add to in any order: that is
 * what cuDNN has scratch of rows times keys for, and what makes its bits the same at each run. */
static void build_vjp(kern_cudnn_graph *g, const kern_attention_shape *s) {
    kern_cudnn_shape keys = rows_of(s, s->groups);
    void *q = kern_cudnn_memory(g, CUDNN_Q, KERN_CUDNN_BF16, rows_of(s, s->heads));
    void *k = kern_cudnn_memory(g, CUDNN_K, KERN_CUDNN_BF16, turned(keys));
    void *v = kern_cudnn_memory(g, CUDNN_V, KERN_CUDNN_BF16, turned(keys));
    void *lse = kern_cudnn_memory(g, CUDNN_STATISTIC, KERN_CUDNN_F32, statistic_of(s));
    void *ct_o = kern_cudnn_memory(g, CUDNN_CT_O, KERN_CUDNN_BF16, rows_of(s, s->heads));
    void *ct_q = kern_cudnn_memory(g, CUDNN_CT_Q, KERN_CUDNN_BF16, rows_of(s, s->heads));
    void *scale = kern_cudnn_value(g, CUDNN_SCALE), *delta = build_delta(g, s, ct_o);
    void *product = kern_cudnn_within(g, KERN_CUDNN_F32, scores_of(s));
    kern_cudnn_multiply(g, product, q, k);
    void *score = pair(g, s, KERN_CUDNN_MUL, product, scale);
    score = hide(g, s, pair(g, s, KERN_CUDNN_SUB, score, lse));
    void *p = pair(g, s, KERN_CUDNN_EXP, score, NULL);
    build_columns(g, s, CUDNN_CT_V, p, ct_o);
    void *dp = kern_cudnn_within(g, KERN_CUDNN_F32, scores_of(s));
    kern_cudnn_multiply(g, dp, ct_o, v);
    void *ds = pair(g, s, KERN_CUDNN_MUL, pair(g, s, KERN_CUDNN_SUB, dp, delta), p);
    ds = pair(g, s, KERN_CUDNN_MUL, ds, scale);
    build_columns(g, s, CUDNN_CT_K, ds, q);
    void *back = kern_cudnn_within(g, KERN_CUDNN_BF16, keys);
    kern_cudnn_reshape(g, back, k);
    kern_cudnn_multiply(g, ct_q, ds, back);
}

void kern_cudnn_attention_graph(kern_cudnn_graph *graph, const kern_attention_shape *shape,
                                int stage) {
    if (stage)
        build_vjp(graph, shape);
    else
        build_forward(graph, shape);
}
