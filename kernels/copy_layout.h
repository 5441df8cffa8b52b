/* What a copy of kernels/copy.h comes down to, for those who make it: the CPU and others. */
#ifndef KERNELS_COPY_LAYOUT_H
#define KERNELS_COPY_LAYOUT_H

#include "kernels/copy.h"

/* Axes without those of extent 1, dst's strides falling, neighbours merged where both allow; at
 * least one. */
typedef struct {
    int axes;
    int64_t shape[KERN_COPY_AXES], dst[KERN_COPY_AXES], src[KERN_COPY_AXES];
} kern_copy_layout;

/* False: there is nothing to copy. Arguments as kern_copy_strided's. */
bool kern_copy_layout_of(kern_copy_layout *layout, const int64_t *dst_stride,
                         const int64_t *src_stride, const int64_t *shape, int rank);

/* Moves the axis along which src is adjacent next to the last one, along which dst is; false if
 * there are none such. */
bool kern_copy_find_transposed(kern_copy_layout *layout);

#endif
