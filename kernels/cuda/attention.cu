/* Attention's three stages in f32 (of f32 or bf16) and f64. */
#include "kernels/cuda/kernels.h"

#define KERN_DEVICE DEVICE
#include "kernels/vector_math.h"

#define REAL float
#define NAME(name) name##_f32
#define TILE ATTENTION_TILE_F32
#define FMA fma_f32
#define EXP kern_exp_f32
#include "kernels/cuda/attention_tiles.h"
#undef REAL
#undef NAME
#undef TILE
#undef FMA
#undef EXP
#define REAL double
#define NAME(name) name##_f64
#define TILE ATTENTION_TILE_F64
#define FMA fma_f64
#define EXP kern_exp_f64
#include "kernels/cuda/attention_tiles.h"
