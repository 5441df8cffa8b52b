/* Instructions of PTX that compute one result from a lane's own operands. */
#include <math.h>
#include <string.h>

#include "kernels/base.h"
#include "kernels/vector_math.h"
#include "tests/kernels/cuda/ptx_code.h"

__extension__ typedef __int128 int128;
__extension__ typedef unsigned __int128 uint128;

static float f32(uint64_t bits) {
    return kern_from_bits_f32((uint32_t)bits);
}

static double f64(uint64_t bits) {
    return kern_from_bits_f64(bits);
}

/* There is one NaN in f32. */
static uint64_t of_f32(float x) {
    return x != x ? 0x7fffffffu : kern_bits_f32(x);
}

static uint64_t of_f64(double x) {
    return kern_bits_f64(x);
}

static int64_t s64(uint64_t bits) {
    return (int64_t)bits;
}

static int32_t s32(uint64_t bits) {
    return (int32_t)(uint32_t)bits;
}

static int16_t s16(uint64_t bits) {
    return (int16_t)(uint16_t)bits;
}

static uint32_t u32(uint64_t bits) {
    return (uint32_t)bits;
}

static uint16_t u16(uint64_t bits) {
    return (uint16_t)bits;
}

static uint64_t u64(uint64_t bits) {
    return bits;
}

/* To nearest even; the one NaN. */
static uint32_t bf16(float x) {
    return x != x ? 0x7fffu : kern_bf16_from_f32(x);
}

static float flushed(float x) {
    return fabsf(x) < 0x1p-126f ? copysignf(0, x) : x;
}

/* What is not a number does not count; -0 is less than 0. */
static float least_f32(float a, float b) {
    return a == b ? (signbit(a) ? a : b) : fminf(a, b);
}

static double least_f64(double a, double b) {
    return a == b ? (signbit(a) ? a : b) : fmin(a, b);
}

static bool either_nan(uint64_t a, uint64_t b) {
    return f32(a) != f32(a) || f32(b) != f32(b);
}

/* A count of bits to shift by is at most the width. */
static uint64_t shift_left(uint64_t a, uint64_t by, unsigned width) {
    return u32(by) >= width ? 0 : a << u32(by);
}

static uint64_t shift_right(uint64_t a, uint64_t by, unsigned width) {
    return u32(by) >= width ? 0 : a >> u32(by);
}

static uint64_t shift_signed(int64_t a, uint64_t by, unsigned width) {
    return (uint64_t)(a >> (u32(by) >= width ? width - 1 : u32(by)));
}

static uint64_t field(uint64_t a, uint64_t at, uint64_t bits) {
    uint64_t from = shift_right(a, at & 255, 64);
    return (bits & 255) >= 64 ? from : from & (((uint64_t)1 << (bits & 255)) - 1);
}

/* b with the lowest bits of a put in at a bit. */
static uint64_t insert(uint64_t a, uint64_t b, uint64_t at, uint64_t bits) {
    uint64_t mask = shift_left(field(UINT64_MAX, 0, bits), at & 255, 64);
    return (b & ~mask) | (shift_left(a, at & 255, 64) & mask);
}

static uint64_t permute(uint64_t a, uint64_t b, uint64_t selector) {
    uint64_t both = b << 32 | u32(a), made = 0;
    for (int i = 0; i < 4; i++) {
        uint64_t how = selector >> 4 * i, byte = both >> 8 * (how & 7) & 255;
        if (how & 8) byte = byte & 128 ? 255 : 0;
        made |= byte << 8 * i;
    }
    return made;
}

/* Bit by bit, that of the table which a, b and c choose. */
static uint64_t logic(uint64_t a, uint64_t b, uint64_t c, uint64_t table) {
    uint64_t made = 0;
    for (int i = 0; i < 8; i++)
        if (table >> i & 1) made |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
    return made;
}

/* What is divided by 0 is not specified. */
static uint64_t divide_s64(int64_t a, int64_t b) {
    return !b ? UINT64_MAX : b == -1 ? 0 - (uint64_t)a : (uint64_t)(a / b);
}

static uint64_t rest_s64(int64_t a, int64_t b) {
    return !b ? UINT64_MAX : b == -1 ? 0 : (uint64_t)(a % b);
}

#define LANE(name, result)                                                                         \
    static uint64_t name(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {                         \
        (void)a;                                                                                   \
        (void)b;                                                                                   \
        (void)c;                                                                                   \
        (void)d;                                                                                   \
        return (uint64_t)(result);                                                                 \
    }

/* Of any width: the lowest bits of the result are those of the operands'. */
LANE(move, a)
LANE(move_pred, a & 1)
LANE(select_one, c & 1 ? a : b)
LANE(add, a + b)
LANE(subtract, a - b)
LANE(negate, 0 - a)
LANE(multiply, a *b)
LANE(multiply_add, a *b + c)
LANE(bits_and, a &b)
LANE(bits_or, a | b)
LANE(bits_xor, a ^ b)
LANE(bits_not, ~a)
LANE(not_pred, !(a & 1))
LANE(lop3, logic(a, b, c, d & 255))

LANE(shl_16, shift_left(a, b, 16))
LANE(shl_32, shift_left(a, b, 32))
LANE(shl_64, shift_left(a, b, 64))
LANE(shr_u16, shift_right(u16(a), b, 16))
LANE(shr_u32, shift_right(u32(a), b, 32))
LANE(shr_u64, shift_right(a, b, 64))
LANE(shr_s16, shift_signed(s16(a), b, 16))
LANE(shr_s32, shift_signed(s32(a), b, 32))
LANE(shr_s64, shift_signed(s64(a), b, 64))
LANE(shf_left_wrap, (b << 32 | u32(a)) << (c & 31) >> 32)
LANE(shf_right_wrap, (b << 32 | u32(a)) >> (c & 31))
LANE(bfe_u32, field(u32(a), b, c))
LANE(bfe_u64, field(a, b, c))
LANE(bfi, insert(a, b, c, d))
LANE(prmt, permute(a, b, c))
LANE(popc, (uint64_t)__builtin_popcount(u32(a)))

LANE(mul_hi_s32, (uint64_t)((int64_t)s32(a) * s32(b) >> 32))
LANE(mul_hi_u32, (uint64_t)u32(a) * u32(b) >> 32)
LANE(mul_hi_u64, (uint128)a *b >> 64)
LANE(mul_hi_s64, (int128)s64(a) * s64(b) >> 64)
LANE(mul_wide_s16, (uint64_t)(int64_t)(s16(a) * s16(b)))
LANE(mul_wide_u16, (uint64_t)u16(a) * u16(b))
LANE(mul_wide_s32, (uint64_t)((int64_t)s32(a) * s32(b)))
LANE(mul_wide_u32, (uint64_t)u32(a) * u32(b))
LANE(mad_wide_s32, (uint64_t)((int64_t)s32(a) * s32(b)) + c)
LANE(mad_wide_u32, (uint64_t)u32(a) * u32(b) + c)
LANE(div_s32, divide_s64(s32(a), s32(b)))
LANE(div_s64, divide_s64(s64(a), s64(b)))
LANE(div_u32, u32(b) ? u32(a) / u32(b) : UINT32_MAX)
LANE(div_u64, b ? a / b : UINT64_MAX)
LANE(rem_s32, rest_s64(s32(a), s32(b)))
LANE(rem_s64, rest_s64(s64(a), s64(b)))
LANE(rem_u32, u32(b) ? u32(a) % u32(b) : UINT32_MAX)
LANE(rem_u64, b ? a % b : UINT64_MAX)
LANE(min_s32, s32(a) < s32(b) ? a : b)
LANE(max_s32, s32(a) > s32(b) ? a : b)
LANE(min_u32, u32(a) < u32(b) ? a : b)
LANE(max_u32, u32(a) > u32(b) ? a : b)
LANE(min_s64, s64(a) < s64(b) ? a : b)
LANE(max_s64, s64(a) > s64(b) ? a : b)
LANE(min_u64, a < b ? a : b)
LANE(max_u64, a > b ? a : b)
LANE(abs_s32, s32(a) < 0 ? 0 - a : a)

LANE(add_f32, of_f32(f32(a) + f32(b)))
LANE(sub_f32, of_f32(f32(a) - f32(b)))
LANE(mul_f32, of_f32(f32(a) * f32(b)))
LANE(div_f32, of_f32(f32(a) / f32(b)))
LANE(fma_f32, of_f32(fmaf(f32(a), f32(b), f32(c))))
LANE(rcp_f32, of_f32(1 / f32(a)))
LANE(sqrt_f32, of_f32(sqrtf(f32(a))))
LANE(neg_f32, of_f32(-f32(a)))
LANE(abs_f32, of_f32(fabsf(f32(a))))
LANE(min_f32, of_f32(least_f32(f32(a), f32(b))))
LANE(max_f32, of_f32(-least_f32(-f32(a), -f32(b))))
LANE(min_nan_f32, either_nan(a, b) ? 0x7fffffffu : min_f32(a, b, c, d))
LANE(max_nan_f32, either_nan(a, b) ? 0x7fffffffu : max_f32(a, b, c, d))
LANE(ex2_f32, of_f32(flushed(exp2f(flushed(f32(a))))))
LANE(add_f64, of_f64(f64(a) + f64(b)))
LANE(sub_f64, of_f64(f64(a) - f64(b)))
LANE(mul_f64, of_f64(f64(a) * f64(b)))
LANE(div_f64, of_f64(f64(a) / f64(b)))
LANE(fma_f64, of_f64(fma(f64(a), f64(b), f64(c))))
LANE(rcp_f64, of_f64(1 / f64(a)))
LANE(sqrt_f64, of_f64(sqrt(f64(a))))
LANE(neg_f64, a ^ (uint64_t)1 << 63)
LANE(abs_f64, a &UINT64_MAX >> 1)
LANE(min_f64, of_f64(least_f64(f64(a), f64(b))))
LANE(max_f64, of_f64(-least_f64(-f64(a), -f64(b))))

/* The first operand goes to the upper half. */
LANE(cvt_bf16x2, (uint64_t)bf16(f32(a)) << 16 | bf16(f32(b)))
LANE(cvt_bf16, bf16(f32(a)))
LANE(cvt_f64_f32, of_f64((double)f32(a)))
LANE(cvt_f32_f64, of_f32((float)f64(a)))
LANE(cvt_f32_s32, of_f32((float)s32(a)))
LANE(cvt_f32_u32, of_f32((float)u32(a)))
LANE(cvt_f32_s64, of_f32((float)s64(a)))
LANE(cvt_f32_u64, of_f32((float)a))
LANE(cvt_f64_s32, of_f64((double)s32(a)))
LANE(cvt_f64_u32, of_f64((double)u32(a)))
LANE(cvt_f64_s64, of_f64((double)s64(a)))
LANE(from_u8, a & 255)
LANE(from_s8, (uint64_t)(int64_t)(int8_t)(uint8_t)a)
LANE(from_u16, u16(a))
LANE(from_s16, (uint64_t)(int64_t)s16(a))
LANE(from_u32, u32(a))
LANE(from_s32, (uint64_t)(int64_t)s32(a))

LANE(to_shared_window, a + PTX_SHARED_WINDOW)
LANE(to_local_window, a + PTX_LOCAL_WINDOW)
LANE(to_param_window, a + PTX_PARAM_WINDOW)
LANE(from_shared_window, a - PTX_SHARED_WINDOW)
LANE(from_local_window, a - PTX_LOCAL_WINDOW)

/* Comparisons of a type; floating ones of a NaN are false, those below true. */
#define COMPARISONS(type)                                                                          \
    LANE(eq_##type, type(a) == type(b))                                                            \
    LANE(ne_##type, type(a) != type(b))                                                            \
    LANE(lt_##type, type(a) < type(b))                                                             \
    LANE(le_##type, type(a) <= type(b))                                                            \
    LANE(gt_##type, type(a) > type(b))                                                             \
    LANE(ge_##type, type(a) >= type(b))
#define UNORDERED(type)                                                                            \
    COMPARISONS(type)                                                                              \
    LANE(num_##type, type(a) == type(a) && type(b) == type(b))                                     \
    LANE(nan_##type, type(a) != type(a) || type(b) != type(b))                                     \
    LANE(equ_##type, !(type(a) < type(b) || type(a) > type(b)))                                    \
    LANE(ltu_##type, !(type(a) >= type(b)))                                                        \
    LANE(leu_##type, !(type(a) > type(b)))                                                         \
    LANE(gtu_##type, !(type(a) <= type(b)))                                                        \
    LANE(geu_##type, !(type(a) < type(b)))
COMPARISONS(s16)
COMPARISONS(u16)
COMPARISONS(s32)
COMPARISONS(u32)
COMPARISONS(s64)
COMPARISONS(u64)
UNORDERED(f32)
UNORDERED(f64)
/* Of two NaN, or one, ne is false. */
LANE(ne_ordered_f32, f32(a) < f32(b) || f32(a) > f32(b))
LANE(ne_ordered_f64, f64(a) < f64(b) || f64(a) > f64(b))

#define COMPARED(type)                                                                             \
    {"setp.eq." #type, 2, eq_##type}, {"setp.ne." #type, 2, ne_##type},                            \
        {"setp.lt." #type, 2, lt_##type}, {"setp.le." #type, 2, le_##type},                        \
        {"setp.gt." #type, 2, gt_##type}, {                                                        \
        "setp.ge." #type, 2, ge_##type                                                             \
    }
#define COMPARED_FLOAT(type)                                                                       \
    {"setp.eq." #type, 2, eq_##type}, {"setp.ne." #type, 2, ne_ordered_##type},                    \
        {"setp.neu." #type, 2, ne_##type}, {"setp.lt." #type, 2, lt_##type},                       \
        {"setp.le." #type, 2, le_##type}, {"setp.gt." #type, 2, gt_##type},                        \
        {"setp.ge." #type, 2, ge_##type}, {"setp.num." #type, 2, num_##type},                      \
        {"setp.nan." #type, 2, nan_##type}, {"setp.equ." #type, 2, equ_##type},                    \
        {"setp.ltu." #type, 2, ltu_##type}, {"setp.leu." #type, 2, leu_##type},                    \
        {"setp.gtu." #type, 2, gtu_##type}, {                                                      \
        "setp.geu." #type, 2, geu_##type                                                           \
    }

/* A name that ends in * stands for all that begin so; the first row that fits counts. */
static const struct {
    const char *name;
    int sources;
    ptx_function *compute;
} table[] = {
    {"mov.pred", 1, move_pred},
    {"mov.*", 1, move},
    {"selp.*", 3, select_one},
    {"add.s*", 2, add},
    {"add.u*", 2, add},
    {"sub.s*", 2, subtract},
    {"sub.u*", 2, subtract},
    {"neg.s*", 1, negate},
    {"mul.lo.*", 2, multiply},
    {"mad.lo.*", 3, multiply_add},
    {"and.*", 2, bits_and},
    {"or.*", 2, bits_or},
    {"xor.*", 2, bits_xor},
    {"not.pred", 1, not_pred},
    {"not.*", 1, bits_not},
    {"lop3.b32", 4, lop3},
    {"shl.b16", 2, shl_16},
    {"shl.b32", 2, shl_32},
    {"shl.b64", 2, shl_64},
    {"shr.u16", 2, shr_u16},
    {"shr.u32", 2, shr_u32},
    {"shr.u64", 2, shr_u64},
    {"shr.b16", 2, shr_u16},
    {"shr.b32", 2, shr_u32},
    {"shr.b64", 2, shr_u64},
    {"shr.s16", 2, shr_s16},
    {"shr.s32", 2, shr_s32},
    {"shr.s64", 2, shr_s64},
    {"shf.l.wrap.b32", 3, shf_left_wrap},
    {"shf.r.wrap.b32", 3, shf_right_wrap},
    {"bfe.u32", 3, bfe_u32},
    {"bfe.u64", 3, bfe_u64},
    {"bfi.b*", 4, bfi},
    {"prmt.b32", 3, prmt},
    {"popc.b32", 1, popc},
    {"mul.hi.s32", 2, mul_hi_s32},
    {"mul.hi.u32", 2, mul_hi_u32},
    {"mul.hi.s64", 2, mul_hi_s64},
    {"mul.hi.u64", 2, mul_hi_u64},
    {"mul.wide.s16", 2, mul_wide_s16},
    {"mul.wide.u16", 2, mul_wide_u16},
    {"mul.wide.s32", 2, mul_wide_s32},
    {"mul.wide.u32", 2, mul_wide_u32},
    {"mad.wide.s32", 3, mad_wide_s32},
    {"mad.wide.u32", 3, mad_wide_u32},
    {"div.s32", 2, div_s32},
    {"div.s64", 2, div_s64},
    {"div.u32", 2, div_u32},
    {"div.u64", 2, div_u64},
    {"rem.s32", 2, rem_s32},
    {"rem.s64", 2, rem_s64},
    {"rem.u32", 2, rem_u32},
    {"rem.u64", 2, rem_u64},
    {"min.s32", 2, min_s32},
    {"max.s32", 2, max_s32},
    {"min.u32", 2, min_u32},
    {"max.u32", 2, max_u32},
    {"min.s64", 2, min_s64},
    {"max.s64", 2, max_s64},
    {"min.u64", 2, min_u64},
    {"max.u64", 2, max_u64},
    {"abs.s32", 1, abs_s32},
    {"add.rn.f32", 2, add_f32},
    {"sub.rn.f32", 2, sub_f32},
    {"mul.rn.f32", 2, mul_f32},
    {"div.rn.f32", 2, div_f32},
    {"fma.rn.f32", 3, fma_f32},
    {"rcp.rn.f32", 1, rcp_f32},
    {"sqrt.rn.f32", 1, sqrt_f32},
    {"neg.f32", 1, neg_f32},
    {"abs.f32", 1, abs_f32},
    {"min.f32", 2, min_f32},
    {"max.f32", 2, max_f32},
    {"min.NaN.f32", 2, min_nan_f32},
    {"max.NaN.f32", 2, max_nan_f32},
    {"ex2.approx.ftz.f32", 1, ex2_f32},
    {"add.rn.f64", 2, add_f64},
    {"sub.rn.f64", 2, sub_f64},
    {"mul.rn.f64", 2, mul_f64},
    {"div.rn.f64", 2, div_f64},
    {"fma.rn.f64", 3, fma_f64},
    {"rcp.rn.f64", 1, rcp_f64},
    {"sqrt.rn.f64", 1, sqrt_f64},
    {"neg.f64", 1, neg_f64},
    {"abs.f64", 1, abs_f64},
    {"min.f64", 2, min_f64},
    {"max.f64", 2, max_f64},
    {"cvt.rn.bf16x2.f32", 2, cvt_bf16x2},
    {"cvt.rn.bf16.f32", 1, cvt_bf16},
    {"cvt.f64.f32", 1, cvt_f64_f32},
    {"cvt.rn.f32.f64", 1, cvt_f32_f64},
    {"cvt.rn.f32.s32", 1, cvt_f32_s32},
    {"cvt.rn.f32.u32", 1, cvt_f32_u32},
    {"cvt.rn.f32.s64", 1, cvt_f32_s64},
    {"cvt.rn.f32.u64", 1, cvt_f32_u64},
    {"cvt.rn.f64.s32", 1, cvt_f64_s32},
    {"cvt.rn.f64.u32", 1, cvt_f64_u32},
    {"cvt.rn.f64.s64", 1, cvt_f64_s64},
    /* of integers, what is narrower decides: it is cut off, or widened by its sign */
    {"cvt.u8.*", 1, from_u8},
    {"cvt.s8.*", 1, from_s8},
    {"cvt.u16.u8", 1, from_u8},
    {"cvt.s16.s8", 1, from_s8},
    {"cvt.u16.*", 1, from_u16},
    {"cvt.s16.*", 1, from_s16},
    {"cvt.u32.u8", 1, from_u8},
    {"cvt.s32.s8", 1, from_s8},
    {"cvt.u32.u16", 1, from_u16},
    {"cvt.s32.s16", 1, from_s16},
    {"cvt.u32.u64", 1, from_u32},
    {"cvt.s32.s64", 1, from_s32},
    {"cvt.u64.u8", 1, from_u8},
    {"cvt.s64.s8", 1, from_s8},
    {"cvt.u64.u16", 1, from_u16},
    {"cvt.s64.s16", 1, from_s16},
    {"cvt.u64.u32", 1, from_u32},
    {"cvt.s64.s32", 1, from_s32},
    {"cvta.global.u64", 1, move},
    {"cvta.to.global.u64", 1, move},
    {"cvta.shared.u64", 1, to_shared_window},
    {"cvta.to.shared.u64", 1, from_shared_window},
    {"cvta.local.u64", 1, to_local_window},
    {"cvta.to.local.u64", 1, from_local_window},
    {"cvta.param.u64", 1, to_param_window},
    COMPARED(s16),
    COMPARED(u16),
    COMPARED(s32),
    COMPARED(u32),
    COMPARED(s64),
    COMPARED(u64),
    COMPARED_FLOAT(f32),
    COMPARED_FLOAT(f64),
    {"setp.eq.b16", 2, eq_u16},
    {"setp.ne.b16", 2, ne_u16},
    {"setp.eq.b32", 2, eq_u32},
    {"setp.ne.b32", 2, ne_u32},
    {"setp.eq.b64", 2, eq_u64},
    {"setp.ne.b64", 2, ne_u64},
};

bool ptx_look_up(const char *name, ptx_function **compute, int *sources) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        size_t length = strlen(table[i].name);
        bool all = table[i].name[length - 1] == '*';
        if (all ? strncmp(name, table[i].name, length - 1) != 0 : strcmp(name, table[i].name) != 0)
            continue;
        *compute = table[i].compute;
        *sources = table[i].sources;
        return true;
    }
    return false;
}
