/* What a machine can do, in figures: by them plans are cut to size for it and their time is
 * foretold. All functions are local. */
#ifndef KERNELS_MACHINE_H
#define KERNELS_MACHINE_H

#include "kernels/base.h"

/* Where a figure of speed is 0 the machine's time is not foretold. */
typedef struct {
    const char *name;
    double memory;                           /* bytes that training may take */
    double f32_flops, bf16_flops, f64_flops; /* FLOP/s of the library's best product */
    double bandwidth;                        /* bytes/s that a pass over memory reaches */
    double processors;                       /* that work on tiles of a product at the same time */
    double launch_seconds;                   /* that a call costs whatever it does */
    double pass_steps;     /* additions that cost as much as to load or store what they add */
    double piece_rows;     /* rows that the prefix reads at a time, of all sequences together */
    double product_rows;   /* rows of a chunk's products, of all sequences, to begin with */
    double slice_elements; /* logits that the head has in memory at a time */
} kern_machine;

/* Processors: of their speed nothing is said; pieces are those that their caches hold. */
extern const kern_machine kern_machine_cpu;

/* The accelerator of this name; NULL where there is none. */
const kern_machine *kern_machine_named(const char *name);
/* A machine whose maker calls it `product` ("NVIDIA H200"), with so many bytes for training: the
 * figures of the nearest of that kind, or, if there is none, figures without speeds. */
kern_machine kern_machine_like(const char *product, double memory);
/* All their names: "a100-40, ... and b200". */
const char *kern_machine_names(void);

/* FLOP/s of the best product of this dtype. */
double kern_machine_flops(const kern_machine *machine, kern_dtype dtype);

#endif
