/* Random graphs over the op table, seeded: chains, products, movement, gradients of them and what
 * is built on gradients. Values stay finite. */
#ifndef TESTS_AUTODIFF_RANDOM_GRAPH_H
#define TESTS_AUTODIFF_RANDOM_GRAPH_H

#include "tests/autodiff/world.h"

enum { RANDOM_POOL = 64 };

typedef struct {
    world *w;
    ad_value pool[RANDOM_POOL]; /* floating values */
    int values;
} random_graph;

static inline ad_value random_member(random_graph *at) {
    return at->pool[world_below(at->w, at->values)];
}

static inline void random_keep(random_graph *at, ad_value value) {
    if (!ad_is_value(value)) return;
    if (at->values < RANDOM_POOL)
        at->pool[at->values++] = value;
    else
        at->pool[world_below(at->w, RANDOM_POOL)] = value;
}

/* Of the same shape as `like`, where the pool has one other. */
static inline ad_value random_like(random_graph *at, ad_value like) {
    ad_type type = ad_type_at(at->w->graph, like);
    for (int tries = 0; tries < 30; tries++) {
        ad_value value = random_member(at);
        if (ad_type_same(type, ad_type_at(at->w->graph, value))) return value;
    }
    return world_tensor(at->w, type, -2, 2);
}

/* With values in [low, high]. */
static inline ad_value random_tame(ad_graph *graph, ad_value a, double low, double high) {
    return ad_shift(graph, ad_scale(graph, ad_sigmoid(graph, a), high - low), low);
}

typedef struct {
    int op;
    ad_value (*one)(ad_graph *graph, ad_value a);
    ad_value (*two)(ad_graph *graph, ad_value a, ad_value b);
} random_row;

static inline ad_value random_elementwise(random_graph *at) {
#define RANDOM_UNARY(name) {AD_OP_##name, ad_##name, NULL},
#define RANDOM_BINARY(name) {AD_OP_##name, NULL, ad_##name},
#define RANDOM_OTHER(name)
    static const random_row rows[] = {AD_OP_TABLE(RANDOM_UNARY, RANDOM_BINARY, RANDOM_OTHER)};
    const random_row *row = &rows[world_below(at->w, sizeof rows / sizeof *rows)];
    const ad_op_def *op = ad_op_definition(row->op);
    ad_graph *graph = at->w->graph;
    ad_value a = random_member(at), b = row->two ? random_like(at, a) : AD_NONE;
    if (row->op == AD_OP_rotate && ad_last(ad_type_at(graph, a)) % 2) return AD_NONE;
    bool raw = row->op == AD_OP_add || row->op == AD_OP_sub || row->op == AD_OP_neg;
    bool given = op->low != 0 || op->high != 0;
    double low = given ? op->low : -2, high = given ? op->high : 2;
    if (!raw) a = random_tame(graph, a, low, high);
    if (row->two && !raw && (given || world_below(at->w, 2))) b = random_tame(graph, b, low, high);
    return row->one ? row->one(graph, a) : row->two(graph, a, b);
}

/* Products: of two of the pool that fit, or with a new matrix, sometimes added to each other. */
static inline ad_value random_product(random_graph *at) {
    ad_graph *graph = at->w->graph;
    ad_value a = random_member(at);
    ad_type type = ad_type_at(graph, a);
    if (world_below(at->w, 3) == 0) return ad_matmul(graph, a, random_like(at, a), true, false);
    if (world_below(at->w, 2)) {
        ad_value left = ad_matmul(graph, a, random_like(at, a), false, true);
        ad_value right = ad_matmul(graph, random_like(at, a), a, false, true);
        return ad_add(graph, left, right);
    }
    bool transpose = world_below(at->w, 2);
    int64_t k = ad_last(type), n = type.dim[type.rank - 2];
    ad_type weight = type;
    weight.dim[type.rank - 2] = transpose ? n : k;
    weight.dim[type.rank - 1] = transpose ? k : n;
    return ad_matmul(graph, a, world_tensor(at->w, weight, -0.5, 0.5), false, transpose);
}

static inline ad_value random_movement(random_graph *at) {
    ad_graph *graph = at->w->graph;
    ad_value a = random_member(at), chosen;
    ad_type type = ad_type_at(graph, a), index = type;
    int rank = type.rank, axis = world_below(at->w, rank);
    int64_t dim = type.dim[axis], last = ad_last(type);
    int order[AD_AXES] = {0, 1, 2, 3, 4};
    order[0] = axis;
    order[axis] = 0;
    switch (world_below(at->w, 8)) {
    case 0: return ad_transpose(graph, a, order);
    case 1: return dim > 1 ? ad_slice(graph, a, axis, dim / 2, dim - dim / 2) : AD_NONE;
    case 2: return dim < 6 ? ad_pad(graph, a, axis, 1, dim + 2) : AD_NONE;
    case 3: /* the middle axes as one, and back; sums and repeats on the way */
        a = ad_reshape(graph, a, AD_TYPE(type.dtype, ad_elements(type) / last, last));
        return ad_reshape(graph, ad_exp(graph, random_tame(graph, a, -1, 1)), type);
    case 4:
        return ad_broadcast(graph, ad_sum(graph, a, (unsigned)world_below(at->w, 1 << rank)), type);
    case 5: return ad_broadcast(graph, ad_row_max(graph, ad_stop_gradient(graph, a)), type);
    case 6:
        index.dtype = KERN_I32;
        index.dim[rank - 1] = 1;
        chosen = world_tensor(at->w, index, 0, (double)last);
        return ad_unpick(graph, ad_pick(graph, a, chosen), chosen, last);
    default:
        a = ad_cast(graph, a, type.dtype == KERN_F32 ? KERN_BF16 : KERN_F32);
        return ad_cast(graph, a, type.dtype);
    }
}

static inline ad_value random_rows(random_graph *at) {
    ad_graph *graph = at->w->graph;
    ad_value a = random_member(at);
    ad_type type = ad_type_at(graph, a);
    a = ad_reshape(graph, a, AD_TYPE(type.dtype, ad_elements(type) / ad_last(type), ad_last(type)));
    int64_t rows = ad_type_at(graph, a).dim[0];
    ad_value index = world_tensor(at->w, AD_TYPE(KERN_I32, rows), 0, (double)rows);
    a = world_below(at->w, 2) ? ad_gather(graph, a, index) : ad_scatter_add(graph, a, index, rows);
    return ad_reshape(graph, a, type);
}

/* `steps` operations on a few inputs, then a gradient of some of it, used again, and so on. */
static inline void random_build(random_graph *at, world *w, int steps) {
    memset(at, 0, sizeof *at);
    at->w = w;
    random_keep(at, world_tensor(w, AD_TYPE(w->real, 3, 4), -2, 2));
    random_keep(at, world_tensor(w, AD_TYPE(w->real, 2, 3, 5), -2, 2));
    random_keep(at, world_tensor(w, AD_TYPE(w->real, 2, 3, 5), -2, 2));
    random_keep(at, world_tensor(w, AD_TYPE(w->real, 7, 1), -2, 2));
    random_keep(at, ad_fill(w->graph, AD_TYPE(w->real, 2, 3, 5), 0.5));
    for (int step = 0; step < steps; step++) {
        int kind = world_below(w, 10);
        if (w->inputs > WORLD_INPUTS - 8) break; /* everything below may need new inputs */
        random_keep(at, kind < 5    ? random_elementwise(at)
                        : kind < 7  ? random_movement(at)
                        : kind == 7 ? random_rows(at)
                                    : random_product(at));
        if (step % (steps / 3) != steps / 3 - 1) continue;
        ad_value chosen[2] = {random_member(at), random_member(at)}, gradient[WORLD_INPUTS];
        ad_value loss = world_contract(w, 2, chosen);
        int inputs = w->inputs;
        world_gradient(w, loss, gradient);
        for (int i = 0; i < inputs; i++)
            if (ad_is_value(gradient[i]) && world_below(w, 2)) random_keep(at, gradient[i]);
    }
    if (ad_graph_status(w->graph) != KERN_OK) fail_msg("%s", kern_error());
    ad_check(w->graph);
}

#endif
