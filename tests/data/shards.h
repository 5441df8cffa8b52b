/* Shards made for tests: documents of given lengths with tokens that tell where they stand. */
#ifndef TESTS_DATA_SHARDS_H
#define TESTS_DATA_SHARDS_H

#include "data/shard.h"
#include "tests/data/files.h"

/* Token i >= 1 of document d: any byte, not periodic in anything that matters. */
static inline int32_t token_of(int64_t document, int64_t i) {
    uint64_t state = (uint64_t)(document * 1000003 + i);
    return (int32_t)(next_random(&state) & 255);
}

static inline void fill_document(data_shard_writer *writer, const char *name, int64_t document,
                                 int64_t length) {
    assert_ok(data_shard_begin_document(writer, name));
    int32_t *tokens = malloc((size_t)length * sizeof *tokens);
    for (int64_t i = 1; i < length; i++) tokens[i - 1] = token_of(document, i);
    assert_ok(data_shard_append(writer, tokens, length - 1));
    free(tokens);
}

/* Documents first_document, ... called "book N" of these lengths (bos included), ended by 0. */
static inline void make_shard(const char *path, const data_vocabulary *vocabulary,
                              int64_t first_document, const int64_t *lengths) {
    data_shard_writer *writer;
    assert_ok(data_shard_create(&writer, path, vocabulary, "train", "made for a test"));
    for (int64_t i = 0; lengths[i]; i++) {
        char name[32];
        snprintf(name, sizeof name, "book %d", (int)(first_document + i));
        fill_document(writer, name, first_document + i, lengths[i]);
        data_shard_keep_document(writer);
    }
    assert_ok(data_shard_complete(writer));
    assert_ok(data_shard_commit(writer));
    data_shard_writer_destroy(writer);
}

#endif
