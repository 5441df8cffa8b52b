#include "autodiff/composites.h"

static bool poisoned(ad_value a) {
    return !ad_is_value(a);
}

ad_value ad_scale(ad_graph *graph, ad_value a, double constant) {
    if (poisoned(a)) return AD_POISON;
    return ad_mul(graph, a, ad_fill(graph, ad_type_at(graph, a), constant));
}

ad_value ad_shift(ad_graph *graph, ad_value a, double constant) {
    if (poisoned(a)) return AD_POISON;
    return ad_add(graph, a, ad_fill(graph, ad_type_at(graph, a), constant));
}

ad_value ad_mul_repeat(ad_graph *graph, ad_value a, ad_value b) {
    if (poisoned(a) || poisoned(b)) return AD_POISON;
    return ad_mul(graph, a, ad_broadcast(graph, b, ad_type_at(graph, a)));
}

ad_value ad_linear(ad_graph *graph, ad_value x, ad_value w) {
    if (poisoned(x) || poisoned(w)) return AD_POISON;
    ad_type type = ad_type_at(graph, x);
    int64_t width = ad_last(type);
    ad_value rows = ad_reshape(graph, x, AD_TYPE(type.dtype, ad_elements(type) / width, width));
    ad_value y = ad_matmul(graph, rows, w, false, false);
    if (poisoned(y)) return AD_POISON;
    ad_type result = ad_type_at(graph, y);
    type.dtype = result.dtype;
    type.dim[type.rank - 1] = ad_last(result);
    return ad_reshape(graph, y, type);
}

/* A vector [K] as the last axis of `rank` axes. */
static ad_value as_row(ad_graph *graph, ad_value w, int rank) {
    if (poisoned(w)) return AD_POISON;
    ad_type type = ad_type_at(graph, w);
    int64_t dim[AD_AXES] = {1, 1, 1, 1, 1};
    dim[rank - 1] = ad_elements(type);
    return ad_reshape(graph, w, ad_type_of(type.dtype, rank, dim));
}

ad_value ad_rms_norm(ad_graph *graph, ad_value x, ad_value w, double eps) {
    return ad_rms_norm_split(graph, x, w, 1, eps);
}

ad_value ad_rms_norm_split(ad_graph *graph, ad_value x, ad_value w, int ranks, double eps) {
    if (poisoned(x)) return AD_POISON;
    ad_type type = ad_type_at(graph, x);
    ad_value squares = ad_row_sum(graph, ad_mul(graph, x, x));
    if (ranks > 1) squares = ad_reduce(graph, squares);
    ad_value mean = ad_scale(graph, squares, 1.0 / (double)(ranks * ad_last(type)));
    ad_value root = ad_sqrt(graph, ad_shift(graph, mean, eps));
    if (poisoned(root)) return AD_POISON;
    ad_value r = ad_div(graph, ad_fill(graph, ad_type_at(graph, root), 1), root);
    if (ranks > 1) r = ad_vary(graph, r);
    ad_value y = ad_mul_repeat(graph, x, r);
    return ad_is_none(w) ? y : ad_mul_repeat(graph, y, as_row(graph, w, type.rank));
}

ad_value ad_silu(ad_graph *graph, ad_value x) {
    return ad_mul(graph, x, ad_sigmoid(graph, x));
}

ad_value ad_rope(ad_graph *graph, ad_value x, ad_value cosine, ad_value sine) {
    if (poisoned(x) || poisoned(cosine) || poisoned(sine)) return AD_POISON;
    ad_type type = ad_type_at(graph, x);
    ad_type table = AD_TYPE(type.dtype, 1, type.dim[1], 1, type.dim[3]);
    return ad_add(graph, ad_mul_repeat(graph, x, ad_reshape(graph, cosine, table)),
                  ad_mul_repeat(graph, ad_rotate(graph, x), ad_reshape(graph, sine, table)));
}

ad_value ad_cross_entropy(ad_graph *graph, ad_value logits, ad_value target) {
    if (poisoned(logits)) return AD_POISON;
    ad_type type = ad_type_at(graph, logits);
    ad_value top = ad_stop_gradient(graph, logits);
    top = ad_row_max(graph, top);
    ad_value shifted = ad_sub(graph, logits, ad_broadcast(graph, top, type));
    ad_value sum = ad_row_sum(graph, ad_exp(graph, shifted));
    return ad_sub(graph, ad_log(graph, sum), ad_pick(graph, shifted, target));
}

ad_value ad_cross_entropy_split(ad_graph *graph, ad_value logits, ad_value target, ad_value here) {
    if (poisoned(logits)) return AD_POISON;
    ad_type type = ad_type_at(graph, logits);
    ad_value top = ad_reduce_max(graph, ad_row_max(graph, ad_stop_gradient(graph, logits)));
    top = ad_broadcast(graph, ad_vary(graph, top), type);
    ad_value shifted = ad_sub(graph, logits, top);
    ad_value sum = ad_reduce(graph, ad_row_sum(graph, ad_exp(graph, shifted)));
    ad_value own = ad_mul(graph, ad_pick(graph, shifted, target), here);
    return ad_sub(graph, ad_log(graph, sum), ad_reduce(graph, own));
}

ad_value ad_clip_factor(ad_graph *graph, int n, const ad_value *gradient, double clip,
                        ad_value *norm) {
    ad_value sums[2] = {AD_NONE, AD_NONE}; /* of tensors that are whole on each rank; of parts */
    for (int i = 0; i < n; i++) {
        ad_value squares =
            ad_sum(graph, ad_mul(graph, gradient[i], gradient[i]), 1u << 1 | 1u << 2);
        ad_value *sum = &sums[ad_type_at(graph, squares).varies];
        *sum = ad_is_none(*sum) ? squares : ad_add(graph, *sum, squares);
    }
    ad_value sum = sums[0];
    if (!ad_is_none(sums[1])) {
        ad_value parts = ad_reduce(graph, sums[1]);
        sum = ad_is_none(sum) ? parts : ad_add(graph, sum, parts);
    }
    if (poisoned(sum)) return AD_POISON;
    ad_type type = ad_type_at(graph, sum);
    if (norm) *norm = ad_sqrt(graph, sum);
    ad_value larger = ad_max(graph, sum, ad_fill(graph, type, clip * clip));
    return ad_div(graph, ad_fill(graph, type, clip), ad_sqrt(graph, larger));
}

/* A scalar [1] as a tensor of this shape. */
static ad_value spread(ad_graph *graph, ad_value scalar, ad_type type) {
    ad_type one = type;
    for (int axis = 0; axis < type.rank; axis++) one.dim[axis] = 1;
    return ad_broadcast(graph, ad_reshape(graph, scalar, one), type);
}

void ad_adamw(ad_graph *graph, const ad_adamw_args *args, ad_value p, ad_value g, ad_value m,
              ad_value v, ad_value *next_p, ad_value *next_m, ad_value *next_v) {
    *next_p = *next_m = *next_v = AD_POISON;
    if (poisoned(p)) return;
    ad_type type = ad_type_at(graph, p);
    ad_value clipped = ad_mul(graph, g, spread(graph, args->factor, type));
    *next_m =
        ad_add(graph, ad_scale(graph, m, args->beta1), ad_scale(graph, clipped, 1 - args->beta1));
    *next_v = ad_add(graph, ad_scale(graph, v, args->beta2),
                     ad_scale(graph, ad_mul(graph, clipped, clipped), 1 - args->beta2));
    ad_value mean = ad_mul(graph, *next_m, spread(graph, args->correct1, type));
    ad_value root = ad_sqrt(graph, ad_mul(graph, *next_v, spread(graph, args->correct2, type)));
    ad_value step = ad_add(graph, ad_div(graph, mean, ad_shift(graph, root, args->eps)),
                           ad_scale(graph, p, args->weight_decay));
    *next_p = ad_sub(graph, p, ad_mul(graph, spread(graph, args->rate, type), step));
}
