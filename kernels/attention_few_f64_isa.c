#define KERN_REAL_IS_DOUBLE
#include "kernels/attention_few_isa.h"

#include "kernels/isa.h"

void KERN_ISA(kern_attention_part_f64)(const kern_attention_call *call, int64_t batch,
                                       int64_t begin, int64_t end, void *slot) {
    run_part(call, batch, begin, end, slot);
}

void KERN_ISA(kern_attention_merge_f64)(const kern_attention_call *call, int64_t batch,
                                        int64_t query, const void *slots, int64_t parts) {
    merge_parts(call, batch, query, slots, parts);
}
