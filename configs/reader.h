/* Reading one YAML file into a configuration (yaml.c), and finding and composing files (load.c).
 * Inside the room. */
#ifndef CONFIGS_READER_H
#define CONFIGS_READER_H

#include "configs/conf.h"
#include "configs/node.h"

#include <limits.h>

enum { CONF_SIZE, CONF_METHOD, CONF_STAGE, CONF_AXES };
extern const char *const conf_axis_names[CONF_AXES]; /* "size", "method", "stage" */

extern const char *const conf_axis_folders[CONF_AXES]; /* "sizes", "methods", "stages" */

enum { CONF_FOLDERS = 4 };
typedef struct {
    char path[PATH_MAX];
} conf_folder;

/* Where names are looked for, first to last; a path of "" is none. */
void conf_find_folders(conf_folder folders[CONF_FOLDERS]);

/* Where a reading stands. */
typedef struct {
    ttt_conf *conf;              /* what is being filled */
    const char *axes[CONF_AXES]; /* names on the axes; all NULL outside a composition */
    const char *folder;          /* of the composition's files; NULL outside one */
    int depth;                   /* of includes */
} conf_reader;

/* Applies the text of one file. `file` names it in messages and is where relative includes start
 * from. On failure the configuration may be half filled. */
kern_status conf_read_text(const conf_reader *reader, const char *text, size_t bytes,
                           const char *file);

/* Applies what an `include` in `file` names. */
kern_status conf_read_include(const conf_reader *reader, const char *what, const char *file);

/* The sections, as the option table has them. */
typedef struct {
    char name[16][CONF_KEY_BYTES];
    size_t count;
} conf_sections;
conf_sections conf_list_sections(void);
bool conf_is_section(const char *key);

/* Is there a file for `value` on the axis of the composition being read? */
bool conf_axis_has(const conf_reader *reader, int axis, const char *value);

/* Replaces the name; KERN_ERR_CONFIG unless it could be a folder's: letters, digits, . _ - and no
 * dot in front. */
kern_status conf_rename(ttt_conf *conf, const char *name);

#endif
