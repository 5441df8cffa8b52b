#include "configs/figures.h"

#include "configs/node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LIST = 512 };

/* "memory, f32_flops, ..." */
static const char *list_keys(char list[LIST], int count, const conf_figure *figure) {
    size_t used = 0;
    *list = 0;
    for (int i = 0; i < count && used < LIST; i++)
        used += (size_t)snprintf(list + used, LIST - used, "%s%s", i ? ", " : "", figure[i].key);
    return list;
}

static kern_status read_number(double *number, const conf_entry *at) {
    char *text = conf_node_text(at->value), *end;
    if (!text) return kern_fail_context(KERN_ERR_CONFIG, "%s", at->key);
    double value = strtod(text, &end);
    kern_status status = KERN_OK;
    if (!*text || *end || !(value > 0 && value < 1e18))
        status = kern_fail(KERN_ERR_CONFIG, "%s: '%.60s' is not a number above 0 and below 1e18",
                           at->key, text);
    free(text);
    *number = value;
    return status;
}

static kern_status read_mapping(const char *path, struct fy_node *root, int count,
                                const conf_figure *figure, bool *given) {
    kern_status status = KERN_OK;
    char list[LIST];
    void *cursor = NULL;
    conf_entry next = {.line = 1};
    if (!root || fy_node_is_alias(root) || !fy_node_is_mapping(root))
        return kern_fail(KERN_ERR_CONFIG, "%s: the file must give numbers to %s", path,
                         list_keys(list, count, figure));
    for (;;) {
        TRY(conf_node_next(&next, path, root, &cursor));
        if (!next.key[0]) break;
        int i = 0;
        while (i < count && strcmp(figure[i].key, next.key)) i++;
        if (i == count)
            TRY(kern_fail(KERN_ERR_CONFIG,
                          "%s:%d: there is no %s; the file must give numbers to %s", path,
                          next.line, next.key, list_keys(list, count, figure)));
        status = read_number(figure[i].value, &next);
        if (status != KERN_OK) TRY(kern_fail_context(status, "%s:%d", path, next.line));
        given[i] = true;
    }
done:
    return status;
}

kern_status conf_figures_load(const char *path, int count, const conf_figure *figure) {
    kern_status status = KERN_OK;
    struct fy_document *document = NULL;
    struct fy_diag_cfg quiet;
    bool *given = kern_array(count, sizeof *given);
    fy_diag_cfg_default(&quiet);
    quiet.fp = NULL;
    struct fy_diag *diag = fy_diag_create(&quiet);
    if (!diag) TRY(kern_fail(KERN_ERR_MEMORY, "%s: no memory for the YAML parser", path));
    if (access(path, R_OK)) TRY(kern_fail(KERN_ERR_FILE, "%s: %s", path, strerror(errno)));
    struct fy_parse_cfg settings = {
        .flags = FYPCF_QUIET | FYPCF_DEFAULT_VERSION_1_2 | FYPCF_JSON_NONE, .diag = diag};
    document = fy_document_build_from_file(&settings, path);
    if (!document) TRY(kern_fail(KERN_ERR_CONFIG, "%s: this is not YAML", path));
    TRY(read_mapping(path, fy_document_root(document), count, figure, given));
    for (int i = 0; i < count; i++)
        if (!given[i]) TRY(kern_fail(KERN_ERR_CONFIG, "%s: %s is missing", path, figure[i].key));
done:
    if (document) fy_document_destroy(document);
    if (diag) fy_diag_destroy(diag);
    free(given);
    return status;
}
