/* What reading depends on besides weights: a state goes on with the same options only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "configs/options.h"
#include "infer/session_state.h"

enum { TEXT = 512 };

/* Decided by the session (inner.mode), or of training alone. */
static bool is_free(const char *name) {
    static const char *const free_names[] = {"inner.mode", "inner.warmup_steps",
                                             "inner.warmup_from", "model.init_std"};
    for (size_t i = 0; i < sizeof free_names / sizeof *free_names; i++)
        if (!strcmp(name, free_names[i])) return true;
    static const char *const reading[] = {"model.", "mamba.", "gdn.", "kvb.", "inner."};
    for (size_t i = 0; i < sizeof reading / sizeof *reading; i++)
        if (!strncmp(name, reading[i], strlen(reading[i]))) return false;
    return strcmp(name, "train.precision") != 0;
}

/* "name=value" and what keeps it apart from the next. */
static void print_option(FILE *to, const ttt_conf *conf, const conf_option *option) {
    fprintf(to, " %s=", option->name);
    conf_option_print(to, conf, option);
}

static FILE *open_text(char **text, size_t *bytes) {
    FILE *to = open_memstream(text, bytes);
    ASSERT(to);
    return to;
}

char *infer_session_options(const infer_session *s) {
    char *text;
    size_t bytes;
    ttt_conf *fallback;
    int64_t count;
    const conf_option *options = conf_options(&count);
    FILE *to = open_text(&text, &bytes);
    ASSERT(conf_create(&fallback) == KERN_OK);
    fprintf(to, "inner=%s", infer_session_fast(s) ? "on" : "off");
    for (int64_t i = 0; i < count; i++)
        if (!is_free(options[i].name) && !conf_option_equal(s->spec.conf, fallback, &options[i]))
            print_option(to, s->spec.conf, &options[i]);
    conf_destroy(fallback);
    ASSERT(!fclose(to));
    return text;
}

/* The same as ttt-state-1 has it: enums as numbers, and nothing of options that came later, which
 * must be at their fallbacks then. */
static void describe_first(char text[TEXT], const infer_session *s) {
    const ttt_conf *conf = s->spec.conf;
    const conf_model *m = &conf->model;
    const conf_inner_loop *inner = &conf->inner;
    int used = snprintf(text, TEXT,
                        "inner=%s window=%lld attention=%d full_every=%lld rope=%.17g "
                        "rope_full=%.17g eps=%.17g precision=%d",
                        infer_session_fast(s) ? "on" : "off", (long long)m->window,
                        (int)m->attention, (long long)m->full_every, m->rope_theta,
                        m->rope_theta_full, m->norm_eps, (int)conf->train.precision);
    if (infer_session_fast(s))
        snprintf(text + used, (size_t)(TEXT - used),
                 " suffix=%lld fast=%.100s separate=%d chunk=%lld lr=%.17g clip=%.17g",
                 (long long)inner->suffix, inner->fast_blocks, inner->separate_mlp,
                 (long long)inner->chunk, inner->lr, inner->clip);
}

static bool is_in_first(const char *name) {
    static const char *const names[] = {
        "model.vocab",       "model.dim",          "model.heads",      "model.kv_heads",
        "model.head_size",   "model.mlp",          "model.blocks",     "model.attention",
        "model.full_every",  "model.window",       "model.rope_theta", "model.rope_theta_full",
        "model.qk_norm",     "model.pre_norm",     "model.post_norm",  "model.tied",
        "model.norm_eps",    "model.bos",          "inner.suffix",     "inner.chunk",
        "inner.fast_blocks", "inner.separate_mlp", "inner.lr",         "inner.clip",
        "train.precision"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i])) return true;
    return false;
}

/* Refuses an option that is not at its fallback and that ttt-state-1 does not know. */
static kern_status check_later(const infer_session *s, const char *path) {
    kern_status status = KERN_OK;
    ttt_conf *fallback = NULL;
    int64_t count;
    const conf_option *options = conf_options(&count);
    TRY(conf_create(&fallback));
    for (int64_t i = 0; i < count; i++)
        if (!is_free(options[i].name) && !is_in_first(options[i].name) &&
            !conf_option_equal(s->spec.conf, fallback, &options[i]))
            TRY(kern_fail(KERN_ERR_CONFIG,
                          "%s was read before there was %s, which this session has; read the text "
                          "anew",
                          path, options[i].name));
done:
    conf_destroy(fallback);
    return status;
}

/* Whether the text has the word; or, where it ends with '=', one that begins so. */
static bool has(const char *text, const char *word, size_t length) {
    bool name = word[length - 1] == '=';
    for (const char *at = text; *at; at += strcspn(at, " "), at += *at == ' ')
        if (!strncmp(at, word, length) && (name || !at[length] || at[length] == ' ')) return true;
    return false;
}

static bool has_all(const char *text, const char *words) {
    for (const char *at = words; *at; at += strcspn(at, " "), at += *at == ' ')
        if (!has(text, at, strcspn(at, " "))) return false;
    return true;
}

/* What `text` says otherwise than `other`: its words that the other does not have, and the
 * fallbacks of what only the other says. */
static void print_differences(FILE *to, const char *text, const char *other) {
    for (const char *at = text; *at; at += strcspn(at, " "), at += *at == ' ') {
        size_t length = strcspn(at, " ");
        if (!has(other, at, length)) fprintf(to, " %.*s", (int)length, at);
    }
    for (const char *at = other; *at; at += strcspn(at, " "), at += *at == ' ') {
        size_t length = strcspn(at, "=") + 1;
        if (has(text, at, length)) continue;
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)length - 1, at);
        const conf_option *option = conf_option_find(name);
        fprintf(to, " %s=%s", name, option ? option->fallback : "(its default)");
    }
}

static kern_status refuse_options(const char *path, const char *theirs, const char *ours) {
    bool inner = !strncmp(theirs, "inner=on", strlen("inner=on"));
    bool inner_here = !strncmp(ours, "inner=on", strlen("inner=on"));
    if (inner != inner_here)
        return kern_fail(KERN_ERR_CONFIG,
                         "%s was read %s inner steps, and this session would go on %s; --no-ttt "
                         "must be given for both or for neither",
                         path, inner ? "with" : "without", inner_here ? "with them" : "without");
    char *text;
    size_t bytes;
    FILE *to = open_text(&text, &bytes);
    fprintf(to, "%s was read with", path);
    print_differences(to, theirs, ours);
    fputs(", this session has", to);
    print_differences(to, ours, theirs);
    ASSERT(!fclose(to));
    kern_fail(KERN_ERR_CONFIG, "%s; load it with the same options", text);
    free(text);
    return KERN_ERR_CONFIG;
}

kern_status infer_session_check_options(const infer_session *s, const char *path,
                                        const char *theirs, bool first) {
    kern_status status = KERN_OK;
    char of_first[TEXT], *ours = infer_session_options(s);
    describe_first(of_first, s);
    const char *here = first ? of_first : ours;
    /* Of the first, some say less: their weights and the run's course vouch for the rest. */
    if (first ? !has_all(here, theirs) : strcmp(theirs, here) != 0)
        TRY(refuse_options(path, theirs, here));
    if (first) TRY(check_later(s, path));
done:
    free(ours);
    return status;
}
