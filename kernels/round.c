#include "kernels/round.h"

#include "kernels/round_isa.h"

enum { SLICE = 1 << 14 };

static kern_round_run *best(void) {
#if defined(__x86_64__)
    static kern_round_run *const all[KERN_ISAS] = {kern_round_v2, kern_round_v3, kern_round_v4};
    return all[kern_isa()];
#else
    return kern_round_v2;
#endif
}

void kern_round(uint16_t *to, const float *from, int64_t count) {
    kern_round_run *run = best();
#pragma omp parallel for schedule(static) if (count > SLICE)
    for (int64_t first = 0; first < count; first += SLICE)
        run(to + first, from + first, count - first < SLICE ? count - first : SLICE);
}
