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

static bool is_warmup(const conf_option *option) {
    return strstr(option->name, ".warmup_steps") != NULL;
}

/* `warmups`: whether those count, too. */
static bool alike(const launch_page_section *section, int64_t a, int64_t b, const char *const *but,
                  bool warmups) {
    int64_t count;
    const conf_option *options = conf_options(&count);
    for (int64_t i = 0; i < count; i++)
        if (!launch_page_ignores(section, &options[i]) && !is_in(options[i].name, but) &&
            (warmups || !is_warmup(&options[i])) &&
            !conf_option_equal(section->run[a].conf, section->run[b].conf, &options[i]))
            return false;
    return true;
}

bool launch_page_alike(const launch_page_section *section, int64_t a, int64_t b,
                       const char *const *but) {
    return alike(section, a, b, but, true);
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

/* Warm-ups, which mostly follow from the number of steps, are named where nothing else differs. */
static bool names_warmups(const launch_page_section *section, int64_t run, const int64_t *others,
                          int64_t count, const char *const *but) {
    for (int64_t j = 0; j < count; j++)
        if (alike(section, run, others[j], but, false) &&
            !alike(section, run, others[j], but, true))
            return true;
    return false;
}

char *launch_page_label(const launch_page_section *section, int64_t run, const int64_t *others,
                        int64_t count, const char *const *but) {
    char *label = NULL;
    size_t bytes = 0;
    int64_t options_count, printed = 0;
    const conf_option *options = conf_options(&options_count);
    const ttt_conf *conf = section->run[run].conf;
    bool warmups = names_warmups(section, run, others, count, but);
    FILE *to = open_memstream(&label, &bytes);
    ASSERT(to);
    for (int64_t i = 0; i < options_count; i++) {
        bool differs = false;
        if (launch_page_ignores(section, &options[i]) || is_in(options[i].name, but)) continue;
        if (!warmups && is_warmup(&options[i])) continue;
        if (conf->inner.mode == CONF_INNER_OFF && !strncmp(options[i].name, "inner.", 6) &&
            strcmp(options[i].name, "inner.mode"))
            continue;
        for (int64_t j = 0; j < count && !differs; j++)
            differs = !conf_option_equal(conf, section->run[others[j]].conf, &options[i]);
        if (differs) print_option(to, conf, &options[i], printed++ ? ", " : "");
    }
    ASSERT(!fclose(to));
    if (printed) return label;
    free(label);
    return train_text("all points");
}

static infer_losses *copy_of(const infer_losses *from) {
    int64_t columns = from->bins.count + 2;
    infer_losses *to = kern_array(1, sizeof *to);
    *to = *from;
    to->bytes = NULL;
    size_t documents = (size_t)from->windows * sizeof *to->document;
    size_t losses = (size_t)(from->windows * columns) * sizeof *to->loss;
    ASSERT(kern_alloc((void **)&to->document, documents, "documents") == KERN_OK &&
           kern_alloc((void **)&to->loss, losses, "losses") == KERN_OK);
    memcpy(to->document, from->document, documents);
    memcpy(to->loss, from->loss, losses);
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
        if (!model) continue;
        seeds++;
        if (!mean) {
            mean = copy_of(model->losses);
            continue;
        }
        if (mean->windows != model->losses->windows ||
            mean->bins.count != model->losses->bins.count)
            continue;
        for (int64_t n = 0; n < mean->windows * (mean->bins.count + 2); n++)
            mean->loss[n] += (model->losses->loss[n] - mean->loss[n]) / seeds;
    }
    return mean;
}
