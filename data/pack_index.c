#include "data/aside.h"
#include "data/pack_parts.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static json_t *describe(const data_pack_options *options, data_shard_writer *const *shards,
                        int64_t count) {
    const data_vocabulary *vocabulary = options->vocabulary;
    json_t *list = json_array();
    int64_t documents = 0, tokens = 0;
    for (int64_t i = 0; i < count; i++) {
        char *path = NULL;
        if (data_pack_shard_path(&path, options->out, i) != KERN_OK) break;
        const char *slash = strrchr(path, '/');
        int64_t own_documents = data_shard_kept_documents(shards[i]);
        int64_t own_tokens = data_shard_kept_tokens(shards[i]);
        json_array_append_new(list, json_pack("{s:s, s:I, s:I}", "file", slash ? slash + 1 : path,
                                              "documents", (json_int_t)own_documents, "tokens",
                                              (json_int_t)own_tokens));
        documents += own_documents;
        tokens += own_tokens;
        free(path);
    }
    return json_pack("{s:i, s:s, s:s, s:I, s:s, s:s, s:I, s:I, s:o}", "format_version", 1,
                     "tokenizer", vocabulary->name, "tokenizer_hash", vocabulary->hash,
                     "vocabulary", (json_int_t)vocabulary->size, "split", options->split, "source",
                     options->source, "documents", (json_int_t)documents, "tokens",
                     (json_int_t)tokens, "shards", list);
}

kern_status data_pack_write_index(const data_pack_options *options,
                                  data_shard_writer *const *shards, int64_t count) {
    kern_status status = KERN_OK;
    data_aside *file = NULL;
    char *path = NULL, *text = NULL;
    json_t *index = describe(options, shards, count);
    if (index) text = json_dumps(index, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    if (!text) TRY(kern_fail(KERN_ERR_MEMORY, "no memory for the index of %s", options->out));
    TRY(data_pack_shard_path(&path, options->out, -1));
    TRY(data_aside_create(&file, path));
    TRY(data_aside_write(file, 0, text, strlen(text)));
    TRY(data_aside_write(file, (int64_t)strlen(text), "\n", 1));
    TRY(data_aside_commit(file));
done:
    data_aside_destroy(file);
    json_decref(index);
    free(text);
    free(path);
    return status;
}
