#include "configs/document.h"
#include "configs/node.h"
#include "configs/options.h"
#include "configs/reader.h"

#include <stdlib.h>
#include <string.h>

const char *const conf_axis_names[CONF_AXES] = {"size", "method", "stage"};

/* A file while it is read: the reader and the file's name for messages. */
typedef struct {
    const conf_reader *reader;
    const char *file;
} source;

/* Puts "file:line: " before the message that is there. */
static kern_status at_line(const source *from, int line, kern_status status) {
    return kern_fail_context(status, "%s:%d", from->file, line);
}

/* Replaces {size}, {method}, {stage}; the caller frees. */
static char *substitute(const conf_reader *reader, const char *text) {
    char *result = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&result, &bytes);
    if (!to) return NULL;
    while (*text) {
        bool replaced = false;
        for (int axis = 0; axis < CONF_AXES && *text == '{' && !replaced; axis++) {
            size_t length = strlen(conf_axis_names[axis]);
            replaced = reader->axes[axis] && !strncmp(text + 1, conf_axis_names[axis], length) &&
                       text[1 + length] == '}';
            if (!replaced) continue;
            fputs(reader->axes[axis], to);
            text += length + 2;
        }
        if (!replaced) putc(*text++, to);
    }
    fclose(to);
    return result;
}

static kern_status read_option(const source *from, const conf_option *option,
                               struct fy_node *value) {
    const conf_reader *reader = from->reader;
    bool list = option->type == CONF_LIST && value && fy_node_is_sequence(value);
    char *text = list ? conf_node_list(value) : conf_node_text(value);
    if (!text) return kern_fail_context(KERN_ERR_CONFIG, "%s", option->name);
    if (conf_option_is_text(option) && reader->folder) {
        char *whole = substitute(reader, text);
        free(text);
        if (!(text = whole)) return kern_fail(KERN_ERR_MEMORY, "no memory for %s", option->name);
    }
    kern_status status = conf_option_set(reader->conf, option, text);
    free(text);
    return status;
}

static kern_status unknown_key(const char *section, const char *key) {
    char name[2 * CONF_KEY_BYTES];
    const char *elsewhere = conf_option_nearest(key); /* perhaps right but for the section */
    bool exact = elsewhere && !strcmp(strchr(elsewhere, '.') + 1, key);
    snprintf(name, sizeof name, "%s.%s", section, key);
    const char *nearest = exact ? elsewhere : conf_option_nearest(name);
    if (!nearest) nearest = elsewhere;
    if (!nearest)
        return kern_fail(KERN_ERR_CONFIG, "no option %s; ttt configs --options lists them", name);
    return kern_fail(KERN_ERR_CONFIG, "no option %s; did you mean %s?", name, nearest);
}

static kern_status read_section(const source *from, const conf_entry *section) {
    kern_status status = KERN_OK;
    void *cursor = NULL;
    conf_entry next = {.line = section->line};
    if (conf_node_is_null(section->value)) return KERN_OK;
    if (!fy_node_is_mapping(section->value))
        return at_line(
            from, section->line,
            kern_fail(KERN_ERR_CONFIG, "section %s must hold keys with values", section->key));
    for (;;) {
        char name[2 * CONF_KEY_BYTES];
        TRY(conf_node_next(&next, from->file, section->value, &cursor));
        if (!next.key[0]) break;
        snprintf(name, sizeof name, "%s.%s", section->key, next.key);
        const conf_option *option = conf_option_find(name);
        status =
            option ? read_option(from, option, next.value) : unknown_key(section->key, next.key);
        if (status != KERN_OK) TRY(at_line(from, next.line, status));
    }
done:
    return status;
}

static bool has_section(const conf_sections *list, const char *key) {
    for (size_t i = 0; i < list->count; i++)
        if (!strcmp(key, list->name[i])) return true;
    return false;
}

conf_sections conf_list_sections(void) {
    conf_sections list = {.count = 0};
    int64_t count;
    const conf_option *options = conf_options(&count);
    for (int64_t i = 0; i < count; i++) {
        char name[CONF_KEY_BYTES];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(options[i].name, "."), options[i].name);
        if (has_section(&list, name)) continue;
        ASSERT(list.count < sizeof list.name / sizeof *list.name);
        memcpy(list.name[list.count++], name, sizeof name);
    }
    return list;
}

bool conf_is_section(const char *key) {
    conf_sections list = conf_list_sections();
    return has_section(&list, key);
}

static int axis_of(const char *key) {
    int axis = 0;
    while (axis < CONF_AXES && strcmp(key, conf_axis_names[axis])) axis++;
    return axis;
}

static kern_status unknown_top_key(const source *from, const conf_entry *at, bool in_when) {
    conf_sections list = conf_list_sections();
    const char *name[sizeof list.name / sizeof *list.name + CONF_AXES];
    char all[512] = "";
    size_t names = 0;
    for (; names < list.count; names++) {
        name[names] = list.name[names];
        size_t end = strlen(all);
        snprintf(all + end, sizeof all - end, "%s%s", end ? ", " : "", name[names]);
    }
    static const char *const others[CONF_AXES] = {"name", "include", "when"};
    for (int i = 0; i < CONF_AXES; i++) name[names++] = in_when ? conf_axis_names[i] : others[i];
    const char *nearest = conf_nearest(at->key, name, (int64_t)names);
    const char *option = conf_option_nearest(at->key);
    char section[CONF_KEY_BYTES];
    if (option && (!nearest || strchr(at->key, '.'))) { /* a key that belongs into a section */
        const char *dot = strchr(option, '.');
        snprintf(section, sizeof section, "%.*s", (int)(dot - option), option);
        kern_fail(KERN_ERR_CONFIG, "no section %s; did you mean %s: {%s: ...}?", at->key, section,
                  dot + 1);
    } else if (nearest) {
        kern_fail(KERN_ERR_CONFIG, "no section %s; did you mean %s?", at->key, nearest);
    } else {
        kern_fail(KERN_ERR_CONFIG, "no section %s; there are %s", at->key, all);
    }
    return at_line(from, at->line, KERN_ERR_CONFIG);
}

/* Does one name of a condition fit? It must exist, or a slip of the pen would never fit. */
static kern_status condition_fits(bool *fits, const source *from, int axis, struct fy_node *value) {
    const char *actual = from->reader->axes[axis];
    char *text = conf_node_text(value);
    if (!text) return KERN_ERR_CONFIG;
    kern_status status = KERN_OK;
    if (!conf_axis_has(from->reader, axis, text))
        status = kern_fail(KERN_ERR_CONFIG, "no %s '%.60s' (no file of that name)",
                           conf_axis_names[axis], text);
    if (!strcmp(text, actual)) *fits = true;
    free(text);
    return status;
}

/* A condition of a `when` entry: a name or a list of names. *holds turns false where none
 * fits. */
static kern_status read_condition(bool *holds, const source *from, int axis, const conf_entry *at) {
    kern_status status = KERN_OK;
    bool fits = false;
    if (at->value && fy_node_is_sequence(at->value)) {
        void *cursor = NULL;
        struct fy_node *item;
        while (status == KERN_OK && (item = fy_node_sequence_iterate(at->value, &cursor)))
            status = condition_fits(&fits, from, axis, item);
    } else {
        status = condition_fits(&fits, from, axis, at->value);
    }
    if (status != KERN_OK) {
        kern_fail_context(status, "condition %s", at->key);
        return at_line(from, at->line, status);
    }
    *holds = *holds && fits;
    return KERN_OK;
}

/* Whether all conditions of the entry hold. */
static kern_status entry_holds(bool *holds, const source *from, int line, struct fy_node *mapping) {
    kern_status status = KERN_OK;
    void *cursor = NULL;
    conf_entry next = {.line = line};
    *holds = true;
    for (;;) {
        TRY(conf_node_next(&next, from->file, mapping, &cursor));
        if (!next.key[0]) break;
        int axis = axis_of(next.key);
        if (axis < CONF_AXES)
            TRY(read_condition(holds, from, axis, &next));
        else if (!conf_is_section(next.key))
            TRY(unknown_top_key(from, &next, true));
    }
done:
    return status;
}

static kern_status read_sections(const source *from, int line, struct fy_node *mapping) {
    kern_status status = KERN_OK;
    void *cursor = NULL;
    conf_entry next = {.line = line};
    for (;;) {
        TRY(conf_node_next(&next, from->file, mapping, &cursor));
        if (!next.key[0]) break;
        if (conf_is_section(next.key)) TRY(read_section(from, &next));
    }
done:
    return status;
}

/* One entry of `when`. Where it does not hold it is read into a copy all the same, so that its
 * mistakes do not wait for the day on which it does. */
static kern_status read_when_entry(const source *from, int line, struct fy_node *item) {
    kern_status status = KERN_OK;
    conf_reader aside = *from->reader;
    source trial = {&aside, from->file};
    bool holds;
    aside.conf = NULL;
    if (!fy_node_is_mapping(item))
        TRY(at_line(
            from, line,
            kern_fail(KERN_ERR_CONFIG, "an entry of when must hold conditions and sections")));
    TRY(entry_holds(&holds, from, line, item));
    if (holds) {
        TRY(read_sections(from, line, item));
    } else {
        TRY(conf_copy(&aside.conf, from->reader->conf));
        TRY(read_sections(&trial, line, item));
    }
done:
    conf_destroy(aside.conf);
    return status;
}

static kern_status read_when(const source *from, const conf_entry *when) {
    kern_status status = KERN_OK;
    void *cursor = NULL;
    struct fy_node *item;
    if (!from->reader->folder)
        return at_line(from, when->line,
                       kern_fail(KERN_ERR_CONFIG, "when needs a configuration composed of size, "
                                                  "method and stage; set the values directly"));
    if (!when->value || !fy_node_is_sequence(when->value))
        return at_line(from, when->line,
                       kern_fail(KERN_ERR_CONFIG, "when must be a list of entries"));
    while ((item = fy_node_sequence_iterate(when->value, &cursor)))
        TRY(read_when_entry(from, when->line, item));
done:
    return status;
}

static kern_status read_include_item(const source *from, int line, struct fy_node *item) {
    char *what = conf_node_text(item);
    kern_status status = what ? conf_read_include(from->reader, what, from->file) : KERN_ERR_CONFIG;
    free(what);
    if (status != KERN_OK) {
        kern_fail_context(status, "include");
        return at_line(from, line, status);
    }
    return KERN_OK;
}

static kern_status read_include(const source *from, const conf_entry *include) {
    kern_status status = KERN_OK;
    void *cursor = NULL;
    struct fy_node *item;
    if (!include->value || !fy_node_is_sequence(include->value))
        return read_include_item(from, include->line, include->value);
    while ((item = fy_node_sequence_iterate(include->value, &cursor)))
        TRY(read_include_item(from, include->line, item));
done:
    return status;
}

static kern_status read_name(const source *from, const conf_entry *name) {
    char *text = conf_node_text(name->value);
    kern_status status = text ? conf_rename(from->reader->conf, text) : KERN_ERR_CONFIG;
    free(text);
    return status == KERN_OK ? KERN_OK : at_line(from, name->line, status);
}

static kern_status read_root(const source *from, struct fy_node *root) {
    kern_status status = KERN_OK;
    void *cursor = NULL;
    conf_entry next = {.line = 1}, include = {.line = 0}, name = include, when = include;
    if (conf_node_is_null(root)) return KERN_OK; /* an empty file: all defaults */
    if (!fy_node_is_mapping(root))
        return at_line(from, 1, kern_fail(KERN_ERR_CONFIG, "the file must hold sections"));
    for (;;) {
        TRY(conf_node_next(&next, from->file, root, &cursor));
        if (!next.key[0]) break;
        if (!strcmp(next.key, "include"))
            include = next;
        else if (!strcmp(next.key, "name"))
            name = next;
        else if (!strcmp(next.key, "when"))
            when = next;
        else if (!conf_is_section(next.key))
            TRY(unknown_top_key(from, &next, false));
    }
    if (include.line) TRY(read_include(from, &include));
    if (name.line && !from->reader->depth)
        TRY(read_name(from, &name)); /* the includer's name counts */
    TRY(read_sections(from, 1, root));
    if (when.line) TRY(read_when(from, &when));
done:
    return status;
}

static kern_status read_document(void *context, struct fy_node *root) {
    return read_root(context, root);
}

kern_status conf_read_text(const conf_reader *reader, const char *text, size_t bytes,
                           const char *file) {
    source from = {reader, file};
    return conf_document_read(text, bytes, file, read_document, &from);
}
