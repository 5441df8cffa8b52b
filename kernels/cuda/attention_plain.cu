/* Attention for any head size, each type of elements. */
#define TILE (16 * SIDE)
#define ACROSS (thread_x() % 16)
#define DOWN (thread_x() / 16)
#define EACH(i) UNROLL for (int i = 0; i < SIDE; i++)

#define REAL float
#define ELEMENT float
#define VALUE(x) (x)
#define SIDE 4
#define NAME(name) name##_f32
#define FMA fma_f32
#define EXP exp_f32
#define XOR warp_xor
#include "kernels/cuda/attention_few.h"
#include "kernels/cuda/attention_plain.h"
#include "kernels/cuda/attention_plain_stages.h"
#undef ELEMENT
#undef VALUE
#undef NAME
#define ELEMENT uint16_t
#define VALUE(x) kern_bf16_to_f32(x)
#define NAME(name) name##_bf16
#include "kernels/cuda/attention_few.h"
#include "kernels/cuda/attention_plain.h"
#include "kernels/cuda/attention_plain_stages.h"
#undef REAL
#undef ELEMENT
#undef VALUE
#undef SIDE
#undef NAME
#undef FMA
#undef EXP
#undef XOR
#define REAL double
#define ELEMENT double
#define VALUE(x) (x)
#define SIDE 2
#define NAME(name) name##_f64
#define FMA fma_f64
#define EXP exp_f64
#define XOR warp_xor_f64
#include "kernels/cuda/attention_few.h"
#include "kernels/cuda/attention_plain.h"
#include "kernels/cuda/attention_plain_stages.h"
