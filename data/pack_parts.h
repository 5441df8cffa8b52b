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

/* Refuses shards OUT-NNNNN.h5 that are there: those with higher numbers than ours would be read
 * together with ours. Errors: KERN_ERR_USAGE. */
kern_status data_pack_refuse_old(const char *out);

/* Writes the index of shards [count], which are committed, beside them. */
kern_status data_pack_write_index(const data_pack_options *options,
                                  data_shard_writer *const *shards, int64_t count);

#endif
