/* The configuration of a golden file, from the JSON in its metadata (tests/golden/README.md). */
#ifndef TESTS_TRAIN_GOLDEN_CONF_H
#define TESTS_TRAIN_GOLDEN_CONF_H

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "infer/mixer.h"

/* option=value, where value is the object's number, string, true or false under `key`. */
static inline kern_status set(ttt_conf *conf, const char *option, const json_t *object,
                              const char *key) {
    char text[256];
    const json_t *value = json_object_get(object, key);
    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_INTEGER:
        snprintf(text, sizeof text, "%s=%lld", option, (long long)json_integer_value(value));
        break;
    case JSON_REAL: snprintf(text, sizeof text, "%s=%.17g", option, json_real_value(value)); break;
    case JSON_STRING: snprintf(text, sizeof text, "%s=%s", option, json_string_value(value)); break;
    case JSON_TRUE: snprintf(text, sizeof text, "%s=true", option); break;
    case JSON_FALSE: snprintf(text, sizeof text, "%s=false", option); break;
    case JSON_NULL:
        if (!value)
            return kern_fail(KERN_ERR_DATA, "the configuration has no '%s' (%s)", key, option);
        snprintf(text, sizeof text, "%s=off", option);
        break;
    default: return kern_fail(KERN_ERR_DATA, "'%s' is no value (%s)", key, option);
    }
    return conf_set(conf, text);
}

typedef struct {
    const char *option, *key;
} setting;

static inline kern_status set_each(ttt_conf *conf, const json_t *object, const setting *settings,
                                   size_t count, bool optional) {
    kern_status status = KERN_OK;
    for (size_t i = 0; i < count && status == KERN_OK; i++)
        if (!optional || json_object_get(object, settings[i].key))
            status = set(conf, settings[i].option, object, settings[i].key);
    return status;
}

#define SET_EACH(conf, object, settings, optional)                                                 \
    set_each(conf, object, settings, sizeof(settings) / sizeof *(settings), optional)

static inline kern_status set_loops(ttt_conf *conf, const json_t *json, bool inner_loop) {
    kern_status status = KERN_OK;
    const json_t *inner = json_object_get(json, "inner");
    static const setting outer[] = {
        {"train.steps", "steps"},   {"train.warmup_steps", "warmup_steps"},
        {"train.lr", "lr"},         {"train.total_steps", "total_steps"},
        {"train.end_lr", "end_lr"}, {"train.beta1", "beta1"},
        {"train.beta2", "beta2"},   {"train.eps", "eps"},
        {"train.clip", "clip"},     {"train.weight_decay", "weight_decay"}};
    static const setting steps[] = {{"inner.lr", "lr"},
                                    {"inner.clip", "clip"},
                                    {"inner.warmup_steps", "warmup_steps"},
                                    {"inner.warmup_from", "warmup_from"}};
    TRY(SET_EACH(conf, json_object_get(json, "outer"), outer, false));
    TRY(set(conf, "inner.chunk", json, "chunk"));
    TRY(set(conf, "inner.suffix", json, "suffix"));
    TRY(conf_set(conf, inner_loop ? "inner.mode=e2e" : "inner.mode=off"));
    if (inner_loop) {
        TRY(set(conf, "inner.separate_mlp", json, "separate_fast_mlp"));
        TRY(SET_EACH(conf, inner, steps, false));
    } else if (inner && !json_is_null(inner))
        return kern_fail(KERN_ERR_DATA, "'inner' is not null, but this kind has no inner loop");
done:
    return status;
}

/* The mixers that have options of their own. */
static const struct {
    const char *kind, *section;
    char letter;
} golden_mixers[] = {{"mamba2", "mamba", 'm'}, {"gdn", "gdn", 'g'}, {"kvb", "kvb", 'k'}};

static inline kern_status set_options(ttt_conf *conf, const char *section, const json_t *mixer) {
    kern_status status = KERN_OK;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)mixer, key, value) {
        char option[64];
        snprintf(option, sizeof option, "%s.%s", section, key);
        if (strcmp(key, "norm_eps") != 0) TRY(set(conf, option, mixer, key));
    }
done:
    return status;
}

/* The options are those of the kind's mixer, or of the pattern's; where it has several, each has an
 * object under its section's name. */
static inline kern_status set_mixer(ttt_conf *conf, const char *kind, const json_t *mixer) {
    kern_status status = KERN_OK;
    const char *section = "?";
    bool several = false;
    for (size_t i = 0; i < sizeof golden_mixers / sizeof *golden_mixers; i++) {
        const json_t *own = json_object_get(mixer, golden_mixers[i].section);
        if (own) TRY(set_options(conf, golden_mixers[i].section, own));
        several = several || own;
        if (!strcmp(kind, golden_mixers[i].kind) ||
            strchr(conf->model.pattern, golden_mixers[i].letter))
            section = golden_mixers[i].section;
    }
    if (!several) status = set_options(conf, section, mixer);
done:
    return status;
}

/* What has another mixer may have fast MLPs on it. */
static inline kern_status set_kind(ttt_conf *conf, const json_t *json, bool *inner_loop) {
    const char *kind = json_string_value(json_object_get(json, "kind"));
    bool mixer = false;
    for (size_t i = 0; kind && i < sizeof golden_mixers / sizeof *golden_mixers; i++)
        mixer = mixer || !strcmp(kind, golden_mixers[i].kind);
    *inner_loop = kind && (!strcmp(kind, "ttt-e2e") ||
                           (mixer && json_is_object(json_object_get(json, "inner"))));
    if (kind && !strcmp(kind, "full attention")) return conf_set(conf, "model.attention=full");
    if (*inner_loop || mixer || (kind && !strcmp(kind, "sliding-window attention")))
        return conf_set(conf, "model.attention=window");
    return kern_fail(KERN_ERR_DATA,
                     "the configuration's kind '%s' is none of 'ttt-e2e', 'full attention', "
                     "'sliding-window attention', 'mamba2', 'gdn', 'kvb'",
                     kind ? kind : "");
}

static inline kern_status golden_conf(ttt_conf *conf, const json_t *json, bool f64) {
    kern_status status = KERN_OK;
    bool inner_loop;
    static const setting model[] = {{"model.vocab", "vocab"},
                                    {"model.dim", "dim"},
                                    {"model.heads", "heads"},
                                    {"model.mlp", "mlp"},
                                    {"model.blocks", "blocks"},
                                    {"model.window", "window"},
                                    {"model.bos", "bos"},
                                    {"model.rope_theta", "rope_theta"},
                                    {"model.norm_eps", "norm_eps"},
                                    {"train.context", "tokens"},
                                    {"train.batch", "batch"},
                                    {"model.tied", "tied"},
                                    {"model.qk_norm", "qk_norm"},
                                    {"model.pre_norm", "pre_norm"},
                                    {"model.post_norm", "post_norm"}};
    static const setting variants[] = {{"model.kv_heads", "kv_heads"},
                                       {"model.head_size", "head_size"},
                                       {"model.attention", "attention"},
                                       {"model.full_every", "full_every"},
                                       {"model.pattern", "pattern"},
                                       {"inner.fast_blocks", "fast_blocks"},
                                       {"model.rope_theta_full", "rope_theta_full"},
                                       {"inner.mode", "mode"}};
    TRY(set_kind(conf, json, &inner_loop));
    TRY(SET_EACH(conf, json, model, false));
    TRY(conf_set(conf, f64 ? "train.precision=f64" : "train.precision=f32"));
    TRY(set_loops(conf, json, inner_loop));
    TRY(SET_EACH(conf, json, variants, true));
    TRY(set_mixer(conf, json_string_value(json_object_get(json, "kind")),
                  json_object_get(json, "mixer")));
    TRY(conf_check(conf));
    TRY(infer_check(conf));
done:
    return status;
}

/* What inner steps are multiplied by in outer step 0; a session that reads knows no warm-up. */
static inline double first_warmup(const conf_inner_loop *inner) {
    return inner->warmup_steps
               ? inner->warmup_from + (1 - inner->warmup_from) / (double)inner->warmup_steps
               : 1;
}

#endif
