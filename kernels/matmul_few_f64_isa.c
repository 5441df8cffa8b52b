#define KERN_REAL_IS_DOUBLE
#include "kernels/matmul_few_isa.h"

#include "kernels/isa.h"

void KERN_ISA(kern_few_f64)(const kern_few_task *task) {
    run_task(task);
}
