/* A step whose values are not finite: it changes nothing, and the diagnosis names step, sequence,
 * op, scope and shapes of the first bad value. */
#include "tests/infer/tiny.h"
#include "tests/ranks.h"
#include "train/diagnose.h"
#include "train/tensors.h"

#define assert_says(part)                                                                          \
    do {                                                                                           \
        if (!strstr(kern_error(), part)) fail_msg("'%s' not in: %s", part, kern_error());          \
    } while (0)

enum { SEQUENCES = 4, T = 16 };

typedef struct {
    tiny model;
    train_step *step;
    train_step_buffers buffers;
    int32_t tokens[SEQUENCES * (T + 1)];
} world;

/* The step's parameters become the model's. */
static void upload(const world *w) {
    kern_upload(test_device(), w->buffers.parameters, w->model.parameters,
                (size_t)w->buffers.layout->elements * sizeof(double));
}

static void begin(world *w, const char *overrides) {
    omp_set_num_threads(1);
    tiny_begin(&w->model, overrides);
    tiny_tokens(&w->model, w->tokens, SEQUENCES * (T + 1), 5);
    train_step_spec spec = {.conf = w->model.conf,
                            .micro_batch = 2,
                            .budget = 1e9,
                            .device = test_device(),
                            .threads = 1};
    assert_ok(train_step_create(&w->step, &spec));
    assert_ok(train_step_allocate(w->step));
    w->buffers = train_step_memory_of(w->step);
    upload(w);
}

static void end(world *w) {
    train_step_destroy(w->step);
    tiny_end(&w->model);
}

/* Of the model; upload() is due. */
static double *weight(world *w, const char *name) {
    return w->model.parameters + tiny_find(&w->model, name)->offset;
}

/* Runs a step that fails, and diagnoses it. */
static void fail_and_diagnose(world *w, int64_t number) {
    size_t bytes = (size_t)w->buffers.layout->elements * sizeof(double);
    char *before = malloc(3 * bytes), *after = malloc(bytes);
    assert_non_null(before);
    assert_non_null(after);
    upload(w);
    const void *kept[] = {w->buffers.parameters, w->buffers.m, w->buffers.v};
    for (int i = 0; i < 3; i++) test_from_device(before + (size_t)i * bytes, kept[i], bytes);
    train_step_result result;
    assert_int_equal(train_step_run(w->step, &result, w->tokens, number), KERN_ERR_NUMERIC);
    if (train_diagnose(w->model.conf, 1, &w->buffers, kern_ranks_alone(), w->tokens, number) !=
        KERN_ERR_NUMERIC)
        fail_msg("%s", kern_error());
    for (int i = 0; i < 3; i++) {
        test_from_device(after, kept[i], bytes);
        assert_memory_equal(before + (size_t)i * bytes, after, bytes);
    }
    free(before);
    free(after);
}

static void a_bad_weight_is_found_in_its_scope(void **state) {
    (void)state;
    static const struct {
        const char *weight, *scope;
    } cases[] = {{"blocks.0.mlp.w1", "prefix.block.0.mlp"},
                 {"blocks.0.attn.wv", "prefix.block.0.attn"},
                 {"blocks.2.fast.w2", "suffix.block.2.fast"},
                 {"blocks.1.mlp.w3", "suffix.block.1.mlp"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        world w;
        begin(&w, "");
        *weight(&w, cases[i].weight) = i % 2 ? (double)INFINITY : (double)NAN;
        fail_and_diagnose(&w, 41);
        assert_says("outer step 42, sequence 0: ");
        assert_says(cases[i].scope);
        assert_says("f64[");
        assert_says("not finite");
        end(&w);
    }
}

/* A row of the embedding that only the third sequence reads. */
static void the_sequence_is_named(void **state) {
    (void)state;
    world w;
    begin(&w, "model.tied=false");
    for (int i = 0; i < SEQUENCES * (T + 1); i++)
        if (w.tokens[i] == 11) w.tokens[i] = 12;
    w.tokens[2 * (T + 1) + 5] = 11;
    weight(&w, "embed.weight")[11 * w.model.conf->model.dim] = (double)NAN;
    fail_and_diagnose(&w, 3);
    assert_says("outer step 4, sequence 2: ");
    assert_says("prefix");
    end(&w);
}

/* Two sequences' gradients, each finite, whose norm is not. */
static void a_sum_that_overflows_is_told_apart(void **state) {
    (void)state;
    world w;
    begin(&w, "inner.mode=off model.pre_norm=false model.post_norm=false model.qk_norm=false "
              "model.attention=none model.tied=false");
    for (int64_t i = 0; i < tiny_find(&w.model, "final_norm.weight")->elements; i++)
        weight(&w, "final_norm.weight")[i] = 1e-200;
    for (int64_t i = 0; i < tiny_find(&w.model, "lm_head.weight")->elements; i++)
        weight(&w, "lm_head.weight")[i] *= 1e200;
    fail_and_diagnose(&w, 9);
    assert_says("outer step 10:");
    assert_says("overflowed");
    end(&w);
}

/* ---- a rank whose memory is not enough to look for it ---- */

typedef enum { NOTHING, PLANS, MEMORY } refusal;

typedef struct {
    world *w;
    refusal refused; /* by the rank's device */
    kern_status status;
    char text[1024];
} rank_run;

static kern_status no_product(void **state, const kern_matmul_shape *shape, int threads,
                              size_t *workspace) {
    (void)shape, (void)threads;
    *state = NULL, *workspace = 0;
    return kern_fail(KERN_ERR_MEMORY, "no room for a plan");
}

static kern_status no_memory(void **memory, size_t bytes, const char *what) {
    *memory = NULL;
    return kern_fail(KERN_ERR_MEMORY, "no room for %zu bytes of %s", bytes, what);
}

static void look_for_it(const kern_ranks *ranks, const kern_device *device, void *context) {
    rank_run *r = context;
    kern_device mine = *device;
    kern_matmul_ops products = *device->matmul;
    train_step *step;
    train_step_spec spec = {.conf = r->w->model.conf,
                            .micro_batch = 2,
                            .budget = 1e9,
                            .device = &mine,
                            .ranks = ranks,
                            .threads = 1};
    ASSERT(train_step_create(&step, &spec) == KERN_OK);
    ASSERT(train_step_allocate(step) == KERN_OK);
    train_step_start(step);
    train_step_buffers buffers = train_step_memory_of(step);
    mine.matmul = &products;
    if (r->refused == PLANS) products.create = no_product;
    if (r->refused == MEMORY) mine.alloc = no_memory;
    r->status = train_diagnose(r->w->model.conf, 1, &buffers, ranks, r->w->tokens, 41);
    snprintf(r->text, sizeof r->text, "%s", kern_error());
    train_step_destroy(step);
}

/* The other tensor rank does not wait for it, and both say the same. */
static void all_ranks_end_where_one_lacks_memory(void **state) {
    (void)state;
    static const char *const says[] = {"their sum overflowed", "no room for a plan", "no room for"};
    world w;
    begin(&w, "model.vocab=20 model.tied=false");
    for (int refused = NOTHING; refused <= MEMORY; refused++)
        for (int rank = 0; rank < 2; rank++) {
            rank_run run[2] = {{.w = &w}, {.w = &w}};
            run[rank].refused = (refusal)refused;
            ranks_run_mesh(2, 2, look_for_it, run, sizeof *run);
            for (int r = 0; r < 2; r++) {
                bool fine = run[r].status == KERN_ERR_NUMERIC && strstr(run[r].text, says[refused]);
                if (refused != NOTHING)
                    fine = fine && strstr(run[r].text, rank ? "no memory to find the op: rank 1: "
                                                            : "no memory to find the op: rank 0: ");
                if (!fine) fail_msg("rank %d, %d refused on %d: %s", r, refused, rank, run[r].text);
            }
        }
    end(&w);
}

static void tensors_that_are_not_finite_are_named(void **state) {
    (void)state;
    world w;
    begin(&w, "");
    const char *name;
    train_checkpoint_tensors *tensors = train_checkpoint_tensors_create(&w.buffers);
    assert_ok(train_checkpoint_tensors_not_finite(&name, tensors));
    assert_null(name);
    const infer_parameter *p = tiny_find(&w.model, "blocks.1.mlp.w2");
    double *v = (double *)w.buffers.v + p->offset + p->elements - 1, bad = (double)INFINITY;
    kern_upload(test_device(), v, &bad, sizeof bad);
    assert_ok(train_checkpoint_tensors_not_finite(&name, tensors));
    assert_string_equal(name, "v.blocks.1.mlp.w2");
    *weight(&w, "embed.weight") = -(double)NAN;
    upload(&w);
    assert_ok(train_checkpoint_tensors_not_finite(&name, tensors));
    assert_string_equal(name, "embed.weight");
    train_checkpoint_tensors_destroy(tensors);
    end(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_weight_is_found_in_its_scope),
        cmocka_unit_test(the_sequence_is_named),
        cmocka_unit_test(a_sum_that_overflows_is_told_apart),
        cmocka_unit_test(all_ranks_end_where_one_lacks_memory),
        cmocka_unit_test(tensors_that_are_not_finite_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
