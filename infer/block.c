#include "infer/block.h"

#include "infer/mlp.h"

/* Whatever the mixer. [D] */
static const infer_role mixer_norm = {.name = "attn_norm.weight", .begin = infer_draw_one};
static const infer_role mixer_post_norm = {.name = "attn_post_norm.weight",
                                           .begin = infer_draw_one};

void infer_block_parameters(infer_parameters *p, const ttt_conf *conf, int block) {
    const conf_model *m = &conf->model;
    const infer_mixer *mixer = infer_mixer_of(conf, block);
    bool fast = conf_fast_block(conf, block), separate = fast && conf->inner.separate_mlp;
    if (mixer) {
        p->kind = mixer->name;
        if (m->pre_norm) INFER_ADD(p, &mixer_norm, block, m->dim);
        mixer->parameters(p, conf, block);
        if (m->post_norm) INFER_ADD(p, &mixer_post_norm, block, m->dim);
    }
    if (separate) infer_mlp_parameters(p, conf, block, INFER_FAST_MLP, true);
    infer_mlp_parameters(p, conf, block, INFER_MLP, fast && !separate);
}

/* h + post(mixer(pre(h))) */
static ad_value mix(const infer_context *c, int block, infer_memory *memory, ad_value h) {
    const infer_mixer *mixer = infer_mixer_of(c->conf, block);
    ad_value x = infer_norm(c, h, infer_weight(c, block, &mixer_norm));
    ad_value y = mixer->build(c, block, memory, x);
    return ad_add(c->graph, h, infer_norm(c, y, infer_weight(c, block, &mixer_post_norm)));
}

ad_value infer_block(const infer_context *c, int block, infer_memory *memory, ad_value h) {
    ad_graph *g = c->graph;
    ad_scope_push(g, "block.%d", block);
    if (infer_mixer_of(c->conf, block)) {
        ad_scope_push(g, "attn");
        h = mix(c, block, memory, h);
        ad_scope_pop(g);
    }
    if (conf_fast_block(c->conf, block) && c->conf->inner.separate_mlp) {
        ad_scope_push(g, "fast");
        h = infer_mlp(c, block, INFER_FAST_MLP, h);
        ad_scope_pop(g);
    }
    ad_scope_push(g, "mlp");
    h = infer_mlp(c, block, INFER_MLP, h);
    ad_scope_pop(g);
    ad_scope_pop(g);
    return h;
}
