#include "train/tensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* The own parts of parameter i: its weights, or its moments. */
static train_tensor tensor_at(const train_step_buffers *b, int i, void *buffer, bool moments,
                              const char *name) {
    const infer_parameter *p = &b->layout->item[i];
    const train_shard *shard = b->shard;
    bool several = b->layout->ranks > 1;
    train_tensor t = {.name = name,
                      .dtype = b->dtype,
                      .rank = p->rank,
                      .shape = {p->whole[0], p->whole[1], p->whole[2]},
                      .part = several ? p : NULL,
                      .spare = b->spare || (b->layout->rank && p->placing != INFER_PARTED),
                      .more = p->held == INFER_WHOLE_RANGES};
    for (int j = 0; j < shard->pieces; j++) {
        const train_piece *piece = &shard->piece[j];
        int64_t begin = piece->first + shard->rank * piece->share;
        int64_t from = kern_max(begin, p->offset);
        int64_t until = kern_min(begin + piece->share, p->offset + p->elements);
        int64_t at = (moments ? piece->place : piece->home) + from - begin;
        if (from >= until) continue;
        t.window[t.windows++] =
            (train_window){from - p->offset, until - from,
                           (char *)buffer + (size_t)at * kern_dtype_bytes(b->dtype)};
    }
    return t;
}

train_checkpoint_tensors *train_checkpoint_tensors_create(const train_step_buffers *b) {
    int count = b->layout->count;
    train_checkpoint_tensors *t = kern_array(1, sizeof *t);
    t->items = kern_array(3 * (int64_t)count, sizeof *t->items);
    t->names = kern_array(2 * (int64_t)count, sizeof *t->names);
    for (int i = 0; i < count; i++) {
        const char *name = b->layout->item[i].name;
        char *m = t->names[2 * i], *v = t->names[2 * i + 1];
        snprintf(m, sizeof *t->names, "m.%s", name);
        snprintf(v, sizeof *t->names, "v.%s", name);
        t->items[i] = tensor_at(b, i, b->parameters, false, name);
        t->items[count + 2 * i] = tensor_at(b, i, b->m, true, m);
        t->items[count + 2 * i + 1] = tensor_at(b, i, b->v, true, v);
    }
    t->parameters = (train_tensors){count, t->items, b->device};
    t->moments = (train_tensors){2 * (int64_t)count, t->items + count, b->device};
    return t;
}

static kern_status look(void *finite, const train_tensor *tensor, size_t first, const void *bytes,
                        size_t count) {
    (void)first;
    bool all = true;
    int64_t elements = (int64_t)(count / kern_dtype_bytes(tensor->dtype));
    if (tensor->dtype == KERN_F64)
        for (int64_t i = 0; i < elements; i++) all &= isfinite(((const double *)bytes)[i]);
    else
        for (int64_t i = 0; i < elements; i++) all &= isfinite(((const float *)bytes)[i]);
    *(bool *)finite &= all;
    return KERN_OK;
}

kern_status train_checkpoint_tensors_not_finite(const char **name,
                                                const train_checkpoint_tensors *t) {
    *name = NULL;
    for (int64_t i = 0; i < t->parameters.count + t->moments.count; i++) {
        bool finite = true;
        kern_status status = train_tensor_read(&t->items[i], t->parameters.device, look, &finite);
        if (status != KERN_OK) return status;
        if (finite) continue;
        *name = t->items[i].name;
        break;
    }
    return KERN_OK;
}

void train_checkpoint_tensors_destroy(train_checkpoint_tensors *tensors) {
    if (!tensors) return;
    free(tensors->items);
    free(tensors->names);
    free(tensors);
}
