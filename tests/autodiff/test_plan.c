/* Plans: on every graph, memory reuse == none, 1 thread == 2 == 3, cuts == one plan, bit for bit;
 * fused == unfused, lazy == in order, AD_ADD == AD_WRITE and a sum, but for the order of sums. */
#include <unistd.h>

#include "tests/autodiff/models.h"
#include "tests/autodiff/random_graph.h"

typedef struct {
    world w;
    int outputs;
    ad_plan_output output[WORLD_OUTPUTS];
    const char *name;
    int seed;
    double tolerance; /* of what only reassociation changes */
} graph_case;

static int64_t elements_of(const graph_case *at, int output) {
    return ad_elements(ad_type_at(at->w.graph, at->output[output].value));
}

static double *run(const graph_case *at, ad_plan_spec spec) {
    spec.outputs = at->outputs;
    spec.output = at->output;
    return world_run(&at->w, spec);
}

static void same_bits(const graph_case *at, const char *what, const double *a, const double *b) {
    int64_t e = 0;
    for (int i = 0; i < at->outputs; i++)
        for (int64_t j = 0; j < elements_of(at, i); j++, e++)
            if (memcmp(&a[e], &b[e], sizeof *a) != 0)
                fail_msg("%s %d: %s: output %d element %d: %.17g, not %.17g", at->name, at->seed,
                         what, i, (int)j, a[e], b[e]);
}

/* Relative to the largest element of the output. */
static void nearly(const graph_case *at, const char *what, const double *a, const double *b) {
    int64_t e = 0;
    for (int i = 0; i < at->outputs; i++) {
        double size = 1e-3;
        for (int64_t j = 0; j < elements_of(at, i); j++) size = fmax(size, fabs(b[e + j]));
        for (int64_t j = 0; j < elements_of(at, i); j++, e++)
            if (!(fabs(a[e] - b[e]) <= at->tolerance * size))
                fail_msg("%s %d: %s: output %d element %d: %.17g, not %.17g", at->name, at->seed,
                         what, i, (int)j, a[e], b[e]);
    }
}

static bool adds(const graph_case *at) {
    for (int i = 0; i < at->outputs; i++)
        if (at->output[i].mode == AD_ADD) return true;
    return false;
}

/* AD_ADD against AD_WRITE and an addition here. */
static void check_adding(const graph_case *at, const double *base) {
    graph_case writing = *at;
    for (int i = 0; i < at->outputs; i++) writing.output[i].mode = AD_WRITE;
    double *plain = run(&writing, (ad_plan_spec){0});
    int64_t e = 0;
    for (int i = 0; i < at->outputs; i++)
        for (int64_t j = 0; j < elements_of(at, i); j++, e++)
            if (at->output[i].mode == AD_ADD) plain[e] += world_before(j);
    nearly(at, "outputs that are added to", base, plain);
    free(plain);
}

static void check_graph(const graph_case *at) {
    double *base = run(at, (ad_plan_spec){.threads = 1});
    const struct {
        const char *name;
        bool exact;
        ad_plan_spec spec;
    } ways[] = {{"no reuse of memory", true, {.no_reuse = true}},
                {"2 threads", true, {.threads = 2}},
                {"3 threads", true, {.threads = 3}},
                {"unfused", false, {.unfused = true}},
                {"debug", false, {.debug = true, .threads = 2}},
                {"all lazy", !adds(at), {.lazy = ad_nodes(at->w.graph)}},
                {"half lazy", !adds(at), {.lazy = ad_nodes(at->w.graph) / 2}}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        double *other = run(at, ways[i].spec);
        (ways[i].exact ? same_bits : nearly)(at, ways[i].name, other, base);
        free(other);
    }
    if (adds(at)) check_adding(at, base);
    free(base);
}

/* ---- cuts ---- */

static bool may_be_cut(const graph_case *at, int node) {
    const ad_node *n = ad_node_at(at->w.graph, node);
    return n->op != AD_OP_input && n->op != AD_OP_fill && n->outputs == 1;
}

/* What a plan reads is known without compiling it. */
static void check_would_read(const graph_case *at, const ad_plan *plan, const ad_plan_spec *spec) {
    bool *would = ad_plan_would_read(at->w.graph, spec);
    for (int i = 0; i < ad_nodes(at->w.graph); i++)
        for (int out = 0; out < ad_node_at(at->w.graph, i)->outputs; out++)
            if (would[i * AD_OUTPUTS + out] != ad_plan_reads(plan, (ad_value){i, out}))
                fail_msg("%s %d: value %d.%d is%s read", at->name, at->seed, i, out,
                         would[i * AD_OUTPUTS + out] ? " not" : "");
    free(would);
}

/* A first plan computes some values, the second gets them as cuts: together the whole. Values that
 * are rounded when they are stored are rounded anyway, so the bits are those of one plan, but for
 * products that no longer add up in place. */
static void check_cuts(graph_case *at) {
    enum { CUTS = 12 };
    ad_value cut[CUTS];
    ad_plan_output first[CUTS];
    int cuts = 0;
    for (int tries = 0; tries < 60 && cuts < CUTS; tries++) {
        int node = world_below(&at->w, ad_nodes(at->w.graph));
        bool twice = false;
        for (int c = 0; c < cuts; c++) twice |= cut[c].node == node;
        if (twice || !may_be_cut(at, node)) continue;
        cut[cuts] = (ad_value){node, 0};
        first[cuts++] = (ad_plan_output){{node, 0}, AD_WRITE};
    }
    runner *before = malloc(sizeof *before), *after = malloc(sizeof *after);
    runner_begin(before, &at->w, (ad_plan_spec){.outputs = cuts, .output = first});
    free(runner_run(before));
    ad_plan_spec spec = {
        .outputs = at->outputs, .output = at->output, .cuts = cuts, .cut = cut, .threads = 1};
    runner_begin(after, &at->w, spec);
    check_would_read(at, after->plan, &spec);
    for (int c = 0; c < cuts; c++) ad_plan_bind(after->plan, cut[c], before->out[c]);
    double *parts = runner_run(after), *whole = run(at, (ad_plan_spec){0});
    nearly(at, "cut in two", parts, whole);
    free(parts);
    free(whole);
    runner_end(before);
    runner_end(after);
    free(before);
    free(after);
}

/* ---- random graphs ---- */

static void begin_random(graph_case *at, kern_dtype real, int seed) {
    random_graph *graph = malloc(sizeof *graph);
    memset(at, 0, sizeof *at);
    at->name = real == KERN_F32 ? "random f32" : "random f64";
    at->tolerance = real == KERN_F32 ? 1e-3 : 1e-11;
    at->seed = seed;
    world_begin(&at->w, real, (uint64_t)seed);
    random_build(graph, &at->w, 12 + seed % 40);
    at->outputs = 1 + world_below(&at->w, 9);
    for (int i = 0; i < at->outputs; i++) {
        ad_value value = random_member(graph); /* also inputs, fills, views, one twice */
        at->output[i] = (ad_plan_output){value, world_below(&at->w, 2) ? AD_ADD : AD_WRITE};
    }
    free(graph);
}

enum { RANDOM_GRAPHS = 150 };

static void test_random_graphs(void **state) {
    (void)state;
    graph_case *at = malloc(sizeof *at);
    for (int seed = 0; seed < RANDOM_GRAPHS; seed++) {
        begin_random(at, seed % 3 ? KERN_F64 : KERN_F32, seed);
        check_graph(at);
        check_cuts(at);
        world_end(&at->w);
    }
    free(at);
}

/* ---- the model ---- */

static void begin_model(graph_case *at, model_size size, kern_dtype real, bool body, bool vjp) {
    model *m = malloc(sizeof *m);
    memset(at, 0, sizeof *at);
    at->name = "model";
    at->tolerance = size.product == KERN_BF16 ? 0.1 : real == KERN_F32 ? 1e-3 : 1e-10;
    world_begin(&at->w, real, 7);
    model_body(m, &at->w, size);
    model_vjp(m);
    at->outputs = model_outputs(m, body, vjp, at->output);
    free(m);
}

static void test_model(void **state) {
    (void)state;
    graph_case *at = malloc(sizeof *at);
    for (int which = 0; which < 12; which++) {
        bool small = which / 3 % 2;
        model_size size = small ? model_small : model_tiny;
        kern_dtype real = which < 6 && !small ? KERN_F64 : KERN_F32;
        size.product = which >= 6 && small ? KERN_BF16 : real;
        begin_model(at, size, real, which % 3 != 1, which % 3 != 0);
        at->seed = which;
        check_graph(at);
        if (size.product != KERN_BF16) check_cuts(at);
        world_end(&at->w);
    }
    free(at);
}

/* Threads that spin while they wait cost most of the time where cores are fewer than threads; the
 * library reads this before main. */
static void wait_without_spinning(char **argv) {
    if (getenv("OMP_WAIT_POLICY")) return;
    setenv("OMP_WAIT_POLICY", "passive", 1);
    execv("/proc/self/exe", argv);
}

int main(int argc, char **argv) {
    (void)argc;
    wait_without_spinning(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_graphs),
        cmocka_unit_test(test_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
