/* The inside of data/pack.h, for the files pack_*.c alone: what documents and shards are called,
 * and the index of several shards. */
#ifndef DATA_PACK_PARTS_H
#define DATA_PACK_PARTS_H

#include "data/files.h"
#include "data/pack.h"

/* What each file is called, without folder and extension, or like its path where two would be
 * called alike. Errors: KERN_ERR_USAGE where a file is named twice or its name is not UTF-8. */
kern_status data_pack_names(char ***names, const data_files *files);
void data_pack_names_free(char **names, int64_t count); /* NULL is fine */

/* The path of shard i of several, OUT-00000.h5; of their index, OUT-index.json, for i = -1. free()
 * it. */
kern_status data_pack_shard_path(char **path, const char *out, int64_t i);

/* Writes the index of shards [count], which are committed, beside them. */
kern_status data_pack_write_index(const data_pack_options *options,
                                  data_shard_writer *const *shards, int64_t count);

#endif
