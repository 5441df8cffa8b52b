/* ttt configs: the shipped configurations, one resolved, or the option table. */
#include "configs/conf.h"
#include "configs/options.h"
#include "infer/mixer.h"
#include "launch/arguments.h"
#include "launch/commands.h"
#include "launch/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In a word; a pattern as it is. */
static const char *attention_of(const ttt_conf *conf) {
    static const char *const names[] = {"window", "full", "hybrid", "none"};
    return *conf->model.pattern ? conf->model.pattern : names[conf->model.attention];
}

static const char *inner_of(const ttt_conf *conf) {
    static const char *const names[] = {"off", "e2e", "first_order", "naive"};
    return names[conf->inner.mode];
}

static kern_status list_one(const char *name, json_t *list) {
    kern_status status = KERN_OK;
    ttt_conf *conf = NULL;
    TRY(infer_load(&conf, name, 0, NULL));
    long long context = conf->train.context, batch = conf->train.batch, steps = conf->train.steps;
    printf("%-18s %-9s %-12s %8lld %9lld %8lld %9s\n", name, attention_of(conf), inner_of(conf),
           context, batch, steps, *conf->train.init_from ? "extension" : "");
    launch_json_add(list, launch_json("{s:o,s:s,s:s,s:I,s:I,s:I}", "name", launch_json_text(name),
                                      "attention", attention_of(conf), "inner", inner_of(conf),
                                      "context", (json_int_t)context, "batch", (json_int_t)batch,
                                      "steps", (json_int_t)steps));
done:
    conf_destroy(conf);
    return status;
}

static kern_status list_all(bool json) {
    kern_status status = KERN_OK;
    char **names = NULL;
    int64_t count = 0;
    json_t *list = json_array();
    TRY(conf_list(&names, &count));
    if (!count)
        TRY(kern_fail(KERN_ERR_FILE, "no configuration found; set TTT_CONFIGS to their folder"));
    printf("%-18s %-9s %-12s %8s %9s %8s\n", "name", "attention", "inner", "context", "sequences",
           "steps");
    for (int64_t i = 0; i < count; i++) TRY(list_one(names[i], list));
    if (json) TRY(launch_print_json(launch_json("{s:O}", "configs", list)));
done:
    json_decref(list);
    conf_list_destroy(names, count);
    return status;
}

/* A value as JSON: numbers and truths as such, the rest as text. */
static json_t *value_of(const ttt_conf *conf, const conf_option *option) {
    const void *at = (const char *)conf + option->offset;
    switch (option->type) {
    case CONF_INTEGER: return json_integer(*(const int64_t *)at);
    case CONF_REAL:
    case CONF_BYTES: return launch_json_number(*(const double *)at);
    case CONF_BOOLEAN: return json_boolean(*(const bool *)at);
    case CONF_SEED: return launch_json_seed(*(const uint64_t *)at);
    case CONF_TEXT:
    case CONF_PATH:
    case CONF_LIST: return json_string(*(const char *const *)at);
    case CONF_CHOICE: {
        int choice;
        memcpy(&choice, at, sizeof choice);
        return json_string(option->choices[choice]);
    }
    }
    ASSERT(false && "a type without a rule");
    return NULL;
}

static kern_status print_json_of(const ttt_conf *conf) {
    int64_t count;
    uint64_t hash;
    const conf_option *options = conf_options(&count);
    kern_status status = conf_hash(&hash, conf);
    if (status != KERN_OK) return status;
    char digits[17];
    snprintf(digits, sizeof digits, "%016llx", (unsigned long long)hash);
    json_t *values = launch_json("{s:o,s:s}", "name", launch_json_text(conf->name), "hash", digits);
    for (int64_t i = 0; i < count; i++)
        launch_json_set(values, options[i].name, value_of(conf, &options[i]));
    return launch_print_json(values);
}

static kern_status show(const char *name, int overrides, char **override, bool json) {
    kern_status status = KERN_OK;
    ttt_conf *conf = NULL;
    char *text = NULL;
    TRY(infer_load(&conf, name, overrides, (const char *const *) override));
    TRY(conf_text(&text, conf));
    fputs(text, stdout);
    if (json) TRY(print_json_of(conf));
done:
    free(text);
    conf_destroy(conf);
    return status;
}

static json_t *option_row(const conf_option *option) {
    json_t *row = launch_json("{s:s,s:s,s:s,s:s,s:s}", "name", option->name, "type",
                              conf_type_name(option->type), "default", option->fallback, "unit",
                              option->unit, "help", option->help);
    char *allowed = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&allowed, &bytes);
    ASSERT(to);
    conf_option_print_allowed(to, option);
    ASSERT(!fclose(to));
    launch_json_set(row, "allowed", json_string(allowed));
    free(allowed);
    return row;
}

static kern_status show_options(bool markdown, bool json) {
    int64_t count;
    const conf_option *options = conf_options(&count);
    if (markdown)
        conf_print_markdown(stdout);
    else
        conf_print_options(stdout);
    if (!json) return KERN_OK;
    json_t *rows = json_array();
    for (int64_t i = 0; i < count; i++) launch_json_add(rows, option_row(&options[i]));
    return launch_print_json(launch_json("{s:o}", "options", rows));
}

int launch_configs(int argc, char **argv) {
    bool options = false, markdown = false, json = false;
    const launch_option accepted[] = {
        {"options", LAUNCH_FLAG, &options, NULL, "print every option with its default and bounds"},
        {"markdown", LAUNCH_FLAG, &markdown, NULL, "with --options: as docs/options.md has it"},
        LAUNCH_JSON(&json),
        {NULL, LAUNCH_FLAG, NULL, NULL, NULL},
    };
    const launch_syntax syntax = {
        "configs",
        "[CONFIG [key=value...]]",
        "Without CONFIG lists the shipped configurations; with it prints the resolved one, which\n"
        "can be saved as a file of one's own. A CONFIG is a name from the list or a path.",
        accepted,
        0,
        -1};
    int code = launch_parse(&syntax, &argc, argv);
    if (code >= 0) return code;
    kern_status status = KERN_OK;
    if (markdown && !options)
        status = kern_fail(KERN_ERR_USAGE, "--markdown goes with --options");
    else if (options && argc > 1)
        status = kern_fail(KERN_ERR_USAGE, "--options takes no CONFIG; leave '%s' out", argv[1]);
    else if (options)
        status = show_options(markdown, json);
    else if (argc > 1)
        status = show(argv[1], argc - 2, argv + 2, json);
    else
        status = list_all(json);
    return launch_report(syntax.command, status);
}
