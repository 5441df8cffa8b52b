#include "configs/node.h"

#include "configs/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As YAML 1.2's core schema writes nothing. */
static bool is_null(const char *text, size_t bytes) {
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    for (size_t i = 0; i < sizeof nulls / sizeof *nulls; i++)
        if (bytes == strlen(nulls[i]) && !memcmp(text, nulls[i], bytes)) return true;
    return false;
}

char *conf_node_text(struct fy_node *node) {
    size_t bytes = 0;
    const char *text;
    const char *found = NULL;
    /* Aliases first: libfyaml 0.8's fy_node_is_null reads memory that nobody wrote in them. */
    if (node && fy_node_is_alias(node))
        found = "an alias (write the value itself)";
    else if (!node || fy_node_is_null(node))
        found = "no value (empty text is written \"\")";
    else if (fy_node_is_mapping(node))
        found = "a mapping where one value belongs";
    else if (fy_node_is_sequence(node))
        found = "a list where one value belongs";
    else if (fy_node_get_tag_token(node))
        found = "a tag (options know their types)";
    else if (!(text = fy_node_get_scalar(node, &bytes)) || memchr(text, 0, bytes))
        found = "a zero byte";
    else if (fy_node_get_style(node) == FYNS_PLAIN && is_null(text, bytes))
        found = "no value (empty text is written \"\")";
    if (found) {
        kern_fail(KERN_ERR_CONFIG, "there is %s", found);
        return NULL;
    }
    char *copy = strndup(text, bytes);
    if (!copy) kern_fail(KERN_ERR_MEMORY, "no memory for a value");
    return copy;
}

static kern_status print_items(FILE *to, struct fy_node *sequence) {
    void *cursor = NULL;
    const char *comma = "";
    struct fy_node *item;
    if (fy_node_get_tag_token(sequence))
        return kern_fail(KERN_ERR_CONFIG, "there is a tag (options know their types)");
    while ((item = fy_node_sequence_iterate(sequence, &cursor))) {
        char *text = conf_node_text(item);
        if (!text) return kern_fail_context(KERN_ERR_CONFIG, "an item of the list");
        bool empty = !*text;
        fputs(comma, to);
        conf_print_item(to, text);
        free(text);
        if (empty) return kern_fail(KERN_ERR_CONFIG, "an item of the list is empty");
        comma = ",";
    }
    return KERN_OK;
}

char *conf_node_list(struct fy_node *sequence) {
    char *list = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&list, &bytes);
    kern_status status =
        to ? print_items(to, sequence) : kern_fail(KERN_ERR_MEMORY, "no memory for a list");
    if (to && fclose(to) && status == KERN_OK)
        status = kern_fail(KERN_ERR_MEMORY, "no memory for a list");
    if (status == KERN_OK) return list;
    free(list);
    return NULL;
}

kern_status conf_node_next(conf_entry *next, const char *file, struct fy_node *mapping,
                           void **cursor) {
    struct fy_node_pair *pair = fy_node_mapping_iterate(mapping, cursor);
    next->key[0] = 0;
    next->value = NULL;
    if (!pair) return KERN_OK;
    struct fy_node *key = fy_node_pair_key(pair);
    struct fy_token *token = key && fy_node_is_scalar(key) ? fy_node_get_scalar_token(key) : NULL;
    const struct fy_mark *mark = token ? fy_token_start_mark(token) : NULL;
    if (mark) next->line = mark->line + 1; /* else about the line of the key before */
    next->value = fy_node_pair_value(pair);
    char *text = conf_node_text(key);
    if (!text) return kern_fail_context(KERN_ERR_CONFIG, "%s:%d: a key", file, next->line);
    snprintf(next->key, sizeof next->key, "%s", *text ? text : "''");
    free(text);
    if (!strcmp(next->key, "<<"))
        return kern_fail(KERN_ERR_CONFIG,
                         "%s:%d: YAML 1.2 has no merge keys (<<); put what is shared into a file "
                         "and name it: include: FILE",
                         file, next->line);
    return KERN_OK;
}

bool conf_node_is_null(struct fy_node *node) {
    char *text;
    if (node && fy_node_is_alias(node)) return false;
    if (!node || fy_node_is_null(node)) return true;
    if (!fy_node_is_scalar(node) || fy_node_get_style(node) != FYNS_PLAIN ||
        fy_node_get_tag_token(node))
        return false;
    text = conf_node_text(node);
    free(text);
    return !text;
}
