/* The emulator of blocks: each name of kernels/cuda/device.h against loops, in several orders of
 * the threads; and what it must find. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/cuda/device.h"
#include "tests/kernels/cuda/emulator.h"

enum { THREADS = 96, SEEDS = 4 };

typedef struct {
    double *out;
    const float *in;
    int count;
} test_args;

static float input[1024];
static double output[4096];

static void run(const kern_block_kernel *kernel, unsigned blocks, int threads, size_t shared) {
    test_args args = {output, input, threads};
    const unsigned grid[3] = {blocks, 1, 1};
    for (int i = 0; i < 1024; i++) input[i] = (float)(i * 37 % 101) - 50;
    for (int i = 0; i < 4096; i++) output[i] = -1;
    emulator_run(kernel, &args, grid, threads, shared);
}

/* Runs in every order. */
static void each_seed(const kern_block_kernel *kernel, unsigned blocks, int threads, size_t shared,
                      void (*check)(void)) {
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        emulator_seed(seed);
        run(kernel, blocks, threads, shared);
        check();
    }
    emulator_seed(0);
}

/* ---- places, shared memory, barriers ---- */

KERNEL(turn_round, test_args, THREADS) {
    float *shared = (float *)shared_memory();
    int i = thread_x();
    if (!isnan(shared[i])) args.out[0] = NAN;
    sync_block();
    shared[i] = args.in[block_x() * threads_x() + i];
    sync_block();
    args.out[block_x() * threads_x() + i] = (double)shared[threads_x() - 1 - i];
}

static void check_turned(void) {
    for (int b = 0; b < 3; b++)
        for (int i = 0; i < THREADS; i++)
            assert_true(output[b * THREADS + i] == (double)input[b * THREADS + THREADS - 1 - i]);
}

static void test_barriers(void **state) {
    (void)state;
    each_seed(&turn_round, 3, THREADS, THREADS * sizeof(float), check_turned);
}

/* ---- warps ---- */

KERNEL(use_warps, test_args, THREADS) {
    int i = thread_x();
    float x = args.in[i];
    double *out = args.out + 8 * i;
    out[0] = (double)warp_shfl(x, (lane() * 7 + 3) & 31);
    out[1] = (double)warp_xor(x, 5);
    out[2] = (double)warp_down(x, 9);
    out[3] = warp_shfl_f64((double)x / 3, 31 - lane());
    out[4] = (double)warp_ballot(x > 0);
    out[5] = warp_xor_f64((double)x / 3, 16);
    out[6] = warp_down_f64((double)x / 3, 1);
}

static void check_warps(void) {
    for (int i = 0; i < THREADS; i++) {
        const double *out = output + 8 * i;
        int first = i / 32 * 32, l = i % 32;
        uint32_t ballot = 0;
        for (int j = 0; j < 32; j++)
            if (input[first + j] > 0) ballot |= (uint32_t)1 << j;
        assert_true(out[0] == (double)input[first + ((l * 7 + 3) & 31)]);
        assert_true(out[1] == (double)input[first + (l ^ 5)]);
        assert_true(out[2] == (double)input[first + (l + 9 > 31 ? l : l + 9)]);
        assert_true(out[3] == (double)input[first + 31 - l] / 3);
        assert_true(out[4] == (double)ballot);
        assert_true(out[5] == (double)input[first + (l ^ 16)] / 3);
        assert_true(out[6] == (double)input[first + (l + 1 > 31 ? l : l + 1)] / 3);
    }
}

static void test_warps(void **state) {
    (void)state;
    each_seed(&use_warps, 1, THREADS, 0, check_warps);
}

/* ---- matrices ---- */

/* out [16][8] = a [16][16] b [16][8], a = in, b = in + 256 as its columns lie; then b's matrices as
 * load_matrix_x4 and its transposing form read them. */
KERNEL(multiply, test_args, 32) {
    uint16_t *shared = (uint16_t *)shared_memory();
    for (int e = lane(); e < 512; e += 32) shared[e] = (uint16_t)bf16_pack(args.in[e], 0);
    sync_warp();
    uint32_t a[4], b[4], turned[4];
    float d[4] = {1, 1, 1, 1};
    /* matrices of a: rows 0, rows 8, columns 8, both */
    load_matrix_x4(a, shared + (lane() % 16) * 16 + lane() / 16 * 8);
    load_matrix_x4(b, shared + 256 + lane() % 8 * 16 + lane() / 8 % 2 * 8 + lane() / 16 * 128);
    mma_16x8x16_bf16(d, a, b);
    load_matrix_x4_trans(turned, shared + lane() * 8);
    for (int j = 0; j < 4; j++) {
        int row = lane() / 4 + j / 2 * 8, column = lane() % 4 * 2 + j % 2;
        args.out[row * 8 + column] = (double)d[j];
        /* [matrix][row][column] of the transposed ones */
        args.out[256 + j * 64 + lane() / 4 * 8 + lane() % 4 * 2] = (double)bf16_low(turned[j]);
        args.out[256 + j * 64 + lane() / 4 * 8 + lane() % 4 * 2 + 1] = (double)bf16_high(turned[j]);
    }
}

static void check_product(void) {
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 8; j++) {
            double sum = 1;
            for (int k = 0; k < 16; k++)
                sum += (double)input[i * 16 + k] * (double)input[256 + j * 16 + k];
            assert_true(output[i * 8 + j] == sum);
        }
    for (int m = 0; m < 4; m++)
        for (int i = 0; i < 8; i++)
            for (int j = 0; j < 8; j++)
                assert_true(output[256 + m * 64 + i * 8 + j] == (double)input[(m * 8 + j) * 8 + i]);
}

static void test_matrices(void **state) {
    (void)state;
    each_seed(&multiply, 1, 32, 512 * sizeof(uint16_t), check_product);
}

/* ---- copies under way ---- */

KERNEL(copy_ahead, test_args, 32) {
    float *shared = (float *)shared_memory(), *mine = shared + 8 * lane();
    copy_async_16(mine, args.in + 8 * lane(), true);
    copy_async_commit();
    copy_async_16(mine + 4, args.in, lane() % 2);
    copy_async_commit();
    args.out[lane()] = (double)mine[0];
    copy_async_wait(1);
    args.out[32 + lane()] = (double)mine[3];
    args.out[64 + lane()] = (double)mine[4];
    copy_async_wait(0);
    sync_block();
    args.out[96 + lane()] = (double)shared[(8 * lane() + 13) % 256];
}

static void check_copies(void) {
    for (int i = 0; i < 32; i++) {
        assert_true(isnan(output[i]) && isnan(output[64 + i]));
        assert_true(output[32 + i] == (double)input[8 * i + 3]);
        assert_true(output[96 + i] == ((i + 1) % 2 ? (double)input[1] : 0));
    }
}

static void test_copies(void **state) {
    (void)state;
    each_seed(&copy_ahead, 1, 32, 1024, check_copies);
}

static void test_bf16(void **state) {
    (void)state;
    assert_int_equal(bf16_pack(1, -2), 0xc0003f80u);
    assert_int_equal(bf16_pack(kern_from_bits_f32(0x3f808000u), kern_from_bits_f32(0x3f818000u)),
                     0x3f823f80u);
    assert_true(bf16_low(0xc0003f80u) == 1 && bf16_high(0xc0003f80u) == -2);
    assert_true(isnan(bf16_low(bf16_pack(NAN, 0))));
    assert_true(kern_bits_f64(1) == 0x3ff0000000000000u &&
                kern_from_bits_f64(kern_bits_f64(0.1)) == 0.1);
}

/* ---- what must be found ---- */

KERNEL(two_lines, test_args, THREADS) {
    if (thread_x() == 40)
        sync_block();
    else
        sync_block();
    args.out[0] = 0;
}

KERNEL(gone_early, test_args, THREADS) {
    if (thread_x() < 50) sync_block();
    args.out[0] = 0;
}

KERNEL(half_a_warp, test_args, THREADS) {
    if (lane() < 16) args.out[0] = (double)warp_xor(1.0f, 1);
}

KERNEL(never_waited, test_args, THREADS) {
    copy_async_16((float *)shared_memory() + 4 * thread_x(), args.in, true);
    copy_async_commit();
}

static void run_fault(const kern_block_kernel *kernel) {
    run(kernel, 1, THREADS, 2048);
}

static void test_faults(void **state) {
    (void)state;
    const kern_block_kernel *const faults[] = {&two_lines, &gone_early, &half_a_warp,
                                               &never_waited};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        fflush(NULL);
        pid_t child = fork();
        assert_true(child >= 0);
        if (!child) {
            if (!freopen("/dev/null", "w", stderr)) _exit(9);
            signal(SIGABRT, SIG_DFL);
            run_fault(faults[i]);
            _exit(0);
        }
        int code;
        assert_int_equal(waitpid(child, &code, 0), child);
        if (!WIFSIGNALED(code) || WTERMSIG(code) != SIGABRT)
            fail_msg("%s goes unseen", faults[i]->name);
    }
}

/* Without a barrier, some order of the threads reads what is not yet there. */
KERNEL(no_barrier, test_args, THREADS) {
    float *shared = (float *)shared_memory();
    shared[thread_x()] = args.in[thread_x()];
    args.out[thread_x()] = (double)shared[threads_x() - 1 - thread_x()];
}

static void test_missing_barrier(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        int wrong = 0;
        emulator_seed(seed);
        run(&no_barrier, 1, THREADS, THREADS * sizeof(float));
        for (int i = 0; i < THREADS; i++) wrong += !(output[i] == (double)input[THREADS - 1 - i]);
        assert_true(wrong > 0);
    }
    emulator_seed(0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_barriers),
        cmocka_unit_test(test_warps),
        cmocka_unit_test(test_matrices),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_missing_barrier),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
