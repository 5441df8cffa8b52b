#include "configs/document.h"

#include "configs/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BYTES = 1 << 20 };

/* What is being read. */
typedef struct {
    const char *text;
    size_t bytes;
    const char *file;
    kern_status (*visit)(void *context, struct fy_node *root);
    void *context;
} document;

/* The first collected message of the parser, with its line. */
static kern_status refuse_yaml(const document *of, struct fy_diag *diag) {
    void *cursor = NULL;
    struct fy_diag_error *error = fy_diag_errors_iterate(diag, &cursor);
    if (!error || !error->msg)
        return kern_fail(KERN_ERR_CONFIG, "%s: the parser refuses it; it reads YAML 1.2", of->file);
    int length = (int)strcspn(error->msg, "\n");
    return kern_fail(KERN_ERR_CONFIG, "%s:%d: malformed YAML: %.*s", of->file, error->line, length,
                     error->msg);
}

static kern_status parse(const document *of, struct fy_parser *parser, struct fy_diag *diag) {
    struct fy_document *first = NULL, *second = NULL;
    kern_status status = KERN_OK;
    if (fy_parser_set_string(parser, of->text, of->bytes)) TRY(refuse_yaml(of, diag));
    first = fy_parse_load_document(parser);
    if (fy_parser_get_stream_error(parser)) TRY(refuse_yaml(of, diag));
    if (!first) goto done; /* nothing but comments */
    second = fy_parse_load_document(parser);
    if (fy_parser_get_stream_error(parser)) TRY(refuse_yaml(of, diag));
    if (second)
        TRY(kern_fail(KERN_ERR_CONFIG,
                      "%s: a second document begins (---); one file is one "
                      "configuration",
                      of->file));
    TRY(of->visit(of->context, fy_document_root(first)));
done:
    if (second) fy_parse_document_destroy(parser, second);
    if (first) fy_parse_document_destroy(parser, first);
    return status;
}

kern_status conf_document_read(const char *text, size_t bytes, const char *file,
                               kern_status (*visit)(void *context, struct fy_node *root),
                               void *context) {
    document of = {text, bytes, file, visit, context};
    if (bytes >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) { /* a mark that some editors put there */
        of.text += 3;
        of.bytes -= 3;
    }
    if (conf_check_utf8(of.text, of.bytes, true) != KERN_OK)
        return kern_fail_context(KERN_ERR_CONFIG, "%s", file);
    struct fy_diag_cfg quiet;
    fy_diag_cfg_default(&quiet);
    quiet.fp = NULL;
    struct fy_diag *diag = fy_diag_create(&quiet);
    if (!diag) return kern_fail(KERN_ERR_MEMORY, "%s: no memory for the YAML parser", file);
    fy_diag_set_collect_errors(diag, true);
    struct fy_parse_cfg settings = {
        .flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_DEFAULT_VERSION_1_2 | FYPCF_JSON_NONE,
        .diag = diag,
    };
    struct fy_parser *parser = fy_parser_create(&settings);
    kern_status status =
        parser ? parse(&of, parser, diag)
               : kern_fail(KERN_ERR_MEMORY, "%s: no memory for the YAML parser", file);
    fy_parser_destroy(parser);
    fy_diag_destroy(diag);
    return status;
}

kern_status conf_document_load(char **text, size_t *bytes, const char *path) {
    kern_status status = KERN_OK;
    FILE *file = fopen(path, "r");
    *text = NULL;
    if (!file) return kern_fail(KERN_ERR_FILE, "%s: %s", path, strerror(errno));
    *text = malloc(MOST_BYTES + 1);
    if (!*text) TRY(kern_fail(KERN_ERR_MEMORY, "%s: no memory to read it", path));
    errno = 0;
    *bytes = fread(*text, 1, MOST_BYTES + 1, file);
    if (ferror(file)) TRY(kern_fail(KERN_ERR_FILE, "%s: %s", path, strerror(errno)));
    if (*bytes > MOST_BYTES)
        TRY(kern_fail(KERN_ERR_CONFIG, "%s: more than 1 MiB; this is no configuration", path));
done:
    fclose(file);
    return status;
}
