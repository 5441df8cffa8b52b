/* f32 to bf16. */
#ifndef KERNELS_ROUND_H
#define KERNELS_ROUND_H

#include "kernels/base.h"

/* to [count] = from, to nearest even; NaN stays NaN. Parallel; aliases nothing. */
void kern_round(uint16_t *to, const float *from, int64_t count);

#endif
