/* Runs that differ in their seeds alone, what tells such groups apart, and their mean losses. */
#include "launch/page.h"

#include "train/files.h"

#include <stdlib.h>
#include <string.h>

static bool is_in(const char *name, const char *const *names) {
    for (; *names; names++)
        if (!strcmp(name, *names)) return true;
    return false;
}

bool launch_page_ignores(const launch_page_section *section, const conf_option *option) {
    static const char *const ignored[] = {"train.seed",    "train.micro_batch",
                                          "train.threads", "train.memory_limit",
                                          "train.device",  NULL};
    if (section->matched && !strcmp(option->name, "model.mlp")) return true;
    return is_in(option->name, ignored) || !strncmp(option->name, "run.", 4) ||
           !strncmp(option->name, "ranks.", 6);
}

bool launch_page_alike(const launch_page_section *section, int64_t a, int64_t b,
                       const char *const *but) {
    int64_t count;
    const conf_option *options = conf_options(&count);
    for (int64_t i = 0; i < count; i++)
        if (!launch_page_ignores(section, &options[i]) && !is_in(options[i].name, but) &&
            !conf_option_equal(section->run[a].conf, section->run[b].conf, &options[i]))
            return false;
    return true;
}

/* "chunk 64", without the quotes of text. */
static void print_option(FILE *to, const ttt_conf *conf, const conf_option *option,
                         const char *before) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *value = open_memstream(&text, &bytes);
    ASSERT(value);
    conf_option_print(value, conf, option);
    ASSERT(!fclose(value));
    size_t length = strlen(text);
    bool quoted = length > 1 && *text == '"';
    fprintf(to, "%s%s %.*s", before, strchr(option->name, '.') + 1,
            (int)(quoted ? length - 2 : length), quoted ? text + 1 : text);
    free(text);
}

char *launch_page_label(const launch_page_section *section, int64_t run, const int64_t *others,
                        int64_t count, const char *const *but) {
    char *label = NULL;
    size_t bytes = 0;
    int64_t options_count, printed = 0;
    const conf_option *options = conf_options(&options_count);
    const ttt_conf *conf = section->run[run].conf;
    bool *told = kern_array(kern_max(count, 1), sizeof *told); /* apart from that run already */
    FILE *to = open_memstream(&label, &bytes);
    ASSERT(to);
    for (int64_t i = 0; i < options_count; i++) {
        bool tells = false;
        if (launch_page_ignores(section, &options[i]) || is_in(options[i].name, but)) continue;
        if (conf->inner.mode == CONF_INNER_OFF && !strncmp(options[i].name, "inner.", 6) &&
            strcmp(options[i].name, "inner.mode"))
            continue;
        for (int64_t j = 0; j < count; j++) {
            if (told[j] || conf_option_equal(conf, section->run[others[j]].conf, &options[i]))
                continue;
            tells = told[j] = true;
        }
        if (tells) print_option(to, conf, &options[i], printed++ ? ", " : "");
    }
    ASSERT(!fclose(to));
    free(told);
    if (printed) return label;
    free(label);
    return train_text("all points");
}

static infer_losses *copy_of(const infer_losses *from) {
    int64_t columns = from->bins.count + 2;
    infer_losses *to = kern_array(1, sizeof *to);
    *to = *from;
    to->bytes = NULL;
    to->document = kern_array(from->windows, sizeof *to->document);
    to->loss = kern_array(from->windows * columns, sizeof *to->loss);
    memcpy(to->document, from->document, (size_t)from->windows * sizeof *to->document);
    memcpy(to->loss, from->loss, (size_t)(from->windows * columns) * sizeof *to->loss);
    return to;
}

infer_losses *launch_page_losses(const launch_page_section *section, int64_t group,
                                 int64_t context) {
    infer_losses *mean = NULL;
    double seeds = 0;
    for (int64_t i = group; i < section->count; i++) {
        const launch_page_run *run = &section->run[i];
        if (run->group != group || !run->measured) continue;
        const launch_saved_model *model = launch_saved_find(&run->saved, context);
        if (!model || (mean && (mean->windows != model->losses->windows ||
                                mean->bins.count != model->losses->bins.count)))
            continue;
        seeds++;
        if (!mean) {
            mean = copy_of(model->losses);
            continue;
        }
        for (int64_t n = 0; n < mean->windows * (mean->bins.count + 2); n++)
            mean->loss[n] += (model->losses->loss[n] - mean->loss[n]) / seeds;
    }
    return mean;
}
