/* How parameters begin: the numbers of a seed and a name, whatever the threads, also of parameters
 * that are drawn in several pieces. */
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

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_draws)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
