#include "data/source.h"

#include "data/checksum.h"
#include "data/files.h"
#include "data/order.h"
#include "data/shard.h"

#include <stdlib.h>
#include <string.h>

/* A run of tokens that samples lie in: a document, or all of a shard. */
typedef struct {
    int64_t shard, begin; /* in tokens of the shard */
    int64_t first_sample; /* of the epoch, in the order of the files */
} stretch;

struct data_source {
    int64_t length;
    data_shard **shards;
    int64_t shard_count;
    int64_t *first_document; /* [shards + 1] */
    stretch *stretches;      /* those that hold a sample */
    int64_t stretch_count, samples;
    uint32_t fingerprint;
};

static kern_status check_vocabulary(const data_source *source, const data_shard *shard) {
    const data_shard_about *first = data_shard_describe(source->shards[0]);
    const data_shard_about *next = data_shard_describe(shard);
    if (first->vocabulary == next->vocabulary && first->bos == next->bos &&
        !strcmp(first->tokenizer, next->tokenizer) &&
        !strcmp(first->tokenizer_hash, next->tokenizer_hash))
        return KERN_OK;
    return kern_fail(KERN_ERR_DATA,
                     "%s has the vocabulary '%s' (%lld tokens, %s), %s has '%s' (%lld tokens, %s); "
                     "shards that are read together must be packed with one",
                     first->path, first->tokenizer, (long long)first->vocabulary,
                     first->tokenizer_hash, next->path, next->tokenizer,
                     (long long)next->vocabulary, next->tokenizer_hash);
}

static kern_status open_shards(data_source *source, const data_files *files) {
    kern_status status = KERN_OK;
    size_t count = (size_t)files->count;
    const char *twice = data_files_twice(files);
    if (twice) TRY(kern_fail(KERN_ERR_USAGE, "%s is named twice", twice));
    TRY(kern_alloc_zero((void **)&source->shards, count * sizeof *source->shards, "shards"));
    TRY(kern_alloc_zero((void **)&source->first_document,
                        (count + 1) * sizeof *source->first_document, "shards"));
    for (int64_t i = 0; i < files->count; i++) {
        TRY(data_shard_open(&source->shards[i], files->paths[i]));
        source->shard_count = i + 1;
        TRY(check_vocabulary(source, source->shards[i]));
        const data_shard_about *about = data_shard_describe(source->shards[i]);
        source->first_document[i + 1] = source->first_document[i] + about->documents;
        uint32_t part[2] = {source->fingerprint, data_shard_fingerprint(source->shards[i])};
        source->fingerprint = data_crc32(0, part, sizeof part);
    }
done:
    return status;
}

static void add_stretch(data_source *source, int64_t *capacity, int64_t shard, int64_t begin,
                        int64_t end) {
    int64_t samples = (end - begin - 1) / source->length;
    if (samples < 1) return;
    source->stretches = kern_grow(source->stretches, capacity, source->stretch_count + 1,
                                  sizeof *source->stretches);
    source->stretches[source->stretch_count++] = (stretch){shard, begin, source->samples};
    source->samples += samples;
}

static void find_stretches(data_source *source, bool across) {
    int64_t capacity = 0;
    for (int64_t i = 0; i < source->shard_count; i++) {
        const data_shard *shard = source->shards[i];
        const data_shard_about *about = data_shard_describe(shard);
        if (across) add_stretch(source, &capacity, i, 0, about->tokens);
        for (int64_t d = 0; !across && d < about->documents; d++)
            add_stretch(source, &capacity, i, data_shard_document_begin(shard, d),
                        data_shard_document_begin(shard, d + 1));
    }
}

static kern_status no_sample(const data_source *source) {
    data_document longest = data_source_document(source, 0);
    for (int64_t i = 1; i < data_source_documents(source); i++) {
        data_document next = data_source_document(source, i);
        if (next.tokens > longest.tokens) longest = next;
    }
    return kern_fail(
        KERN_ERR_DATA,
        "no document holds a sample of %lld+1 tokens; the longest is '%s' of %s with "
        "%lld; choose a shorter context, longer documents, or samples across documents",
        (long long)source->length, longest.name, longest.path, (long long)longest.tokens);
}

kern_status data_source_open(data_source **out, const char *paths, int64_t length, bool across) {
    kern_status status = KERN_OK;
    data_files files = {0};
    data_source *source = NULL;
    *out = NULL;
    if (length < 1 || length > INT64_MAX / 16) {
        status = kern_fail(KERN_ERR_USAGE, "samples of %lld tokens cannot be", (long long)length);
        goto done;
    }
    TRY(data_files_add_list(&files, paths));
    if (files.count == 0) {
        status = kern_fail(KERN_ERR_USAGE, "no shard is named; ttt pack makes them");
        goto done;
    }
    TRY(kern_alloc_zero((void **)&source, sizeof *source, "the data"));
    source->length = length;
    TRY(open_shards(source, &files));
    find_stretches(source, across);
    if (source->samples == 0) {
        status = no_sample(source);
        goto done;
    }
    *out = source;
    source = NULL;
done:
    data_source_destroy(source);
    data_files_clear(&files);
    return status;
}

void data_source_destroy(data_source *source) {
    if (!source) return;
    for (int64_t i = 0; i < source->shard_count; i++) data_shard_destroy(source->shards[i]);
    kern_free(source->shards);
    kern_free(source->first_document);
    free(source->stretches);
    kern_free(source);
}

kern_status data_source_read(int32_t *tokens, data_source *source, uint64_t seed, int64_t index) {
    ASSERT(index >= 0);
    int64_t sample =
        data_order(index % source->samples, source->samples, seed, index / source->samples);
    int64_t low = 0, high = source->stretch_count; /* low's first sample <= sample < high's */
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (source->stretches[middle].first_sample <= sample)
            low = middle;
        else
            high = middle;
    }
    const stretch *there = &source->stretches[low];
    return data_shard_read(tokens, source->shards[there->shard],
                           there->begin + (sample - there->first_sample) * source->length,
                           source->length + 1);
}

/* The i-th of `count` places from 0 to `span`, both included; of one, the middle. */
static int64_t evenly_placed(int64_t i, int64_t count, int64_t span) {
    if (count == 1) return span / 2;
    int64_t step = span / (count - 1), rest = span % (count - 1);
    return i * step + i * rest / (count - 1);
}

kern_status data_source_windows(data_window **windows, int64_t *count, const data_source *source,
                                int64_t per_document) {
    kern_status status = KERN_OK;
    int64_t length = source->length, capacity = 0;
    data_window *list = NULL;
    *windows = NULL;
    *count = 0;
    ASSERT(per_document >= 0);
    for (int64_t d = 0; d < data_source_documents(source); d++) {
        int64_t predicted = data_source_document(source, d).tokens - 1;
        int64_t most = predicted / length, wanted = most;
        bool evenly = per_document && per_document < most;
        if (evenly) wanted = per_document;
        list = kern_grow(list, &capacity, *count + wanted, sizeof *list);
        for (int64_t i = 0; i < wanted; i++) {
            int64_t begin = i * length;
            if (evenly) begin = evenly_placed(i, wanted, predicted - length);
            list[(*count)++] = (data_window){d, begin};
        }
    }
    if (*count == 0) {
        status = no_sample(source);
        goto done;
    }
    TRY(kern_alloc((void **)windows, (size_t)*count * sizeof **windows, "evaluation windows"));
    memcpy(*windows, list, (size_t)*count * sizeof **windows);
done:
    free(list);
    return status;
}

/* The shard of a document; *begin receives the document's first token in it, *end the token behind.
 */
static int64_t find_document(const data_source *source, int64_t i, int64_t *begin, int64_t *end) {
    ASSERT(i >= 0 && i < data_source_documents(source));
    int64_t low = 0, high = source->shard_count; /* low's first document <= i < high's */
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        *(source->first_document[middle] <= i ? &low : &high) = middle;
    }
    int64_t inside = i - source->first_document[low];
    *begin = data_shard_document_begin(source->shards[low], inside);
    *end = data_shard_document_begin(source->shards[low], inside + 1);
    return low;
}

kern_status data_source_read_document(int32_t *tokens, data_source *source, int64_t document,
                                      int64_t begin, int64_t count) {
    int64_t first, end;
    int64_t shard = find_document(source, document, &first, &end);
    ASSERT(begin >= 0 && count >= 0 && count <= end - first - begin);
    return data_shard_read(tokens, source->shards[shard], first + begin, count);
}

int64_t data_source_samples(const data_source *source) {
    return source->samples;
}
int64_t data_source_length(const data_source *source) {
    return source->length;
}

int64_t data_source_documents(const data_source *source) {
    return source->first_document[source->shard_count];
}

data_document data_source_document(const data_source *source, int64_t i) {
    int64_t begin, end;
    int64_t shard = find_document(source, i, &begin, &end);
    const data_shard_about *about = data_shard_describe(source->shards[shard]);
    int64_t inside = i - source->first_document[shard];
    return (data_document){data_shard_document_name(source->shards[shard], inside), about->split,
                           about->path, end - begin};
}

int64_t data_source_vocabulary(const data_source *source) {
    return data_shard_describe(source->shards[0])->vocabulary;
}

int32_t data_source_bos(const data_source *source) {
    return data_shard_describe(source->shards[0])->bos;
}

const char *data_source_tokenizer(const data_source *source) {
    return data_shard_describe(source->shards[0])->tokenizer;
}

const char *data_source_tokenizer_hash(const data_source *source) {
    return data_shard_describe(source->shards[0])->tokenizer_hash;
}

uint32_t data_source_fingerprint(const data_source *source) {
    return source->fingerprint;
}
