/* The kernel of the movement operations that cannot be views: one strided copy. For op files. */
#ifndef AUTODIFF_COPY_H
#define AUTODIFF_COPY_H

#include "autodiff/op.h"

/* Dense row-major strides of a shape, in elements. */
void ad_dense_strides(int64_t *stride, ad_type type);

/* Copies `shape` elements from input 0 (first element `from`, strides `source`) to output 0 (first
 * element `to`, strides `destination`), after zeroing `zeroed` bytes of the output. */
kern_status ad_copy_create(void **state, ad_type shape, const int64_t *destination, int64_t to,
                           const int64_t *source, int64_t from, size_t zeroed);
void ad_copy_run(const void *state, kern_stream *stream, const ad_buffer *output,
                 const ad_buffer *input, void *workspace);

#endif
