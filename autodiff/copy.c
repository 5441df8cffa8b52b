#include "autodiff/copy.h"

#include <string.h>

typedef struct {
    ad_type shape;
    int64_t destination[AD_AXES], source[AD_AXES], to, from;
    size_t zeroed, element;
} copy_state;

void ad_dense_strides(int64_t *stride, ad_type type) {
    int64_t step = 1;
    for (int axis = type.rank - 1; axis >= 0; axis--) {
        stride[axis] = step;
        step *= type.dim[axis];
    }
}

kern_status ad_copy_create(void **state, ad_type shape, const int64_t *destination, int64_t to,
                           const int64_t *source, int64_t from, size_t zeroed) {
    kern_status status = kern_alloc(state, sizeof(copy_state), "strided copy");
    if (status != KERN_OK) return status;
    copy_state *copy = *state;
    *copy = (copy_state){.shape = shape,
                         .to = to,
                         .from = from,
                         .zeroed = zeroed,
                         .element = kern_dtype_bytes(shape.dtype)};
    memcpy(copy->destination, destination, (size_t)shape.rank * sizeof *destination);
    memcpy(copy->source, source, (size_t)shape.rank * sizeof *source);
    return KERN_OK;
}

void ad_copy_run(const void *state, kern_stream *stream, const ad_buffer *output,
                 const ad_buffer *input, void *workspace) {
    (void)workspace;
    const copy_state *copy = state;
    const kern_device *device = stream->device;
    if (copy->zeroed) device->zero(stream, output[0].data, copy->zeroed, copy->zeroed, 1);
    device->move->copy(stream, (char *)output[0].data + (size_t)copy->to * copy->element,
                       copy->destination,
                       (const char *)input[0].data + (size_t)copy->from * copy->element,
                       copy->source, copy->shape.dim, copy->shape.rank, copy->element);
}
