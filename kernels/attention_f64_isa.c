#define KERN_REAL_IS_DOUBLE
#include "kernels/attention_vjp2_isa.h"

#include "kernels/isa.h"

void KERN_ISA(kern_attention_f64)(const kern_attention_call *call, const kern_attention_item *item,
                                  void *scratch) {
    run_item(call, item, scratch);
}
