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
        int64_t at = m->layout->item[i].offset;
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
        "model.vocab=5 model.bos=4 model.tied=false"};
    for (int v = 0; v < 2; v++) {
        tiny m;
        char overrides[128];
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_draws),
                                       cmocka_unit_test(test_ranks_begin_as_one)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
