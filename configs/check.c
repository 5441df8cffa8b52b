/* What cannot be, with the reason and what would work. */
#include "configs/conf.h"
#include "configs/options.h"

#include <stdlib.h>
#include <string.h>

typedef long long number; /* what %lld prints */

static kern_status check_bounds(const ttt_conf *conf) {
    int64_t count;
    const conf_option *options = conf_options(&count);
    kern_status status = KERN_OK;
    for (int64_t i = 0; i < count && status == KERN_OK; i++)
        status = conf_option_check(conf, &options[i]);
    return status;
}

/* Which letters there are, infer_check() knows. */
static kern_status check_pattern(const conf_model *model) {
    size_t letters = strlen(model->pattern);
    number blocks = model->blocks;
    if (letters != strspn(model->pattern, "abcdefghijklmnopqrstuvwxyz"))
        return kern_fail(KERN_ERR_CONFIG,
                         "model.pattern '%.200s' is not a row of small letters, one a block, which "
                         "is repeated: \"sssssf\" is five windowed blocks and a full one",
                         model->pattern);
    if (letters > (size_t)blocks)
        return kern_fail(KERN_ERR_CONFIG,
                         "model.pattern '%.200s' has %lld letters for %lld blocks; give at most "
                         "%lld, which are repeated, or more model.blocks",
                         model->pattern, (number)letters, blocks, blocks);
    if (letters && model->attention != CONF_ATTN_WINDOW)
        return kern_fail(KERN_ERR_CONFIG,
                         "model.pattern '%.200s' and model.attention both say what blocks attend "
                         "to; leave model.attention at window, or model.pattern empty",
                         model->pattern);
    return KERN_OK;
}

static bool has_heads(const ttt_conf *conf) {
    for (int64_t block = 0; block < conf->model.blocks; block++)
        if (strchr("sfk", conf_block_letter(conf, block))) return true;
    return false;
}

static kern_status check_heads(const conf_model *model) {
    number dim = model->dim, heads = model->heads, kv_heads = model->kv_heads;
    if (!model->head_size && dim % heads)
        return kern_fail(KERN_ERR_CONFIG,
                         "model.dim %lld is not a multiple of model.heads %lld; make it one, or "
                         "give model.head_size",
                         dim, heads);
    number head_size = model->head_size ? model->head_size : dim / heads;
    if (head_size % 2)
        return kern_fail(KERN_ERR_CONFIG,
                         "the head size %lld is odd, but rotary positions turn pairs; choose "
                         "model.heads or model.head_size such that it is even",
                         head_size);
    if (kv_heads && heads % kv_heads)
        return kern_fail(KERN_ERR_CONFIG,
                         "model.kv_heads %lld does not divide model.heads %lld; each must serve "
                         "equally many query heads",
                         kv_heads, heads);
    return KERN_OK;
}

static kern_status refuse_fast_blocks(const ttt_conf *conf, const char *problem) {
    number blocks = conf->model.blocks, suffix = conf->inner.suffix;
    return kern_fail(KERN_ERR_CONFIG,
                     "inner.fast_blocks '%.200s' %s; write suffix, or rising block numbers from "
                     "%lld to %lld with commas",
                     conf->inner.fast_blocks, problem, blocks - suffix, blocks - 1);
}

static kern_status check_fast_blocks(const ttt_conf *conf) {
    const char *at = conf->inner.fast_blocks;
    if (!strcmp(at, "suffix") || !conf->inner.suffix) return KERN_OK;
    for (int64_t before = -1;; at++) {
        size_t digits = strspn(at, "0123456789");
        if (!digits || digits > 9 || (at[digits] && at[digits] != ','))
            return refuse_fast_blocks(conf, "is not a list of block numbers");
        int64_t block = strtoll(at, NULL, 10);
        if (!conf_suffix_block(conf, block))
            return refuse_fast_blocks(conf, "names a block outside the suffix");
        if (block <= before) return refuse_fast_blocks(conf, "does not rise");
        before = block;
        at += digits;
        if (!*at) return KERN_OK;
    }
}

static kern_status check_inner(const ttt_conf *conf) {
    const conf_inner_loop *inner = &conf->inner;
    number blocks = conf->model.blocks, suffix = inner->suffix;
    number context = conf->train.context, chunk = inner->chunk;
    if (suffix > blocks)
        return kern_fail(KERN_ERR_CONFIG,
                         "inner.suffix %lld is more than model.blocks %lld; at most all of them",
                         suffix, blocks);
    if (inner->mode == CONF_INNER_OFF) return check_fast_blocks(conf);
    if (!suffix)
        return kern_fail(KERN_ERR_CONFIG,
                         "inner.suffix is 0, so there is nothing to step on; set it from 1 to %lld "
                         "(a quarter of the blocks is usual), or inner.mode=off",
                         blocks);
    if (context % chunk)
        return kern_fail(KERN_ERR_CONFIG,
                         "train.context %lld is not a multiple of inner.chunk %lld; %lld and %lld "
                         "are (or inner.mode=off)",
                         context, chunk, context / chunk ? context / chunk * chunk : chunk,
                         (context / chunk + (context / chunk ? 1 : 2)) * chunk);
    return check_fast_blocks(conf);
}

static kern_status check_train(const ttt_conf *conf) {
    const conf_train *train = &conf->train;
    number batch = train->batch, micro = train->micro_batch, total = conf_total_steps(conf);
    number warmup = train->warmup_steps, inner = conf->inner.warmup_steps;
    if (micro && (micro > batch || batch % micro))
        return kern_fail(KERN_ERR_CONFIG,
                         "train.micro_batch %lld does not divide train.batch %lld; 0 lets the "
                         "memory plan choose",
                         micro, batch);
    if (warmup > total)
        return kern_fail(
            KERN_ERR_CONFIG,
            "train.warmup_steps %lld is more than the schedule's %lld steps; lower it, "
            "or give the whole schedule's length as train.total_steps",
            warmup, total);
    if (conf->inner.mode != CONF_INNER_OFF && inner > total)
        return kern_fail(
            KERN_ERR_CONFIG,
            "inner.warmup_steps %lld is more than the schedule's %lld steps; lower it, "
            "or give the whole schedule's length as train.total_steps",
            inner, total);
    return KERN_OK;
}

kern_status conf_check(const ttt_conf *conf) {
    kern_status status = KERN_OK;
    TRY(check_bounds(conf));
    TRY(check_pattern(&conf->model));
    if (has_heads(conf)) TRY(check_heads(&conf->model));
    TRY(check_inner(conf));
    TRY(check_train(conf));
    if (conf->model.bos >= conf->model.vocab)
        TRY(kern_fail(
            KERN_ERR_CONFIG,
            "model.bos %lld is not in the vocabulary of %lld ids; choose a smaller one, or "
            "-1 for none",
            (number)conf->model.bos, (number)conf->model.vocab));
done:
    return status;
}
