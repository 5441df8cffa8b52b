#include "train/weights.h"

#include <stdlib.h>

#include "infer/block.h"

struct train_weights {
    infer_model *model;
    const train_shard *shard;
    const kern_comm *data;
    const infer_parameters *layout;
    const kern_device *device;
    size_t element;
    kern_buffer memory, exact_memory;
    int64_t exact;        /* elements of what lies in the piece apart and is looked at in f32 */
    int64_t *exact_place; /* [parameters] there, or -1 */
    const void **place;   /* [parameters] where they are in f32, or NULL */
};

/* Whether anything but products reads it, and all of it is not there. */
static bool needs_copy(const train_weights *w, const infer_parameter *p) {
    bool inside = false;
    for (int i = 0; i < w->shard->pieces; i++) {
        const train_piece *piece = &w->shard->piece[i];
        inside |= piece->apart && p->offset < piece->first + piece->share * w->shard->ranks &&
                  p->offset + p->elements > piece->first;
    }
    return inside && (!p->role->product || p->fast || p->role == &infer_embedding);
}

train_weights *train_weights_create(infer_model *model, const train_shard *shard,
                                    const kern_comm *data) {
    train_weights *w = kern_array(1, sizeof *w);
    *w = (train_weights){.model = model,
                         .shard = shard,
                         .data = data,
                         .layout = infer_model_parameters(model),
                         .device = infer_model_spec_of(model)->device,
                         .element = kern_dtype_bytes(infer_model_real(model))};
    w->exact_place = kern_array(w->layout->count, sizeof *w->exact_place);
    w->place = kern_array(w->layout->count, sizeof *w->place);
    for (int i = 0; i < w->layout->count; i++) {
        const infer_parameter *p = &w->layout->item[i];
        bool copy = needs_copy(w, p);
        w->exact_place[i] = copy ? w->exact : -1;
        if (copy) w->exact += kern_round_up(p->elements, 16);
    }
    return w;
}

void train_weights_destroy(train_weights *weights) {
    if (!weights) return;
    kern_buffer_destroy(&weights->memory);
    kern_buffer_destroy(&weights->exact_memory);
    free(weights->exact_place);
    free(weights->place);
    free(weights);
}

size_t train_weights_bytes(const train_weights *w) {
    return (size_t)(w->shard->weights + w->exact) * w->element;
}

void *train_weights_own(const train_weights *w) {
    return w->memory.data;
}

static char *part(const train_weights *w, void *of, int64_t element) {
    return (char *)of + (size_t)element * w->element;
}

/* Where piece i begins, or its own part, if that alone is there. */
static int64_t begin_of(const train_shard *shard, int i) {
    const train_piece *p = &shard->piece[i];
    return p->apart ? p->home : p->home - shard->rank * p->share;
}

/* Where a parameter begins that lies in pieces which are all there. */
static const void *place_of(const train_weights *w, const infer_parameter *p) {
    int i = 0;
    while (i + 1 < w->shard->pieces && p->offset >= w->shard->piece[i + 1].first) i++;
    if (w->shard->piece[i].apart) return NULL;
    return part(w, w->memory.data, begin_of(w->shard, i) + p->offset - w->shard->piece[i].first);
}

kern_status train_weights_allocate(train_weights *w) {
    kern_status status = KERN_OK;
    TRY(kern_buffer_create_zero(&w->memory, w->device, (size_t)w->shard->weights * w->element,
                                "parameters"));
    if (w->exact)
        TRY(kern_buffer_create_zero(&w->exact_memory, w->device, (size_t)w->exact * w->element,
                                    "parameters"));
    for (int i = 0; i < w->layout->count; i++)
        w->place[i] = w->exact_place[i] < 0 ? place_of(w, &w->layout->item[i])
                                            : part(w, w->exact_memory.data, w->exact_place[i]);
done:
    return status;
}

static void copy(const train_weights *w, void *to, const void *from, int64_t elements) {
    size_t bytes = (size_t)elements * w->element;
    if (bytes) w->device->copy(w->device->stream, to, bytes, from, bytes, bytes, 1);
}

void train_weights_take(train_weights *w, const void *flat) {
    for (int i = 0; i < w->shard->pieces; i++) {
        const train_piece *p = &w->shard->piece[i];
        int64_t first = p->first + w->shard->rank * p->share;
        copy(w, part(w, w->memory.data, p->home), (const char *)flat + (size_t)first * w->element,
             p->share);
    }
}

/* What ranks have of those parameters is added to zeros. */
static void gather_exact(train_weights *w) {
    kern_stream *stream = w->device->stream;
    size_t bytes = (size_t)w->exact * w->element;
    w->device->zero(stream, w->exact_memory.data, bytes, bytes, 1);
    for (int i = 0; i < w->layout->count; i++) {
        const infer_parameter *p = &w->layout->item[i];
        for (int j = 0; j < w->shard->pieces && w->exact_place[i] >= 0; j++) {
            const train_piece *piece = &w->shard->piece[j];
            int64_t begin = piece->first + w->shard->rank * piece->share;
            int64_t from = kern_max(begin, p->offset);
            int64_t until = kern_min(begin + piece->share, p->offset + p->elements);
            if (from < until)
                copy(w, part(w, w->exact_memory.data, w->exact_place[i] + from - p->offset),
                     part(w, w->memory.data, piece->home + from - begin), until - from);
        }
    }
    w->data->reduce(w->data, stream, w->exact_memory.data, w->exact_memory.data, w->exact,
                    infer_model_real(w->model), KERN_SUM);
}

static void gather_rounded(train_weights *w, const train_piece *p) {
    kern_stream *stream = w->device->stream;
    uint16_t *piece = (uint16_t *)infer_model_rounded(w->model) + p->first;
    uint16_t *own = piece + w->shard->rank * p->share;
    w->device->move->round(stream, own, (const float *)train_weights_own(w) + p->home, p->share);
    w->data->all_gather(w->data, stream, piece, own, (size_t)p->share * sizeof *own);
}

int64_t train_weights_exact(const train_weights *w) {
    return w->shard->ranks > 1 ? w->exact : 0;
}

void train_weights_gather(train_weights *w) {
    if (w->shard->ranks == 1) return;
    for (int i = 0; i < w->shard->pieces; i++) {
        const train_piece *p = &w->shard->piece[i];
        if (!p->share) continue;
        if (p->apart)
            gather_rounded(w, p);
        else
            w->data->all_gather(w->data, w->device->stream,
                                part(w, w->memory.data, begin_of(w->shard, i)),
                                part(w, w->memory.data, p->home), (size_t)p->share * w->element);
    }
    if (w->exact) gather_exact(w);
}

/* All rounded weights, of the piece apart as the first model has them. */
static void round_weights(const train_weights *w, infer_model *model) {
    kern_stream *stream = w->device->stream;
    uint16_t *to = infer_model_rounded(model);
    const uint16_t *from = infer_model_rounded(w->model);
    for (int i = 0; i < w->shard->pieces; i++) {
        const train_piece *p = &w->shard->piece[i];
        int64_t count = kern_min(p->share * w->shard->ranks, w->layout->elements - p->first);
        size_t bytes = (size_t)count * sizeof *to;
        if (count <= 0) continue;
        if (!p->apart)
            w->device->move->round(stream, to + p->first,
                                   (const float *)train_weights_own(w) + begin_of(w->shard, i),
                                   count);
        else if (to != from)
            w->device->copy(stream, to + p->first, bytes, from + p->first, bytes, bytes, 1);
    }
}

void train_weights_set(const train_weights *w, infer_model *model) {
    if (!w->shard->apart) {
        infer_model_set_parameters(model, w->memory.data);
        return;
    }
    round_weights(w, model);
    infer_model_set_places(model, w->place);
}
