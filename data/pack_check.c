#include "data/pack.h"

static kern_status misplaced(const data_shard_about *about, int64_t place, bool expected) {
    return kern_fail(KERN_ERR_DATA, "%s: token %lld %s the begin-of-document token", about->path,
                     (long long)place,
                     expected ? "begins a document and is not" : "is inside a document and is");
}

kern_status data_pack_check(data_pack_statistics *statistics, data_shard *shard) {
    kern_status status = KERN_OK;
    const data_shard_about *about = data_shard_describe(shard);
    int32_t *tokens = NULL;
    unsigned char *occurs = NULL;
    int64_t document = 0;
    *statistics = (data_pack_statistics){.shortest = about->tokens};
    TRY(kern_alloc((void **)&tokens, DATA_SHARD_BLOCK * sizeof *tokens, "tokens"));
    TRY(kern_alloc_zero((void **)&occurs, (size_t)about->vocabulary, "the vocabulary"));
    for (int64_t begin = 0; begin < about->tokens; begin += DATA_SHARD_BLOCK) {
        int64_t count = about->tokens - begin;
        if (count > DATA_SHARD_BLOCK) count = DATA_SHARD_BLOCK;
        TRY(data_shard_read(tokens, shard, begin, count));
        for (int64_t i = 0; i < count; i++) {
            bool begins = data_shard_document_begin(shard, document) == begin + i;
            if (begins != (tokens[i] == about->bos)) TRY(misplaced(about, begin + i, begins));
            document += begins;
            occurs[tokens[i]] = 1;
        }
    }
    for (int64_t i = 0; i < about->documents; i++) {
        int64_t length =
            data_shard_document_begin(shard, i + 1) - data_shard_document_begin(shard, i);
        if (length < statistics->shortest) statistics->shortest = length;
        if (length > statistics->longest) statistics->longest = length;
    }
    for (int64_t i = 0; i < about->vocabulary; i++) statistics->distinct += occurs[i];
done:
    kern_free(tokens);
    kern_free(occurs);
    return status;
}
