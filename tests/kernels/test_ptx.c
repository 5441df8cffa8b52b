/* The interpreter of PTX: values of instructions as the PTX ISA defines them, small kernels that
 * are right, and the same without what makes them right, which must end with a word of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/kernels/cuda/bench.h"
#include "tests/kernels/cuda/ptx_code.h"

enum { THREADS = 64, SHARED = 1024, SEEDS = 3 };

/* The GPU's memory: one result of each thread, then what copies read. */
static struct { uint32_t out[THREADS], in[4 * THREADS]; } memory __attribute__((aligned(16)));

bool bench_find_memory(const void *address, size_t bytes, const char **begin, const char **end) {
    const char *at = address;
    *begin = (const char *)&memory;
    *end = *begin + sizeof memory;
    return at >= *begin && at + bytes <= *end;
}

/* ---- values ---- */

#define F32_NAN 0x7fc00000u
#define F64_NAN 0x7ff8000000000000u
#define MINUS(x) (0 - (uint64_t)(x))

/* Operands may have any bits above those of their type, and results too. */
static const struct {
    const char *name;
    uint64_t a, b, c, d, result;
    int bits;
} values[] = {
    {"selp.b32", 5, 6, 1, 0, 5, 32},
    {"selp.b32", 5, 6, 0xfffe, 0, 6, 32},
    {"not.pred", 3, 0, 0, 0, 0, 64},
    {"sub.s32", 3, 5, 0, 0, 0xfffffffe, 32},
    {"mad.lo.s32", 7, 5, MINUS(1), 0, 34, 32},
    {"shl.b32", 1, 31, 0, 0, 0x80000000, 32},
    {"shl.b32", 1, 32, 0, 0, 0, 32},
    {"shr.u32", MINUS(1), 31, 0, 0, 1, 32},
    {"shr.u32", MINUS(1), 32, 0, 0, 0, 32},
    {"shr.s32", 0x80000000, 40, 0, 0, 0xffffffff, 32},
    {"shr.s64", 0x8000000000000000, 62, 0, 0, MINUS(2), 64},
    {"shf.l.wrap.b32", 0x80000001, 0x7, 1, 0, 0xf, 32},
    {"shf.r.wrap.b32", 0x80000001, 0x7, 33, 0, 0xc0000000, 32},
    {"bfe.u32", 0xabcd1234, 8, 8, 0, 0x12, 32},
    {"bfe.u32", 0xabcd1234, 16, 32, 0, 0xabcd, 32},
    {"bfi.b32", 0xff, 0x12345678, 8, 4, 0x12345f78, 32},
    {"prmt.b32", 0x33221100, 0x77665544, 0x7410, 0, 0x77441100, 32},
    {"prmt.b32", 0x33228100, 0, 0x9999, 0, 0xffffffff, 32},
    {"lop3.b32", 0xf0, 0xcc, 0xaa, 0x96, 0xf0 ^ 0xcc ^ 0xaa, 32},
    {"lop3.b32", 0xf0, 0xcc, 0xaa, 0x20, 0xf0 & ~0xcc & 0xaa, 32},
    {"popc.b32", 0xf00000003, 0, 0, 0, 2, 32},
    {"mul.hi.s32", MINUS(1), 5, 0, 0, 0xffffffff, 32},
    {"mul.hi.u32", 0xffffffff, 5, 0, 0, 4, 32},
    {"mul.hi.s64", MINUS(1), 5, 0, 0, MINUS(1), 64},
    {"mul.hi.u64", MINUS(1), 5, 0, 0, 4, 64},
    {"mul.wide.s32", 0xffffffff, 3, 0, 0, MINUS(3), 64},
    {"mul.wide.u32", 0xffffffff, 3, 0, 0, 0x2fffffffd, 64},
    {"mul.wide.s16", 0xffff, 3, 0, 0, 0xfffffffd, 32},
    {"mad.wide.s32", 0xffffffff, 3, 10, 0, 7, 64},
    {"div.s32", MINUS(7), 2, 0, 0, 0xfffffffd, 32},
    {"rem.s32", MINUS(7), 2, 0, 0, 0xffffffff, 32},
    {"div.s32", 0x80000000, MINUS(1), 0, 0, 0x80000000, 32},
    {"div.u32", 0xfffffff9, 2, 0, 0, 0x7ffffffc, 32},
    {"rem.u64", MINUS(7), 10, 0, 0, 9, 64},
    {"min.s32", 0xffffffff, 1, 0, 0, 0xffffffff, 32},
    {"min.u32", 0xffffffff, 1, 0, 0, 1, 32},
    {"max.s64", MINUS(1), 1, 0, 0, 1, 64},
    {"abs.s32", MINUS(9), 0, 0, 0, 9, 32},
    {"fma.rn.f32", 0x3f800001, 0x3f800001, 0xbf800002, 0, 0x28800000, 32},
    {"min.f32", 0x80000000, 0, 0, 0, 0x80000000, 32},
    {"max.f32", 0x80000000, 0, 0, 0, 0, 32},
    {"max.f32", F32_NAN, 0x3f800000, 0, 0, 0x3f800000, 32},
    {"max.NaN.f32", F32_NAN, 0x3f800000, 0, 0, 0x7fffffff, 32},
    {"min.f64", F64_NAN, 0x3ff0000000000000, 0, 0, 0x3ff0000000000000, 64},
    {"ex2.approx.ftz.f32", 0xc3000000, 0, 0, 0, 0, 32}, /* 2^-128 */
    {"ex2.approx.ftz.f32", 0x40400000, 0, 0, 0, 0x41000000, 32},
    {"rcp.rn.f32", 0xc0800000, 0, 0, 0, 0xbe800000, 32},
    {"neg.f64", 0, 0, 0, 0, 0x8000000000000000, 64},
    {"cvt.rn.bf16x2.f32", 0x40000000, 0x3f808000, 0, 0, 0x40003f80, 32},
    {"cvt.rn.bf16.f32", 0x3f818000, 0, 0, 0, 0x3f82, 16},
    {"cvt.rn.f32.s32", 0xffffffff, 0, 0, 0, 0xbf800000, 32},
    {"cvt.rn.f32.u32", 0xffffffff, 0, 0, 0, 0x4f800000, 32},
    {"cvt.rn.f32.f64", 0x3ff8000000000000, 0, 0, 0, 0x3fc00000, 32},
    {"cvt.s64.s32", 0xffffffff, 0, 0, 0, MINUS(1), 64},
    {"cvt.u64.u32", 0xf0000000f, 0, 0, 0, 15, 64},
    {"cvt.s32.s8", 0x180, 0, 0, 0, 0xffffff80, 32},
    {"cvt.s64.s16", 0x8000, 0, 0, 0, MINUS(0x8000), 64},
    {"setp.lt.s32", 0xffffffff, 0, 0, 0, 1, 64},
    {"setp.lt.u32", 0xffffffff, 0, 0, 0, 0, 64},
    {"setp.gt.s64", 0xffffffff, 0, 0, 0, 1, 64},
    {"setp.ne.b16", 0x10001, 1, 0, 0, 0, 64},
    {"setp.ge.u64", 1, 1, 0, 0, 1, 64},
    {"setp.ne.f32", F32_NAN, 0, 0, 0, 0, 64},
    {"setp.neu.f32", F32_NAN, 0, 0, 0, 1, 64},
    {"setp.eq.f32", 0x80000000, 0, 0, 0, 1, 64},
    {"setp.leu.f64", F64_NAN, 0, 0, 0, 1, 64},
    {"setp.nan.f32", 0, F32_NAN, 0, 0, 1, 64},
};

static void test_values(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        ptx_function *compute;
        int sources;
        if (!ptx_look_up(values[i].name, &compute, &sources)) fail_msg("no %s", values[i].name);
        uint64_t got = compute(values[i].a, values[i].b, values[i].c, values[i].d);
        uint64_t mask = UINT64_MAX >> (64 - values[i].bits);
        if ((got & mask) != values[i].result)
            fail_msg("%s (row %zu) is %llx, not %llx", values[i].name, i,
                     (unsigned long long)(got & mask), (unsigned long long)values[i].result);
    }
}

/* ---- kernels ---- */

/* %rd1: where results go, %rd3: this thread's. %r1: the thread. %r2: shared memory, %r4: four bytes
 * of it, %r6: 16 bytes of it for each thread, %rd4: as many to copy from. */
static const char prologue[] = ".version 7.0\n.target sm_80\n.address_size 64\n"
                               ".extern .shared .align 16 .b8 area[];\n"
                               ".visible .entry k(\n.param .u64 k_to\n)\n{\n"
                               ".local .align 4 .b8 depot[16];\n"
                               ".reg .pred %p<9>;\n.reg .b32 %r<20>;\n.reg .b64 %rd<20>;\n"
                               "ld.param.u64 %rd1, [k_to];\n"
                               "mov.u32 %r1, %tid.x;\n"
                               "mov.u32 %r2, area;\n"
                               "shl.b32 %r3, %r1, 2;\n"
                               "add.s32 %r4, %r2, %r3;\n"
                               "shl.b32 %r5, %r1, 4;\n"
                               "add.s32 %r6, %r2, %r5;\n"
                               "cvt.u64.u32 %rd2, %r3;\n"
                               "add.s64 %rd3, %rd1, %rd2;\n"
                               "cvt.u64.u32 %rd5, %r5;\n"
                               "add.s64 %rd4, %rd1, %rd5;\n"
                               "add.s64 %rd4, %rd4, 256;\n"
                               "xor.b32 %r10, %r3, 4;\n" /* another thread's of the warp */
                               "add.s32 %r10, %r2, %r10;\n"
                               "xor.b32 %r11, %r3, 128;\n" /* of another warp */
                               "add.s32 %r11, %r2, %r11;\n";

static const ptx_kernel *all; /* that were read: they stay */

static void run(const char *body, uint64_t seed) {
    static char text[8192];
    void *to = memory.out;
    snprintf(text, sizeof text, "%s%sret;\n}\n", prologue, body);
    all = ptx_read(text, "a test", all);
    const unsigned grid[3] = {1, 1, 1};
    memset(memory.out, 0xff, sizeof memory.out);
    for (int i = 0; i < 4 * THREADS; i++) memory.in[i] = (uint32_t)i / 4;
    ptx_run(ptx_find(all, "k"), &to, grid, THREADS, SHARED, seed);
}

#define STORE "st.shared.u32 [%r4], %r1;\n"
#define WARP "bar.warp.sync 0xffffffff;\n"
#define BLOCK "bar.sync 0;\n"
#define OUT "st.global.u32 [%rd3], %r7;\n"
#define COPY "cp.async.cg.shared.global [%r6], [%rd4], 16;\ncp.async.commit_group;\n"

/* Thread i's result is i with the bits of `other` turned over. */
static const struct {
    const char *body;
    uint32_t other;
} right[] = {
    {STORE WARP "ld.shared.u32 %r7, [%r10];\n" OUT, 1},
    {STORE BLOCK "ld.shared.u32 %r7, [%r11];\n" OUT, 32},
    {STORE WARP "ld.shared.u32 %r7, [%r10];\n" WARP STORE OUT, 1},
    {STORE BLOCK "ld.shared.u32 %r7, [%r11];\n" BLOCK STORE OUT, 32},
    {COPY "cp.async.wait_group 0;\nld.shared.u32 %r7, [%r6];\n" OUT, 0},
    {COPY "cp.async.commit_group;\ncp.async.wait_group 1;\nld.shared.u32 %r7, [%r6+12];\n" OUT, 0},
    {"mov.u32 %r7, depot;\nst.local.u32 [%r7+12], %r1;\nld.local.u32 %r7, [%r7+12];\n" OUT, 0},
    {"cvt.u64.u32 %rd6, %r4;\ncvta.shared.u64 %rd7, %rd6;\nst.u32 [%rd7], %r1;\n" BLOCK
     "ld.shared.u32 %r7, [%r11];\n" OUT,
     32},
    {"xor.b32 %r8, %r1, 1;\nshfl.sync.idx.b32 %r7, %r1, %r8, 31, 0xffffffff;\n" OUT, 1},
    /* within halves of a warp */
    {"xor.b32 %r8, %r1, 16;\nshfl.sync.idx.b32 %r7, %r1, %r8, 0x101f, 0xffffffff;\n" OUT, 0},
    /* from a lane beyond the last one: its own */
    {"shfl.sync.idx.b32 %r7, %r1, 31, 15, 0xffffffff;\n" OUT, 0},
    {"not.b32 %r8, %r1;\nst.shared.u32 [%r4], %r8;\nld.shared.s8 %r7, [%r4];\n"
     "not.b32 %r7, %r7;\n" OUT,
     0},
    {"and.b32 %r8, %r1, 1;\nsetp.eq.u32 %p1, %r8, 0;\n@%p1 bra EVEN;\nadd.s32 %r7, %r1, -1;\n"
     "bra BOTH;\nEVEN:\nadd.s32 %r7, %r1, 1;\nBOTH:\n" WARP OUT,
     1},
    {"xor.b32 %r7, %r1, 2;\nsetp.ne.u32 %p1, %r1, %r7;\n@!%p1 mov.u32 %r7, 5;\n" OUT, 2},
    {"mov.b64 %rd6, {%r1, %r3};\nmov.b64 {%r8, %r7}, %rd6;\nshr.u32 %r7, %r7, 2;\n" OUT, 0},
};

static void test_right(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof right / sizeof *right; i++)
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            run(right[i].body, seed);
            for (uint32_t t = 0; t < THREADS; t++)
                if (memory.out[t] != (t ^ right[i].other))
                    fail_msg("kernel %zu, thread %u: %u", i, t, memory.out[t]);
        }
}

#define READ "ld.shared.u32 %r7, [%r2];\n"
#define ONE(thread) "setp.eq.u32 %p2, %r1, " #thread ";\n@%p2 st.shared.u32 [%r2], %r1;\n"
#define UNLESS(how, thread, what)                                                                  \
    "setp." how ".u32 %p1, %r1, " #thread ";\n@%p1 bra SKIP;\n" what "SKIP:\n"

static const struct {
    const char *body, *says;
} wrong[] = {
    {"add.s32 %r7, %r12, 1;\n", "reads a register that is not written"},
    {"@%p1 add.s32 %r7, %r1, 1;\n", "a condition that is not written"},
    {"ld.shared.u32 %r7, [%r4];\n", "reads shared memory that is not written"},
    {STORE "ld.shared.u32 %r7, [%r10];\n", "reads a write"},
    {STORE BLOCK STORE WARP "ld.shared.u32 %r7, [%r11];\n", "that no barrier orders"},
    {"st.shared.u32 [%r2], %r1;\n", "writes over a write"},
    {STORE BLOCK "ld.shared.u32 %r7, [%r10];\n" STORE, "writes over a read"},
    {STORE BLOCK "ld.shared.u32 %r7, [%r11];\n" WARP STORE, "that no barrier orders"},
    /* who read it last writes it; of the others one was of its warp, or none was */
    {STORE BLOCK UNLESS("lt", 32, READ) ONE(63), "writes over a read"},
    {STORE BLOCK UNLESS("eq", 62, READ) WARP ONE(63), "that no barrier orders"},
    {"st.shared.u32 [%r2+1024], %r1;\n", "outside shared memory"},
    {"st.shared.u32 [%r4+2], %r1;\n", "not aligned"},
    {"st.global.u32 [%rd3+65536], %r1;\n", "not an address of the GPU's memory"},
    {UNLESS("lt", 16, WARP), "lanes of its warp that do not come"},
    {UNLESS("lt", 32, BLOCK), "has ended, others wait at a barrier"},
    {UNLESS("ge", 32, BLOCK), "has ended, others wait at a barrier"},
    {UNLESS("lt", 32, BLOCK "ret;\n") BLOCK, "is at another barrier"},
    {"shfl.sync.idx.b32 %r7, %r1, 0, 31, 0xffff;\n", "not for all lanes"},
    {"setp.eq.u32 %p1, %r1, %r1;\n@%p1 bar.sync 0;\n", "a collective under a condition"},
    {COPY, "ends before a copy that it began"},
    {COPY "ld.shared.u32 %r7, [%r6];\ncp.async.wait_group 0;\n", "that is not written"},
    {COPY "cp.async.wait_group 1;\nld.shared.u32 %r7, [%r6];\n", "that is not written"},
    {COPY "st.shared.u32 [%r6+4], %r1;\nxor.b32 %r8, %r5, 16;\nadd.s32 %r8, %r2, "
          "%r8;\ncp.async.wait_group 0;\n"
          "ld.shared.u32 %r7, [%r8];\n",
     "reads a write"},
    {"mov.u32 %r7, depot;\nld.local.u32 %r7, [%r7];\n", "reads local memory that is not written"},
    {"mov.u32 %r7, depot;\nst.local.u32 [%r7+16], %r1;\n", "outside local memory"},
    {"st.param.u32 [k_to], %r1;\n", "writes an argument"},
    {"ld.param.u64 %rd6, [k_to+8];\n", "outside the arguments"},
    {"sin.approx.f32 %r7, %r1;\n", "an instruction that is not known"},
    {"add.s32 %r7, %r1;\n", "not so many operands"},
    {"add.s32 %r7, %r1, %q5;\n", "a name that is not known"},
    {"bra NOWHERE;\n", "no such label"},
};

/* What a process says that runs it and must abort. */
static void run_apart(const char *body, uint64_t seed, char *said, size_t bytes) {
    int ends[2], code;
    fflush(NULL);
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        dup2(ends[1], 2);
        signal(SIGABRT, SIG_DFL);
        run(body, seed);
        _exit(0);
    }
    close(ends[1]);
    FILE *from = fdopen(ends[0], "r");
    assert_non_null(from);
    said[fread(said, 1, bytes - 1, from)] = '\0';
    fclose(from);
    assert_int_equal(waitpid(child, &code, 0), child);
    if (!WIFSIGNALED(code) || WTERMSIG(code) != SIGABRT) fail_msg("unseen: %s%s", body, said);
}

static void test_wrong(void **state) {
    (void)state;
    char said[2048];
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            run_apart(wrong[i].body, seed, said, sizeof said);
            if (!strstr(said, wrong[i].says))
                fail_msg("%s: says %s, not %s", wrong[i].body, said, wrong[i].says);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values), cmocka_unit_test(test_right),
                                       cmocka_unit_test(test_wrong)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
