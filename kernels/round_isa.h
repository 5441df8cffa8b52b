/* The rounding of kernels/round.h on one thread, in each instruction set. Internal. */
#ifndef KERNELS_ROUND_ISA_H
#define KERNELS_ROUND_ISA_H

#include "kernels/isa.h"

#include <stdint.h>

typedef void kern_round_run(uint16_t *to, const float *from, int64_t count);
kern_round_run kern_round_v2;
#if defined(__x86_64__)
kern_round_run kern_round_v3, kern_round_v4;
#endif

#endif
