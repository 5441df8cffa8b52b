/* Tensor-parallel ranks, which are threads: losses, norms of inner gradients, the outer gradient
 * (and so second derivatives) and fast weights after reading are those of one rank, for every kind
 * of model; what must be divided and cannot be is refused. */
#include "tests/infer/tiny.h"
#include "tests/ranks.h"
#include "train/gradient.h"
#include "train/step.h"

enum { T = 16, SEQUENCES = 2 };

/* What can be divided by four. */
#define DIVIDED "model.heads=4 model.dim=16 model.mlp=8 "

/* Of the whole model: losses and norms of the last micro-batch are the same on all ranks. */
typedef struct {
    const tiny *m;
    const int32_t *tokens;
    double budget, limit;
    double *gradient; /* [layout->elements] */
    double *fast;     /* likewise: theta_n of the first sequence; NULL: not wanted */
    double nll[TINY_MOST], loss[T], norm[T];
    double flops, bytes; /* of a rank */
} numbers;

typedef struct {
    numbers *whole; /* what the rank puts its parts into */
    const numbers *as;
    double nll[T], loss[T], norm[T], flops, bytes;
} rank_run;

static kern_comm const *several(const kern_comm *comm) {
    return comm->ranks > 1 ? comm : NULL;
}

/* The rank's part of whole numbers; or (back) the part into them. */
static void move_parts(const tiny *m, const infer_parameters *own, double *part, double *whole,
                       bool back) {
    for (int i = 0; i < own->count; i++) {
        const infer_parameter *p = &own->item[i];
        double *there = whole + tiny_find(m, p->name)->offset;
        if (!back) infer_parameter_pick(p, part + p->offset, there, sizeof *part, 0, p->elements);
        for (int64_t r = 0; back && r < infer_parameter_runs(p); r++) {
            infer_run run = infer_parameter_run(p, r);
            memcpy(there + run.whole, part + p->offset + run.own, (size_t)run.count * sizeof *part);
        }
    }
}

static infer_model *create_model(const rank_run *r, const kern_comm *comm,
                                 const kern_device *device, bool backward) {
    infer_model *model;
    const ttt_conf *conf = r->as->m->conf;
    infer_model_spec spec = {.conf = conf,
                             .batch = backward ? SEQUENCES : 1,
                             .tokens = T,
                             .inner = conf->inner.mode != CONF_INNER_OFF,
                             .first_order = conf->inner.mode == CONF_INNER_FIRST_ORDER,
                             .backward = backward,
                             .loss_scale = 0.3,
                             .budget = r->as->budget,
                             .device = device,
                             .tensor = comm,
                             .threads = 1};
    kern_status status = infer_model_create(&model, &spec);
    if (status == KERN_OK) status = infer_model_allocate(model);
    if (status != KERN_OK) printf("%s\n", kern_error());
    ASSERT(status == KERN_OK);
    return model;
}

static void add_gradient(rank_run *r, const kern_comm *comm, const kern_device *device,
                         const void *parameters, double *gradient) {
    infer_model *model = create_model(r, comm, device, true);
    const infer_parameters *own = infer_model_parameters(model);
    static const size_t one = sizeof(double);
    double nll[SEQUENCES * T], loss[SEQUENCES * T], norm[SEQUENCES * T];
    train_gradient *g;
    kern_buffer sum = {0};
    size_t bytes = (size_t)own->elements * one;
    infer_model_memory memory = infer_model_plan(model);
    r->flops =
        memory.prefix_flops + memory.body_flops + memory.body_vjp_flops + memory.prefix_vjp_flops;
    r->bytes = (double)(memory.carries + memory.slots + memory.history);
    infer_model_set_parameters(model, parameters);
    ASSERT(train_gradient_create(&g, model) == KERN_OK);
    ASSERT(train_gradient_allocate(g) == KERN_OK);
    ASSERT(kern_buffer_create_zero(&sum, device, bytes, "gradient") == KERN_OK);
    infer_batch batch = {.tokens = r->as->tokens,
                         .rate = r->as->m->conf->inner.lr,
                         .token_nll = nll,
                         .chunk_loss = loss,
                         .gradient_norm = norm};
    if (train_gradient_add(g, sum.data, &batch) != KERN_OK) printf("%s\n", kern_error());
    train_gradient_share(g, sum.data);
    kern_status status = kern_download(device, gradient, sum.data, bytes);
    if (status != KERN_OK) printf("%s\n", kern_error());
    ASSERT(status == KERN_OK);
    train_gradient_destroy(g);
    kern_buffer_destroy(&sum);
    infer_model_destroy(model);
}

static void read_fast(rank_run *r, const kern_comm *comm, const kern_device *device,
                      const void *parameters, double *flat) {
    infer_model *model = create_model(r, comm, device, false);
    const infer_parameters *own = infer_model_parameters(model);
    infer_model_parts parts = infer_model_internals(model);
    kern_buffer buffer[16] = {{0}};
    void *fast[16];
    ASSERT(parts.fast <= 16);
    for (int f = 0; f < parts.fast; f++) {
        const infer_parameter *p = &own->item[parts.fast_parameter[f]];
        size_t bytes = (size_t)p->elements * sizeof *flat;
        ASSERT(kern_buffer_create(&buffer[f], device, bytes, "theta") == KERN_OK);
        fast[f] = buffer[f].data;
    }
    infer_model_set_parameters(model, parameters);
    infer_batch batch = {.tokens = r->as->tokens,
                         .rate = r->as->m->conf->inner.lr,
                         .token_nll = r->nll,
                         .chunk_loss = r->loss,
                         .gradient_norm = r->norm,
                         .fast = fast};
    ASSERT(infer_model_forward(model, &batch) == KERN_OK);
    ASSERT(kern_finish(device->stream) == KERN_OK);
    for (int f = 0; f < parts.fast; f++) {
        double *to = flat + own->item[parts.fast_parameter[f]].offset;
        ASSERT(kern_download(device, to, buffer[f].data, buffer[f].bytes) == KERN_OK);
        kern_buffer_destroy(&buffer[f]);
    }
    infer_model_destroy(model);
}

static void run_rank(const kern_comm *comm, const kern_device *device, void *context) {
    rank_run *r = context;
    const tiny *m = r->as->m;
    infer_parameters *own = infer_parameters_of_rank(m->conf, comm);
    size_t bytes = (size_t)own->elements * sizeof(double);
    double *part = calloc(1, bytes);
    kern_buffer parameters = {0};
    ASSERT(part && kern_buffer_create(&parameters, device, bytes, "parameters") == KERN_OK);
    move_parts(m, own, part, m->parameters, false);
    kern_upload(device, parameters.data, part, bytes);
    add_gradient(r, several(comm), device, parameters.data, part);
    move_parts(m, own, part, r->whole->gradient, true);
    memset(part, 0, bytes);
    if (r->as->fast) {
        read_fast(r, several(comm), device, parameters.data, part);
        move_parts(m, own, part, r->whole->fast, true);
    }
    free(part);
    kern_buffer_destroy(&parameters);
    infer_parameters_destroy(own);
}

static numbers begin_numbers(const tiny *m, const int32_t *tokens, double budget, bool fast) {
    size_t elements = (size_t)m->layout->elements;
    numbers n = {.m = m,
                 .tokens = tokens,
                 .budget = budget,
                 .gradient = calloc(elements, sizeof(double)),
                 .fast = fast ? calloc(elements, sizeof(double)) : NULL};
    assert_true(n.gradient && (n.fast || !fast));
    return n;
}

static void end_numbers(numbers *n) {
    free(n->gradient);
    free(n->fast);
}

/* All ranks; what is the same on all must have the same bits. */
static void run_all(numbers *n, int ranks) {
    rank_run run[RANKS_MOST] = {{0}};
    for (int r = 0; r < ranks; r++) run[r] = (rank_run){.whole = n, .as = n};
    ranks_run(ranks, run_rank, run, sizeof *run);
    for (int r = 0; r < ranks; r++) {
        assert_memory_equal(run[r].nll, run[0].nll, sizeof run[r].nll);
        assert_memory_equal(run[r].loss, run[0].loss, sizeof run[r].loss);
        assert_memory_equal(run[r].norm, run[0].norm, sizeof run[r].norm);
    }
    memcpy(n->nll, run[0].nll, sizeof run[0].nll);
    memcpy(n->loss, run[0].loss, sizeof run[0].loss);
    memcpy(n->norm, run[0].norm, sizeof run[0].norm);
    n->flops = run[0].flops;
    n->bytes = run[0].bytes;
}

static void compare(const char *what, const char *name, const char *overrides, int ranks,
                    const double *got, const double *expected, int64_t count, double size,
                    double limit) {
    for (int64_t i = 0; i < count; i++) size = fmax(size, fabs(expected[i]));
    double worst = tiny_worst(got, expected, count);
    if (!(worst <= limit * size))
        fail_msg("%s, %d ranks: %s %s differs by %g of %g", overrides, ranks, what, name, worst,
                 size);
}

/* A parameter's gradient is measured against itself, or what is near the largest. */
static void compare_all(const numbers *many, const numbers *one, const char *overrides, int ranks,
                        double limit) {
    const infer_parameters *layout = one->m->layout;
    double largest = 0;
    int64_t chunks = T / infer_chunk(one->m->conf, T);
    for (int64_t i = 0; i < layout->elements; i++) largest = fmax(largest, fabs(one->gradient[i]));
    compare("token_nll", "", overrides, ranks, many->nll, one->nll, T, 0, limit);
    compare("loss", "", overrides, ranks, many->loss, one->loss, chunks, 0, limit);
    compare("norm", "", overrides, ranks, many->norm, one->norm, chunks, 0, limit);
    for (int i = 0; i < layout->count; i++) {
        const infer_parameter *p = &layout->item[i];
        compare("gradient of", p->name, overrides, ranks, many->gradient + p->offset,
                one->gradient + p->offset, p->elements, 0.01 * largest, limit);
        if (p->fast && one->fast && one->m->conf->inner.mode != CONF_INNER_OFF)
            compare("fast", p->name, overrides, ranks, many->fast + p->offset,
                    one->fast + p->offset, p->elements, 0, limit);
    }
}

static void check(const char *overrides, int most, double budget, bool fast) {
    tiny m;
    char text[512];
    int32_t tokens[SEQUENCES * (T + 1)];
    snprintf(text, sizeof text, DIVIDED "%s", overrides);
    tiny_begin(&m, text);
    tiny_tokens(&m, tokens, SEQUENCES * (T + 1), 5);
    numbers one = begin_numbers(&m, tokens, 1e9, fast);
    run_all(&one, 1);
    for (int ranks = 2; ranks <= most; ranks *= 2) {
        numbers many = begin_numbers(&m, tokens, budget, fast);
        run_all(&many, ranks);
        compare_all(&many, &one, overrides, ranks, 1e-12);
        end_numbers(&many);
    }
    end_numbers(&one);
    tiny_end(&m);
}

static void ranks_compute_as_one(void **state) {
    (void)state;
    static const char *const variants[] = {
        "",
        "inner.suffix=3 inner.fast_blocks=0,2",
        "model.vocab=20",
        "model.vocab=5 model.bos=4",
        "model.tied=false model.vocab=5 model.bos=4",
        "model.kv_heads=1",
        "model.qk_norm=false",
        "model.pre_norm=false",
        "model.post_norm=false model.window=3",
        "model.attention=none",
        "model.window=100",
        "inner.chunk=1",
        "inner.chunk=16",
        "inner.mode=off inner.suffix=0",
        "inner.clip=1e9 inner.lr=0.3",
        "model.pattern=e",
        "model.pattern=nes inner.separate_mlp=false model.tied=false",
        "model.pattern=m mamba.head_size=8 mamba.state=5 mamba.chunk=3",
        "model.pattern=ms mamba.head_size=4 mamba.state=3 mamba.groups=4 mamba.conv=3 "
        "inner.suffix=3 model.init_std=0.2 inner.lr=0.05",
        "model.pattern=g gdn.heads=4 gdn.key_size=3 gdn.value_size=5 gdn.chunk=3 "
        "model.init_std=0.2 inner.lr=0.05",
        "model.pattern=gs gdn.heads=4 gdn.key_size=4 gdn.value_size=2 gdn.gate=false "
        "gdn.neg_eigval=true inner.mode=off inner.suffix=0",
        "model.pattern=k kvb.heads=4 kvb.inner=5 kvb.rank=2 kvb.chunk=4 inner.lr=0.1",
        "model.pattern=ks kvb.heads=4 kvb.inner=4 kvb.rank=0 kvb.chunk=2 kvb.loss=l2 kvb.output=k "
        "kvb.momentum=false kvb.qk_norm=width inner.suffix=3 inner.lr=0.05",
        "model.pattern=k kvb.heads=4 kvb.inner=8 kvb.chunk=16 kvb.rank=3 kvb.muon=true "
        "kvb.scale=false kvb.qk_norm=off inner.mode=off inner.suffix=0",
    };
#ifdef __SANITIZE_ADDRESS__
    int most = 2;
#else
    int most = 4;
#endif
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++)
        check(variants[i], most, i % 2 ? 0 : 1e9, true);
}

static void every_mixture_on_two_ranks(void **state) {
    (void)state;
    static const char *const attention[] = {"model.attention=window", "model.attention=full",
                                            "model.attention=hybrid model.full_every=2"};
#ifdef __SANITIZE_ADDRESS__
    int stride = 5;
#else
    int stride = test_device()->host ? 1 : 5;
#endif
    for (int i = 0; i < 72; i += stride) {
        char overrides[256];
        snprintf(overrides, sizeof overrides,
                 "model.blocks=2 inner.suffix=2 inner.chunk=8 %s model.kv_heads=%d model.tied=%s "
                 "inner.separate_mlp=%s inner.mode=%s",
                 attention[i % 3], 1 << i / 3 % 3, i / 9 % 2 ? "true" : "false",
                 i / 18 % 2 ? "true" : "false", i / 36 % 2 ? "e2e" : "first_order");
        check(overrides, 2, 1e9, false);
    }
}

static void refusals_say_what_works(void **state) {
    (void)state;
    static const struct {
        const char *overrides;
        int ranks;
        const char *text; /* NULL: they can */
    } cases[] = {
        {"", 4, NULL},
        {"", 3,
         "ranks.tensor=3: so many ranks cannot divide model.heads=4; ranks.tensor can be 1, 2, 4"},
        {"model.kv_heads=2", 4,
         "ranks.tensor=4: so many ranks cannot divide model.kv_heads=2; ranks.tensor can be 1, 2"},
        {"model.kv_heads=1", 4, NULL},
        {"model.mlp=6", 4,
         "ranks.tensor=4: so many ranks cannot divide model.mlp=6; ranks.tensor can be 1, 2"},
        {"model.vocab=19", 4, NULL},
        {"model.pattern=g gdn.heads=2 gdn.key_size=3 gdn.value_size=3", 4,
         "ranks.tensor=4: so many ranks cannot divide gdn.heads=2; ranks.tensor can be 1, 2"},
        {"model.pattern=k kvb.heads=2 kvb.chunk=4", 4,
         "ranks.tensor=4: so many ranks cannot divide kvb.heads=2; ranks.tensor can be 1, 2"},
        {"model.pattern=k kvb.heads=4 model.heads=2 kvb.chunk=4", 4,
         "ranks.tensor=4: so many ranks cannot divide model.heads=2; ranks.tensor can be 1, 2"},
        {"model.pattern=m mamba.head_size=16", 4,
         "ranks.tensor=4: so many ranks cannot divide mamba.expand * model.dim / "
         "mamba.head_size=2; ranks.tensor can be 1, 2"},
        {"model.pattern=m mamba.head_size=4 mamba.groups=2", 4,
         "ranks.tensor=4: so many ranks cannot divide mamba.groups=2; ranks.tensor can be 1, 2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tiny m;
        char text[512];
        snprintf(text, sizeof text, DIVIDED "%s", cases[i].overrides);
        tiny_begin(&m, text);
        kern_status status = infer_check_ranks(m.conf, cases[i].ranks);
        assert_int_equal(status, cases[i].text ? KERN_ERR_CONFIG : KERN_OK);
        if (cases[i].text) assert_string_equal(kern_error(), cases[i].text);
        kern_comm comm = {.ranks = cases[i].ranks};
        infer_model *model;
        infer_model_spec spec = {.conf = m.conf,
                                 .batch = 1,
                                 .tokens = T,
                                 .device = test_device(),
                                 .tensor = &comm,
                                 .threads = 1};
        assert_int_equal(infer_model_create(&model, &spec), status); /* without the others */
        infer_model_destroy(model);
        tiny_end(&m);
    }
}

/* ---- steps ---- */

enum { STEPS = 20, BATCH = 4 };

typedef struct {
    const tiny *m;
    int32_t tokens[STEPS * BATCH * (T + 1)];
    double loss[STEPS], norm[STEPS];
} steps_run;

static void take_steps(const kern_ranks *ranks, const kern_device *device, void *context) {
    steps_run *r = context;
    train_step *step;
    train_step_spec spec = {.conf = r->m->conf,
                            .micro_batch = 1,
                            .budget = 1e9,
                            .device = device,
                            .ranks = ranks,
                            .threads = 1};
    ASSERT(train_step_create(&step, &spec) == KERN_OK && train_step_allocate(step) == KERN_OK);
    train_step_start(step);
    int64_t sequences = train_step_memory_of(step).sequences, first = ranks->data->rank * sequences;
    for (int i = 0; i < STEPS; i++) {
        train_step_result result;
        const int32_t *tokens = r->tokens + (i * BATCH + first) * (T + 1);
        kern_status status = train_step_run(step, &result, tokens, i);
        if (status != KERN_OK) printf("%s\n", kern_error());
        ASSERT(status == KERN_OK);
        r->loss[i] = result.loss;
        r->norm[i] = result.outer_grad_norm;
    }
    train_step_destroy(step);
}

/* Losses and norms of all steps over meshes are one rank's, on all ranks alike, and each time. */
static void steps_of_a_mesh_are_one_ranks(void **state) {
    (void)state;
    static const int mesh[][2] = {{2, 2}, {4, 2}, {4, 4}, {4, 2}}; /* ranks, of them tensor */
    static steps_run one, before, run[RANKS_MOST];
    tiny m;
    tiny_begin(&m, DIVIDED "model.blocks=2 inner.suffix=1 train.batch=4 train.steps=20 "
                           "train.warmup_steps=3 train.lr=0.01 model.init_std=0.2 inner.lr=0.3");
    one.m = &m;
    tiny_tokens(&m, one.tokens, STEPS * BATCH * (T + 1), 9);
    ranks_run_mesh(1, 1, take_steps, &one, sizeof one);
    assert_true(fabs(one.loss[STEPS - 1] - one.loss[0]) > 0.01); /* something is learned */
    for (size_t i = 0; i < sizeof mesh / sizeof *mesh; i++) {
        for (int r = 0; r < mesh[i][0]; r++) run[r] = one;
        ranks_run_mesh(mesh[i][0], mesh[i][1], take_steps, run, sizeof *run);
        for (int s = 0; s < STEPS; s++) {
            if (!(fabs(run[0].loss[s] - one.loss[s]) <= 1e-12 * one.loss[s] &&
                  fabs(run[0].norm[s] - one.norm[s]) <= 1e-10 * one.norm[s]))
                fail_msg("%d ranks, %d of them tensor, step %d: loss %.17g, norm %.17g, not %.17g, "
                         "%.17g",
                         mesh[i][0], mesh[i][1], s, run[0].loss[s], run[0].norm[s], one.loss[s],
                         one.norm[s]);
            for (int r = 1; r < mesh[i][0]; r++) assert_true(run[r].loss[s] == run[0].loss[s]);
        }
        if (i == 1) before = run[0];
        if (i == 3) assert_memory_equal(run[0].loss, before.loss, sizeof before.loss);
    }
    tiny_end(&m);
}

typedef struct {
    tiny m;
    kern_status status;
    char text[512];
} lone_run;

static void allocate(const kern_comm *comm, const kern_device *device, void *context) {
    lone_run *r = context;
    infer_model *model;
    infer_model_spec spec = {.conf = r->m.conf,
                             .batch = 1,
                             .tokens = T,
                             .inner = true,
                             .device = device,
                             .tensor = comm,
                             .threads = 1};
    ASSERT(infer_model_create(&model, &spec) == KERN_OK);
    r->status = infer_model_allocate(model);
    snprintf(r->text, sizeof r->text, "%s", kern_error());
    infer_model_destroy(model);
}

static void plans_that_do_not_meet_are_refused(void **state) {
    (void)state;
    static lone_run r[2];
    for (int other = 0; other < 2; other++) {
        tiny_begin(&r[0].m, DIVIDED);
        tiny_begin(&r[1].m, other ? DIVIDED "model.blocks=4" : DIVIDED);
        ranks_run(2, allocate, r, sizeof *r);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(r[i].status, other ? KERN_ERR_GRAPH : KERN_OK);
            if (other) assert_non_null(strstr(r[i].text, "differs from rank to rank"));
            tiny_end(&r[i].m);
        }
    }
}

/* Work and memory of a rank are its share of one rank's; what is whole on all ranks are rows of the
 * residual stream, of which the sums over the ranks are kept, too. */
static void a_rank_has_its_share(void **state) {
    (void)state;
    ttt_conf *conf;
    const char *const words[] = {"train.batch=2", "train.context=4096", "model.window=2048"};
    assert_ok(infer_load(&conf, "bench-small", 3, words));
    train_step_memory one = {0};
    for (int ranks = 1; ranks <= 4; ranks *= 2) {
        kern_comm tensor = {.ranks = ranks};
        const kern_ranks mesh = {&tensor, kern_comm_alone(), &tensor, 0};
        train_step *step;
        train_step_spec spec = {
            .conf = conf, .micro_batch = 2, .budget = 1e18, .ranks = &mesh, .threads = 1};
        assert_ok(train_step_create(&step, &spec));
        train_step_memory m = train_step_plan(step);
        if (ranks == 1) one = m;
        double share = 1 / (double)ranks;
        const struct {
            const char *what;
            double has, of, most; /* times the share */
        } kinds[] = {
            {"work", m.executed_flops, one.executed_flops, 1.001},
            {"weights", (double)m.parameters, (double)one.parameters, 1.01},
            {"moments", (double)m.moments, (double)one.moments, 1.01},
            {"carries", (double)m.carries, (double)one.carries, 1.01},
            {"history", (double)m.history, (double)one.history, 1.05},
            {"kept values", (double)m.slots, (double)one.slots, ranks == 4 ? 1.5 : 1.2},
            {"all memory", (double)m.total, (double)one.total, ranks == 4 ? 1.4 : 1.15},
        };
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
            if (!(kinds[i].has <= kinds[i].most * share * kinds[i].of &&
                  kinds[i].has >= 0.999 * share * kinds[i].of))
                fail_msg("%s of one of %d ranks: %g, of one rank %g", kinds[i].what, ranks,
                         kinds[i].has, kinds[i].of);
        train_step_destroy(step);
    }
    conf_destroy(conf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_compute_as_one),
        cmocka_unit_test(every_mixture_on_two_ranks),
        cmocka_unit_test(refusals_say_what_works),
        cmocka_unit_test(steps_of_a_mesh_are_one_ranks),
        cmocka_unit_test(plans_that_do_not_meet_are_refused),
        cmocka_unit_test(a_rank_has_its_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
