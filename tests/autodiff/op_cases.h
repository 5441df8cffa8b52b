/* A case for each row of the op table whose builder is its own: odd shapes, and the value in plain
 * C. */
#ifndef TESTS_AUTODIFF_OP_CASES_H
#define TESTS_AUTODIFF_OP_CASES_H

#include "tests/autodiff/world.h"

enum { CASE_OUTPUTS = 6 };

/* Builds variant `variant` of an op: its results into y, their number as the value; 0 where there
 * is no such variant. */
typedef int (*builder)(world *w, int variant, ad_value *y);
/* The results by plain C, one after the other, from the world's inputs in the order in which the
 * builder made them. */
typedef void (*formula)(const world *w, int variant, double *y);

typedef struct {
    const char *name;
    builder build;
    formula value;
} op_case;

static ad_value tensor(world *w, int rank, const int64_t *dim) {
    return world_tensor(w, ad_type_of(w->real, rank, dim), -2, 2);
}
#define TENSOR(w, ...)                                                                             \
    tensor(w, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

static const double *data(const world *w, int input) {
    return w->input[input].data;
}
static int64_t count(const world *w, int input) {
    return ad_elements(w->input[input].type);
}

static int build_input(world *w, int variant, ad_value *y) {
    y[0] = TENSOR(w, 3, 5);
    return variant < 1;
}
static void value_input(const world *w, int variant, double *y) {
    (void)variant;
    memcpy(y, data(w, 0), 15 * sizeof *y);
}

static int build_fill(world *w, int variant, ad_value *y) {
    y[0] = ad_fill(w->graph, AD_TYPE(w->real, 3, 1 + variant), 0.75);
    return variant < 2;
}
static void value_fill(const world *w, int variant, double *y) {
    (void)w;
    for (int i = 0; i < 3 * (1 + variant); i++) y[i] = 0.75;
}

/* With one rank; tests/autodiff/test_ranks.c has more. */
static int build_vary(world *w, int variant, ad_value *y) {
    y[0] = ad_vary(w->graph, TENSOR(w, 3, 5));
    return variant < 1;
}
static int build_reduce(world *w, int variant, ad_value *y) {
    y[0] = ad_reduce(w->graph, world_tensor(w, ad_varying(AD_TYPE(w->real, 3, 5)), -2, 2));
    return variant < 1;
}
static int build_reduce_max(world *w, int variant, ad_value *y) {
    y[0] = ad_reduce_max(w->graph, world_tensor(w, ad_varying(AD_TYPE(w->real, 3, 5)), -2, 2));
    return variant < 1;
}

static int build_select(world *w, int variant, ad_value *y) {
    ad_value a = TENSOR(w, 5, 7), b = TENSOR(w, 5, 7), c = TENSOR(w, 5, 7);
    ad_value zero = ad_fill(w->graph, AD_TYPE(w->real, 5, 7), 0);
    y[0] = ad_select(w->graph, ad_greater(w->graph, c, zero), a, b);
    return variant < 1;
}
static void value_select(const world *w, int variant, double *y) {
    (void)variant;
    for (int i = 0; i < 35; i++) y[i] = data(w, 2)[i] > 0 ? data(w, 0)[i] : data(w, 1)[i];
}

/* The cast itself is not differentiated numerically: see test_casts. */
static int build_cast(world *w, int variant, ad_value *y) {
    ad_value a = world_tensor(w, AD_TYPE(KERN_F32, 3, 7), -2, 2), b = TENSOR(w, 3, 7);
    y[0] = ad_mul(w->graph, ad_cast(w->graph, a, w->real), b);
    return variant < 1;
}
static void value_cast(const world *w, int variant, double *y) {
    (void)variant;
    for (int i = 0; i < 21; i++) y[i] = data(w, 0)[i] * data(w, 1)[i];
}

static const struct {
    int64_t from[3], to[3];
} broadcasts[] = {{{3, 1, 1}, {3, 5, 7}}, {{1, 5, 7}, {3, 5, 7}}, {{3, 1, 7}, {3, 5, 7}},
                  {{1, 1, 1}, {2, 3, 5}}, {{3, 5, 1}, {3, 5, 7}}, {{1, 3, 1}, {5, 3, 1}}};

static int build_broadcast(world *w, int variant, ad_value *y) {
    if (variant >= (int)(sizeof broadcasts / sizeof *broadcasts)) return 0;
    y[0] = ad_broadcast(w->graph, tensor(w, 3, broadcasts[variant].from),
                        ad_type_of(w->real, 3, broadcasts[variant].to));
    return 1;
}
static void value_broadcast(const world *w, int variant, double *y) {
    const int64_t *from = broadcasts[variant].from, *to = broadcasts[variant].to;
    for (int64_t i = 0; i < to[0]; i++)
        for (int64_t j = 0; j < to[1]; j++)
            for (int64_t k = 0; k < to[2]; k++) {
                int64_t at = i % from[0] * from[1] * from[2] + j % from[1] * from[2] + k % from[2];
                *y++ = data(w, 0)[at];
            }
}

static int build_row_sum(world *w, int variant, ad_value *y) {
    static const int64_t dim[][2] = {{5, 7}, {1, 131}, {257, 3}};
    y[0] = variant < 3 ? ad_row_sum(w->graph, tensor(w, 2, dim[variant])) : AD_POISON;
    return variant < 3;
}
static void value_row_sum(const world *w, int variant, double *y) {
    (void)variant;
    int64_t n = ad_last(w->input[0].type);
    for (int64_t i = 0; i < count(w, 0); i++) y[i / n] += data(w, 0)[i];
}

static int build_lead_sum(world *w, int variant, ad_value *y) {
    if (variant >= 4) return 0;
    ad_value a = variant == 3 ? TENSOR(w, 1031, 3, 1) : TENSOR(w, 3, 5, 7);
    y[0] = ad_lead_sum(w->graph, a, variant % 3);
    return 1;
}
static void value_lead_sum(const world *w, int variant, double *y) {
    const int64_t *dim = w->input[0].type.dim;
    for (int64_t i = 0; i < count(w, 0); i++) {
        int64_t first = i / (dim[1] * dim[2]), second = i / dim[2] % dim[1];
        int64_t kept = variant % 3 == 0 ? 0 : variant % 3 == 1 ? first : first * dim[1] + second;
        y[kept * dim[2] + i % dim[2]] += data(w, 0)[i];
    }
}

static int build_row_max(world *w, int variant, ad_value *y) {
    static const int64_t dim[][2] = {{5, 7}, {1, 131}, {13, 1}};
    y[0] = variant < 3 ? ad_row_max(w->graph, tensor(w, 2, dim[variant])) : AD_POISON;
    return variant < 3;
}
static void value_row_max(const world *w, int variant, double *y) {
    (void)variant;
    int64_t n = ad_last(w->input[0].type);
    for (int64_t r = 0; r < count(w, 0) / n; r++) {
        y[r] = data(w, 0)[r * n];
        for (int64_t i = 1; i < n; i++) y[r] = fmax(y[r], data(w, 0)[r * n + i]);
    }
}

static int build_pick(world *w, int variant, ad_value *y) {
    if (variant >= 2) return 0;
    int64_t n = variant ? 1 : 11;
    ad_value a = TENSOR(w, 2, 3, n);
    y[0] = ad_pick(w->graph, a, world_tensor(w, AD_TYPE(KERN_I32, 2, 3, 1), 0, (double)n));
    return 1;
}
static void value_pick(const world *w, int variant, double *y) {
    int64_t n = variant ? 1 : 11;
    for (int64_t r = 0; r < 6; r++) y[r] = data(w, 0)[r * n + (int64_t)data(w, 1)[r]];
}

static int build_unpick(world *w, int variant, ad_value *y) {
    if (variant >= 2) return 0;
    int64_t n = variant ? 1 : 11;
    ad_value a = TENSOR(w, 7, 1);
    y[0] = ad_unpick(w->graph, a, world_tensor(w, AD_TYPE(KERN_I32, 7, 1), 0, (double)n), n);
    return 1;
}
static void value_unpick(const world *w, int variant, double *y) {
    int64_t n = variant ? 1 : 11;
    for (int64_t r = 0; r < 7; r++) y[r * n + (int64_t)data(w, 1)[r]] = data(w, 0)[r];
}

static int build_reshape(world *w, int variant, ad_value *y) {
    ad_value a = ad_exp(w->graph, TENSOR(w, 3, 2, 5));
    y[0] = ad_reshape(w->graph, a, variant ? AD_TYPE(w->real, 30) : AD_TYPE(w->real, 5, 6));
    return variant < 2;
}
static void value_reshape(const world *w, int variant, double *y) {
    (void)variant;
    for (int i = 0; i < 30; i++) y[i] = exp(data(w, 0)[i]);
}

static const int orders_of_axes[][3] = {{0, 2, 1}, {2, 1, 0}, {1, 2, 0}, {1, 0, 2}};

static int build_transpose(world *w, int variant, ad_value *y) {
    if (variant >= 4) return 0;
    y[0] = ad_transpose(w->graph, TENSOR(w, 3, 5, 7), orders_of_axes[variant]);
    return 1;
}
static void value_transpose(const world *w, int variant, double *y) {
    static const int64_t dim[3] = {3, 5, 7}, stride[3] = {35, 7, 1};
    const int *order = orders_of_axes[variant];
    for (int64_t i = 0; i < dim[order[0]]; i++)
        for (int64_t j = 0; j < dim[order[1]]; j++)
            for (int64_t k = 0; k < dim[order[2]]; k++)
                *y++ =
                    data(w, 0)[i * stride[order[0]] + j * stride[order[1]] + k * stride[order[2]]];
}

static int build_slice(world *w, int variant, ad_value *y) {
    if (variant >= 4) return 0;
    ad_value a = variant == 3 ? TENSOR(w, 1, 1, 7) : TENSOR(w, 5, 7, 11);
    y[0] = ad_slice(w->graph, a, variant == 3 ? 2 : variant, 2, 3);
    return 1;
}
static void value_slice(const world *w, int variant, double *y) {
    const int64_t *dim = w->input[0].type.dim;
    for (int64_t i = 0; i < count(w, 0); i++) {
        int64_t at[3] = {i / (dim[1] * dim[2]), i / dim[2] % dim[1], i % dim[2]};
        int64_t on_axis = at[variant == 3 ? 2 : variant];
        if (on_axis >= 2 && on_axis < 5) *y++ = data(w, 0)[i];
    }
}

static int build_pad(world *w, int variant, ad_value *y) {
    if (variant >= 3) return 0;
    y[0] = ad_pad(w->graph, TENSOR(w, 2, 3, 5), variant, 1, 8);
    return 1;
}
static void value_pad(const world *w, int variant, double *y) {
    int64_t to[3] = {2, 3, 5};
    to[variant] = 8;
    for (int64_t i = 0; i < 30; i++) {
        int64_t at[3] = {i / 15, i / 5 % 3, i % 5};
        at[variant]++;
        y[(at[0] * to[1] + at[1]) * to[2] + at[2]] = data(w, 0)[i];
    }
}

/* Along each axis, of sizes 2, 3, 1 there. */
static int build_concat(world *w, int variant, ad_value *y) {
    if (variant >= 3) return 0;
    ad_value part[3];
    for (int i = 0; i < 3; i++) {
        int64_t dim[3] = {2, 5, 3};
        dim[variant] = (int64_t[]){2, 3, 1}[i];
        part[i] = tensor(w, 3, dim);
    }
    y[0] = ad_concat(w->graph, 3, part, variant);
    return 1;
}
static void value_concat(const world *w, int variant, double *y) {
    int64_t dim[3] = {2, 5, 3}, at[3];
    dim[variant] = 6;
    for (at[0] = 0; at[0] < dim[0]; at[0]++)
        for (at[1] = 0; at[1] < dim[1]; at[1]++)
            for (at[2] = 0; at[2] < dim[2]; at[2]++) {
                int64_t along = at[variant], i = along < 2 ? 0 : along < 5 ? 1 : 2;
                int64_t in[3] = {at[0], at[1], at[2]};
                in[variant] -= i == 0 ? 0 : i == 1 ? 2 : 5;
                const int64_t *of = w->input[i].type.dim;
                *y++ = data(w, (int)i)[(in[0] * of[1] + in[1]) * of[2] + in[2]];
            }
}

static int build_gather(world *w, int variant, ad_value *y) {
    ad_value table = TENSOR(w, 5, 3);
    y[0] = ad_gather(w->graph, table, world_tensor(w, AD_TYPE(KERN_I32, 13), 0, 5));
    return variant < 1;
}
static void value_gather(const world *w, int variant, double *y) {
    (void)variant;
    for (int i = 0; i < 39; i++) y[i] = data(w, 0)[(int)data(w, 1)[i / 3] * 3 + i % 3];
}

static int build_scatter_add(world *w, int variant, ad_value *y) {
    ad_value rows = TENSOR(w, 13, 3);
    y[0] = ad_scatter_add(w->graph, rows, world_tensor(w, AD_TYPE(KERN_I32, 13), 0, 5), 5);
    return variant < 1;
}
static void value_scatter_add(const world *w, int variant, double *y) {
    (void)variant;
    for (int i = 0; i < 39; i++) y[(int)data(w, 1)[i / 3] * 3 + i % 3] += data(w, 0)[i];
}

/* Variants: bit 0 and 1 transpose, bit 2 batch. */
static int build_matmul(world *w, int variant, ad_value *y) {
    if (variant >= 8) return 0;
    bool ta = variant & 1, tb = variant & 2;
    int64_t m = 3, n = 5, k = 7, a[3] = {2, ta ? k : m, ta ? m : k},
            b[3] = {2, tb ? n : k, tb ? k : n};
    int skip = variant & 4 ? 0 : 1;
    ad_value left = tensor(w, 3 - skip, a + skip), right = tensor(w, 3 - skip, b + skip);
    y[0] = ad_matmul(w->graph, left, right, ta, tb);
    return 1;
}
static void value_matmul(const world *w, int variant, double *y) {
    bool ta = variant & 1, tb = variant & 2;
    for (int batch = 0; batch < (variant & 4 ? 2 : 1); batch++) {
        const double *a = data(w, 0) + batch * 21, *b = data(w, 1) + batch * 35;
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 5; j++) {
                double sum = 0;
                for (int k = 0; k < 7; k++)
                    sum += a[ta ? k * 3 + i : i * 7 + k] * b[tb ? j * 7 + k : k * 5 + j];
                *y++ = sum;
            }
    }
}

/* Variants of attention: past rows in use of P rows, groups, window. */
static const struct {
    int64_t batch, rows, heads, groups, size, past, used, window;
} attentions[] = {{1, 5, 1, 1, 3, 0, 0, 100}, {2, 5, 2, 2, 3, 0, 0, 3},
                  {1, 7, 4, 2, 2, 0, 0, 4},   {2, 3, 2, 1, 5, 7, 7, 100},
                  {2, 3, 6, 2, 2, 7, 5, 4},   {1, 3, 2, 2, 3, 5, 0, 100},
                  {1, 1, 1, 1, 1, 3, 3, 100}, {1, 11, 3, 1, 2, 13, 11, 6}};

static ad_attention_args attention_args(world *w, int variant) {
    int64_t b = attentions[variant].batch, c = attentions[variant].rows;
    int64_t h = attentions[variant].heads, g = attentions[variant].groups;
    int64_t k = attentions[variant].size, p = attentions[variant].past;
    ad_attention_args args = {.q = TENSOR(w, b, c, h, k),
                              .k = TENSOR(w, b, c, g, k),
                              .v = TENSOR(w, b, c, g, k),
                              .past_k = AD_NONE,
                              .past_v = AD_NONE,
                              .past_rows = AD_NONE,
                              .window = attentions[variant].window,
                              .scale = 0.4};
    if (!p) return args;
    double used = (double)attentions[variant].used;
    args.past_k = TENSOR(w, b, p, g, k);
    args.past_v = TENSOR(w, b, p, g, k);
    args.past_rows = world_tensor(w, AD_TYPE(KERN_I32, 1), used, used + 0.5);
    return args;
}

static int build_attention(world *w, int variant, ad_value *y) {
    if (variant >= (int)(sizeof attentions / sizeof *attentions)) return 0;
    ad_attention_args args = attention_args(w, variant);
    y[0] = ad_attention(w->graph, &args, NULL);
    return 1;
}

/* One output row; keys s < used are past rows. */
static void attend(const world *w, int variant, int64_t b, int64_t t, int64_t h, double *o) {
    int64_t rows = attentions[variant].rows, heads = attentions[variant].heads;
    int64_t groups = attentions[variant].groups, size = attentions[variant].size;
    int64_t used = attentions[variant].used, g = h * groups / heads;
    const double *q = data(w, 0) + ((b * rows + t) * heads + h) * size;
    double total = 0;
    for (int64_t s = 0; s <= used + t; s++) {
        if (used + t - s >= attentions[variant].window) continue;
        int input = s < used ? 3 : 1;
        int64_t row = s < used ? b * attentions[variant].past + s : b * rows + s - used;
        const double *k = data(w, input) + (row * groups + g) * size;
        const double *v = data(w, input + 1) + (row * groups + g) * size;
        double score = 0;
        for (int64_t i = 0; i < size; i++) score += 0.4 * q[i] * k[i];
        total += exp(score);
        for (int64_t i = 0; i < size; i++) o[i] += exp(score) * v[i];
    }
    for (int64_t i = 0; i < size; i++) o[i] /= total;
}

static void value_attention(const world *w, int variant, double *y) {
    for (int64_t b = 0; b < attentions[variant].batch; b++)
        for (int64_t t = 0; t < attentions[variant].rows; t++)
            for (int64_t h = 0; h < attentions[variant].heads; h++) {
                attend(w, variant, b, t, h, y);
                y += attentions[variant].size;
            }
}

/* The gradient of attention by q, k and v (the past is a constant of it), from the forward on. */
static int build_attention_vjp(world *w, int variant, ad_value *y) {
    if (variant >= (int)(sizeof attentions / sizeof *attentions)) return 0;
    ad_attention_args args = attention_args(w, variant);
    ad_value o = ad_attention(w->graph, &args, NULL);
    ad_value ct = world_tensor(w, ad_type_at(w->graph, o), -1, 1);
    ad_vjp(w->graph, 1, &o, &ct, 3, (ad_value[]){args.q, args.k, args.v}, y);
    return 3;
}

static int build_attention_vjp2(world *w, int variant, ad_value *y) {
    ad_value first[3];
    if (!build_attention_vjp(w, variant, first)) return 0;
    ad_value loss = world_contract(w, 3, first);
    ad_value one = ad_fill(w->graph, ad_type_at(w->graph, loss), 1);
    ad_value wrt[3] = {w->input[0].value, w->input[1].value, w->input[2].value};
    ad_vjp(w->graph, 1, &loss, &one, 3, wrt, y);
    return 3;
}

#define CASE(name)                                                                                 \
    { #name, build_##name, value_##name }
static const op_case cases[] = {CASE(input),
                                CASE(fill),
                                {"vary", build_vary, value_input},
                                {"reduce", build_reduce, value_input},
                                {"reduce_max", build_reduce_max, value_input},
                                CASE(select),
                                CASE(cast),
                                CASE(broadcast),
                                CASE(row_sum),
                                CASE(lead_sum),
                                CASE(row_max),
                                CASE(pick),
                                CASE(unpick),
                                CASE(reshape),
                                CASE(transpose),
                                CASE(slice),
                                CASE(pad),
                                CASE(concat),
                                CASE(gather),
                                CASE(scatter_add),
                                CASE(matmul),
                                CASE(attention),
                                {"attention_vjp", build_attention_vjp, NULL},
                                {"attention_vjp2", build_attention_vjp2, NULL}};

#endif
