#include "infer/values.h"

#include "infer/block.h"
#include "kernels/round.h"
#include <stdlib.h>
#include <string.h>

enum { PIECE = 1 << 20 }; /* elements that are read at once */

struct infer_values {
    infer_parameters *parameters;
    kern_dtype real;
    const kern_device *device;
    data_safetensors *file; /* NULL: a view */
    kern_buffer memory;     /* of all copies */
    const void **exact;     /* [parameters] in `real`, or NULL */
    uint16_t **rounded;     /* [parameters] in bf16, or NULL */
    bool *in_file;          /* [parameters] exact is the file's own, in the host's memory */
};

/* What of a parameter is held: copies in `real` and in bf16; or itself, looked up in the file. */
typedef struct {
    bool exact, rounded, in_file;
} holding;

static holding holding_of(const infer_parameter *p, const ttt_conf *conf, infer_readers readers,
                          const kern_device *device) {
    bool embedding = p->role == &infer_embedding, wide = infer_product(conf) != KERN_BF16;
    bool multiplied =
        p->role->product && (!embedding || conf->model.tied) && (!p->fast || readers.plain);
    /* Rows of the embedding are looked up in the file only where all that can be asked for is
     * there. */
    bool whole = p->dim[0] == p->whole[0];
    bool exact =
        !p->role->product || (multiplied && wide) || (embedding && (!device->host || !whole));
    return (holding){.exact = exact,
                     .rounded = multiplied && !wide,
                     .in_file = !exact && (embedding || (p->fast && readers.stepping))};
}

static size_t exact_bytes(const infer_parameter *p, const ttt_conf *conf) {
    return kern_align((size_t)p->elements * kern_dtype_bytes(infer_real(conf)));
}

static size_t rounded_bytes(const infer_parameter *p) {
    return kern_align((size_t)p->elements * sizeof(uint16_t));
}

size_t infer_values_bytes(const infer_parameters *parameters, const ttt_conf *conf,
                          infer_readers readers, const kern_device *device) {
    size_t bytes = 0;
    for (int i = 0; i < parameters->count; i++) {
        const infer_parameter *p = &parameters->item[i];
        holding held = holding_of(p, conf, readers, device);
        if (held.exact) bytes += exact_bytes(p, conf);
        if (held.rounded) bytes += rounded_bytes(p);
    }
    return bytes;
}

static infer_values *create(const ttt_conf *conf, const kern_comm *tensor,
                            const kern_device *device) {
    infer_values *values = kern_array(1, sizeof *values);
    values->device = device;
    values->parameters = infer_parameters_of_rank(conf, tensor);
    values->real = infer_real(conf);
    int count = values->parameters->count;
    values->exact = kern_array(count, sizeof *values->exact);
    values->rounded = kern_array(count, sizeof *values->rounded);
    values->in_file = kern_array(count, sizeof *values->in_file);
    return values;
}

void infer_values_destroy(infer_values *values) {
    if (!values) return;
    infer_parameters_destroy(values->parameters);
    data_safetensors_destroy(values->file);
    kern_buffer_destroy(&values->memory);
    free(values->exact);
    free(values->rounded);
    free(values->in_file);
    free(values);
}

static kern_status find(const data_tensor **tensor, const infer_values *values, int index) {
    const infer_parameter *p = &values->parameters->item[index];
    kern_status status = data_safetensors_expect(tensor, values->file, p->name,
                                                 data_dtype_of(values->real), p->rank, p->whole);
    if (status == KERN_OK && (uintptr_t)(*tensor)->data % kern_dtype_bytes(values->real))
        status = kern_fail(KERN_ERR_DATA,
                           "%s: tensor %s does not begin at a multiple of its element size; "
                           "write the file again with aligned tensors",
                           data_safetensors_path(values->file), p->name);
    return status;
}

/* Elements of the rank's part out of the whole parameter in a file: there, or picked into `stage`.
 */
static const void *piece_of(const infer_parameter *p, const void *whole, size_t size, int64_t first,
                            int64_t count, void *stage) {
    infer_run run = infer_parameter_run(p, 0);
    if (run.count == p->elements) return (const char *)whole + (size_t)(run.whole + first) * size;
    infer_parameter_pick(p, stage, whole, size, first, count);
    return stage;
}

/* Copies of the tensor, piece by piece, so that the file does not fill memory beside them; the
 * stages have room for a piece in `real`, and for a rounded one. */
static kern_status read_copies(const infer_values *values, const infer_parameter *p, char *exact,
                               uint16_t *rounded, const data_tensor *tensor, void *picked,
                               uint16_t *stage) {
    const kern_device *device = values->device;
    size_t size = kern_dtype_bytes(values->real);
    for (int64_t at = 0; at < p->elements; at += PIECE) {
        int64_t count = kern_min(p->elements - at, PIECE);
        kern_status status = data_safetensors_unchanged(values->file, tensor);
        if (status != KERN_OK) return status;
        const char *from = piece_of(p, tensor->data, size, at, count, picked);
        if (exact) kern_upload(device, exact + (size_t)at * size, from, (size_t)count * size);
        if (rounded) {
            kern_round(stage, (const float *)(const void *)from, count);
            kern_upload(device, rounded + at, stage, (size_t)count * sizeof *stage);
        }
        if (from != picked) data_safetensors_release(values->file, from, (size_t)count * size);
    }
    if (picked) data_safetensors_release(values->file, tensor->data, tensor->bytes);
    return KERN_OK;
}

kern_status infer_values_open(infer_values **result, const ttt_conf *conf, const kern_comm *tensor,
                              infer_readers readers, const kern_device *device,
                              data_safetensors *file) {
    kern_status status = KERN_OK;
    infer_values *values = create(conf, tensor, device);
    uint16_t *stage = NULL;
    void *picked = NULL;
    *result = NULL;
    values->file = file;
    TRY(kern_buffer_create(&values->memory, device,
                           infer_values_bytes(values->parameters, conf, readers, device),
                           "weights"));
    TRY(kern_alloc((void **)&stage, PIECE * sizeof *stage, "weights"));
    if (values->parameters->ranks > 1)
        TRY(kern_alloc(&picked, PIECE * kern_dtype_bytes(values->real), "weights"));
    char *next = values->memory.data;
    for (int i = 0; i < values->parameters->count; i++) {
        const infer_parameter *p = &values->parameters->item[i];
        const data_tensor *from;
        holding held = holding_of(p, conf, readers, device);
        TRY(find(&from, values, i));
        char *exact = held.exact ? next : NULL;
        if (held.exact) next += exact_bytes(p, conf);
        if (held.rounded) values->rounded[i] = (uint16_t *)(void *)next;
        if (held.rounded) next += rounded_bytes(p);
        values->in_file[i] = held.in_file;
        values->exact[i] = held.in_file ? from->data : exact;
        if (exact || held.rounded)
            TRY(read_copies(values, p, exact, values->rounded[i], from, picked, stage));
    }
    TRY(kern_finish(device->stream));
    *result = values;
    values = NULL;
done:
    kern_free(stage);
    kern_free(picked);
    infer_values_destroy(values);
    return status;
}

kern_status infer_values_view(infer_values **result, const ttt_conf *conf, const kern_comm *tensor,
                              const kern_device *device, const void *flat) {
    kern_status status = KERN_OK;
    infer_values *values = create(conf, tensor, device);
    const infer_readers both = {.plain = true, .stepping = true};
    size_t bytes = 0;
    *result = NULL;
    for (int i = 0; i < values->parameters->count; i++) {
        const infer_parameter *p = &values->parameters->item[i];
        values->exact[i] = (const char *)flat + (size_t)p->offset * kern_dtype_bytes(values->real);
        if (holding_of(p, conf, both, device).rounded) bytes += rounded_bytes(p);
    }
    TRY(kern_buffer_create(&values->memory, device, bytes, "rounded weights"));
    char *next = values->memory.data;
    for (int i = 0; i < values->parameters->count; i++) {
        const infer_parameter *p = &values->parameters->item[i];
        if (!holding_of(p, conf, both, device).rounded) continue;
        values->rounded[i] = (uint16_t *)(void *)next;
        device->move->round(device->stream, values->rounded[i], values->exact[i], p->elements);
        next += rounded_bytes(p);
    }
    *result = values;
    values = NULL;
done:
    infer_values_destroy(values);
    return status;
}

bool infer_values_are_of(const infer_values *values, const kern_comm *tensor) {
    const infer_parameters *p = values->parameters;
    return tensor ? p->rank == tensor->rank && p->ranks == tensor->ranks : p->ranks == 1;
}

const void *infer_values_at(const infer_values *values, int index, kern_dtype dtype) {
    ASSERT(dtype == values->real || dtype == KERN_BF16);
    const void *at = dtype == KERN_BF16 ? values->rounded[index] : values->exact[index];
    ASSERT(at); /* else its readers are not those that were named */
    ASSERT(dtype == KERN_BF16 || !values->in_file[index] || values->device->host);
    return at;
}

static size_t bytes_of(const infer_values *values, int index) {
    return (size_t)values->parameters->item[index].elements * kern_dtype_bytes(values->real);
}

static size_t whole_bytes(const infer_values *values, int index) {
    const infer_parameter *p = &values->parameters->item[index];
    return (size_t)(p->whole[0] * p->whole[1] * p->whole[2]) * kern_dtype_bytes(values->real);
}

void infer_values_copy(const infer_values *values, void *to, int index) {
    const kern_device *device = values->device;
    size_t bytes = bytes_of(values, index);
    if (!values->in_file[index]) {
        device->copy(device->stream, to, bytes, values->exact[index], bytes, bytes, 1);
        return;
    }
    const infer_parameter *p = &values->parameters->item[index];
    size_t size = kern_dtype_bytes(values->real);
    void *picked = kern_array(kern_min(p->elements, PIECE), size);
    for (int64_t at = 0; at < p->elements; at += PIECE) {
        int64_t count = kern_min(p->elements - at, PIECE);
        const void *from = piece_of(p, values->exact[index], size, at, count, picked);
        kern_upload(device, (char *)to + (size_t)at * size, from, (size_t)count * size);
    }
    free(picked);
}

kern_status infer_values_fetch(const infer_values *values, void *to, int index) {
    size_t bytes = bytes_of(values, index);
    if (!values->in_file[index])
        return kern_download(values->device, to, values->exact[index], bytes);
    const infer_parameter *p = &values->parameters->item[index];
    infer_parameter_pick(p, to, values->exact[index], kern_dtype_bytes(values->real), 0,
                         p->elements);
    return KERN_OK;
}

void infer_values_release(const infer_values *values, int index) {
    if (values->in_file[index])
        data_safetensors_release(values->file, values->exact[index], whole_bytes(values, index));
}
