#include "kernels/round_isa.h"
#include "kernels/vector_math.h"

void KERN_ISA(kern_round)(uint16_t *restrict to, const float *restrict from, int64_t count) {
    for (int64_t i = 0; i < count; i++) to[i] = kern_bf16_from_f32(from[i]);
}
