#include "infer/mlp.h"

enum { NORM, W1, W2, W3, POST_NORM, ROLES };

static const infer_role role[INFER_MLPS][ROLES] = {
    [INFER_MLP] =
        {[NORM] = {.name = "mlp_norm.weight", .begin = infer_draw_one},            /* [D] */
         [W1] = {.name = "mlp.w1", .begin = infer_draw_normal, .product = true},   /* [D, F] */
         [W2] = {.name = "mlp.w2", .begin = infer_draw_normal, .product = true},   /* [F, D] */
         [W3] = {.name = "mlp.w3", .begin = infer_draw_normal, .product = true},   /* [D, F] */
         [POST_NORM] = {.name = "mlp_post_norm.weight", .begin = infer_draw_one}}, /* [D] */
    [INFER_FAST_MLP] = {[NORM] = {.name = "fast_norm.weight", .begin = infer_draw_one},
                        [W1] = {.name = "fast.w1", .begin = infer_draw_normal, .product = true},
                        [W2] = {.name = "fast.w2", .begin = infer_draw_normal, .product = true},
                        [W3] = {.name = "fast.w3", .begin = infer_draw_normal, .product = true},
                        [POST_NORM] = {.name = "fast_post_norm.weight", .begin = infer_draw_one}},
};

void infer_mlp_parameters(infer_parameters *p, const ttt_conf *conf, int block, infer_mlp_kind kind,
                          bool fast) {
    const conf_model *m = &conf->model;
    const infer_role *of = role[kind];
    p->kind = fast ? "fast_mlp" : "mlp";
    if (m->pre_norm) INFER_ADD(p, &of[NORM], block, m->dim);
    infer_cut(INFER_ADD(p, &of[W1], block, m->dim, m->mlp), 1, m->mlp, "model.mlp")->fast = fast;
    infer_cut(INFER_ADD(p, &of[W2], block, m->mlp, m->dim), 0, m->mlp, "model.mlp")->fast = fast;
    infer_cut(INFER_ADD(p, &of[W3], block, m->dim, m->mlp), 1, m->mlp, "model.mlp")->fast = fast;
    if (m->post_norm) INFER_ADD(p, &of[POST_NORM], block, m->dim);
}

ad_value infer_mlp(const infer_context *c, int block, infer_mlp_kind kind, ad_value h) {
    ad_value w[ROLES];
    for (int i = 0; i < ROLES; i++) w[i] = infer_weight(c, block, &role[kind][i]);
    ad_value x = infer_vary(c, infer_norm(c, h, w[NORM]));
    ad_value gate = ad_silu(c->graph, infer_linear(c, x, w[W1]));
    ad_value y = infer_linear(c, ad_mul(c->graph, gate, infer_linear(c, x, w[W3])), w[W2]);
    return ad_add(c->graph, h, infer_norm(c, infer_sum(c, y), w[POST_NORM]));
}
