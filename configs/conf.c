#include "configs/conf.h"
#include "configs/options.h"
#include "configs/reader.h"

#include <stdlib.h>
#include <string.h>

/* The text of a text option, which may still be NULL while the configuration is being made. */
static const char **text_of(ttt_conf *conf, const conf_option *option) {
    return (const char **)((char *)conf + option->offset);
}

void conf_destroy(ttt_conf *conf) {
    if (!conf) return;
    int64_t count;
    const conf_option *options = conf_options(&count);
    for (int64_t i = 0; i < count; i++)
        if (conf_option_is_text(&options[i])) free((void *)*text_of(conf, &options[i]));
    free((void *)conf->name);
    free(conf);
}

kern_status conf_create(ttt_conf **conf) {
    kern_status status = KERN_OK;
    int64_t count;
    const conf_option *options = conf_options(&count);
    ttt_conf *made = calloc(1, sizeof *made);
    *conf = NULL;
    if (!made || !(made->name = strdup("unnamed")))
        TRY(kern_fail(KERN_ERR_MEMORY, "no memory for a configuration"));
    for (int64_t i = 0; i < count; i++)
        TRY(conf_option_set(made, &options[i], options[i].fallback));
    *conf = made;
    made = NULL;
done:
    conf_destroy(made);
    return status;
}

kern_status conf_copy(ttt_conf **to, const ttt_conf *from) {
    kern_status status = KERN_OK;
    int64_t count;
    const conf_option *options = conf_options(&count);
    ttt_conf *made = malloc(sizeof *made);
    *to = NULL;
    if (!made) return kern_fail(KERN_ERR_MEMORY, "no memory for a configuration");
    *made = *from;
    made->name = strdup(from->name);
    bool complete = made->name != NULL;
    for (int64_t i = 0; i < count; i++) { /* every text, so that none stays shared */
        if (!conf_option_is_text(&options[i])) continue;
        const char **text = text_of(made, &options[i]);
        *text = strdup(*text);
        complete = complete && *text;
    }
    if (!complete) TRY(kern_fail(KERN_ERR_MEMORY, "no memory for a configuration"));
    *to = made;
    made = NULL;
done:
    conf_destroy(made);
    return status;
}

bool conf_equal(const ttt_conf *a, const ttt_conf *b) {
    int64_t count;
    const conf_option *options = conf_options(&count);
    for (int64_t i = 0; i < count; i++)
        if (!conf_option_equal(a, b, &options[i])) return false;
    return !strcmp(a->name, b->name);
}

static bool is_sequence(const char *text) {
    size_t length = strlen(text);
    return length >= 2 && text[0] == '[' && text[length - 1] == ']';
}

/* "[a, b]", as the option would be read in a file. */
static kern_status set_sequence(ttt_conf *conf, const conf_option *option, const char *text) {
    kern_status status = KERN_OK;
    const conf_reader reader = {.conf = conf};
    int section = (int)strcspn(option->name, ".");
    char *file = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&file, &bytes);
    if (!to) return kern_fail(KERN_ERR_MEMORY, "no memory for the text of %s", option->name);
    fprintf(to, "%.*s:\n  %s: %s\n", section, option->name, option->name + section + 1, text);
    fclose(to);
    TRY(conf_check_utf8(text, strlen(text), false)); /* no line ends, so one option */
    TRY(conf_read_text(&reader, file, bytes, option->name));
done:
    free(file);
    if (status == KERN_OK) return status;
    return kern_fail_context(status, "%s=%.200s", option->name, text);
}

kern_status conf_set(ttt_conf *conf, const char *assignment) {
    char name[64];
    const char *equals = strchr(assignment, '=');
    if (!equals)
        return kern_fail(KERN_ERR_CONFIG, "'%.200s' sets nothing; write section.field=value",
                         assignment);
    size_t length = (size_t)(equals - assignment);
    snprintf(name, sizeof name, "%.*s", (int)(length < 64 ? length : 63), assignment);
    const conf_option *option = length < sizeof name ? conf_option_find(name) : NULL;
    if (option && option->type == CONF_LIST && is_sequence(equals + 1))
        return set_sequence(conf, option, equals + 1);
    if (option) return conf_option_set(conf, option, equals + 1);
    const char *nearest = conf_option_nearest(name);
    if (nearest)
        return kern_fail(KERN_ERR_CONFIG, "no option '%s' (in '%.200s'); did you mean %s?", name,
                         assignment, nearest);
    return kern_fail(KERN_ERR_CONFIG,
                     "no option '%s' (in '%.200s'); ttt configs --options lists them", name,
                     assignment);
}

int64_t conf_head_size(const ttt_conf *conf) {
    const conf_model *model = &conf->model;
    return model->head_size ? model->head_size : model->dim / model->heads;
}

int64_t conf_kv_heads(const ttt_conf *conf) {
    return conf->model.kv_heads ? conf->model.kv_heads : conf->model.heads;
}

int64_t conf_total_steps(const ttt_conf *conf) {
    return conf->train.total_steps ? conf->train.total_steps : conf->train.steps;
}

bool conf_suffix_block(const ttt_conf *conf, int64_t block) {
    return block >= conf->model.blocks - conf->inner.suffix && block < conf->model.blocks;
}

bool conf_fast_block(const ttt_conf *conf, int64_t block) {
    if (!conf_suffix_block(conf, block)) return false;
    if (!strcmp(conf->inner.fast_blocks, "suffix")) return true;
    for (const char *at = conf->inner.fast_blocks; *at;) {
        char *end;
        if (strtoll(at, &end, 10) == block && end != at) return true;
        at = strchr(at, ',');
        if (!at) break;
        at++;
    }
    return false;
}

int64_t conf_gdn_heads(const ttt_conf *conf) {
    return conf->gdn.heads ? conf->gdn.heads : conf->model.dim / 256;
}

int64_t conf_kvb_inner(const ttt_conf *conf) {
    return conf->kvb.inner ? conf->kvb.inner : conf->model.dim / 4;
}

char conf_block_letter(const ttt_conf *conf, int64_t block) {
    const conf_model *model = &conf->model;
    size_t letters = strlen(model->pattern);
    if (letters) return model->pattern[(size_t)block % letters];
    if (model->attention == CONF_ATTN_NONE) return 'n';
    bool full = model->attention == CONF_ATTN_FULL ||
                (model->attention == CONF_ATTN_HYBRID && (block + 1) % model->full_every == 0);
    return full ? 'f' : 's';
}

bool conf_block_is_full(const ttt_conf *conf, int64_t block) {
    return conf_block_letter(conf, block) == 'f';
}

bool conf_has_full(const ttt_conf *conf) {
    for (int64_t block = 0; block < conf->model.blocks; block++)
        if (conf_block_is_full(conf, block)) return true;
    return false;
}

int64_t conf_block_window(const ttt_conf *conf, int64_t block) {
    if (conf_block_letter(conf, block) == 'n') return 0;
    return conf_block_is_full(conf, block) ? conf->train.context : conf->model.window;
}

double conf_block_rope_theta(const ttt_conf *conf, int64_t block) {
    const conf_model *model = &conf->model;
    bool own = model->rope_theta_full != 0 && conf_block_is_full(conf, block);
    return own ? model->rope_theta_full : model->rope_theta;
}
