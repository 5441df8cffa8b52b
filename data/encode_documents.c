#include "data/encode_documents.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH_BYTES = 1 << 18, BATCHES_PER_THREAD = 8, MOST_PARTS = 1 << 12 };

typedef struct {
    data_document_part document;
    int64_t tokens;
} encoded_part;

/* Text that one thread encodes: what goes on of a document, or documents, the last perhaps cut. */
typedef struct {
    char *text; /* the rest of the batch before, once it is taken; then what was read */
    int64_t bytes, capacity;
    encoded_part *parts; /* [count] */
    int64_t count, parts_capacity;
    data_tokens tokens;
    int64_t rest;  /* bytes at the end of text that wait for more of their document */
    int64_t tried; /* bytes of them that were not enough to decide anything */
    enum { FREE, READ, IN_WORK, ENCODED } state;
    kern_status status; /* of the first fault behind its parts */
    char *error;
} batch;

typedef struct {
    data_documents *documents;
    int64_t threads;
    data_write_tokens *write;
    void *context;

    pthread_mutex_t lock; /* of all below but the batches that somebody works on */
    pthread_cond_t changed;
    batch *ring; /* [places] batch i is at i % places */
    int64_t places;
    int64_t written, read; /* batches */
    bool writing, reading, ended;
    kern_status status; /* of the first fault in the order of the documents */
    char *error;
} work_crew;

typedef struct {
    work_crew *crew;
    data_encoder *encoder;
    pthread_t thread;
    bool started;
} worker;

static batch *batch_at(const work_crew *crew, int64_t i) {
    return &crew->ring[i % crew->places];
}

static void note_error(kern_status *status, char **error, kern_status found) {
    if (found == KERN_OK || *status != KERN_OK) return;
    *status = found;
    *error = strdup(kern_error());
    ASSERT(*error);
}

/* Returns whether this was the end of all documents. */
static bool read_batch(batch *now, data_documents *documents) {
    kern_status status = KERN_OK;
    bool ended = false;
    if (now->capacity > 4 * BATCH_BYTES) { /* the room that a long rest had */
        free(now->text);
        now->text = NULL;
        now->capacity = 0;
    }
    if (now->tokens.capacity > 4 * BATCH_BYTES) {
        free(now->tokens.ids);
        now->tokens = (data_tokens){0};
    }
    now->bytes = now->count = now->rest = now->tried = now->tokens.count = 0;
    now->text = kern_grow(now->text, &now->capacity, BATCH_BYTES, 1);
    while (!ended && now->bytes < BATCH_BYTES && now->count < MOST_PARTS) {
        now->parts =
            kern_grow(now->parts, &now->parts_capacity, now->count + 1, sizeof *now->parts);
        data_document_part *part = &now->parts[now->count].document;
        status =
            data_documents_read(part, now->text + now->bytes, documents, BATCH_BYTES - now->bytes);
        ended = status != KERN_OK || part->file < 0;
        if (ended) break;
        now->bytes += part->bytes;
        now->count++;
        /* A batch that ends a document begins no other: this one need not wait for that one. */
        if (!now->parts[0].document.begins && part->ends) break;
    }
    note_error(&now->status, &now->error, status);
    return ended;
}

/* Puts what is left of the document that goes on in `now` before its text. The longer of the two
 * stays where it is, or documents of which nothing can be decided would cost their square. */
static void take_rest(batch *now, batch *before) {
    char *text = before->text;
    int64_t rest = before->rest, capacity = before->capacity;
    memmove(text, text + before->bytes - rest, (size_t)rest);
    text = kern_grow(text, &capacity, rest + now->bytes, 1);
    memcpy(text + rest, now->text, (size_t)now->bytes);
    before->text = now->text;
    before->capacity = now->capacity;
    now->text = text;
    now->capacity = capacity;
    now->bytes += rest;
}

static void encode_batch(batch *now, batch *before, data_encoder *encoder) {
    kern_status status = KERN_OK;
    bool goes_on = !now->parts[0].document.begins;
    int64_t begin = 0, tried = goes_on ? before->tried : 0, rest = goes_on ? before->rest : 0;
    if (rest) take_rest(now, before);
    for (int64_t i = 0; i < now->count; i++, rest = tried = 0) {
        const data_document_part *part = &now->parts[i].document;
        int64_t bytes = part->bytes + rest, tokens = now->tokens.count, consumed = 0;
        /* A document of which nothing could be decided is tried again only when there is twice as
         * much of it, so that the work stays linear. */
        bool waits = !part->ends && bytes < 2 * tried;
        if (!waits) {
            status = data_encode(&now->tokens, &consumed, encoder, now->text + begin, bytes,
                                 part->ends, false);
            tried = bytes - consumed;
        }
        if (status != KERN_OK) {
            kern_fail(status, "%s: %s", part->path, kern_error());
            free(now->error); /* what reading met comes later */
            now->status = KERN_OK;
            note_error(&now->status, &now->error, status);
            now->count = i;
            break;
        }
        now->parts[i].tokens = now->tokens.count - tokens;
        now->rest = part->ends ? 0 : bytes - consumed;
        now->tried = tried;
        begin += bytes;
    }
}

static kern_status write_batch(const work_crew *crew, const batch *now) {
    kern_status status = KERN_OK;
    const int32_t *ids = now->tokens.ids;
    for (int64_t i = 0; i < now->count; i++) {
        TRY(crew->write(crew->context, &now->parts[i].document, ids, now->parts[i].tokens));
        ids += now->parts[i].tokens;
    }
    if (now->status != KERN_OK) TRY(kern_fail(now->status, "%s", now->error));
done:
    return status;
}

/* Three kinds of work. Each is begun under the lock, done without it, and ends under it. */

static void read_next(work_crew *crew) {
    batch *now = batch_at(crew, crew->read);
    crew->reading = true;
    pthread_mutex_unlock(&crew->lock);
    bool ended = read_batch(now, crew->documents);
    pthread_mutex_lock(&crew->lock);
    crew->reading = false;
    crew->ended = ended;
    now->state = now->count ? READ : ENCODED;
    crew->read++;
}

static void encode_next(work_crew *crew, int64_t i, data_encoder *encoder) {
    batch *now = batch_at(crew, i);
    now->state = IN_WORK;
    pthread_mutex_unlock(&crew->lock);
    encode_batch(now, batch_at(crew, i + crew->places - 1), encoder);
    pthread_mutex_lock(&crew->lock);
    now->state = ENCODED;
}

static void write_next(work_crew *crew) {
    batch *now = batch_at(crew, crew->written);
    crew->writing = true;
    pthread_mutex_unlock(&crew->lock);
    kern_status status = write_batch(crew, now);
    pthread_mutex_lock(&crew->lock);
    crew->writing = false;
    note_error(&crew->status, &crew->error, status);
    crew->written++;
}

/* The first batch that nobody has begun and that can be encoded, or that of the next read; *waiting
 * receives how many nobody has begun. */
static int64_t find_encodable(const work_crew *crew, int64_t *waiting) {
    int64_t first = crew->read;
    *waiting = 0;
    for (int64_t i = crew->read - 1; i >= crew->written; i--) {
        const batch *now = batch_at(crew, i), *before = batch_at(crew, i + crew->places - 1);
        if (now->state != READ) continue;
        ++*waiting;
        if (now->parts[0].document.begins || before->state == ENCODED) first = i;
    }
    return first;
}

static void *work(void *context) {
    worker *self = context;
    work_crew *crew = self->crew;
    pthread_mutex_lock(&crew->lock);
    while (crew->status == KERN_OK && !(crew->ended && crew->written == crew->read)) {
        int64_t waiting, i = find_encodable(crew, &waiting);
        /* One place stays free: a batch may need the rest of the one before it. */
        bool readable =
            !crew->reading && !crew->ended && crew->read - crew->written < crew->places - 1;
        if (!crew->writing && crew->written < crew->read &&
            batch_at(crew, crew->written)->state == ENCODED)
            write_next(crew);
        else if (readable && (waiting < crew->threads || i == crew->read))
            read_next(crew);
        else if (i < crew->read)
            encode_next(crew, i, self->encoder);
        else {
            pthread_cond_wait(&crew->changed, &crew->lock);
            continue;
        }
        pthread_cond_broadcast(&crew->changed);
    }
    pthread_mutex_unlock(&crew->lock);
    return NULL;
}

kern_status data_encode_documents(data_documents *documents, const data_vocabulary *vocabulary,
                                  int64_t threads, data_write_tokens *write, void *context) {
    kern_status status = KERN_OK;
    work_crew crew = {.documents = documents,
                      .threads = threads,
                      .write = write,
                      .context = context,
                      .lock = PTHREAD_MUTEX_INITIALIZER,
                      .changed = PTHREAD_COND_INITIALIZER,
                      .places = BATCHES_PER_THREAD * threads};
    worker *workers = NULL;
    TRY(kern_alloc_zero((void **)&workers, (size_t)threads * sizeof *workers, "threads"));
    TRY(kern_alloc_zero((void **)&crew.ring, (size_t)crew.places * sizeof *crew.ring, "threads"));
    for (int64_t i = 0; i < threads; i++) {
        workers[i].crew = &crew;
        TRY(data_encoder_create(&workers[i].encoder, vocabulary));
    }
    /* A thread that cannot be had is missed, not needed: the caller does what is left. */
    for (int64_t i = 1; i < threads; i++)
        workers[i].started = pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0;
    work(&workers[0]);
    for (int64_t i = 1; i < threads; i++)
        if (workers[i].started) pthread_join(workers[i].thread, NULL);
    if (crew.status != KERN_OK) TRY(kern_fail(crew.status, "%s", crew.error));
done:
    for (int64_t i = 0; workers && i < threads; i++) data_encoder_destroy(workers[i].encoder);
    for (int64_t i = 0; crew.ring && i < crew.places; i++) {
        free(crew.ring[i].text);
        free(crew.ring[i].parts);
        free(crew.ring[i].tokens.ids);
        free(crew.ring[i].error);
    }
    kern_free(crew.ring);
    kern_free(workers);
    free(crew.error);
    return status;
}
