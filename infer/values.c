#include "infer/values.h"

#include <stdlib.h>
#include <string.h>

#include "infer/block.h"
#include "kernels/round.h"

enum { PIECE = 1 << 20 }; /* elements that are read at once */

struct infer_values {
    infer_parameters *parameters;
    kern_dtype real;
    data_safetensors *file; /* NULL: a view */
    void *memory;           /* of all copies */
    const void **exact;     /* [parameters] in `real`, or NULL */
    uint16_t **rounded;     /* [parameters] in bf16, or NULL */
    bool *in_file;          /* [parameters] exact is the file's own */
};

/* What of a parameter is held: copies in `real` and in bf16; or itself, looked up in the file. */
typedef struct {
    bool exact, rounded, in_file;
} holding;

static holding holding_of(const infer_parameter *p, const ttt_conf *conf, infer_readers readers) {
    bool embedding = p->role == INFER_EMBED, wide = infer_product(conf) != KERN_BF16;
    bool multiplied =
        p->rank == 2 && (!embedding || conf->model.tied) && (!p->fast || readers.plain);
    bool looked_up = embedding || (p->fast && readers.stepping);
    return (holding){.exact = p->rank == 1 || (multiplied && wide),
                     .rounded = multiplied && !wide,
                     .in_file = looked_up && !(multiplied && wide)};
}

static size_t exact_bytes(const infer_parameter *p, const ttt_conf *conf) {
    return kern_align((size_t)p->elements * kern_dtype_bytes(infer_real(conf)));
}

static size_t rounded_bytes(const infer_parameter *p) {
    return kern_align((size_t)p->elements * sizeof(uint16_t));
}

size_t infer_values_bytes(const infer_parameters *parameters, const ttt_conf *conf,
                          infer_readers readers) {
    size_t bytes = 0;
    for (int i = 0; i < parameters->count; i++) {
        const infer_parameter *p = &parameters->item[i];
        holding held = holding_of(p, conf, readers);
        if (held.exact) bytes += exact_bytes(p, conf);
        if (held.rounded) bytes += rounded_bytes(p);
    }
    return bytes;
}

static infer_values *create(const ttt_conf *conf) {
    infer_values *values = kern_array(1, sizeof *values);
    values->parameters = infer_parameters_create(conf);
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
    kern_free(values->memory);
    free(values->exact);
    free(values->rounded);
    free(values->in_file);
    free(values);
}

static kern_status find(const data_tensor **tensor, const infer_values *values, int index) {
    const infer_parameter *p = &values->parameters->item[index];
    kern_status status = data_safetensors_expect(tensor, values->file, p->name,
                                                 data_dtype_of(values->real), p->rank, p->dim);
    if (status == KERN_OK && (uintptr_t)(*tensor)->data % kern_dtype_bytes(values->real))
        status = kern_fail(KERN_ERR_DATA,
                           "%s: tensor %s does not begin at a multiple of its element size; "
                           "write the file again with aligned tensors",
                           data_safetensors_path(values->file), p->name);
    return status;
}

/* Copies of the tensor, piece by piece, so that the file does not fill memory beside them. */
static kern_status read_copies(const infer_values *values, char *exact, uint16_t *rounded,
                               const data_tensor *tensor) {
    size_t size = kern_dtype_bytes(values->real);
    for (int64_t at = 0; at < tensor->elements; at += PIECE) {
        int64_t count = tensor->elements - at < PIECE ? tensor->elements - at : PIECE;
        const char *from = (const char *)tensor->data + (size_t)at * size;
        kern_status status = data_safetensors_unchanged(values->file, tensor);
        if (status != KERN_OK) return status;
        if (exact) memcpy(exact + (size_t)at * size, from, (size_t)count * size);
        if (rounded) kern_round(rounded + at, (const float *)(const void *)from, count);
        data_safetensors_release(values->file, from, (size_t)count * size);
    }
    return KERN_OK;
}

kern_status infer_values_open(infer_values **result, const ttt_conf *conf, infer_readers readers,
                              data_safetensors *file) {
    kern_status status = KERN_OK;
    infer_values *values = create(conf);
    *result = NULL;
    values->file = file;
    TRY(kern_alloc(&values->memory, infer_values_bytes(values->parameters, conf, readers),
                   "weights"));
    char *next = values->memory;
    for (int i = 0; i < values->parameters->count; i++) {
        const infer_parameter *p = &values->parameters->item[i];
        const data_tensor *tensor;
        holding held = holding_of(p, conf, readers);
        TRY(find(&tensor, values, i));
        char *exact = held.exact ? next : NULL;
        if (held.exact) next += exact_bytes(p, conf);
        if (held.rounded) values->rounded[i] = (uint16_t *)(void *)next;
        if (held.rounded) next += rounded_bytes(p);
        values->in_file[i] = held.in_file;
        values->exact[i] = held.in_file ? tensor->data : exact;
        if (exact || held.rounded) TRY(read_copies(values, exact, values->rounded[i], tensor));
    }
    *result = values;
    values = NULL;
done:
    infer_values_destroy(values);
    return status;
}

kern_status infer_values_view(infer_values **result, const ttt_conf *conf, const void *flat) {
    kern_status status = KERN_OK;
    infer_values *values = create(conf);
    const infer_readers both = {.plain = true, .stepping = true};
    size_t bytes = 0;
    *result = NULL;
    for (int i = 0; i < values->parameters->count; i++) {
        const infer_parameter *p = &values->parameters->item[i];
        values->exact[i] = (const char *)flat + (size_t)p->offset * kern_dtype_bytes(values->real);
        if (holding_of(p, conf, both).rounded) bytes += rounded_bytes(p);
    }
    TRY(kern_alloc(&values->memory, bytes, "rounded weights"));
    char *next = values->memory;
    for (int i = 0; i < values->parameters->count; i++) {
        const infer_parameter *p = &values->parameters->item[i];
        if (!holding_of(p, conf, both).rounded) continue;
        values->rounded[i] = (uint16_t *)(void *)next;
        kern_round(values->rounded[i], values->exact[i], p->elements);
        next += rounded_bytes(p);
    }
    *result = values;
    values = NULL;
done:
    infer_values_destroy(values);
    return status;
}

const void *infer_values_at(const infer_values *values, int index, kern_dtype dtype) {
    ASSERT(dtype == values->real || dtype == KERN_BF16);
    const void *at = dtype == KERN_BF16 ? values->rounded[index] : values->exact[index];
    ASSERT(at); /* else its readers are not those that were named */
    return at;
}

void infer_values_release(const infer_values *values, int index) {
    size_t elements = (size_t)values->parameters->item[index].elements;
    if (values->in_file[index])
        data_safetensors_release(values->file, values->exact[index],
                                 elements * kern_dtype_bytes(values->real));
}
