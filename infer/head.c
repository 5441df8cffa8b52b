/* Before the blocks the embedding, behind them the head. */
#include "autodiff/vjp.h"
#include "infer/block.h"

const infer_role infer_embedding = {
    .name = "embed.weight", .begin = infer_draw_normal, .product = true};
const infer_role infer_final_norm = {.name = "final_norm.weight", .begin = infer_draw_one};
const infer_role infer_lm_head = {
    .name = "lm_head.weight", .begin = infer_draw_normal, .product = true};

void infer_embedding_parameters(infer_parameters *p, const ttt_conf *conf) {
    p->kind = "embedding";
    infer_cut(INFER_ADD(p, &infer_embedding, -1, conf->model.vocab, conf->model.dim), 0,
              conf->model.vocab, "model.vocab")
        ->split.uneven = true;
}

void infer_head_parameters(infer_parameters *p, const ttt_conf *conf) {
    const conf_model *m = &conf->model;
    p->kind = "embedding";
    INFER_ADD(p, &infer_final_norm, -1, m->dim);
    if (!m->tied)
        infer_cut(INFER_ADD(p, &infer_lm_head, -1, m->dim, m->vocab), 1, m->vocab, "model.vocab")
            ->split.uneven = true;
}

ad_value infer_head_logits(const infer_context *c, ad_value weight, ad_value head, ad_value h) {
    ad_value x = infer_vary(c, ad_cast(c->graph, infer_norm(c, h, weight), c->product));
    ad_value logits = ad_matmul(c->graph, x, head, false, c->conf->model.tied);
    if (!ad_is_value(c->missing) || !ad_is_value(logits)) return logits;
    ad_type type = ad_type_at(c->graph, logits);
    return ad_add(c->graph, logits, ad_broadcast(c->graph, c->missing, type));
}

ad_value infer_head_losses(const infer_context *c, ad_value logits, infer_tokens target) {
    if (c->ranks > 1) return ad_cross_entropy_split(c->graph, logits, target.id, target.here);
    return ad_cross_entropy(c->graph, logits, target.id);
}

/* Rows first .. first + count - 1 of the targets. */
static infer_tokens slice_tokens(ad_graph *g, infer_tokens all, int64_t first, int64_t count) {
    return (infer_tokens){ad_slice(g, all.id, 0, first, count),
                          ad_is_none(all.here) ? AD_NONE : ad_slice(g, all.here, 0, first, count)};
}

infer_head_result infer_head(const infer_context *c, ad_value weight, ad_value head, ad_value h,
                             infer_tokens target, ad_value factor) {
    ad_graph *g = c->graph;
    int64_t rows = c->batch * c->rows, vocabulary = kern_divide_up(c->conf->model.vocab, c->ranks);
    int64_t most = c->slice_elements ? c->slice_elements : rows * vocabulary;
    int64_t slices = kern_min(kern_divide_up(rows * vocabulary, most), rows);
    infer_head_result result = {AD_NONE, AD_NONE};
    ad_scope_push(g, "head");
    for (int64_t s = 0; s < slices; s++) {
        int64_t first = rows * s / slices, count = rows * (s + 1) / slices - first;
        ad_value part = ad_slice(g, h, 0, first, count);
        ad_value logits = infer_head_logits(c, weight, head, part);
        ad_value nll = infer_head_losses(c, logits, slice_tokens(g, target, first, count));
        ad_value ct = ad_slice(g, factor, 0, first, count), ct_part = AD_NONE;
        ad_vjp(g, 1, &nll, &ct, 1, &part, &ct_part);
        nll = ad_pad(g, nll, 0, first, rows);
        ct_part = ad_pad(g, ct_part, 0, first, rows);
        result.nll = s ? ad_add(g, result.nll, nll) : nll;
        result.ct_h = s ? ad_add(g, result.ct_h, ct_part) : ct_part;
    }
    ad_scope_pop(g);
    return result;
}
