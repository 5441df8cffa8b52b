/* Reading a study's file. */
#include "configs/study.h"

#include "configs/document.h"
#include "configs/node.h"
#include "configs/options.h"
#include "configs/reader.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const char *const conf_measure_name[CONF_MEASURES] = {"loss", "needle", "latency", "decoding"};

/* Options of the commands that measure which a study may give. */
static const char *const measure_options[CONF_MEASURES][10] = {
    {"data", "windows", "context", "place", "by-token", NULL},
    {"text", "lengths", "tasks", "depths", "samples", "answer-tokens", "seed", "ruler", NULL},
    {"contexts", "tokens", NULL},
    {"decode", "judge", "data", "windows", "prompt-tokens", "temperature", "top-p",
     "repetition-penalty", "seed", NULL},
};

/* A file while it is read. `trial` is where settings are tried out. */
typedef struct {
    conf_study *study;
    const char *file;
    ttt_conf *trial;
} source;

static char *copy(const char *text) {
    char *made = strdup(text);
    ASSERT(made);
    return made;
}

static kern_status at_line(const source *from, int line, kern_status status) {
    return status == KERN_OK ? status : kern_fail_context(status, "%s:%d", from->file, line);
}

static void add(conf_settings *to, const char *key, char *value, int line) {
    to->item = kern_grow(to->item, &to->capacity, to->count + 1, sizeof *to->item);
    to->item[to->count++] = (conf_setting){copy(key), value, line};
}

static void clear(conf_settings *settings) {
    for (int64_t i = 0; i < settings->count; i++) {
        free(settings->item[i].key);
        free(settings->item[i].value);
    }
    free(settings->item);
}

const char *conf_setting_of(const conf_settings *settings, const char *key) {
    for (int64_t i = 0; i < settings->count; i++)
        if (!strcmp(settings->item[i].key, key)) return settings->item[i].value;
    return "";
}

/* A scalar, or a sequence as the text of a CONF_LIST; free(). */
static char *text_of(struct fy_node *node) {
    bool list = node && !fy_node_is_alias(node) && fy_node_is_sequence(node);
    return list ? conf_node_list(node) : conf_node_text(node);
}

/* Tells whether an option takes the text; `base` takes any. */
static kern_status try_setting(const source *from, const char *key, const char *value) {
    if (!strcmp(key, "base")) return KERN_OK;
    const conf_option *option = conf_option_find(key);
    if (option) return conf_option_set(from->trial, option, value);
    const char *nearest = conf_option_nearest(key);
    return kern_fail(KERN_ERR_CONFIG, "no option %s; %s%s%s", key,
                     nearest ? "did you mean " : "ttt configs --options lists them",
                     nearest ? nearest : "", nearest ? "?" : "");
}

static kern_status read_setting(conf_settings *to, const source *from, const char *key,
                                struct fy_node *node, int line) {
    char *value = text_of(node);
    if (!value) return at_line(from, line, kern_fail_context(KERN_ERR_CONFIG, "%s", key));
    kern_status status = try_setting(from, key, value);
    add(to, key, value, line);
    return at_line(from, line, status);
}

/* A key read with its value; `context` is what the reader was given. */
typedef kern_status (*read_pair)(void *context, const source *from, const conf_entry *at);

static kern_status read_mapping(const source *from, struct fy_node *mapping, int line,
                                const char *what, read_pair read, void *context) {
    kern_status status = KERN_OK;
    void *cursor = NULL;
    conf_entry next = {.line = line};
    if (!mapping || fy_node_is_alias(mapping) || !fy_node_is_mapping(mapping))
        return at_line(from, line,
                       kern_fail(KERN_ERR_CONFIG, "%s must hold keys with values", what));
    for (;;) {
        TRY(conf_node_next(&next, from->file, mapping, &cursor));
        if (!next.key[0]) break;
        TRY(read(context, from, &next));
    }
done:
    return status;
}

static kern_status read_named_setting(void *context, const source *from, const conf_entry *at) {
    return read_setting(context, from, at->key, at->value, at->line);
}

static kern_status read_section(const source *from, const conf_entry *section) {
    kern_status status = KERN_OK;
    void *cursor = NULL;
    conf_entry next = {.line = section->line};
    if (!section->value || fy_node_is_alias(section->value) || !fy_node_is_mapping(section->value))
        return at_line(
            from, section->line,
            kern_fail(KERN_ERR_CONFIG, "section %s must hold keys with values", section->key));
    for (;;) {
        char name[2 * CONF_KEY_BYTES];
        TRY(conf_node_next(&next, from->file, section->value, &cursor));
        if (!next.key[0]) break;
        snprintf(name, sizeof name, "%s.%s", section->key, next.key);
        TRY(read_setting(&from->study->common, from, name, next.value, next.line));
    }
done:
    return status;
}

static conf_alternative *new_alternative(conf_axis *axis, const char *name) {
    axis->alternative =
        kern_grow(axis->alternative, &axis->capacity, axis->count + 1, sizeof *axis->alternative);
    axis->alternative[axis->count] = (conf_alternative){.name = copy(name)};
    return &axis->alternative[axis->count++];
}

static conf_axis *new_axis(conf_study *study, const char *key) {
    study->axis =
        kern_grow(study->axis, &study->axis_capacity, study->axes + 1, sizeof *study->axis);
    study->axis[study->axes] = (conf_axis){.key = copy(key)};
    return &study->axis[study->axes++];
}

/* NAME: {section.key: value, ...} of an axis of settings that go together. */
static kern_status read_together(void *context, const source *from, const conf_entry *at) {
    conf_alternative *made = new_alternative(context, at->key);
    return read_mapping(from, at->value, at->line, at->key, read_named_setting, &made->settings);
}

/* Values of one option. */
static kern_status read_values(conf_axis *axis, const source *from, const char *key,
                               const conf_entry *at) {
    kern_status status = KERN_OK;
    void *cursor = NULL;
    struct fy_node *item;
    if (!at->value || fy_node_is_alias(at->value) || !fy_node_is_sequence(at->value))
        return at_line(
            from, at->line,
            kern_fail(KERN_ERR_CONFIG, "axis %s must be a list: %s: [A, B]", at->key, at->key));
    while ((item = fy_node_sequence_iterate(at->value, &cursor))) {
        conf_alternative *made = new_alternative(axis, "");
        TRY(read_setting(&made->settings, from, key, item, at->line));
        free(made->name);
        made->name = copy(made->settings.item[0].value);
    }
done:
    return status;
}

static kern_status read_axis(void *context, const source *from, const conf_entry *at) {
    (void)context;
    kern_status status = KERN_OK;
    for (int64_t i = 0; i < from->study->axes; i++)
        if (!strcmp(from->study->axis[i].key, at->key))
            return at_line(from, at->line,
                           kern_fail(KERN_ERR_CONFIG, "axis %s is there twice", at->key));
    bool together = at->value && !fy_node_is_alias(at->value) && fy_node_is_mapping(at->value);
    conf_axis *axis = new_axis(from->study, at->key);
    if (!together) TRY(read_values(axis, from, at->key, at));
    if (together) TRY(read_mapping(from, at->value, at->line, at->key, read_together, axis));
    if (!axis->count)
        TRY(at_line(from, at->line,
                    kern_fail(KERN_ERR_CONFIG, "axis %s has no value, so there would be no point",
                              at->key)));
done:
    return status;
}

static kern_status read_condition(void *context, const source *from, const conf_entry *at) {
    conf_rule *rule = context;
    char *value = text_of(at->value);
    if (!value) return at_line(from, at->line, kern_fail_context(KERN_ERR_CONFIG, "%s", at->key));
    if (!strcmp(at->key, "because")) {
        free(rule->because);
        rule->because = value;
        return KERN_OK;
    }
    add(&rule->conditions, at->key, value, at->line);
    if (conf_option_find(at->key)) return KERN_OK;
    const char *nearest = conf_option_nearest(at->key);
    return at_line(from, at->line,
                   kern_fail(KERN_ERR_CONFIG, "no option %s; %s%s%s", at->key,
                             nearest ? "did you mean " : "ttt configs --options lists them",
                             nearest ? nearest : "", nearest ? "?" : ""));
}

static kern_status read_rules(const source *from, const conf_entry *at) {
    kern_status status = KERN_OK;
    void *cursor = NULL;
    struct fy_node *item;
    conf_study *study = from->study;
    if (!at->value || fy_node_is_alias(at->value) || !fy_node_is_sequence(at->value))
        return at_line(from, at->line,
                       kern_fail(KERN_ERR_CONFIG, "leave_out must be a list of rules"));
    while ((item = fy_node_sequence_iterate(at->value, &cursor))) {
        study->rule =
            kern_grow(study->rule, &study->rule_capacity, study->rules + 1, sizeof *study->rule);
        conf_rule *rule = &study->rule[study->rules++];
        *rule = (conf_rule){.because = NULL};
        TRY(read_mapping(from, item, at->line, "a rule", read_condition, rule));
        if (!rule->because || !rule->conditions.count)
            TRY(at_line(from, at->line,
                        kern_fail(KERN_ERR_CONFIG, "a rule of leave_out needs options with values, "
                                                   "and `because`, the reason")));
    }
done:
    return status;
}

static kern_status read_measure_option(void *context, const source *from, const conf_entry *at) {
    conf_evaluation *to = context;
    const char *const *allowed = measure_options[to->measure];
    int64_t count = 0;
    while (allowed[count] && strcmp(allowed[count], at->key)) count++;
    char *value = text_of(at->value);
    if (value) add(&to->options, at->key, value, at->line);
    if (!value) return at_line(from, at->line, kern_fail_context(KERN_ERR_CONFIG, "%s", at->key));
    if (allowed[count]) return KERN_OK;
    const char *nearest = conf_nearest(at->key, allowed, count);
    return at_line(from, at->line,
                   kern_fail(KERN_ERR_CONFIG, "evaluate: %s has no %s; %s%s%s",
                             conf_measure_name[to->measure], at->key,
                             nearest ? "did you mean " : "it begins with ",
                             nearest ? nearest : allowed[0], nearest ? "?" : ""));
}

static kern_status read_evaluation(void *context, const source *from, const conf_entry *at) {
    (void)context;
    conf_study *study = from->study;
    int measure = 0;
    while (measure < CONF_MEASURES && strcmp(conf_measure_name[measure], at->key)) measure++;
    if (measure == CONF_MEASURES)
        return at_line(from, at->line,
                       kern_fail(KERN_ERR_CONFIG,
                                 "evaluate has no %s; there are loss, needle, latency, decoding",
                                 at->key));
    study->evaluation = kern_grow(study->evaluation, &study->evaluation_capacity,
                                  study->evaluations + 1, sizeof *study->evaluation);
    conf_evaluation *made = &study->evaluation[study->evaluations++];
    *made = (conf_evaluation){.measure = (conf_measure)measure};
    if (conf_node_is_null(at->value)) return KERN_OK;
    return read_mapping(from, at->value, at->line, at->key, read_measure_option, made);
}

static kern_status read_match(const source *from, const conf_entry *at) {
    char *text = conf_node_text(at->value);
    kern_status status = KERN_OK;
    if (!text || strcmp(text, "parameters"))
        status = kern_fail(KERN_ERR_CONFIG, "match: there is `match: parameters` alone");
    from->study->match_parameters = true;
    free(text);
    return at_line(from, at->line, status);
}

static kern_status read_text(char **to, const source *from, const conf_entry *at) {
    free(*to);
    *to = conf_node_text(at->value);
    if (*to) return KERN_OK;
    return at_line(from, at->line, kern_fail_context(KERN_ERR_CONFIG, "%s", at->key));
}

static kern_status unknown_key(const source *from, const conf_entry *at) {
    static const char *const own[] = {"base",  "dir",       "match",   "axes",
                                      "seeds", "leave_out", "evaluate"};
    enum { OWN = sizeof own / sizeof *own };
    conf_sections list = conf_list_sections();
    const char *name[OWN + sizeof list.name / sizeof *list.name];
    int64_t names = 0;
    while (names < OWN) name[names] = own[names], names++;
    for (size_t i = 0; i < list.count; i++) name[names++] = list.name[i];
    const char *nearest = conf_nearest(at->key, name, names);
    return at_line(from, at->line,
                   kern_fail(KERN_ERR_CONFIG, "a study has no %s; %s%s%s", at->key,
                             nearest ? "did you mean " : "docs/studies.md has its keys",
                             nearest ? nearest : "", nearest ? "?" : ""));
}

static kern_status read_key(void *context, const source *from, const conf_entry *at) {
    (void)context;
    if (conf_is_section(at->key)) return read_section(from, at);
    if (!strcmp(at->key, "base")) return read_text(&from->study->base, from, at);
    if (!strcmp(at->key, "dir")) return read_text(&from->study->dir, from, at);
    if (!strcmp(at->key, "match")) return read_match(from, at);
    if (!strcmp(at->key, "axes"))
        return read_mapping(from, at->value, at->line, "axes", read_axis, NULL);
    if (!strcmp(at->key, "seeds"))
        return read_values(new_axis(from->study, "train.seed"), from, "train.seed", at);
    if (!strcmp(at->key, "leave_out")) return read_rules(from, at);
    if (!strcmp(at->key, "evaluate"))
        return read_mapping(from, at->value, at->line, "evaluate", read_evaluation, NULL);
    return unknown_key(from, at);
}

static kern_status read_root(void *context, struct fy_node *root) {
    const source *from = context;
    return read_mapping(from, root, 1, "a study", read_key, NULL);
}

/* The last part of the path without its ending, fit for a folder's name. */
static char *name_of(const char *path) {
    const char *slash = strrchr(path, '/');
    char *name = copy(slash ? slash + 1 : path), *dot = strrchr(name, '.');
    if (dot && dot != name) *dot = 0;
    for (char *at = name; *at; at++)
        if (!isalnum((unsigned char)*at) && !strchr("._-", *at)) *at = '-';
    return name;
}

/* A name's path in the folders of configurations, or the word itself where that is a file. */
static kern_status find_file(char path[PATH_MAX], const char *word) {
    conf_folder folders[CONF_FOLDERS];
    struct stat found;
    size_t length = strlen(word);
    conf_find_folders(folders);
    bool is_path = strchr(word, '/') || (length > 5 && !strcmp(word + length - 5, ".yaml"));
    for (int i = 0; i < CONF_FOLDERS && !is_path; i++)
        if (*folders[i].path &&
            snprintf(path, PATH_MAX, "%s/sweeps/%s.yaml", folders[i].path, word) < PATH_MAX &&
            !stat(path, &found))
            return KERN_OK;
    snprintf(path, PATH_MAX, "%s", word);
    if (is_path || !stat(path, &found)) return KERN_OK;
    return kern_fail(KERN_ERR_CONFIG,
                     "no study '%.100s'; there are those of configs/sweeps, and a path holds a "
                     "slash or ends in .yaml",
                     word);
}

static kern_status check(const conf_study *study, const char *file) {
    bool given = *study->base;
    for (int64_t i = 0; i < study->axes; i++)
        given |= *conf_setting_of(&study->axis[i].alternative[0].settings, "base") != 0;
    if (!study->axes)
        return kern_fail(KERN_ERR_CONFIG,
                         "%s: a study needs axes or seeds, such as axes: {model.window: [64, 128]}",
                         file);
    if (!given || (study->match_parameters && !*study->base))
        return kern_fail(KERN_ERR_CONFIG,
                         "%s: base is missing: the configuration that points differ from", file);
    return KERN_OK;
}

kern_status conf_study_load(conf_study **study, const char *word) {
    kern_status status = KERN_OK;
    char path[PATH_MAX];
    conf_study *made = kern_array(1, sizeof *made);
    source from = {.study = made, .file = path};
    *study = NULL;
    made->base = copy("");
    TRY(find_file(path, word));
    made->name = name_of(path);
    TRY(conf_create(&from.trial));
    TRY(conf_document_load(&made->text, &made->bytes, path));
    TRY(conf_document_read(made->text, made->bytes, path, read_root, &from));
    TRY(check(made, path));
    *study = made;
    made = NULL;
done:
    conf_destroy(from.trial);
    conf_study_destroy(made);
    return status;
}

void conf_study_destroy(conf_study *study) {
    if (!study) return;
    for (int64_t i = 0; i < study->axes; i++) {
        for (int64_t j = 0; j < study->axis[i].count; j++) {
            free(study->axis[i].alternative[j].name);
            clear(&study->axis[i].alternative[j].settings);
        }
        free(study->axis[i].alternative);
        free(study->axis[i].key);
    }
    for (int64_t i = 0; i < study->rules; i++) {
        clear(&study->rule[i].conditions);
        free(study->rule[i].because);
    }
    for (int64_t i = 0; i < study->evaluations; i++) clear(&study->evaluation[i].options);
    clear(&study->common);
    free(study->axis);
    free(study->rule);
    free(study->evaluation);
    free(study->name);
    free(study->dir);
    free(study->base);
    free(study->text);
    free(study);
}
