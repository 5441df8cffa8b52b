/* Nodes of a parsed YAML document as a configuration needs them: text, pairs with lines, nothing.
 * Inside the room. */
#ifndef CONFIGS_NODE_H
#define CONFIGS_NODE_H

#include "kernels/base.h"

#include <libfyaml.h>

enum { CONF_KEY_BYTES = 64 };

/* A key of a mapping as text (a long one cut), its line (from 1), its value. */
typedef struct {
    char key[CONF_KEY_BYTES];
    int line;
    struct fy_node *value;
} conf_entry;

/* A scalar's text, which the caller frees; NULL with a message that says what stands there instead
 * (nothing, an alias, a mapping, a list, a tag, a zero byte). */
char *conf_node_text(struct fy_node *node);

/* A sequence of scalars as the text of a CONF_LIST; free(). NULL with a message as above. */
char *conf_node_list(struct fy_node *sequence);

/* The next pair of a mapping; past the last one the key is empty. `next` is also the pair before,
 * whose line stands in for that of a key which is no text. KERN_ERR_CONFIG ("file:line: ...") for
 * such a key. */
kern_status conf_node_next(conf_entry *next, const char *file, struct fy_node *mapping,
                           void **cursor);

/* Nothing, or a null written out: a section whose keys are all commented out. */
bool conf_node_is_null(struct fy_node *node);

#endif
