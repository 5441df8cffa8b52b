#include "train/dataset.h"

static kern_status check(const data_source *source, const conf_model *model, const char *paths) {
    int64_t vocabulary = data_source_vocabulary(source);
    if (vocabulary > model->vocab)
        return kern_fail(
            KERN_ERR_CONFIG,
            "%s has a vocabulary of %lld ids and the model one of %lld; set model.vocab to at "
            "least that, or pack the texts with the model's vocabulary",
            paths, (long long)vocabulary, (long long)model->vocab);
    if (data_source_bos(source) != model->bos)
        return kern_fail(KERN_ERR_CONFIG,
                         "%s begins its documents with token %d, but model.bos is %lld; set "
                         "model.bos to the one of the shards",
                         paths, (int)data_source_bos(source), (long long)model->bos);
    return KERN_OK;
}

kern_status train_dataset_open(data_source **source, const ttt_conf *conf, const char *option,
                               const char *paths, bool across) {
    kern_status status = KERN_OK;
    data_source *opened = NULL;
    *source = NULL;
    if (!*paths) TRY(kern_fail(KERN_ERR_CONFIG, "it is empty; name shards, as made by ttt pack"));
    TRY(data_source_open(&opened, paths, conf->train.context, across));
    TRY(check(opened, &conf->model, paths));
    *source = opened;
    opened = NULL;
done:
    data_source_destroy(opened);
    return status == KERN_OK ? status : kern_fail_context(status, "%s", option);
}
