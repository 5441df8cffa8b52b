#include "train/dataset.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "train/terminal.h"

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

/* Runs are resumed, and configurations used, from another directory than the one that they were
 * written for. */
static kern_status not_found(kern_status status, const char *paths) {
    char here[4096];
    if (*paths == '/' || !getcwd(here, sizeof here)) return status;
    return kern_fail(status, "%s; paths that do not begin with / are looked for from %s",
                     kern_error(), here);
}

/* A mistake in most cases, but whose texts these are is for the user to say. */
static void warn_of_split(const data_source *source, const char *option) {
    bool training = !strcmp(option, "data.train");
    for (int64_t i = 0; i < data_source_documents(source); i++) {
        data_document document = data_source_document(source, i);
        bool held_out = !strcmp(document.split, "validation") || !strcmp(document.split, "test");
        if (training ? !held_out : strcmp(document.split, "train") != 0) continue;
        train_terminal_say(stderr, "warning: %s: %s is of the split %s%s", option, document.path,
                           document.split,
                           training ? "; the model will know what it is evaluated on"
                                    : "; losses on texts that the model learns say nothing of "
                                      "others");
        return;
    }
}

kern_status train_dataset_open(data_source **source, const ttt_conf *conf, const char *option,
                               const char *paths, int64_t length, bool across) {
    kern_status status = KERN_OK;
    data_source *opened = NULL;
    *source = NULL;
    if (!*paths) TRY(kern_fail(KERN_ERR_CONFIG, "it is empty; name shards, as made by ttt pack"));
    status = data_source_open(&opened, paths, length, across);
    if (status == KERN_ERR_FILE || status == KERN_ERR_USAGE) status = not_found(status, paths);
    TRY(status);
    TRY(check(opened, &conf->model, paths));
    warn_of_split(opened, option);
    *source = opened;
    opened = NULL;
done:
    data_source_destroy(opened);
    return status == KERN_OK ? status : kern_fail_context(status, "%s", option);
}
