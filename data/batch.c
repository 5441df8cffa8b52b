#include "data/batch.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ITEMS = 1 << 14, KEPT_TOKENS = 1 << 12 };

typedef struct {
    data_crew *crew;
    data_encoder *encoder;
    pthread_t thread;
    bool started;
} worker;

struct data_crew {
    worker *workers; /* [threads]; the first is the caller */
    int64_t threads;
    data_tokens *tokens; /* [items] */
    int64_t items, tokens_capacity;
    data_batch *batch;
    atomic_llong next; /* item that nobody has begun */
};

static char *copy_error(void) {
    char *copy = strdup(kern_error());
    ASSERT(copy);
    return copy;
}

void data_batch_read(data_batch *batch, data_documents *documents, int64_t threads) {
    int64_t most = DATA_BATCH_BYTES * threads;
    for (int64_t i = 0; i < batch->count; i++) free(batch->items[i].error);
    batch->bytes = batch->count = 0;
    batch->text = kern_grow(batch->text, &batch->capacity, most, 1);
    while (batch->bytes < most && batch->count < MOST_ITEMS) {
        batch->items =
            kern_grow(batch->items, &batch->items_capacity, batch->count + 1, sizeof *batch->items);
        data_batch_item *item = &batch->items[batch->count];
        *item = (data_batch_item){.begin = batch->bytes};
        batch->status = data_documents_read(&item->part, batch->text + batch->bytes, documents,
                                            most - batch->bytes);
        if (batch->status != KERN_OK) batch->error = copy_error();
        if (batch->status != KERN_OK || item->part.file < 0) break;
        batch->bytes += item->part.bytes;
        batch->count++;
    }
}

void data_batch_prepend(data_batch *batch, const char *text, int64_t bytes) {
    batch->text = kern_grow(batch->text, &batch->capacity, batch->bytes + bytes, 1);
    memmove(batch->text + bytes, batch->text, (size_t)batch->bytes);
    memcpy(batch->text, text, (size_t)bytes);
    batch->bytes += bytes;
    batch->items[0].part.bytes += bytes;
    for (int64_t i = 1; i < batch->count; i++) batch->items[i].begin += bytes;
}

void data_batch_clear(data_batch *batch) {
    for (int64_t i = 0; i < batch->count; i++) free(batch->items[i].error);
    free(batch->error);
    free(batch->items);
    free(batch->text);
    *batch = (data_batch){0};
}

kern_status data_crew_create(data_crew **out, const data_vocabulary *vocabulary, int64_t threads) {
    kern_status status = KERN_OK;
    data_crew *crew = NULL;
    *out = NULL;
    TRY(kern_alloc_zero((void **)&crew, sizeof *crew, "threads"));
    TRY(kern_alloc_zero((void **)&crew->workers, (size_t)threads * sizeof *crew->workers,
                        "threads"));
    crew->threads = threads;
    for (int64_t i = 0; i < threads; i++) {
        crew->workers[i].crew = crew;
        TRY(data_encoder_create(&crew->workers[i].encoder, vocabulary));
    }
    *out = crew;
    crew = NULL;
done:
    data_crew_destroy(crew);
    return status;
}

void data_crew_destroy(data_crew *crew) {
    if (!crew) return;
    for (int64_t i = 0; i < crew->threads; i++) data_encoder_destroy(crew->workers[i].encoder);
    for (int64_t i = 0; i < crew->items; i++) free(crew->tokens[i].ids);
    free(crew->tokens);
    kern_free(crew->workers);
    kern_free(crew);
}

static void *work(void *context) {
    worker *self = context;
    data_crew *crew = self->crew;
    for (int64_t i; (i = atomic_fetch_add(&crew->next, 1)) < crew->batch->count;) {
        data_batch_item *item = &crew->batch->items[i];
        item->status =
            data_encode(&crew->tokens[i], &item->consumed, self->encoder,
                        crew->batch->text + item->begin, item->part.bytes, item->part.ends, false);
        if (item->status != KERN_OK) item->error = copy_error();
    }
    return NULL;
}

void data_crew_encode(data_crew *crew, data_batch *batch, data_batch *next,
                      data_documents *documents) {
    crew->tokens =
        kern_grow(crew->tokens, &crew->tokens_capacity, batch->count, sizeof *crew->tokens);
    for (; crew->items < batch->count; crew->items++) crew->tokens[crew->items] = (data_tokens){0};
    for (int64_t i = 0; i < crew->items; i++) {
        /* The room that a long document had would else stay with every place in a batch. */
        if (crew->tokens[i].capacity > KEPT_TOKENS) free(crew->tokens[i].ids);
        if (crew->tokens[i].capacity > KEPT_TOKENS) crew->tokens[i] = (data_tokens){0};
        crew->tokens[i].count = 0;
    }
    crew->batch = batch;
    atomic_store(&crew->next, 0);
    /* A thread that cannot be had is missed, not needed: this one does what is left. */
    for (int64_t i = 1; i < crew->threads && i < batch->count; i++)
        crew->workers[i].started =
            pthread_create(&crew->workers[i].thread, NULL, work, &crew->workers[i]) == 0;
    data_batch_read(next, documents, crew->threads);
    work(&crew->workers[0]);
    for (int64_t i = 1; i < crew->threads; i++) {
        if (crew->workers[i].started) pthread_join(crew->workers[i].thread, NULL);
        crew->workers[i].started = false;
    }
}

const data_tokens *data_crew_tokens(const data_crew *crew, int64_t item) {
    return &crew->tokens[item];
}
