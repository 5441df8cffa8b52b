/* Includes the file EACH_TYPE once for each type of elements. There NAME(x) is x with the type
 * after it; ELEMENT is what operands hold, VALUE an element as a number, REAL the type of sums and
 * results. No include guard. */
#define REAL float
#define FMA fma_f32
#define XOR warp_xor
#define EXP exp_f32
#define ELEMENT float
#define VALUE(x) (x)
#define NAME(name) name##_f32
#include EACH_TYPE
#undef ELEMENT
#undef VALUE
#undef NAME
#define ELEMENT uint16_t
#define VALUE(x) kern_bf16_to_f32(x)
#define NAME(name) name##_bf16
#include EACH_TYPE
#undef REAL
#undef FMA
#undef XOR
#undef EXP
#undef ELEMENT
#undef VALUE
#undef NAME
#define REAL double
#define FMA fma_f64
#define XOR warp_xor_f64
#define EXP exp_f64
#define ELEMENT double
#define VALUE(x) (x)
#define NAME(name) name##_f64
#include EACH_TYPE
#undef REAL
#undef FMA
#undef XOR
#undef EXP
#undef ELEMENT
#undef VALUE
#undef NAME
#undef EACH_TYPE
