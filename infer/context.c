#include "infer/context.h"

#include <math.h>
#include <stdlib.h>

#include "infer/mixer.h"

kern_dtype infer_real(const ttt_conf *conf) {
    return conf->train.precision == CONF_F64 ? KERN_F64 : KERN_F32;
}

kern_dtype infer_product(const ttt_conf *conf) {
    return conf->train.precision == CONF_BF16 ? KERN_BF16 : infer_real(conf);
}

static double rope_theta(const ttt_conf *conf, int kind) {
    for (int64_t block = 0; block < conf->model.blocks; block++)
        if (conf_block_is_full(conf, block) == (kind == INFER_FULL))
            return conf_block_rope_theta(conf, block);
    return 1;
}

void infer_rope_table(void *cosine, void *sine, const ttt_conf *conf, int kind, int64_t first,
                      int64_t rows) {
    int64_t size = conf_head_size(conf);
    double theta = rope_theta(conf, kind), *frequency = kern_array(size, sizeof *frequency);
    kern_dtype real = infer_real(conf);
    for (int64_t i = 0; i < size; i += 2) frequency[i] = pow(theta, -(double)i / (double)size);
#pragma omp parallel for schedule(static) if (rows >= 64)
    for (int64_t t = 0; t < rows; t++)
        for (int64_t i = 0; i < size; i += 2) {
            double angle = (double)(first + t) * frequency[i], c = cos(angle), s = sin(angle);
            for (int64_t at = t * size + i; at < t * size + i + 2; at++) {
                kern_real_put(cosine, real, at, c);
                kern_real_put(sine, real, at, s);
            }
        }
    free(frequency);
}

void infer_context_inputs(infer_context *c, int first, int last, int64_t tokens) {
    int64_t size = conf_head_size(c->conf);
    for (int kind = 0; kind < INFER_KINDS; kind++)
        c->cosine[kind] = c->sine[kind] = c->past_rows[kind] = AD_NONE;
    for (int block = first; block < last; block++) {
        int kind = conf_block_is_full(c->conf, block);
        const infer_mixer *mixer = infer_mixer_of(c->conf, block);
        if (!mixer || !mixer->attends || ad_is_value(c->cosine[kind])) continue;
        const char *name = kind == INFER_FULL ? "full" : "window";
        int64_t window = kind == INFER_FULL ? tokens : conf_block_window(c->conf, block);
        ad_type table = infer_placed(c, AD_TYPE(c->real, c->rows, size), INFER_SUMMED);
        c->cosine[kind] = ad_input(c->graph, table, "rope.cos.%s", name);
        c->sine[kind] = ad_input(c->graph, table, "rope.sin.%s", name);
        c->past_capacity[kind] = kern_min(window - 1, tokens - c->rows);
        if (c->past_capacity[kind] > 0)
            c->past_rows[kind] = ad_scalar(c->graph, KERN_I32, "past_rows.%s", name);
    }
}

ad_value infer_weight(const infer_context *c, int block, const infer_role *role) {
    const infer_parameter *p = infer_parameter_of(c->parameters, role, block);
    return p ? c->weight[p - c->parameters->item] : AD_NONE;
}

ad_value infer_weight_shared(const infer_context *c, int block, const infer_role *role) {
    const infer_parameter *p = infer_parameter_of(c->parameters, role, block);
    bool two = p && p->held == INFER_CUT_RANGES;
    return two ? c->weight[p + 1 - c->parameters->item] : AD_NONE;
}

ad_value infer_valid(const infer_context *c) {
    if (ad_is_value(c->valid)) return c->valid;
    return ad_fill(c->graph, AD_TYPE(c->real, c->batch * c->rows, 1), 1);
}

ad_value infer_vary(const infer_context *c, ad_value x) {
    return c->ranks > 1 ? ad_vary(c->graph, x) : x;
}

ad_value infer_sum(const infer_context *c, ad_value x) {
    return c->ranks > 1 ? ad_reduce(c->graph, x) : x;
}

ad_type infer_placed(const infer_context *c, ad_type type, infer_placing placing) {
    return c->ranks > 1 && placing != INFER_SAME ? ad_varying(type) : type;
}

ad_value infer_norm(const infer_context *c, ad_value x, ad_value weight) {
    return ad_is_none(weight) ? x : ad_rms_norm(c->graph, x, weight, c->conf->model.norm_eps);
}

ad_value infer_linear(const infer_context *c, ad_value x, ad_value w) {
    ad_value rounded = ad_cast(c->graph, x, c->product);
    if (!ad_is_value(rounded) || !ad_is_value(w)) return AD_POISON;
    ad_type weight = ad_type_at(c->graph, w);
    if (weight.rank == 2) return ad_linear(c->graph, rounded, w);
    ad_type items = AD_TYPE(c->product, c->batch, c->rows, weight.dim[1]);
    ad_value y = ad_matmul(c->graph, ad_reshape(c->graph, rounded, items),
                           ad_cast(c->graph, w, c->product), false, false);
    return ad_reshape(c->graph, y, AD_TYPE(c->real, c->batch * c->rows, weight.dim[2]));
}
