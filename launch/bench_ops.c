/* Each op of the engine by itself, compiled and run as in training, at the shapes that one chunk of
 * bench-small has; where nobody asks for speed (kern_is_brief), at smaller ones. */
#include "autodiff/composites.h"
#include "autodiff/plan.h"
#include "autodiff/vjp.h"
#include "kernels/device_speed.h"
#include "kernels/matmul.h"
#include "launch/bench.h"
#include "launch/report.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OUTS = 8 };
static int64_t C = 256, D = 512, H = 8, K = 64, F = 1152, V = 8192, W = 512;
static const double SECONDS_EACH = 0.06;

/* A case's graph while it is built. */
typedef struct {
    ad_graph *graph;
    kern_dtype dtype; /* operands of products */
    ad_value out[OUTS], cut[2];
    int outs, cuts;
    double unread; /* bytes of the inputs that are not read */
} builder;

typedef struct op_case {
    const char *name;
    void (*build)(builder *b, const struct op_case *c);
    int64_t m, n, k;
    bool transpose_a, transpose_b;
    int order; /* 0: the op, 1: its vjp, 2: the vjp of that */
} op_case;

static ad_value real(builder *b, int64_t rows, int64_t columns) {
    return ad_input(b->graph, AD_TYPE(KERN_F32, rows, columns), "x");
}

static void result(builder *b, ad_value value) {
    ASSERT(b->outs < OUTS);
    if (!ad_is_none(value)) b->out[b->outs++] = value;
}

static void build_matmul(builder *b, const op_case *c) {
    ad_type x = c->transpose_a ? AD_TYPE(b->dtype, c->k, c->m) : AD_TYPE(b->dtype, c->m, c->k);
    ad_type y = c->transpose_b ? AD_TYPE(b->dtype, c->n, c->k) : AD_TYPE(b->dtype, c->k, c->n);
    result(b, ad_matmul(b->graph, ad_input(b->graph, x, "a"), ad_input(b->graph, y, "b"),
                        c->transpose_a, c->transpose_b));
}

/* The past as in the outer gradient: it wants cotangents. The forward results are given. */
static void build_attention(builder *b, const op_case *c) {
    ad_graph *g = b->graph;
    ad_type rows = AD_TYPE(b->dtype, 1, C, H, K), past = AD_TYPE(b->dtype, 1, W - 1, H, K);
    ad_attention_args args = {.q = ad_input(g, rows, "q"),
                              .k = ad_input(g, rows, "k"),
                              .v = ad_input(g, rows, "v"),
                              .past_k = ad_input(g, past, "past_k"),
                              .past_v = ad_input(g, past, "past_v"),
                              .past_rows = ad_scalar(g, KERN_I32, "past_rows"),
                              .window = W,
                              .scale = 1 / sqrt((double)K)};
    ad_value lse, o = ad_attention(g, &args, &lse);
    if (c->order == 0) {
        result(b, o);
        return;
    }
    b->cut[b->cuts++] = o;
    b->cut[b->cuts++] = lse;
    ad_value wrt[6] = {args.q, args.k, args.v, args.past_k, args.past_v}, ct_in[6], again[6];
    wrt[5] = ad_input(g, ad_cotangent_type(rows), "ct");
    ad_vjp(g, 1, &o, &wrt[5], 5, wrt, ct_in);
    if (c->order == 2) {
        ad_value ct[3];
        for (int i = 0; i < 3; i++) ct[i] = ad_input(g, ad_cotangent_type(rows), "ct");
        ad_vjp(g, 3, ct_in, ct, 6, wrt, again);
    }
    for (int i = 0; i < 5 + (c->order == 2); i++) result(b, c->order == 2 ? again[i] : ct_in[i]);
}

/* The value, or its vjp with regard to some inputs. */
static void result_of(builder *b, const op_case *c, ad_value y, int wrts, const ad_value *wrt) {
    ad_value ct_in[4];
    if (c->order == 0) {
        result(b, y);
        return;
    }
    ad_value ct = ad_input(b->graph, ad_cotangent_type(ad_type_at(b->graph, y)), "ct");
    ad_vjp(b->graph, 1, &y, &ct, wrts, wrt, ct_in);
    for (int i = 0; i < wrts; i++) result(b, ct_in[i]);
}

static void build_rms_norm(builder *b, const op_case *c) {
    ad_value wrt[2] = {real(b, C, D), ad_input(b->graph, AD_TYPE(KERN_F32, D), "w")};
    ad_value y = ad_rms_norm(b->graph, wrt[0], wrt[1], 1e-6);
    result_of(b, c, ad_cast(b->graph, y, b->dtype), 2, wrt);
}

static void build_swiglu(builder *b, const op_case *c) {
    ad_value wrt[2] = {real(b, C, F), real(b, C, F)};
    ad_value y = ad_mul(b->graph, ad_silu(b->graph, wrt[0]), wrt[1]);
    result_of(b, c, ad_cast(b->graph, y, b->dtype), 2, wrt);
}

static void build_cross_entropy(builder *b, const op_case *c) {
    ad_value logits = real(b, C, V), y;
    y = ad_cross_entropy(b->graph, logits, ad_input(b->graph, AD_TYPE(KERN_I32, C, 1), "target"));
    result_of(b, c, y, 1, &logits);
}

static void build_inner_step(builder *b, const op_case *c) {
    ad_type type = AD_TYPE(KERN_F32, 1, c->m, c->n);
    ad_value factor = ad_input(b->graph, AD_TYPE(KERN_F32, 1, 1, 1), "factor");
    ad_value theta = ad_input(b->graph, type, "theta"), g = ad_input(b->graph, type, "g");
    result(b, ad_sub(b->graph, theta, ad_mul_repeat(b->graph, g, factor)));
}

static void build_adamw(builder *b, const op_case *c) {
    ad_value scalar[4], x[4], next[3];
    for (int i = 0; i < 4; i++) scalar[i] = ad_input(b->graph, AD_TYPE(KERN_F32, 1), "scalar");
    for (int i = 0; i < 4; i++) x[i] = real(b, c->m, c->n);
    ad_adamw_args args = {scalar[0], scalar[1], scalar[2], scalar[3], 0.9, 0.95, 1e-8, 0.1};
    ad_adamw(b->graph, &args, x[0], x[1], x[2], x[3], &next[0], &next[1], &next[2]);
    for (int i = 0; i < 3; i++) result(b, next[i]);
}

static void build_gather(builder *b, const op_case *c) {
    (void)c;
    ad_value ids = ad_input(b->graph, AD_TYPE(KERN_I32, C), "ids");
    result(b, ad_gather(b->graph, real(b, V, D), ids));
    b->unread = (double)(4 * (V - C) * D);
}

static void build_scatter_add(builder *b, const op_case *c) {
    (void)c;
    ad_value ids = ad_input(b->graph, AD_TYPE(KERN_I32, C), "ids");
    result(b, ad_scatter_add(b->graph, real(b, C, D), ids, V));
}

static void build_transpose(builder *b, const op_case *c) {
    (void)c;
    ad_value x = ad_input(b->graph, AD_TYPE(b->dtype, C, H, K), "x");
    result(b, ad_transpose(b->graph, x, (const int[]){1, 0, 2}));
}

enum { CASES = 24 };

static void make_cases(op_case cases[CASES]) {
    const op_case made[CASES] = {
        {"matmul", build_matmul, C, F, D, false, false, 0},
        {"matmul", build_matmul, C, D, F, false, false, 0},
        {"matmul NT", build_matmul, C, D, F, false, true, 0},
        {"matmul TN", build_matmul, D, F, C, true, false, 0},
        {"matmul", build_matmul, C, D, D, false, false, 0},
        {"matmul prefix", build_matmul, 4 * C, F, D, false, false, 0},
        {"matmul head NT", build_matmul, C, V, D, false, true, 0},
        {"matmul head TN", build_matmul, V, D, C, true, false, 0},
        {"matmul row", build_matmul, 1, 16 * D, 8 * D, false, false, 0},
        {"matmul row NT", build_matmul, 1, 16 * D, 8 * D, false, true, 0},
        {"attention", build_attention, C, W, K, false, false, 0},
        {"attention'", build_attention, C, W, K, false, false, 1},
        {"attention''", build_attention, C, W, K, false, false, 2},
        {"rms_norm", build_rms_norm, C, D, 0, false, false, 0},
        {"rms_norm'", build_rms_norm, C, D, 0, false, false, 1},
        {"swiglu", build_swiglu, C, F, 0, false, false, 0},
        {"swiglu'", build_swiglu, C, F, 0, false, false, 1},
        {"cross_entropy", build_cross_entropy, C, V, 0, false, false, 0},
        {"cross_entropy'", build_cross_entropy, C, V, 0, false, false, 1},
        {"inner_step", build_inner_step, D, F, 0, false, false, 0},
        {"adamw", build_adamw, 8 * D, 2 * D, 0, false, false, 0},
        {"gather", build_gather, C, D, 0, false, false, 0},
        {"scatter_add", build_scatter_add, V, D, 0, false, false, 0},
        {"transpose", build_transpose, C, H, K, false, false, 0},
    };
    memcpy(cases, made, sizeof made);
}

/* ---- running ---- */

typedef struct {
    double seconds, flops, bytes;
} measured;

/* Small positive reals; token ids; or the number of rows before the chunk. */
static void fill(void *memory, ad_type type) {
    int64_t elements = ad_elements(type);
    if (type.dtype == KERN_I32) launch_bench_tokens(memory, elements, V, -1, 1);
    for (int64_t i = 0; i < elements; i++) {
        if (type.dtype == KERN_F32) ((float *)memory)[i] = 0.01F * (float)(1 + i % 7);
        if (type.dtype == KERN_BF16) ((uint16_t *)memory)[i] = (uint16_t)(0x3c00 + i % 7);
    }
}

static kern_status give(kern_buffer *memory, const kern_device *device, ad_type type,
                        double *bytes) {
    kern_status status = KERN_OK;
    void *numbers = NULL;
    *bytes += (double)ad_bytes(type);
    TRY(kern_alloc(&numbers, ad_bytes(type), "an operand"));
    fill(numbers, type);
    TRY(kern_buffer_create(memory, device, ad_bytes(type), "an operand"));
    kern_upload(device, memory->data, numbers, ad_bytes(type));
done:
    kern_free(numbers);
    return status;
}

static kern_status bind(ad_plan *plan, const builder *b, const kern_device *device,
                        kern_buffer *memory, int *used, double *bytes) {
    kern_status status = KERN_OK;
    for (int i = 0; i < ad_nodes(b->graph); i++)
        for (int out = 0; out < ad_node_at(b->graph, i)->outputs; out++) {
            ad_value value = {i, out};
            if (!ad_plan_reads(plan, value)) continue;
            if (ad_is_scalar(b->graph, value)) {
                ad_plan_set(plan, value, (double)(W - 1));
                continue;
            }
            TRY(give(&memory[*used], device, ad_type_at(b->graph, value), bytes));
            ad_plan_bind(plan, value, memory[(*used)++].data);
        }
    for (int i = 0; i < b->outs; i++) {
        TRY(give(&memory[*used], device, ad_type_at(b->graph, b->out[i]), bytes));
        ad_plan_bind_output(plan, i, memory[(*used)++].data);
    }
done:
    return status;
}

static kern_status best_of_runs(ad_plan *plan, const kern_device *device, void *arena,
                                double *best) {
    bool brief = kern_is_brief();
    double begin = kern_seconds();
    *best = HUGE_VAL;
    for (int run = 0; run < (brief ? 1 : 4) || (!brief && kern_seconds() - begin < SECONDS_EACH);
         run++) {
        double start = kern_seconds();
        kern_status status = ad_plan_run(plan, arena);
        if (status == KERN_OK) status = kern_finish(device->stream);
        if (status != KERN_OK) return status;
        *best = fmin(*best, kern_seconds() - start);
    }
    return KERN_OK;
}

static kern_status measure(measured *to, const op_case *c, kern_dtype dtype,
                           const kern_device *device, int threads) {
    kern_status status = KERN_OK;
    builder b = {.graph = ad_graph_create(), .dtype = dtype};
    ad_plan *plan = NULL;
    ad_plan_output output[OUTS];
    kern_buffer memory[32] = {{0}}, arena = {0};
    int used = 0;
    *to = (measured){0};
    c->build(&b, c);
    for (int i = 0; i < b.outs; i++) output[i] = (ad_plan_output){b.out[i], AD_WRITE};
    ad_plan_spec spec = {.outputs = b.outs,
                         .output = output,
                         .cuts = b.cuts,
                         .cut = b.cut,
                         .device = device,
                         .threads = threads};
    TRY(ad_plan_compile(&plan, b.graph, &spec));
    TRY(kern_buffer_create(&arena, device, ad_plan_arena_bytes(plan), "workspace"));
    TRY(bind(plan, &b, device, memory, &used, &to->bytes));
    to->bytes -= b.unread;
    TRY(best_of_runs(plan, device, arena.data, &to->seconds));
    to->flops = ad_plan_flops(plan, INT64_MAX);
done:
    for (int i = 0; i < used; i++) kern_buffer_destroy(&memory[i]);
    kern_buffer_destroy(&arena);
    ad_plan_destroy(plan);
    ad_graph_destroy(b.graph);
    return status;
}

static void shape_text(char text[64], const op_case *c) {
    if (c->k)
        snprintf(text, 64, "%lld x %lld x %lld", (long long)c->m, (long long)c->n, (long long)c->k);
    else
        snprintf(text, 64, "%lld x %lld", (long long)c->m, (long long)c->n);
}

/* What bounds a case: products of many rows arithmetic, those of one row reading b, others memory.
 */
typedef struct {
    double peak[2], read; /* FLOP/s in f32 and bf16, bytes/s */
} bounds;

static kern_status one_case(const op_case *c, kern_dtype dtype, const kern_device *device,
                            int threads, const bounds *bound, json_t *list) {
    measured m;
    char shape[64], rate[32];
    kern_status status = measure(&m, c, dtype, device, threads);
    if (status != KERN_OK) return kern_fail_context(status, "%s", c->name);
    bool row = m.flops > 0 && c->m == 1, product = m.flops > 0 && !row;
    double reached = (product ? m.flops : m.bytes) / m.seconds;
    double limit = product ? bound->peak[dtype == KERN_BF16] : bound->read;
    if (!product && !row) {
        status = kern_copy_speed(&limit, device, (size_t)m.bytes, threads);
        if (status != KERN_OK) return status;
    }
    shape_text(shape, c);
    launch_scaled(rate, reached, product ? "FLOP/s" : "B/s");
    printf("%-16s %-5s %-18s %10.1f  %-12s %6.1f %%\n", c->name, kern_dtype_name(dtype), shape,
           1e6 * m.seconds, rate, 100 * reached / limit);
    fflush(stdout);
    json_t *entry =
        launch_json("{s:s,s:s,s:s,s:f,s:s,s:f,s:f}", "op", c->name, "dtype", kern_dtype_name(dtype),
                    "shape", shape, "seconds", m.seconds, "unit", product ? "FLOP/s" : "B/s",
                    "rate", reached, "fraction", reached / limit);
    launch_json_add(list, entry);
    return KERN_OK;
}

kern_status launch_bench_ops(const kern_device *device, int threads, bool json) {
    kern_status status = KERN_OK;
    static const kern_dtype dtypes[] = {KERN_F32, KERN_BF16};
    op_case cases[CASES];
    json_t *list = json_array();
    char with[128];
    bounds bound;
    if (kern_is_brief()) C = 16, D = 64, H = 2, K = 16, F = 72, V = 256, W = 32;
    make_cases(cases);
    TRY(kern_read_speed(&bound.read, device, threads));
    omp_set_num_threads(threads);
    launch_computed_with(with, sizeof with, device, threads);
    printf("%-16s %-5s %-18s %10s  %-12s %8s\n", "op", "type", "shape", "us", "rate", "of bound");
    for (int d = 0; d < 2; d++) {
        TRY(kern_product_speed(&bound.peak[d], device, dtypes[d], threads));
        for (int i = 0; i < CASES; i++)
            TRY(one_case(&cases[i], dtypes[d], device, threads, &bound, list));
        char rate[32];
        printf("bound of products in %s: %s with %s\n", kern_dtype_name(dtypes[d]),
               launch_scaled(rate, bound.peak[d], "FLOP/s"), with);
    }
    char text[32];
    printf("bound of products of one row: reading memory, %s\n",
           launch_scaled(text, bound.read, "B/s"));
    printf("bound of the others: a copy of as many bytes\n");
    if (device->machine->memory <= 0 && !kern_matmul_native_bf16())
        printf("note: this processor has no bf16 products; they run, slower than in f32\n");
    if (json)
        TRY(launch_print_json(launch_json("{s:O,s:i,s:f,s:f,s:f,s:b}", "ops", list, "threads",
                                          threads, "peak_f32", bound.peak[0], "peak_bf16",
                                          bound.peak[1], "read_bandwidth", bound.read,
                                          "native_bf16", kern_matmul_native_bf16())));
done:
    json_decref(list);
    return status;
}
