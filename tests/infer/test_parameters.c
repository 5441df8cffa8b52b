/* How parameters begin: the numbers of a seed and a name, whatever the threads, also of parameters
 * that are drawn in several pieces; and what tensor-parallel ranks have of them. */
#include "tests/infer/tiny.h"

static void draw(double *to, const infer_parameter *p, const ttt_conf *conf) {
    uint64_t random = 0xcbf29ce484222325u ^ conf->train.seed; /* FNV-1a of the name */
    for (const char *at = p->name; *at; at++)
        random = (random ^ (uint64_t)(unsigned char)*at) * 0x100000001b3u;
    for (int64_t i = 0; i < p->elements; i++) to[i] = p->role->begin(p, conf, &random);
}

static void test_draws(void **state) {
    (void)state;
    tiny m;
    tiny_begin(&m, "model.vocab=3000 model.pattern=es train.seed=5");
    size_t bytes = (size_t)m.layout->elements * sizeof(double);
    double *found = malloc(bytes), *expected = calloc(1, bytes); /* 0 in gaps */
    assert_non_null(found);
    assert_non_null(expected);
    for (int i = 0; i < m.layout->count; i++)
        draw(expected + m.layout->item[i].offset, &m.layout->item[i], m.conf);
    assert_true(m.layout->item[0].elements > 2 * 16384); /* three pieces */
    for (int threads = 1; threads <= 5; threads += 2) {
        omp_set_num_threads(threads);
        infer_parameters_init(m.layout, m.conf, KERN_F64, test_device(), m.on_device.data);
        test_from_device(found, m.on_device.data, bytes);
        tiny_assert_close(found, expected, m.layout->elements, 0, "parameters");
    }
    free(expected);
    free(found);
    tiny_end(&m);
}

/* How many there are of each size and method, counted by hand; within 1.2 % of the transformer's.
 */
static const struct {
    const char *name;
    int64_t weights;
} counts[] = {
    {"125m-swa-8k", 183474432}, {"125m-mamba2-8k", 184827312},     {"125m-gdn-8k", 183558948},
    {"125m-kvb-8k", 183108336}, {"125m-e2e-mamba2-8k", 183947184}, {"125m-e2e-gdn-8k", 182678820},
    {"350m-swa-8k", 439717888}, {"350m-mamba2-8k", 440273536},     {"350m-gdn-8k", 436821088},
    {"350m-kvb-8k", 440314336}, {"350m-e2e-mamba2-8k", 437926528}, {"350m-e2e-gdn-8k", 434474080},
    {"760m-swa-8k", 876632064}, {"760m-mamba2-8k", 882471360},     {"760m-gdn-8k", 877076880},
    {"760m-kvb-8k", 882245088}, {"760m-e2e-mamba2-8k", 875411904}, {"760m-e2e-gdn-8k", 870017424},
    {"1b-swa-8k", 1458246656},  {"1b-mamba2-8k", 1453839104},      {"1b-gdn-8k", 1465229504},
    {"1b-kvb-8k", 1453147616},  {"1b-e2e-mamba2-8k", 1458582272},  {"1b-e2e-gdn-8k", 1451098304},
    {"3b-swa-8k", 2866224640},  {"3b-mamba2-8k", 2870014720},      {"3b-gdn-8k", 2857053504},
    {"3b-kvb-8k", 2868211840},  {"3b-e2e-mamba2-8k", 2885784320},  {"3b-e2e-gdn-8k", 2872823104},
};

static void test_counts(void **state) {
    (void)state;
    int64_t transformer = 0;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        ttt_conf *conf;
        assert_ok(infer_load(&conf, counts[i].name, 0, NULL));
        infer_parameters *layout = infer_parameters_create(conf);
        if (layout->weights != counts[i].weights)
            fail_msg("%s has %lld", counts[i].name, (long long)layout->weights);
        if (strstr(counts[i].name, "-swa-")) transformer = layout->weights;
        assert_true(fabs((double)layout->weights / (double)transformer - 1) < 0.012);
        infer_parameters_destroy(layout);
        conf_destroy(conf);
    }
}

/* Those that launch/compare.sh trains are equal to 0.11 %. */
static void test_compared_alike(void **state) {
    (void)state;
    static const char *const names[] = {"quickstart",     "quickstart-swa", "compare-full",
                                        "compare-hybrid", "compare-mamba2", "compare-gdn",
                                        "compare-kvb",    "compare-e2e-gdn"};
    double embedding = 257 * 128 + 128, first = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        ttt_conf *conf;
        assert_ok(infer_load(&conf, names[i], 0, NULL));
        infer_parameters *layout = infer_parameters_create(conf);
        double weights = (double)layout->weights - embedding;
        if (i == 0) first = weights;
        if (!(fabs(weights / first - 1) < 1.1e-3)) fail_msg("%s has %g", names[i], weights);
        infer_parameters_destroy(layout);
        conf_destroy(conf);
    }
}

/* The numbers with which the recurrent mixers begin lie where they must, all over the range. */
static void range_of(const tiny *m, const char *name, double from, double to) {
    const infer_parameter *p = tiny_find(m, name);
    double *drawn = malloc((size_t)p->elements * sizeof *drawn), least = HUGE_VAL, most = -HUGE_VAL;
    assert_non_null(drawn);
    draw(drawn, p, m->conf);
    for (int64_t i = 0; i < p->elements; i++) {
        least = fmin(least, drawn[i]);
        most = fmax(most, drawn[i]);
    }
    free(drawn);
    if (!(least >= from && most <= to && most - least > 0.4 * (to - from)))
        fail_msg("%s: from %g to %g", name, least, most);
}

static double inverse_softplus(double x) {
    return x + log(-expm1(-x));
}

static void test_ranges(void **state) {
    (void)state;
    tiny m;
    tiny_begin(&m, "model.pattern=mgk model.dim=32 mamba.head_size=1 mamba.state=2 gdn.heads=64 "
                   "gdn.key_size=1 gdn.value_size=1 kvb.chunk=4");
    range_of(&m, "blocks.0.mamba.A_log", 0, log(16));
    range_of(&m, "blocks.0.mamba.conv", -0.5, 0.5);
    range_of(&m, "blocks.0.mamba.conv_bias", -0.5, 0.5);
    range_of(&m, "blocks.0.mamba.dt_bias", inverse_softplus(0.001), inverse_softplus(0.1));
    range_of(&m, "blocks.1.gdn.dt_bias", inverse_softplus(0.001), inverse_softplus(0.1));
    range_of(&m, "blocks.1.gdn.A_log", log(1e-3), log(16));
    tiny_end(&m);
}

/* The rank's parts, in pieces of an odd number of elements, are those of the whole, and zeros where
 * the vocabulary has no more; ranks together have everything, and a norm counts it once. */
static void check_rank(const tiny *m, const double *whole, const kern_comm *comm, int *held) {
    infer_parameters *own = infer_parameters_of_rank(m->conf, comm);
    size_t bytes = (size_t)own->elements * sizeof(double);
    kern_buffer buffer = {0};
    double *found = malloc(bytes), *expected = calloc(1, bytes);
    assert_ok(kern_buffer_create(&buffer, test_device(), bytes, "weights"));
    assert_true(found && expected);
    infer_parameters_init(own, m->conf, KERN_F64, test_device(), buffer.data);
    test_from_device(found, buffer.data, bytes);
    for (int i = 0; i < own->count; i++) {
        const infer_parameter *p = &own->item[i];
        int64_t at = tiny_find(m, p->name)->offset;
        for (int64_t first = 0; first < p->elements; first += 77)
            infer_parameter_pick(p, expected + p->offset + first, whole + at, sizeof *whole, first,
                                 kern_min(77, p->elements - first));
        bool same = p->offset >= own->same.first &&
                    p->offset + p->elements <= own->same.first + own->same.count;
        bool summed = p->offset >= own->summed.first &&
                      p->offset + p->elements <= own->summed.first + own->summed.count;
        assert_int_equal(same, p->placing != INFER_PARTED);
        assert_int_equal(summed, p->placing == INFER_SUMMED);
        for (int64_t r = 0; r < infer_parameter_runs(p) && (!same || comm->rank == 0); r++) {
            infer_run run = infer_parameter_run(p, r);
            for (int64_t j = 0; j < run.count; j++) {
                assert_true(expected[p->offset + run.own + j] == whole[at + run.whole + j]);
                held[at + run.whole + j]++;
            }
        }
    }
    assert_memory_equal(found, expected, bytes);
    free(found);
    free(expected);
    kern_buffer_destroy(&buffer);
    infer_parameters_destroy(own);
}

static void test_ranks_begin_as_one(void **state) {
    (void)state;
    static const char *const variants[] = {
        "model.vocab=3001 model.tied=false model.pattern=es model.kv_heads=1",
        "model.vocab=5 model.bos=4 model.tied=false",
        "model.pattern=mgk mamba.head_size=8 mamba.state=3 gdn.heads=4 gdn.key_size=3 "
        "gdn.value_size=2 kvb.heads=4 kvb.chunk=4 kvb.qk_norm=width",
        "model.pattern=m mamba.head_size=4 mamba.state=3 mamba.groups=4"};
    for (size_t v = 0; v < sizeof variants / sizeof *variants; v++) {
        tiny m;
        char overrides[256];
        snprintf(overrides, sizeof overrides, "model.heads=4 model.dim=16 model.mlp=8 %s",
                 variants[v]);
        tiny_begin(&m, overrides);
        double *whole = calloc((size_t)m.layout->elements, sizeof *whole);
        assert_non_null(whole);
        for (int i = 0; i < m.layout->count; i++)
            draw(whole + m.layout->item[i].offset, &m.layout->item[i], m.conf);
        for (int ranks = 2; ranks <= 4; ranks *= 2) {
            int *held = calloc((size_t)m.layout->elements, sizeof *held);
            assert_non_null(held);
            for (int rank = 0; rank < ranks; rank++)
                check_rank(&m, whole, &(kern_comm){.rank = rank, .ranks = ranks}, held);
            for (int i = 0; i < m.layout->count; i++)
                for (int64_t j = 0; j < m.layout->item[i].elements; j++)
                    assert_int_equal(held[m.layout->item[i].offset + j], 1);
            free(held);
        }
        free(whole);
        tiny_end(&m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_draws), cmocka_unit_test(test_counts),
                                       cmocka_unit_test(test_compared_alike),
                                       cmocka_unit_test(test_ranges),
                                       cmocka_unit_test(test_ranks_begin_as_one)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
