/* The steps of row programs on one tile, for one compute type: rows_isa.c includes this twice, with
 * REAL, VECTOR (VECTOR_BYTES of REAL), VECTOR_MASK, ROOT(x) and TYPED(name) defined. */

enum { TYPED(LANES) = VECTOR_BYTES / sizeof(REAL) };

static INLINE REAL TYPED(apply)(int op, REAL a, REAL b, REAL c) {
    switch (op) {
    case KERN_ROW_ADD: return a + b;
    case KERN_ROW_SUB: return a - b;
    case KERN_ROW_MUL: return a * b;
    case KERN_ROW_DIV: return a / b;
    case KERN_ROW_MAX: return ((a > b) | (a != a)) ? a : b;
    case KERN_ROW_NEG: return -a;
    case KERN_ROW_ABS: return a < 0 ? -a : a + 0; /* + 0 turns -0 into 0 */
    case KERN_ROW_EXP: return TYPED(kern_exp)(a);
    case KERN_ROW_LOG: return TYPED(kern_log)(a);
    case KERN_ROW_SQRT: return (REAL)ROOT(a);
    case KERN_ROW_SIGMOID: return TYPED(kern_sigmoid)(a);
    case KERN_ROW_GREATER: return a > b ? (REAL)1 : (REAL)0;
    case KERN_ROW_SELECT: return a != 0 ? b : c;
    default: return a;
    }
}

/* The destination may be a source (same elements), hence INDEPENDENT and not restrict. */
static INLINE void TYPED(unary)(int op, const kern_row_step *s, const kern_row_tile *t) {
    REAL *d = t->slot[s->d];
    const REAL *a = t->slot[s->a];
    int64_t count = s->wide ? t->rows * t->cols : t->rows;
    INDEPENDENT
    for (int64_t i = 0; i < count; i++) d[i] = TYPED(apply)(op, a[i], 0, 0);
}

static INLINE void TYPED(binary_vv)(int op, const kern_row_step *s, const kern_row_tile *t) {
    REAL *d = t->slot[s->d];
    const REAL *a = t->slot[s->a], *b = t->slot[s->b];
    int64_t count = s->wide ? t->rows * t->cols : t->rows;
    INDEPENDENT
    for (int64_t i = 0; i < count; i++) d[i] = TYPED(apply)(op, a[i], b[i], 0);
}

/* One source V, the other S: with per_row a value for each row, else one for all. */
static INLINE void TYPED(binary_s)(int op, bool first, const kern_row_step *s,
                                   const kern_row_tile *t) {
    REAL *d = t->slot[s->d];
    const REAL *vector = t->slot[first ? s->b : s->a], *scalar = t->slot[first ? s->a : s->b];
    int64_t count = s->wide ? t->rows * t->cols : t->rows;
    int64_t rows = s->per_row ? t->rows : 1, cols = s->per_row ? t->cols : count;
    for (int64_t r = 0; r < rows; r++, d += cols, vector += cols) {
        REAL value = scalar[r];
        INDEPENDENT
        for (int64_t i = 0; i < cols; i++)
            d[i] = first ? TYPED(apply)(op, value, vector[i], 0)
                         : TYPED(apply)(op, vector[i], value, 0);
    }
}

static INLINE void TYPED(select)(int b_step, int c_step, const kern_row_step *s,
                                 const kern_row_tile *t) {
    REAL *d = t->slot[s->d];
    const REAL *a = t->slot[s->a], *b = t->slot[s->b], *c = t->slot[s->c];
    int64_t count = s->wide ? t->rows * t->cols : t->rows;
    REAL b0 = *b, c0 = *c;
    INDEPENDENT
    for (int64_t i = 0; i < count; i++)
        d[i] = TYPED(apply)(KERN_ROW_SELECT, a[i], b_step ? b[i] : b0, c_step ? c[i] : c0);
}

static INLINE REAL TYPED(linked)(int op, REAL a, REAL b) {
    return op == 0 ? a + b : op == 1 ? a - b : op == 2 ? a * b : b - a;
}

static INLINE void TYPED(chain)(int op, bool b_vector, bool c_vector, const kern_row_step *s,
                                const kern_row_tile *t) {
    REAL *d = t->slot[s->d];
    const REAL *a = t->slot[s->a], *b = t->slot[s->b], *c = t->slot[s->c];
    int64_t count = s->wide ? t->rows * t->cols : t->rows;
    bool by_row = s->per_row || s->c_per_row;
    int64_t rows = by_row ? t->rows : 1, cols = by_row ? t->cols : count;
    for (int64_t r = 0; r < rows; r++, d += cols, a += cols) {
        REAL b0 = *b, c0 = *c;
        INDEPENDENT
        for (int64_t i = 0; i < cols; i++) {
            REAL link = TYPED(linked)(op / 4, a[i], b_vector ? b[i] : b0);
            d[i] = TYPED(linked)(op % 4, link, c_vector ? c[i] : c0);
        }
        b += b_vector ? cols : s->per_row;
        c += c_vector ? cols : s->c_per_row;
    }
}

/* lane[j] = a[j] + a[stride + j] + ... (times b[...] if product), j < vectors * LANES. */
static INLINE void TYPED(add_steps)(bool product, int vectors, REAL *lane, const REAL *a,
                                    const REAL *b, int64_t steps, int64_t stride) {
    VECTOR sum[SUMS] = {{0}}, x, y;
    for (int64_t k = 0; k < steps * stride; k += stride)
#pragma GCC unroll 16
        for (int v = 0; v < vectors; v++) {
            memcpy(&x, a + k + v * TYPED(LANES), sizeof x);
            if (product) memcpy(&y, b + k + v * TYPED(LANES), sizeof y);
            sum[v] += product ? x * y : x;
        }
#pragma GCC unroll 16
    for (int v = 0; v < vectors; v++) memcpy(lane + v * TYPED(LANES), &sum[v], sizeof x);
}

/* One part of a row: lane[l] = a[l] + a[lanes + l] + ... */
static INLINE void TYPED(add_part)(bool product, int lanes, REAL *lane, const REAL *a,
                                   const REAL *b, int64_t n) {
    enum { MOST = SUMS * TYPED(LANES) };
    int64_t steps = n / lanes;
    for (int l = 0; l < lanes; l += MOST) TYPED(add_steps)
    (product, lanes < MOST ? lanes / TYPED(LANES) : SUMS, lane + l, a + l, b + l, steps, lanes);
    for (int64_t j = steps * lanes, l = 0; j < n; j++, l++) lane[l] += product ? a[j] * b[j] : a[j];
}

/* lane[l] += lane[l + half] for l < half, half = lanes / 2, lanes / 4, ... 1: lane[0] then. */
static INLINE REAL TYPED(halve)(REAL *lane, int lanes) {
    int half = lanes / 2;
    VECTOR x, y;
    for (; half >= TYPED(LANES); half /= 2)
        for (int l = 0; l < half; l += TYPED(LANES)) {
            memcpy(&x, lane + l, sizeof x);
            memcpy(&y, lane + l + half, sizeof y);
            x += y;
            memcpy(lane + l, &x, sizeof x);
        }
    for (; half; half /= 2)
        for (int l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

/* The sum of a row, or of its products with another, in the order of kernels/rows.h. */
static INLINE REAL TYPED(sum_of)(bool product, const kern_row_order *order, const REAL *a,
                                 const REAL *b, int64_t n) {
    REAL lane[KERN_ROW_LANES];
    if (order->lanes == 32) {
        TYPED(add_part)(product, 32, lane, a, b, n);
        return TYPED(halve)(lane, 32);
    }
    if (order->lanes == 64) {
        TYPED(add_part)(product, 64, lane, a, b, n);
        return TYPED(halve)(lane, 64);
    }
    for (int part = 0; part < order->parts; part++) {
        int64_t from = kern_min(part * order->part, n), count = kern_min(order->part, n - from);
        TYPED(add_part)(product, 128, lane + part * 128, a + from, b + from, count);
    }
    return TYPED(halve)(lane, order->lanes);
}

static void TYPED(row_sum)(const kern_row_step *s, const kern_row_tile *t) {
    REAL *d = t->slot[s->d];
    const REAL *a = t->slot[s->a];
    const kern_row_order order = kern_row_sum_order(t->cols);
    for (int64_t r = 0; r < t->rows; r++, a += t->cols)
        d[r] = TYPED(sum_of)(false, &order, a, a, t->cols);
}

static void TYPED(dot)(const kern_row_step *s, const kern_row_tile *t) {
    REAL *d = t->slot[s->d];
    const REAL *a = t->slot[s->a], *b = t->slot[s->b];
    const kern_row_order order = kern_row_sum_order(t->cols);
    for (int64_t r = 0; r < t->rows; r++, a += t->cols, b += t->cols)
        d[r] = TYPED(sum_of)(true, &order, a, b, t->cols);
}

static INLINE REAL TYPED(max_of)(const REAL *a, int64_t n) {
    REAL lane[TYPED(LANES)];
    VECTOR best, x;
    VECTOR_MASK bits, other, mask;
    for (int l = 0; l < TYPED(LANES); l++) lane[l] = (REAL)-INFINITY;
    memcpy(&best, lane, sizeof best);
    int64_t i = 0;
    for (; i + TYPED(LANES) <= n; i += TYPED(LANES)) {
        memcpy(&x, a + i, sizeof x);
        mask = (VECTOR_MASK)(x > best) | (VECTOR_MASK)(x != x);
        memcpy(&bits, &x, sizeof bits);
        memcpy(&other, &best, sizeof other);
        other = (mask & bits) | (~mask & other);
        memcpy(&best, &other, sizeof best);
    }
    memcpy(lane, &best, sizeof best);
    for (int64_t l = 0; i + l < n; l++) lane[l] = TYPED(apply)(KERN_ROW_MAX, a[i + l], lane[l], 0);
    for (int half = TYPED(LANES) / 2; half; half /= 2)
        for (int l = 0; l < half; l++)
            lane[l] = TYPED(apply)(KERN_ROW_MAX, lane[l], lane[l + half], 0);
    return lane[0] + 0; /* of zeros, whose signs differ, that of the largest would be anyone's */
}

static void TYPED(row_max)(const kern_row_step *s, const kern_row_tile *t) {
    REAL *d = t->slot[s->d];
    const REAL *a = t->slot[s->a];
    for (int64_t r = 0; r < t->rows; r++) d[r] = TYPED(max_of)(a + r * t->cols, t->cols);
}

static void TYPED(rotate)(const kern_row_step *s, const kern_row_tile *t) {
    REAL *restrict d = t->slot[s->d];
    const REAL *restrict a = t->slot[s->a];
    for (int64_t i = 0; i < t->rows * t->cols; i += 2) {
        d[i] = -a[i + 1];
        d[i + 1] = a[i];
    }
}

static void TYPED(repeat)(const kern_row_step *s, const kern_row_tile *t) {
    REAL *restrict d = t->slot[s->d];
    const REAL *restrict a = t->slot[s->a];
    int64_t count = s->wide ? t->rows * t->cols : t->rows;
    int64_t rows = s->per_row ? t->rows : 1, cols = s->per_row ? t->cols : count;
    for (int64_t r = 0; r < rows; r++, d += cols) {
        REAL value = a[r];
        for (int64_t i = 0; i < cols; i++) d[i] = value;
    }
}

static void TYPED(constant)(const kern_row_step *s, const kern_row_tile *t) {
    REAL *d = t->slot[s->d];
    d[0] = (REAL)s->value;
}

static void TYPED(load_run)(REAL *restrict d, kern_dtype dtype, const void *src, int64_t count) {
    if (dtype == KERN_F32) {
        const float *restrict a = src;
        for (int64_t i = 0; i < count; i++) d[i] = (REAL)a[i];
    } else if (dtype == KERN_F64) {
        const double *restrict a = src;
        for (int64_t i = 0; i < count; i++) d[i] = (REAL)a[i];
    } else if (dtype == KERN_BF16) {
        const uint16_t *restrict a = src;
        for (int64_t i = 0; i < count; i++) d[i] = (REAL)kern_bf16_to_f32(a[i]);
    } else {
        const int32_t *restrict a = src;
        for (int64_t i = 0; i < count; i++) d[i] = (REAL)a[i];
    }
}

static void TYPED(store_run)(void *dst, kern_dtype dtype, const void *src, int64_t count) {
    const REAL *a = src;
    if (dtype == KERN_F32) {
        float *d = dst;
        INDEPENDENT
        for (int64_t i = 0; i < count; i++) d[i] = (float)a[i];
    } else if (dtype == KERN_F64) {
        double *d = dst;
        INDEPENDENT
        for (int64_t i = 0; i < count; i++) d[i] = (double)a[i];
    } else {
        uint16_t *restrict d = dst;
        for (int64_t i = 0; i < count; i++) d[i] = TYPED(kern_bf16_from)(a[i]);
    }
}

static void TYPED(load)(const kern_row_step *s, const kern_row_tile *t) {
    REAL *d = t->slot[s->d];
    size_t bytes = kern_dtype_bytes(s->dtype);
    const char *base =
        (const char *)t->operand[s->operand] + (s->wide ? t->col : 0) * (int64_t)bytes;
    int64_t width = s->wide ? t->cols : 1, index[KERN_ROW_LEAD];
    int64_t count = s->contiguous ? 1 : t->rows, each = s->contiguous ? t->rows * width : width;
    memcpy(index, t->index, sizeof index);
    for (int64_t r = 0; r < count; r++) {
        TYPED(load_run)
        (d + r * width, s->dtype, base + row_offset(s, index) * (int64_t)bytes, each);
        next_row(index, t->shape);
    }
}

static void TYPED(store)(const kern_row_step *s, const kern_row_tile *t) {
    const REAL *a = t->slot[s->a];
    size_t bytes = kern_dtype_bytes(s->dtype);
    char *base = (char *)t->operand[s->operand] + (s->wide ? t->col : 0) * (int64_t)bytes;
    int64_t width = s->wide ? t->cols : 1, index[KERN_ROW_LEAD];
    int64_t count = s->contiguous ? 1 : t->rows, each = s->contiguous ? t->rows * width : width;
    memcpy(index, t->index, sizeof index);
    for (int64_t r = 0; r < count; r++) {
        TYPED(store_run)
        (base + row_offset(s, index) * (int64_t)bytes, s->dtype, a + r * width, each);
        next_row(index, t->shape);
    }
}

static int64_t TYPED(picked)(const kern_row_step *s, const kern_row_tile *t, int64_t *index) {
    const int32_t *base = t->operand[s->operand];
    int64_t at = base[row_offset(s, index)];
    next_row(index, t->shape);
    return at >= 0 && at < t->cols ? at : -1;
}

static void TYPED(pick)(const kern_row_step *s, const kern_row_tile *t) {
    REAL *d = t->slot[s->d];
    const REAL *a = t->slot[s->a];
    int64_t index[KERN_ROW_LEAD];
    memcpy(index, t->index, sizeof index);
    for (int64_t r = 0; r < t->rows; r++) {
        int64_t at = TYPED(picked)(s, t, index);
        d[r] = at < 0 ? (REAL)NAN : a[r * t->cols + at];
    }
}

static void TYPED(unpick)(const kern_row_step *s, const kern_row_tile *t) {
    REAL *d = t->slot[s->d];
    const REAL *a = t->slot[s->a];
    int64_t index[KERN_ROW_LEAD];
    memcpy(index, t->index, sizeof index);
    for (int64_t r = 0; r < t->rows; r++) {
        int64_t at = TYPED(picked)(s, t, index);
        REAL value = a[s->per_row ? r : 0];
        memset(d + r * t->cols, 0, (size_t)t->cols * sizeof *d);
        if (at >= 0) d[r * t->cols + at] = value;
    }
}

static void TYPED(add_rows)(void *sum, const void *rows, int64_t count, int64_t width,
                            int64_t stride) {
    REAL *restrict d = sum;
    const REAL *restrict a = rows;
    int64_t r = 0;
    for (; r + 4 <= count; r += 4, a += 4 * stride)
        for (int64_t j = 0; j < width; j++)
            d[j] = (((d[j] + a[j]) + a[j + stride]) + a[j + 2 * stride]) + a[j + 3 * stride];
    for (; r < count; r++, a += stride)
        for (int64_t j = 0; j < width; j++) d[j] += a[j];
}

static void TYPED(sum_lead)(const kern_row_step *s, const kern_row_tile *t) {
    REAL *d = t->slot[s->d];
    const REAL *a = t->slot[s->a];
    if (s->wide) {
        TYPED(add_rows)(d + t->part_col, a, t->rows, t->cols, t->cols);
        return;
    }
    for (int64_t r = 0; r < t->rows; r++) d[(t->part_row + r) % KERN_ROW_LEAD_LANES] += a[r];
}

static void TYPED(halve_lead)(void *lane) {
    TYPED(halve)(lane, KERN_ROW_LEAD_LANES);
}

#define UNARY(name, op)                                                                            \
    static void TYPED(name)(const kern_row_step *s, const kern_row_tile *t) {                      \
        TYPED(unary)(op, s, t);                                                                    \
    }
#define BINARY(name, op)                                                                           \
    static void TYPED(name##_vv)(const kern_row_step *s, const kern_row_tile *t) {                 \
        TYPED(binary_vv)(op, s, t);                                                                \
    }                                                                                              \
    static void TYPED(name##_vs)(const kern_row_step *s, const kern_row_tile *t) {                 \
        TYPED(binary_s)(op, false, s, t);                                                          \
    }                                                                                              \
    static void TYPED(name##_sv)(const kern_row_step *s, const kern_row_tile *t) {                 \
        TYPED(binary_s)(op, true, s, t);                                                           \
    }
#define SELECT(name, b_step, c_step)                                                               \
    static void TYPED(name)(const kern_row_step *s, const kern_row_tile *t) {                      \
        TYPED(select)(b_step, c_step, s, t);                                                       \
    }
UNARY(neg, KERN_ROW_NEG)
UNARY(abs, KERN_ROW_ABS)
UNARY(exp, KERN_ROW_EXP)
UNARY(log, KERN_ROW_LOG)
UNARY(sqrt, KERN_ROW_SQRT)
UNARY(sigmoid, KERN_ROW_SIGMOID)
BINARY(add, KERN_ROW_ADD)
BINARY(sub, KERN_ROW_SUB)
BINARY(mul, KERN_ROW_MUL)
BINARY(div, KERN_ROW_DIV)
BINARY(max, KERN_ROW_MAX)
BINARY(greater, KERN_ROW_GREATER)
SELECT(select_vv, 1, 1)
SELECT(select_vs, 1, 0)
SELECT(select_sv, 0, 1)
SELECT(select_ss, 0, 0)
#define CHAIN(op)                                                                                  \
    static void TYPED(chain_vv_##op)(const kern_row_step *s, const kern_row_tile *t) {             \
        TYPED(chain)(op, true, true, s, t);                                                        \
    }                                                                                              \
    static void TYPED(chain_vs_##op)(const kern_row_step *s, const kern_row_tile *t) {             \
        TYPED(chain)(op, true, false, s, t);                                                       \
    }                                                                                              \
    static void TYPED(chain_sv_##op)(const kern_row_step *s, const kern_row_tile *t) {             \
        TYPED(chain)(op, false, true, s, t);                                                       \
    }                                                                                              \
    static void TYPED(chain_ss_##op)(const kern_row_step *s, const kern_row_tile *t) {             \
        TYPED(chain)(op, false, false, s, t);                                                      \
    }
CHAIN(0)
CHAIN(1)
CHAIN(2)
CHAIN(3)
CHAIN(4)
CHAIN(5)
CHAIN(6)
CHAIN(7)
CHAIN(8)
CHAIN(9)
CHAIN(10)
CHAIN(11)
#undef CHAIN
#undef UNARY
#undef BINARY
#undef SELECT

static kern_row_kernel TYPED(kernel)(int op, kern_step_sources sources) {
    static const kern_row_kernel table[KERN_STEP_OPS][KERN_STEP_SOURCES] = {
        [KERN_ROW_LOAD] = {TYPED(load)},
        [KERN_ROW_STORE] = {TYPED(store)},
        [KERN_ROW_SUM_LEAD] = {TYPED(sum_lead)},
        [KERN_ROW_CONST] = {TYPED(constant)},
        [KERN_ROW_ADD] = {TYPED(add_vv), TYPED(add_vs), TYPED(add_sv)},
        [KERN_ROW_SUB] = {TYPED(sub_vv), TYPED(sub_vs), TYPED(sub_sv)},
        [KERN_ROW_MUL] = {TYPED(mul_vv), TYPED(mul_vs), TYPED(mul_sv)},
        [KERN_ROW_DIV] = {TYPED(div_vv), TYPED(div_vs), TYPED(div_sv)},
        [KERN_ROW_MAX] = {TYPED(max_vv), TYPED(max_vs), TYPED(max_sv)},
        [KERN_ROW_NEG] = {TYPED(neg)},
        [KERN_ROW_ABS] = {TYPED(abs)},
        [KERN_ROW_EXP] = {TYPED(exp)},
        [KERN_ROW_LOG] = {TYPED(log)},
        [KERN_ROW_SQRT] = {TYPED(sqrt)},
        [KERN_ROW_SIGMOID] = {TYPED(sigmoid)},
        [KERN_ROW_GREATER] = {TYPED(greater_vv), TYPED(greater_vs), TYPED(greater_sv)},
        [KERN_ROW_SELECT] = {TYPED(select_vv), TYPED(select_vs), TYPED(select_sv),
                             TYPED(select_ss)},
        [KERN_ROW_ROW_SUM] = {TYPED(row_sum)},
        [KERN_ROW_ROW_MAX] = {TYPED(row_max)},
        [KERN_ROW_ROTATE] = {TYPED(rotate)},
        [KERN_ROW_PICK] = {TYPED(pick)},
        [KERN_ROW_UNPICK] = {TYPED(unpick)},
        [KERN_STEP_REPEAT] = {TYPED(repeat)},
        [KERN_STEP_DOT] = {TYPED(dot)},
#define CHAIN(op)                                                                                  \
    [KERN_STEP_CHAIN + op] = {TYPED(chain_vv_##op), TYPED(chain_vs_##op), TYPED(chain_sv_##op),    \
                              TYPED(chain_ss_##op)}
        CHAIN(0),
        CHAIN(1),
        CHAIN(2),
        CHAIN(3),
        CHAIN(4),
        CHAIN(5),
        CHAIN(6),
        CHAIN(7),
        CHAIN(8),
        CHAIN(9),
        CHAIN(10),
        CHAIN(11),
#undef CHAIN
    };
    return table[op][sources];
}
