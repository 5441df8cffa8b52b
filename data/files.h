/* Names of files from what a user writes. Internal to data/. */
#ifndef DATA_FILES_H
#define DATA_FILES_H

#include "kernels/base.h"

/* A growing list of paths; begin with zeros. */
typedef struct {
    char **paths;
    int64_t count, capacity;
} data_files;

/* Adds the path, or what the glob matches, sorted by name. A file of that very name wins over its
 * meaning as a glob; a path without glob characters is added without looking. For an index of
 * shards (NAME-index.json, docs/shards.md) its shards are added. Errors: KERN_ERR_USAGE where
 * nothing matches; KERN_ERR_FILE, KERN_ERR_DATA where an index cannot be read or a shard of it is
 * missing. */
kern_status data_files_add(data_files *files, const char *pattern);

/* Adds each of a list separated by commas; spaces around a comma do not count. A comma, a backslash
 * or an outer space that belongs to a path has a backslash before it; other backslashes stand for
 * themselves. Errors: as above. */
kern_status data_files_add_list(data_files *files, const char *list);

/* A path that is there twice, owned by `files`; NULL where each is there once. */
const char *data_files_twice(const data_files *files);

void data_files_clear(data_files *files);

#endif
