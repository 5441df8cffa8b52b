/* The convention by which training FLOPs are counted (docs/costs.md). */
#include "infer/block.h"
#include "train/step.h"

double train_model_flops(const ttt_conf *conf) {
    const conf_train *train = &conf->train;
    bool inner = conf->inner.mode == CONF_INNER_E2E || conf->inner.mode == CONF_INNER_FIRST_ORDER;
    infer_parameters *parameters = infer_parameters_create(conf);
    int64_t chunk = infer_chunk(conf, train->context);
    double weights = 0, mixers = 0;
    for (int i = 0; i < parameters->count; i++) {
        const infer_parameter *p = &parameters->item[i];
        bool suffix = p->block < 0 || conf_suffix_block(conf, p->block); /* the head's, too */
        double passes = inner && p->fast ? 9 : inner && suffix ? 6 : 3;
        bool looked_up = p->role == &infer_embedding && !conf->model.tied;
        if (p->role->product && !looked_up) weights += passes * (double)p->elements;
    }
    infer_parameters_destroy(parameters);
    bool above_fast = false; /* an inner gradient flows through this block's mixer */
    for (int block = 0; block < conf->model.blocks; block++) {
        const infer_mixer *mixer = infer_mixer_of(conf, block);
        if (mixer) mixers += mixer->flops(conf, block, chunk, above_fast);
        above_fast |= inner && conf_fast_block(conf, block);
    }
    return (double)train->batch * (2 * weights * (double)train->context + mixers);
}
