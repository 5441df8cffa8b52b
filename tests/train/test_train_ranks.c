/* What training asks of all ranks: the norm of a gradient that lies in parts, losses and tokens of
 * a step, and a choice that fits into each rank's memory. */
#include "infer/parameters.h"
#include "tests/infer/tiny.h"
#include "tests/ranks.h"
#include "train/fit.h"
#include "train/optimizer.h"

/* ---- the norm ---- */

enum { PART = INFER_ROW }; /* elements of a rank */

typedef struct {
    const conf_train *conf;
    kern_dtype dtype;
    double gradient[PART], norm, updated;
} norm_run;

static kern_buffer upload_reals(const kern_device *device, kern_dtype dtype, const double *from) {
    kern_buffer buffer = {0};
    char host[PART * sizeof(double)];
    size_t bytes = PART * kern_dtype_bytes(dtype);
    for (int i = 0; i < PART; i++) kern_real_put(host, dtype, i, from ? from[i] : 0);
    ASSERT(kern_buffer_create(&buffer, device, bytes, "reals") == KERN_OK);
    kern_upload(device, buffer.data, host, bytes);
    return buffer;
}

static void take_norm(const kern_comm *comm, const kern_device *device, void *context) {
    norm_run *r = context;
    train_optimizer *o;
    kern_buffer g = upload_reals(device, r->dtype, r->gradient), p, m, v;
    p = upload_reals(device, r->dtype, NULL);
    m = upload_reals(device, r->dtype, NULL);
    v = upload_reals(device, r->dtype, NULL);
    ASSERT(train_optimizer_create(&o, r->conf, device, comm, r->dtype, PART, PART, 1) == KERN_OK);
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

/* ---- a step ---- */

enum { SEQUENCES = 4, T = 16, TOKENS = SEQUENCES * (T + 1) };

typedef struct {
    const tiny *model;
    int32_t tokens[TOKENS];
    train_step_result result;
} step_run;

static void take_step(const kern_comm *comm, const kern_device *device, void *context) {
    step_run *r = context;
    train_step *step;
    train_step_spec spec = {.conf = r->model->conf,
                            .micro_batch = 2,
                            .budget = 1e9,
                            .device = device,
                            .comm = comm,
                            .threads = 1};
    ASSERT(train_step_create(&step, &spec) == KERN_OK);
    ASSERT(train_step_allocate(step) == KERN_OK);
    train_step_buffers b = train_step_memory_of(step);
    kern_upload(device, b.parameters, r->model->parameters,
                (size_t)b.layout->elements * sizeof(double));
    ASSERT(train_step_run(step, &r->result, r->tokens, 0) == KERN_OK);
    train_step_destroy(step);
}

static void a_step_is_everybodys(void **state) {
    (void)state;
    tiny model;
    step_run alone[2], both[2];
    tiny_begin(&model, "");
    for (int r = 0; r < 2; r++) {
        alone[r] = (step_run){.model = &model};
        tiny_tokens(&model, alone[r].tokens, TOKENS, 3 + (uint64_t)r);
        both[r] = alone[r];
        ranks_run(1, take_step, &alone[r], sizeof *alone);
        assert_int_equal(alone[r].result.tokens, SEQUENCES * T);
    }
    ranks_run(2, take_step, both, sizeof *both);
    const train_step_result *a = &alone[0].result, *b = &alone[1].result;
    for (int r = 0; r < 2; r++) {
        const train_step_result *of = &both[r].result;
        assert_int_equal(of->tokens, 2 * SEQUENCES * T);
        assert_true(of->loss == both[0].result.loss);
        assert_true(fabs(of->loss - (a->loss + b->loss) / 2) <= 1e-15 * of->loss);
        double inner = (a->inner_grad_norm + b->inner_grad_norm) / 2;
        assert_true(fabs(of->inner_grad_norm - inner) <= 1e-14 * inner);
        double outer = hypot(a->outer_grad_norm, b->outer_grad_norm);
        assert_true(fabs(of->outer_grad_norm - outer) <= 1e-14 * outer);
    }
    tiny_end(&model);
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
    r->status = train_fit_create(&step, &r->fit, r->conf, r->limit, comm, 1, false);
    snprintf(r->text, sizeof r->text, "%s", kern_error());
    train_step_destroy(step);
}

static void the_least_memory_decides(void **state) {
    (void)state;
    ttt_conf *conf, *fewer;
    const char *const words[] = {"train.batch=4", "model.blocks=2", "inner.suffix=1",
                                 "train.micro_batch=2"};
    assert_ok(conf_load(&conf, "quickstart", 3, words));
    assert_ok(conf_load(&fewer, "quickstart", 4, words));
    fit_run all = {.conf = conf, .limit = HUGE_VAL}, r[2] = {all, all};
    ranks_run(1, choose, &all, sizeof all);
    assert_int_equal(all.status, KERN_OK);
    assert_int_equal(all.fit.micro_batch, 4);
    r[1].limit = 0.8 * (double)all.fit.memory.total;
    ranks_run(2, choose, r, sizeof *r);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(r[i].status, KERN_OK);
        assert_true(r[i].fit.limit == r[1].limit);
        assert_int_equal(r[i].fit.micro_batch, r[0].fit.micro_batch);
        assert_true(r[i].fit.budget == r[0].fit.budget);
        assert_true(r[i].fit.memory.total == r[0].fit.memory.total);
        assert_true(r[i].fit.micro_batch < 4 || r[i].fit.budget != HUGE_VAL);
        assert_true((double)r[i].fit.memory.total <= r[1].limit);
    }
    r[0].limit = r[1].limit = HUGE_VAL; /* who would choose otherwise follows */
    r[1].conf = fewer;
    ranks_run(2, choose, r, sizeof *r);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(r[i].status, KERN_OK);
        assert_int_equal(r[i].fit.micro_batch, 2);
    }
    r[0].limit = 1e6;
    ranks_run(2, choose, r, sizeof *r);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(r[i].status, KERN_ERR_MEMORY);
        if (!strstr(r[i].text, "the least that a rank has free is 1.00 MB"))
            fail_msg("rank %d: %s", i, r[i].text);
    }
    conf_destroy(conf);
    conf_destroy(fewer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_norm_is_of_the_whole),
        cmocka_unit_test(a_step_is_everybodys),
        cmocka_unit_test(the_least_memory_decides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
