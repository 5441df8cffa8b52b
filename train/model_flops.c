/* The convention by which training FLOPs are counted (docs/costs.md). */
#include "train/step.h"

/* Pairs of tokens (t, s), s <= t, t - s < window, of a sequence: within chunks, across chunks. */
static void visible_pairs(int64_t tokens, int64_t chunk, int64_t window, double *own,
                          double *past) {
    *own = *past = 0;
    for (int64_t t = 0; t < tokens; t++) {
        int64_t all = t + 1 < window ? t + 1 : window, in_chunk = t % chunk + 1;
        int64_t mine = all < in_chunk ? all : in_chunk;
        *own += (double)mine;
        *past += (double)(all - mine);
    }
}

double train_model_flops(const ttt_conf *conf) {
    const conf_model *m = &conf->model;
    const conf_train *train = &conf->train;
    bool inner = conf->inner.mode == CONF_INNER_E2E || conf->inner.mode == CONF_INNER_FIRST_ORDER;
    double dim = (double)m->dim, weights = 0, attention = 0;
    double queries = (double)(m->heads * conf_head_size(conf));
    double keys = (double)(conf_kv_heads(conf) * conf_head_size(conf));
    int64_t chunk = infer_chunk(conf, train->context);
    bool above_fast = false; /* an inner gradient flows through this block's attention */
    for (int64_t block = 0; block < m->blocks; block++) {
        bool fast = conf_fast_block(conf, block), suffix = inner && conf_suffix_block(conf, block);
        double ordinary = suffix ? 6 : 3, stepped = inner ? 9 : 3;
        if (m->attention != CONF_ATTN_NONE) {
            double own, past;
            visible_pairs(train->context, chunk, conf_block_window(conf, block), &own, &past);
            double pair = 4 * queries; /* scores and values, 2 FLOPs each */
            attention += pair * (above_fast ? 12 * own + 8.5 * past : 3.5 * (own + past));
            weights += ordinary * (2 * dim * queries + 2 * dim * keys);
        }
        double mlp = 3 * dim * (double)m->mlp;
        if (fast && conf->inner.separate_mlp)
            weights += stepped * mlp + ordinary * mlp;
        else
            weights += (fast ? stepped : ordinary) * mlp;
        above_fast |= inner && fast;
    }
    weights += (inner ? 6 : 3) * dim * (double)m->vocab;
    return (double)train->batch * (2 * weights * (double)train->context + attention);
}
