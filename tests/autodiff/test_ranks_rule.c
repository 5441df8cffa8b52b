/* The rule of what varies over ranks, and what keeps ranks together: a forgotten reduce or vary is
 * an error of the builder; collectives keep their order, which all ranks know by a hash; ranks that
 * come in another order are told; a value that is not finite on one rank ends a debug plan on all.
 */
#include "tests/autodiff/split.h"

#define F64(...) AD_TYPE(KERN_F64, __VA_ARGS__)

/* ---- what is refused ---- */

/* A matrix product whose inner axis is split, and what it is added to. */
typedef struct {
    ad_graph *g;
    ad_value x, part, y; /* the same; varies; varies */
} begun;

static begun begin(void) {
    begun p = {.g = ad_graph_create()};
    p.x = ad_input(p.g, F64(3, 4), "x");
    p.part = ad_input(p.g, ad_varying(F64(4, 4)), "part");
    ad_scope_push(p.g, "block.%d", 2);
    p.y = ad_matmul(p.g, ad_vary(p.g, p.x), p.part, false, false);
    return p;
}

static void forgotten_reduce(begun *p) {
    ad_add(p->g, p->x, p->y);
}
static void forgotten_vary(begun *p) {
    ad_matmul(p->g, p->x, p->part, false, false);
}
static void vary_twice(begun *p) {
    ad_vary(p->g, p->y);
}
static void reduce_twice(begun *p) {
    ad_reduce(p->g, ad_reduce(p->g, p->y));
}
static void largest_of_one(begun *p) {
    ad_reduce_max(p->g, p->x);
}
static void reduce_integers(begun *p) {
    ad_reduce(p->g, ad_input(p->g, ad_varying(AD_TYPE(KERN_I32, 3)), "index"));
}
static void forgotten_index(begun *p) {
    ad_gather(p->g, p->part, ad_input(p->g, AD_TYPE(KERN_I32, 3), "index"));
}
static void forgotten_past(begun *p) {
    ad_value q = ad_reshape(p->g, p->y, F64(1, 3, 1, 4));
    ad_value past = ad_input(p->g, ad_varying(F64(1, 2, 1, 4)), "past");
    ad_attention_args args = {q, q, q, past, past, ad_scalar(p->g, KERN_I32, "rows"), 9, 1};
    ad_attention(p->g, &args, NULL);
}
static void split_cotangent(begun *p) {
    ad_value sum = ad_reduce(p->g, p->y), ct = ad_input(p->g, ad_varying(F64(3, 4)), "ct");
    ad_vjp(p->g, 1, &sum, &ct, 1, &p->x, &sum);
}
static void whole_cotangent(begun *p) {
    ad_value ct = ad_input(p->g, F64(3, 4), "ct");
    ad_vjp(p->g, 1, &p->y, &ct, 1, &p->x, &p->y);
}
static void derived_maximum(begun *p) {
    ad_value top = ad_reduce_max(p->g, p->y), ct = ad_fill(p->g, F64(3, 4), 1);
    ad_vjp(p->g, 1, &top, &ct, 1, &p->x, &top);
}

static void what_is_forgotten_is_refused(void **state) {
    (void)state;
    static const struct {
        void (*build)(begun *p);
        const char *text;
    } wrongs[] = {
        {forgotten_reduce, "in block.2: add(f64[3,4], varying f64[3,4]): %3 varies over the ranks "
                           "and x is the same on all: a reduce of %3 is missing, or a vary of x"},
        {forgotten_vary, "in block.2: matmul(f64[3,4], varying f64[4,4]): part varies"},
        {vary_twice, "vary(varying f64[3,4]): the operand varies already"},
        {reduce_twice, "reduce(f64[3,4]): the operand is the same on all ranks"},
        {largest_of_one, "reduce_max(f64[3,4]): the operand is the same on all ranks"},
        {reduce_integers, "reduce(varying i32[3]): arithmetic is on f32 and f64"},
        {forgotten_index, "gather(varying f64[4,4], i32[3]): part varies over the ranks and index"},
        {forgotten_past, "varies over the ranks and rows is the same on all"},
        {split_cotangent,
         "the caller of ad_vjp gave a cotangent varying f64[3,4] where f64[3,4] is "
         "needed (a reduce is missing)"},
        {whole_cotangent,
         "the caller of ad_vjp gave a cotangent f64[3,4] where varying f64[3,4] is "
         "needed (a vary is missing)"},
        {derived_maximum, "reduce_max cannot be differentiated"}};
    for (size_t i = 0; i < sizeof wrongs / sizeof *wrongs; i++) {
        begun p = begin();
        assert_int_equal(ad_graph_status(p.g), KERN_OK);
        wrongs[i].build(&p);
        assert_int_equal(ad_graph_status(p.g), KERN_ERR_GRAPH);
        if (!strstr(kern_error(), wrongs[i].text))
            fail_msg("no '%s' in '%s'", wrongs[i].text, kern_error());
        ad_graph_destroy(p.g);
    }
}

/* What is made of fills alone goes with either, also where it does not fold; and what a rule makes
 * of such a cotangent. */
static void constants_go_with_either(void **state) {
    (void)state;
    begun p = begin();
    ad_value two = ad_fill(p.g, ad_type_at(p.g, p.y), 2), ct;
    ad_value root = ad_sqrt(p.g, ad_exp(p.g, two));
    assert_false(ad_type_at(p.g, root).varies);
    assert_true(ad_same(ad_vary(p.g, root), root));
    assert_true(ad_type_at(p.g, ad_mul(p.g, p.y, root)).varies);
    assert_false(ad_type_at(p.g, ad_mul(p.g, p.x, root)).varies);
    ad_value zero = ad_fill(p.g, F64(3, 4), 0);
    assert_true(ad_same(ad_reduce(p.g, zero), zero));
    ad_value middle = ad_slice(p.g, p.y, 1, 1, 2), one = ad_fill(p.g, F64(3, 2), 1);
    ad_vjp(p.g, 1, &middle, &one, 1, &p.y, &ct); /* ones with zeros around */
    assert_int_equal(ad_graph_status(p.g), KERN_OK);
    assert_true(ad_node_at(p.g, ct.node)->constant);
    ad_vjp(p.g, 1, &middle, &one, 1, &p.x, &ct);
    assert_false(ad_type_at(p.g, ct).varies);
    ad_check(p.g);
    ad_graph_destroy(p.g);
}

/* ---- runs ---- */

/* What a rank builds and what came of it. */
typedef struct {
    ad_value (*build)(ad_graph *g, ad_value x, ad_value part, int rank);
    bool debug;
    double x, part; /* both are full of it */
    kern_status status;
    char text[256], list[1024];
    uint64_t hash;
    double result;
} rank_run;

static void run_rank(const kern_comm *comm, const kern_device *device, void *context) {
    rank_run *r = context;
    split_place place = {ad_graph_create(), comm->ranks, comm->rank, true};
    ad_value x = ad_input(place.graph, F64(2, 3), "x");
    ad_value part = ad_input(place.graph, ad_varying(F64(2, 3)), "part");
    ad_plan_output output = {r->build(place.graph, x, part, comm->rank), AD_WRITE};
    ad_plan_spec spec = {.outputs = 1,
                         .output = &output,
                         .device = device,
                         .comm = comm,
                         .threads = 1,
                         .debug = r->debug};
    ad_plan *plan;
    double data[2][6];
    for (int i = 0; i < 6; i++) data[0][i] = r->x, data[1][i] = r->part;
    kern_buffer in[2], out = {0}, arena = {0};
    in[0] = split_upload(device, &place, data[0], F64(2, 3), SPLIT_WHOLE);
    in[1] = split_upload(device, &place, data[1], F64(2, 3), SPLIT_WHOLE);
    ASSERT(ad_plan_compile(&plan, place.graph, &spec) == KERN_OK);
    ad_type type = ad_type_at(place.graph, output.value);
    ASSERT(kern_buffer_create(&out, device, ad_bytes(type), "result") == KERN_OK);
    ASSERT(kern_buffer_create(&arena, device, ad_plan_arena_bytes(plan), "arena") == KERN_OK);
    ad_plan_bind(plan, x, in[0].data);
    ad_plan_bind(plan, part, in[1].data);
    ad_plan_bind_output(plan, 0, out.data);
    FILE *list = fmemopen(r->list, sizeof r->list, "w");
    ASSERT(list);
    r->hash = ad_plan_collectives(plan, NULL, list);
    fclose(list);
    r->status = ad_plan_run(plan, arena.data);
    kern_status waited = kern_finish(device->stream);
    if (r->status == KERN_OK) r->status = waited;
    snprintf(r->text, sizeof r->text, "%s", kern_error());
    if (r->status == KERN_OK)
        ASSERT(kern_download(device, &r->result, out.data, sizeof r->result) == KERN_OK);
    for (int i = 0; i < 2; i++) kern_buffer_destroy(&in[i]);
    kern_buffer_destroy(&out);
    kern_buffer_destroy(&arena);
    ad_plan_destroy(plan);
    ad_graph_destroy(place.graph);
}

static ad_value sum_of_copies(ad_graph *g, ad_value x, ad_value part, int rank) {
    (void)part, (void)rank;
    return ad_reduce(g, ad_vary(g, x));
}

static ad_value sum_of_parts(ad_graph *g, ad_value x, ad_value part, int rank) {
    (void)x, (void)rank;
    return ad_reduce(g, part);
}
static ad_value largest_part(ad_graph *g, ad_value x, ad_value part, int rank) {
    (void)x, (void)rank;
    return ad_reduce_max(g, part);
}

/* Parts are -1, -2, ... */
static void check_value(ad_value (*build)(ad_graph *, ad_value, ad_value, int), int ranks,
                        double expected) {
    rank_run r[3];
    for (int i = 0; i < 3; i++) r[i] = (rank_run){.build = build, .x = 5, .part = -1 - i};
    ranks_run(ranks, run_rank, r, sizeof *r);
    for (int i = 0; i < ranks; i++) {
        assert_int_equal(r[i].status, KERN_OK);
        assert_true(r[i].result == expected);
    }
}

static void values_are_of_all_ranks(void **state) {
    (void)state;
    for (int ranks = 1; ranks <= 3; ranks++) {
        check_value(sum_of_copies, ranks, 5 * ranks); /* and not the copy */
        check_value(sum_of_parts, ranks, -ranks * (ranks + 1) / 2);
        check_value(largest_part, ranks, -1);
    }
}

/* `later` and `sooner` would fuse, and the program would wait for the second sum, which then ran
 * before the first. */
static ad_value two_sums(ad_graph *g, ad_value x, ad_value part, int rank) {
    (void)rank;
    ad_value sooner = ad_exp(g, part);
    ad_scope_push(g, "first");
    ad_value first = ad_reduce(g, sooner);
    ad_scope_pop(g);
    ad_scope_push(g, "second");
    ad_value second = ad_reduce_max(g, ad_neg(g, part));
    ad_scope_pop(g);
    ad_value later = ad_mul(g, sooner, ad_vary(g, second));
    return ad_add(g, x, ad_add(g, ad_reduce(g, later), first));
}

static ad_value sums_by_rank(ad_graph *g, ad_value x, ad_value part, int rank) {
    ad_value a = ad_exp(g, part), b = ad_neg(g, part);
    ad_value first = rank ? ad_reduce_max(g, b) : ad_reduce(g, a);
    ad_value second = rank ? ad_reduce(g, a) : ad_reduce_max(g, b);
    return ad_add(g, x, ad_add(g, first, second));
}

static void collectives_keep_their_order(void **state) {
    (void)state;
    rank_run r[2] = {{.build = two_sums, .part = 1}, {.build = two_sums, .part = 2}};
    ranks_run(2, run_rank, r, sizeof *r);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(r[i].status, KERN_OK);
        assert_string_equal(r[i].list, "reduce f64[2,3]   first\n"
                                       "reduce_max f64[2,3]   second\n"
                                       "reduce f64[2,3]   \n");
    }
    assert_true(r[0].hash == r[1].hash);
    rank_run mixed[2] = {{.build = sums_by_rank}, {.build = sums_by_rank}};
    ranks_run(2, run_rank, mixed, sizeof *mixed);
    assert_true(mixed[0].hash != mixed[1].hash);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mixed[i].status, KERN_ERR_GRAPH);
        if (!strstr(mixed[i].text, "rank 0 calls reduce sum of 6 and rank 1 reduce max of 6"))
            fail_msg("rank %d: %s", i, mixed[i].text);
    }
}

static ad_value root(ad_graph *g, ad_value x, ad_value part, int rank) {
    (void)rank;
    ad_scope_push(g, "root");
    ad_value y = ad_sqrt(g, part);
    ad_scope_pop(g);
    ad_scope_push(g, "sum");
    y = ad_reduce(g, y);
    ad_scope_pop(g);
    return ad_add(g, x, y);
}

/* A root of a negative number, on rank 1 alone; and with it behind the last collective. */
static ad_value root_at_the_end(ad_graph *g, ad_value x, ad_value part, int rank) {
    (void)rank;
    ad_value sum = ad_reduce(g, ad_mul(g, part, part));
    return ad_sqrt(g, ad_add(g, ad_vary(g, ad_add(g, x, sum)), ad_scale(g, part, 9)));
}

static void all_ranks_fail_together(void **state) {
    (void)state;
    rank_run r[2] = {{.build = root, .debug = true, .part = 4},
                     {.build = root, .debug = true, .part = -4}};
    ranks_run(2, run_rank, r, sizeof *r);
    assert_int_equal(r[0].status, KERN_ERR_NUMERIC);
    assert_string_equal(r[0].text, "another rank met a value that is not finite, before reduce in "
                                   "sum");
    assert_int_equal(r[1].status, KERN_ERR_NUMERIC);
    assert_string_equal(r[1].text,
                        "sqrt(varying f64[2,3]) in root gave a value that is not finite");
    for (int i = 0; i < 2; i++) r[i].build = root_at_the_end;
    ranks_run(2, run_rank, r, sizeof *r);
    assert_int_equal(r[0].status, KERN_ERR_NUMERIC);
    assert_string_equal(r[0].text, "another rank met a value that is not finite, at the end");
    assert_int_equal(r[1].status, KERN_ERR_NUMERIC);
    r[1].part = 4;
    ranks_run(2, run_rank, r, sizeof *r);
    assert_int_equal(r[0].status, KERN_OK);
    assert_int_equal(r[1].status, KERN_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_forgotten_is_refused),
        cmocka_unit_test(constants_go_with_either),
        cmocka_unit_test(values_are_of_all_ranks),
        cmocka_unit_test(collectives_keep_their_order),
        cmocka_unit_test(all_ranks_fail_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
