/* A tensor as checkpoints have it, whole, and what of it lies in this rank's memory. All local. */
#ifndef TRAIN_TENSOR_H
#define TRAIN_TENSOR_H

#include "data/safetensors.h"
#include "infer/parameters.h"
#include "train/shard.h"

enum { TRAIN_TENSOR_RANK = 5 };

/* Elements of a tensor-parallel rank's part of a tensor (the whole tensor where there is one such
 * rank), in a row. */
typedef struct {
    int64_t first, count;
    void *data;
} train_window;

/* Name and memory are borrowed; all memory is that of the list's device, row-major. */
typedef struct {
    const char *name;
    kern_dtype dtype;
    int rank;
    int64_t shape[TRAIN_TENSOR_RANK];
    void *data; /* all of it is here; or NULL: the windows are, which may be none */
    int windows;
    train_window window[TRAIN_PIECES];
    const infer_parameter *part; /* how the rank's part lies in the tensor; NULL: it is all of it */
    bool spare;                  /* another rank has the same and writes it to files */
    bool more;                   /* another part of the tensor that is before it in the list */
} train_tensor;

typedef struct {
    int64_t count;
    const train_tensor *items; /* names are unique but for `more` */
    const kern_device *device; /* NULL: the CPU */
} train_tensors;

/* Calls `take` with the bytes that are here, a few MB at a time at most, in the host's memory;
 * `first`: the first one's place in the tensor. Errors: those of `take` and of the device. */
typedef kern_status (*train_tensor_taker)(void *context, const train_tensor *tensor, size_t first,
                                          const void *bytes, size_t count);
kern_status train_tensor_read(const train_tensor *tensor, const kern_device *device,
                              train_tensor_taker take, void *context);

/* Makes the calls that fill what is here of a tensor whose bytes, all of them, lie in the host's
 * memory. KERN_ERR_MEMORY. */
kern_status train_tensor_fill(const train_tensor *tensor, const kern_device *device,
                              const void *whole);

#endif
