/* Memory and the ratios between machines are the vendors' figures. Those of the h200 are scaled to
 * what was measured on it: products of 770 of 989 TFLOP/s; passes over memory at 3.4 of 4.8 TB/s.
 */
#include "kernels/machine.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const kern_machine kern_machine_cpu = {.name = "cpu",
                                       .pass_steps = 2,
                                       .piece_rows = 512,
                                       .product_rows = 256,
                                       .slice_elements = 16 << 20};

#define GPU(model, bytes, f32, bf16, f64, bytes_per_second, multiprocessors)                       \
    {                                                                                              \
        .name = (model), .memory = (bytes), .f32_flops = (f32)*770 / 989,                          \
        .bf16_flops = (bf16)*770 / 989, .f64_flops = (f64)*770 / 989,                              \
        .bandwidth = (bytes_per_second)*3.4 / 4.8, .processors = (multiprocessors),                \
        .launch_seconds = 1.5e-6, .pass_steps = 32, .piece_rows = 8192, .product_rows = 4096,      \
        .slice_elements = 256 << 20                                                                \
    }

static const kern_machine gpu[] = {
    GPU("a100-40", 40e9, 19.5e12, 312e12, 19.5e12, 1.555e12, 108),
    GPU("a100-80", 80e9, 19.5e12, 312e12, 19.5e12, 2.04e12, 108),
    GPU("h100", 80e9, 67e12, 989e12, 67e12, 3.35e12, 132),
    GPU("h200", 141e9, 67e12, 989e12, 67e12, 4.8e12, 132),
    GPU("b200", 180e9, 75e12, 2250e12, 37e12, 8e12, 148),
};

const kern_machine *kern_machine_named(const char *name) {
    for (size_t i = 0; i < sizeof gpu / sizeof *gpu; i++)
        if (!strcmp(gpu[i].name, name)) return &gpu[i];
    return NULL;
}

kern_machine kern_machine_like(const char *product, double memory) {
    kern_machine found = {.pass_steps = gpu[0].pass_steps,
                          .piece_rows = gpu[0].piece_rows,
                          .product_rows = gpu[0].product_rows,
                          .slice_elements = gpu[0].slice_elements};
    for (size_t i = 0; i < sizeof gpu / sizeof *gpu; i++) {
        char model[16];
        snprintf(model, sizeof model, "%.*s", (int)strcspn(gpu[i].name, "-"), gpu[i].name);
        bool nearer = fabs(gpu[i].memory - memory) < fabs(found.memory - memory);
        if (strcasestr(product, model) && nearer) found = gpu[i];
    }
    found.name = product;
    found.memory = memory;
    return found;
}

const char *kern_machine_names(void) {
    return "a100-40, a100-80, h100, h200 and b200";
}

double kern_machine_flops(const kern_machine *machine, kern_dtype dtype) {
    return dtype == KERN_BF16  ? machine->bf16_flops
           : dtype == KERN_F64 ? machine->f64_flops
                               : machine->f32_flops;
}
