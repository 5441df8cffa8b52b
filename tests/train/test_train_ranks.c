/* What training does with ranks that read different texts: the norm of a gradient that lies in
 * parts, steps that are those of one rank, and a choice that fits into each rank's memory. */
#include "infer/parameters.h"
#include "tests/infer/tiny.h"
#include "tests/ranks.h"
#include "tests/sanitized.h"
#include "train/fit.h"
#include "train/optimizer.h"
#include "train/sums.h"

/* ---- the norm ---- */

enum { PART = INFER_ROW, MOST = 3 * PART }; /* elements of a rank, of the whole */

typedef struct {
    const conf_train *conf;
    kern_dtype dtype;
    double gradient[PART], norm, updated;
} norm_run;

/* The rank's part of a flat buffer, of which it is to read nothing else; or zeros for NULL. */
static kern_buffer upload_part(const kern_device *device, kern_dtype dtype, const double *from,
                               int rank) {
    kern_buffer buffer = {0};
    static _Thread_local double host[MOST];
    size_t bytes = MOST * kern_dtype_bytes(dtype);
    for (int i = 0; i < MOST; i++) {
        double value = i / PART == rank ? from ? from[i % PART] : 0 : (double)NAN;
        kern_real_put(host, dtype, i, value);
    }
    ASSERT(kern_buffer_create(&buffer, device, bytes, "reals") == KERN_OK);
    kern_upload(device, buffer.data, host, bytes);
    return buffer;
}

static void take_norm(const kern_comm *comm, const kern_device *device, void *context) {
    norm_run *r = context;
    train_optimizer *o;
    train_shard shard = {.rank = comm->rank,
                         .ranks = 3,
                         .pieces = 1,
                         .piece = {{.share = PART}},
                         .flat = MOST,
                         .decaying = MOST,
                         .elements = PART};
    kern_buffer g = upload_part(device, r->dtype, r->gradient, comm->rank), p, m, v;
    p = upload_part(device, r->dtype, NULL, comm->rank);
    m = upload_part(device, r->dtype, NULL, 0);
    v = upload_part(device, r->dtype, NULL, 0);
    ASSERT(train_optimizer_create(&o, r->conf, device, comm, r->dtype, &shard, 1) == KERN_OK);
    ASSERT(train_optimizer_allocate(o) == KERN_OK);
    ASSERT(train_optimizer_norm(o, &r->norm, g.data) == KERN_OK);
    ASSERT(train_optimizer_update(o, r->norm, p.data, m.data, v.data, g.data, 0, 1) == KERN_OK);
    char first[sizeof(double)];
    ASSERT(kern_download(device, first, m.data, kern_dtype_bytes(r->dtype)) == KERN_OK);
    r->updated = kern_real_at(first, r->dtype, 0);
    train_optimizer_destroy(o);
    kern_buffer_destroy(&g);
    kern_buffer_destroy(&p);
    kern_buffer_destroy(&m);
    kern_buffer_destroy(&v);
}

static void the_norm_is_of_the_whole(void **state) {
    (void)state;
    const conf_train conf = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .clip = 1};
    for (int pass = 0; pass < 2; pass++) {
        norm_run r[3];
        double squares = 0, limit = pass ? 1e-6 : 1e-14;
        uint64_t random = 2;
        for (int rank = 0; rank < 3; rank++) {
            r[rank] = (norm_run){.conf = &conf, .dtype = pass ? KERN_F32 : KERN_F64};
            for (int i = 0; i < PART; i++) {
                r[rank].gradient[i] = tiny_random(&random);
                squares += r[rank].gradient[i] * r[rank].gradient[i];
            }
        }
        ranks_run(3, take_norm, r, sizeof *r);
        for (int rank = 0; rank < 3; rank++) {
            assert_true(r[rank].norm == r[0].norm);
            assert_true(fabs(r[rank].norm - sqrt(squares)) <= limit * sqrt(squares));
            double clipped = 0.1 * r[rank].gradient[0] / sqrt(squares);
            assert_true(fabs(r[rank].updated - clipped) <= limit);
        }
    }
}

/* ---- steps ---- */

enum { SEQUENCES = 4, T = 16, TOKENS = SEQUENCES * (T + 1), STEPS = SANITIZED ? 6 : 20 };

typedef struct {
    const tiny *model;
    int64_t micro_batch;
    train_step_result result[STEPS];
    train_step_memory memory;
    double *parameters; /* afterwards */
} step_run;

/* The sequences of a batch are the same for any number of ranks. */
static void take_steps(const kern_comm *comm, const kern_device *device, void *context) {
    step_run *r = context;
    train_step *step;
    const kern_ranks ranks = {.job = comm, .data = comm, .tensor = kern_comm_alone()};
    train_step_spec spec = {.conf = r->model->conf,
                            .micro_batch = r->micro_batch,
                            .budget = 1e9,
                            .device = device,
                            .ranks = &ranks,
                            .threads = 1};
    ASSERT(train_step_create(&step, &spec) == KERN_OK);
    ASSERT(train_step_allocate(step) == KERN_OK);
    train_step_buffers b = train_step_memory_of(step);
    size_t bytes = (size_t)b.layout->elements * sizeof(double);
    if (b.dtype == KERN_F64)
        kern_upload(device, b.parameters, r->model->parameters, bytes);
    else
        train_step_start(step);
    for (int64_t s = 0; s < STEPS; s++) {
        int32_t tokens[TOKENS];
        tiny_tokens(r->model, tokens, TOKENS, 3 + (uint64_t)s);
        const int32_t *own = tokens + comm->rank * b.sequences * (T + 1);
        ASSERT(train_step_run(step, &r->result[s], own, s) == KERN_OK);
    }
    if (b.dtype == KERN_F64) {
        r->parameters = malloc(bytes);
        ASSERT(r->parameters);
        ASSERT(kern_download(device, r->parameters, b.parameters, bytes) == KERN_OK);
    }
    r->memory = train_step_plan(step);
    train_step_destroy(step);
}

static void run_ranks(step_run *run, const tiny *model, int ranks, int64_t micro_batch) {
    for (int r = 0; r < ranks; r++) run[r] = (step_run){.model = model, .micro_batch = micro_batch};
    ranks_run(ranks, take_steps, run, sizeof *run);
}

static double difference(double a, double b) {
    return fabs(a - b) / fabs(b);
}

/* Of steps that differ in how sums are made alone; and all ranks have the same. */
static void compare(const step_run *run, int ranks, const step_run *alone) {
    size_t elements = (size_t)alone->model->layout->elements;
    for (int s = 0; s < STEPS; s++) {
        const train_step_result *a = &alone->result[s];
        for (int r = 0; r < ranks; r++) {
            const train_step_result *of = &run[r].result[s];
            assert_int_equal(of->tokens, SEQUENCES * T);
            assert_true(of->loss == run->result[s].loss);
            assert_true(of->outer_grad_norm == run->result[s].outer_grad_norm);
            assert_true(difference(of->loss, a->loss) <= 1e-12);
            assert_true(difference(of->inner_grad_norm, a->inner_grad_norm) <= 1e-12);
            assert_true(difference(of->outer_grad_norm, a->outer_grad_norm) <= 1e-11);
        }
    }
    for (int r = 0; r < ranks; r++) {
        assert_memory_equal(run[r].parameters, run->parameters, elements * sizeof(double));
        for (size_t i = 0; i < elements; i++)
            assert_true(fabs(run[r].parameters[i] - alone->parameters[i]) <= 1e-9);
    }
}

static void drop(step_run *run, int ranks) {
    for (int r = 0; r < ranks; r++) free(run[r].parameters);
}

static void losses_do_not_depend_on_ranks(void **state) {
    (void)state;
    tiny model;
    step_run alone, run[RANKS_MOST], again[RANKS_MOST];
    tiny_begin(&model, "model.vocab=200 model.mlp=150 model.blocks=4");
    run_ranks(&alone, &model, 1, 2);
    for (int ranks = 2; ranks <= 4; ranks *= 2) {
        run_ranks(run, &model, ranks, 1);
        compare(run, ranks, &alone);
        assert_true(difference(ranks * run->memory.executed_flops, alone.memory.executed_flops) <=
                    1e-12);
        run_ranks(again, &model, ranks, 1);
        for (int s = 0; s < STEPS; s++) assert_true(run->result[s].loss == again->result[s].loss);
        drop(run, ranks);
        drop(again, ranks);
    }
    drop(&alone, 1);
    tiny_end(&model);
}

/* Where products are in bf16, ranks have the prefix's weights as they multiply with them; that and
 * who updates what changes no bit. */
static void divided_weights_are_the_same(void **state) {
    (void)state;
    static const char *const shard[] = {"none", "optimizer"};
    step_run run[2][RANKS_MOST];
    for (int i = 0; i < 2; i++) {
        tiny model;
        char words[256];
        snprintf(words, sizeof words,
                 "train.precision=bf16 train.clip=1e9 model.mlp=150 model.blocks=4 inner.suffix=1 "
                 "ranks.shard=%s",
                 shard[i]);
        tiny_begin(&model, words);
        run_ranks(run[i], &model, 4, 1);
        tiny_end(&model);
    }
    for (int s = 0; s < STEPS; s++) {
        assert_true(run[0]->result[s].loss == run[1]->result[s].loss);
        assert_true(run[0]->result[s].loss == run[1][3].result[s].loss);
    }
    const train_step_memory *none = &run[0]->memory, *divided = &run[1]->memory;
    assert_true(divided->moments <= none->moments / 4 + 8 * 4 * INFER_ROW);
    assert_true(divided->parameters < none->parameters * 3 / 4);
}

/* ---- pieces ---- */

typedef struct {
    train_shard shard;
    int64_t micro_batch, micro_batches;
    kern_status status;
    char text[512];
} same_run;

static void compare_pieces(const kern_comm *comm, const kern_device *device, void *context) {
    same_run *r = context;
    const train_sums sums = {.device = device, .data = comm, .shard = &r->shard};
    r->status = train_sums_same(&sums, r->micro_batch, r->micro_batches);
    snprintf(r->text, sizeof r->text, "%s", r->status ? kern_error() : "");
}

/* Ranks that would add up other pieces, or more often, are refused, on all of them. */
static void pieces_that_differ_are_refused(void **state) {
    (void)state;
    static const char *const says[] = {"", "elements of piece 1: 128 on rank 2 (",
                                       "sequences at once: 2 on rank 2 (", "turns: 5 on rank 2 (",
                                       "elements of piece 2: 64 on rank 2 ("};
    for (int differs = 0; differs < 5; differs++) {
        same_run run[3];
        for (int r = 0; r < 3; r++)
            run[r] = (same_run){.shard = {.ranks = 3,
                                          .rank = r,
                                          .pieces = 2,
                                          .piece = {{.share = 64}, {.share = 64}, {.share = 64}}},
                                .micro_batch = 1,
                                .micro_batches = 4};
        if (differs == 1) run[2].shard.piece[1].share = 128;
        if (differs == 2) run[2].micro_batch = 2;
        if (differs == 3) run[2].micro_batches = 5;
        if (differs == 4) run[2].shard.pieces = 3;
        ranks_run(3, compare_pieces, run, sizeof *run);
        for (int r = 0; r < 3; r++)
            if (run[r].status != (differs ? KERN_ERR_RANKS : KERN_OK) ||
                !strstr(run[r].text, says[differs]))
                fail_msg("rank %d, difference %d: %s", r, differs, run[r].text);
    }
}

/* ---- what fits ---- */

typedef struct {
    const ttt_conf *conf;
    double limit;
    train_fit fit;
    kern_status status;
    char text[512];
} fit_run;

static void choose(const kern_comm *comm, const kern_device *device, void *context) {
    (void)device;
    fit_run *r = context;
    train_step *step;
    const kern_ranks ranks = {.job = comm, .data = comm, .tensor = kern_comm_alone()};
    r->status = train_fit_create(&step, &r->fit, r->conf, r->limit, &ranks, 1, false);
    snprintf(r->text, sizeof r->text, "%s", kern_error());
    train_step_destroy(step);
}

static void refused(const fit_run *r, kern_status status, const char *text) {
    for (int i = 0; i < 2; i++) {
        assert_int_equal(r[i].status, status);
        if (!strstr(r[i].text, text)) fail_msg("rank %d: %s", i, r[i].text);
    }
}

static void the_least_memory_decides(void **state) {
    (void)state;
    ttt_conf *conf;
    const char *const words[] = {"train.batch=4", "model.blocks=2", "inner.suffix=1"};
    assert_ok(conf_load(&conf, "quickstart", 3, words));
    fit_run all = {.conf = conf, .limit = HUGE_VAL}, r[2] = {all, all};
    ranks_run(2, choose, r, sizeof *r);
    all = r[0];
    assert_int_equal(all.status, KERN_OK);
    assert_int_equal(all.fit.micro_batch, 2);
    r[0].limit = HUGE_VAL;
    r[1].limit = 0.8 * (double)all.fit.memory.total;
    ranks_run(2, choose, r, sizeof *r);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(r[i].status, KERN_OK);
        assert_true(r[i].fit.limit == r[1].limit);
        assert_int_equal(r[i].fit.micro_batch, r[0].fit.micro_batch);
        assert_true(r[i].fit.budget == r[0].fit.budget);
        assert_true(r[i].fit.memory.total == r[0].fit.memory.total);
        assert_true(r[i].fit.micro_batch < 2 || r[i].fit.budget != HUGE_VAL);
        assert_true((double)r[i].fit.memory.total <= r[1].limit);
    }
    r[0].limit = 1e6;
    ranks_run(2, choose, r, sizeof *r);
    refused(r, KERN_ERR_MEMORY, "the least that a rank has free is 1.00 MB");
    conf->train.micro_batch = 4; /* more than a rank reads */
    r[0].limit = r[1].limit = HUGE_VAL;
    ranks_run(2, choose, r, sizeof *r);
    assert_int_equal(r[1].fit.micro_batch, 2);
    conf->train.batch = 9;
    conf->train.micro_batch = 0;
    ranks_run(2, choose, r, sizeof *r);
    refused(r, KERN_ERR_CONFIG,
            "train.batch=9 cannot be divided among 2 ranks that read texts of "
            "their own: begin 1, 3, 9 ranks, or set");
    conf_destroy(conf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_norm_is_of_the_whole),
        cmocka_unit_test(losses_do_not_depend_on_ranks),
        cmocka_unit_test(divided_weights_are_the_same),
        cmocka_unit_test(pieces_that_differ_are_refused),
        cmocka_unit_test(the_least_memory_decides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
