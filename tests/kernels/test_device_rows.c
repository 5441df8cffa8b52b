/* Row programs on a device: the bits of the CPU's runner, for some programs of many instructions,
 * types and layouts, each run twice. */
#include "tests/device.h"
#include "tests/kernels/rows_programs.h"

static void run_on(const kern_device *device, const random_program *g, void *const *input,
                   void *const *output) {
    kern_buffer operand[NAIVE_OPERANDS] = {0}, workspace = {0};
    void *bound[NAIVE_OPERANDS], *state;
    size_t bytes = 0;
    if (device->rows->create(&state, &g->p, omp_get_max_threads(), &bytes) != KERN_OK)
        fail_msg("%s", kern_error());
    assert_int_equal(kern_buffer_create(&workspace, device, bytes, "workspace"), KERN_OK);
    for (int i = 0; i < g->p.operands; i++) {
        size_t size = naive_bytes(&g->p, i);
        assert_int_equal(kern_buffer_create(&operand[i], device, size, "operand"), KERN_OK);
        /* What a program does not write stays as it is. */
        kern_upload(device, operand[i].data, input[i] ? input[i] : output[i], size);
    }
    for (int i = 0; i < g->p.operands; i++)
        bound[i] = operand[g->alias[i] >= 0 ? g->alias[i] : i].data;
    device->rows->run(device->stream, state, bound, workspace.data);
    for (int i = 0; i < g->p.operands; i++)
        if (output[i]) device->download(device->stream, output[i], bound[i], naive_bytes(&g->p, i));
    if (kern_finish(device->stream) != KERN_OK) fail_msg("%s", kern_error());
    for (int i = 0; i < g->p.operands; i++) kern_buffer_destroy(&operand[i]);
    kern_buffer_destroy(&workspace);
    device->rows->destroy(state);
}

static void check(uint64_t seed, int64_t n) {
    random_program g;
    void *input[NAIVE_OPERANDS] = {0}, *want[NAIVE_OPERANDS] = {0}, *got[NAIVE_OPERANDS] = {0};
    program_generate(&g, seed, n, 20000);
    for (int i = 0; i < g.p.operands; i++) {
        size_t bytes = naive_bytes(&g.p, i);
        void **to = g.is_output[i] ? want : input;
        to[i] = guarded(bytes, 0x11);
        if (g.is_output[i])
            got[i] = guarded(bytes, 0x11);
        else
            program_fill(&g, i, input[i]);
    }
    run_on(kern_device_cpu(), &g, input, want);
    for (int again = 0; again < 2; again++) {
        run_on(test_device(), &g, input, got);
        for (int i = 0; i < g.p.operands; i++)
            if (g.is_output[i]) program_compare(&g, seed, i, got[i], want[i]);
    }
    for (int i = 0; i < g.p.operands; i++) {
        size_t bytes = naive_bytes(&g.p, i);
        if (input[i]) free_guarded(input[i], bytes);
        if (want[i]) free_guarded(want[i], bytes);
        if (got[i]) free_guarded(got[i], bytes);
    }
}

static void test_programs(void **unused) {
    (void)unused;
    static const int64_t lengths[] = {1, 31, 64, 257, 768, 1030, 4096, 9000};
    for (uint64_t i = 0; i < 8; i++) check(i + 40, lengths[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_programs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
