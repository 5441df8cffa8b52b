/* A YAML document read for its root. Inside the room. */
#ifndef CONFIGS_DOCUMENT_H
#define CONFIGS_DOCUMENT_H

#include "kernels/base.h"

#include <libfyaml.h>

/* Parses the text, one YAML 1.2 document in UTF-8, and calls `visit` with its root, which is there
 * until that returns; not for a text of nothing but comments. `file` names it in messages. Errors:
 * KERN_ERR_CONFIG ("file:line: ..."), KERN_ERR_MEMORY, those of `visit`. */
kern_status conf_document_read(const char *text, size_t bytes, const char *file,
                               kern_status (*visit)(void *context, struct fy_node *root),
                               void *context);

/* The whole file, for the above; free(*text) in any case. At most 1 MiB. Errors: KERN_ERR_FILE,
 * KERN_ERR_CONFIG. */
kern_status conf_document_load(char **text, size_t *bytes, const char *path);

#endif
