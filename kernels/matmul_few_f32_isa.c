#include "kernels/matmul_few_isa.h"

#include "kernels/isa.h"

void KERN_ISA(kern_few_f32)(const kern_few_task *task) {
    run_task(task);
}
