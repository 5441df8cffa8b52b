#include "train/tensor.h"

enum { PIECE = 1 << 19 }; /* elements at a time */

/* What is here of a tensor, as windows. */
static int windows_of(train_window *whole, const train_window **window, const train_tensor *t) {
    *window = t->window;
    if (!t->data) return t->windows;
    *whole = (train_window){.count = 1, .data = t->data};
    for (int axis = 0; axis < t->rank; axis++) whole->count *= t->shape[axis];
    *window = whole;
    return 1;
}

/* Elements first .. first + count - 1 of the rank's part, run by run of the whole. */
static kern_status give(const train_tensor *t, int64_t first, int64_t count, const char *bytes,
                        train_tensor_taker take, void *context) {
    kern_status status = KERN_OK;
    const infer_parameter *p = t->part;
    size_t size = kern_dtype_bytes(t->dtype);
    if (!p) return take(context, t, (size_t)first * size, bytes, (size_t)count * size);
    int64_t runs = infer_parameter_runs(p);
    int64_t row = kern_max(p->elements / (runs / p->spans), 1); /* has a run of each span */
    for (int64_t i = first / row * p->spans; i < runs; i++) {
        infer_run run = infer_parameter_run(p, i);
        int64_t from = kern_max(run.own, first);
        int64_t until = kern_min(run.own + run.count, first + count);
        if (run.own >= first + count) break;
        if (from >= until) continue;
        TRY(take(context, t, (size_t)(run.whole + from - run.own) * size,
                 bytes + (size_t)(from - first) * size, (size_t)(until - from) * size));
    }
done:
    return status;
}

kern_status train_tensor_read(const train_tensor *t, const kern_device *device,
                              train_tensor_taker take, void *context) {
    kern_status status = KERN_OK;
    size_t size = kern_dtype_bytes(t->dtype);
    train_window whole;
    const train_window *window;
    void *stage = NULL;
    int windows = windows_of(&whole, &window, t);
    if (!device->host) TRY(kern_alloc(&stage, PIECE * size, "a piece of a tensor"));
    for (int w = 0; w < windows; w++)
        for (int64_t at = 0, count; at < window[w].count; at += count) {
            const char *from = (const char *)window[w].data + (size_t)at * size;
            count = device->host ? window[w].count : kern_min(window[w].count - at, PIECE);
            if (stage) TRY(kern_download(device, stage, from, (size_t)count * size));
            TRY(give(t, window[w].first + at, count, stage ? stage : from, take, context));
        }
done:
    kern_free(stage);
    return status;
}

kern_status train_tensor_fill(const train_tensor *t, const kern_device *device, const void *from) {
    kern_status status = KERN_OK;
    size_t size = kern_dtype_bytes(t->dtype);
    train_window whole;
    const train_window *window;
    void *stage = NULL;
    int windows = windows_of(&whole, &window, t);
    if (t->part) TRY(kern_alloc(&stage, PIECE * size, "a piece of a tensor"));
    for (int w = 0; w < windows; w++)
        for (int64_t at = 0, count; at < window[w].count; at += count) {
            int64_t first = window[w].first + at;
            const void *piece = stage ? stage : (const char *)from + (size_t)first * size;
            count = stage ? kern_min(window[w].count - at, PIECE) : window[w].count;
            if (stage) infer_parameter_pick(t->part, stage, from, size, first, count);
            kern_upload(device, (char *)window[w].data + (size_t)at * size, piece,
                        (size_t)count * size);
        }
done:
    kern_free(stage);
    return status;
}
