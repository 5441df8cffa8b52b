/* One binary for many processors: files NAME_isa.c are compiled for x86-64-v2, v3 and v4 (other
 * processors: once) and the best variant is picked at start. Within one machine the choice never
 * changes, so results repeat bit for bit; TTT_ISA=v2|v3|v4 forces a variant, for tests. */
#ifndef KERNELS_ISA_H
#define KERNELS_ISA_H

#define KERN_ISA_PASTE2(function, suffix) function##_##suffix
#define KERN_ISA_PASTE(function, suffix) KERN_ISA_PASTE2(function, suffix)
/* The name of `function` in the variant that is being compiled. */
#define KERN_ISA(function) KERN_ISA_PASTE(function, KERN_ISA_SUFFIX)

typedef enum { KERN_ISA_V2, KERN_ISA_V3, KERN_ISA_V4, KERN_ISAS } kern_isa_level;

#if defined(__x86_64__)
/* What cpuid and xgetbv say: of a processor, and of what the system saves when threads change. */
typedef struct {
    unsigned leaf1_ecx, leaf7_ebx, extended1_ecx, xcr0;
} kern_isa_features;

/* The best variant whose -march has nothing that these features lack; v2 if there is none. */
kern_isa_level kern_isa_of(const kern_isa_features *features);
#endif

/* The variant in use. An unknown or unsupported TTT_ISA is ignored with a line on stderr. */
kern_isa_level kern_isa(void);

#endif
