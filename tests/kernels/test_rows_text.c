/* Row programs as text: what a GPU would run, compiled by the host's compiler, gives the bits of
 * the CPU's runner, for random programs of every instruction, type, layout and length, with the
 * threads of a block in either order. Also: the text is CUDA C to Clang. */
#include "kernels/rows_text.h"
#include "tests/kernels/rows_programs.h"

#include <dlfcn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

typedef void kernel(void *const *memory, int64_t block);

enum { PAGE = 4096 };

/* Memory that ends where the next page cannot be touched; `aligned`: it begins at 16 bytes, and may
 * end up to 15 bytes before that page. */
typedef struct {
    char *pages, *data;
    size_t bytes, mapped;
} fenced;

static fenced fenced_make(size_t bytes, bool aligned) {
    fenced f = {.bytes = bytes, .mapped = (bytes + 16 + PAGE - 1) / PAGE * PAGE + PAGE};
    f.pages = mmap(NULL, f.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(f.pages != MAP_FAILED);
    f.data = f.pages + f.mapped - PAGE - bytes;
    if (aligned) f.data -= (uintptr_t)f.data % 16;
    assert_int_equal(mprotect(f.pages + f.mapped - PAGE, PAGE, PROT_NONE), 0);
    memset(f.pages, 0xFF, f.mapped - PAGE);
    return f;
}

static void fenced_free(fenced *f) {
    for (const char *c = f->pages; c < f->pages + f->mapped - PAGE; c++)
        if (c < f->data || c >= f->data + f->bytes) assert_int_equal(*c, -1);
    munmap(f->pages, f->mapped);
}

static int64_t length_of(uint64_t seed) {
    static const int64_t edges[] = {1,   2,   3,    4,    5,    16,   17,   31,   32,
                                    33,  64,  128,  255,  256,  257,  260,  512,  513,
                                    768, 767, 1024, 1025, 1028, 2048, 2052, 4096, 4097};
    static const int64_t longer[] = {8192, 8193, 8196, 50257, 50304, 128256};
    enum { EDGES = sizeof edges / sizeof *edges };
    uint64_t state = seed;
    if (seed <= EDGES) return edges[seed - 1];
    if (seed % 16 == 0) return longer[seed / 16 % 6];
    return 1 + (int64_t)(naive_random(&state) % (naive_random(&state) % 2 ? 5000 : 600));
}

static void generate(random_program *g, uint64_t seed) {
    int64_t n = length_of(seed);
    program_generate(g, seed, n, n > 8192 ? 2 * n : 20000);
}

/* Runs `command` quietly in `folder`; true if it succeeds. */
static bool succeeds(const char *folder, const char *command) {
    char line[1024];
    snprintf(line, sizeof line, "cd '%s' && { %s; } >>log 2>&1", folder, command);
    return system(line) == 0;
}

static void show_log(const char *folder) {
    char line[256];
    snprintf(line, sizeof line, "head -c 2000 '%s/log' >&2", folder);
    if (system(line) != 0) print_message("no log\n");
}

static void write_texts(const char *folder, const char *file, uint64_t first, uint64_t last,
                        kern_row_launch *launch) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fputs(kern_row_prelude, out);
    for (uint64_t seed = first; seed <= last; seed++) {
        random_program g;
        char name[32];
        generate(&g, seed);
        snprintf(name, sizeof name, "rows_%llu", (unsigned long long)seed);
        char *text = kern_row_text(&g.p, name, &launch[seed - first]);
        fputs(text, out);
        free(text);
    }
    assert_int_equal(fclose(out), 0);
}

static void run_kernel(void *library, const char *name, int64_t blocks, void *const *memory) {
    kernel *run = NULL;
    void *symbol = dlsym(library, name);
    assert_non_null(symbol);
    memcpy(&run, &symbol, sizeof run);
    for (int64_t block = 0; block < blocks; block++) run(memory, block);
}

static void run_text(void *library, random_program *g, uint64_t seed, const kern_row_launch *launch,
                     void *const *input, void *const *output, int backwards) {
    fenced memory[NAIVE_OPERANDS + 1];
    void *bound[NAIVE_OPERANDS + 1];
    char name[32], sums[40];
    for (int i = 0; i < g->p.operands; i++) {
        memory[i] = fenced_make(naive_bytes(&g->p, i), (seed + (uint64_t)i) % 4 != 0);
        if (input[i]) memcpy(memory[i].data, input[i], naive_bytes(&g->p, i));
    }
    for (int i = 0; i < g->p.operands; i++)
        bound[i] = memory[g->alias[i] >= 0 ? g->alias[i] : i].data;
    fenced workspace = fenced_make(launch->workspace, true);
    bound[g->p.operands] = workspace.data;
    assert_int_equal(launch->memories, g->p.operands + 1);
    int *order = dlsym(library, "rows_backwards");
    assert_non_null(order);
    *order = backwards;
    snprintf(name, sizeof name, "rows_%llu", (unsigned long long)seed);
    snprintf(sums, sizeof sums, "%s_sums", name);
    run_kernel(library, name, launch->blocks, bound);
    if (launch->sum_blocks) run_kernel(library, sums, launch->sum_blocks, bound);
    for (int i = 0; i < g->p.operands; i++)
        if (output[i]) memcpy(output[i], bound[i], naive_bytes(&g->p, i));
    fenced_free(&workspace);
    for (int i = 0; i < g->p.operands; i++) fenced_free(&memory[i]);
}

static void check_seed(void *library, uint64_t seed, const kern_row_launch *launch) {
    random_program g;
    void *input[NAIVE_OPERANDS], *want[NAIVE_OPERANDS] = {0}, *got[NAIVE_OPERANDS] = {0};
    generate(&g, seed);
    for (int i = 0; i < g.p.operands; i++) {
        size_t bytes = naive_bytes(&g.p, i);
        input[i] = g.is_output[i] ? NULL : guarded(bytes, 0);
        if (input[i]) program_fill(&g, i, input[i]);
        if (!g.is_output[i]) continue;
        want[i] = guarded(bytes, 0);
        got[i] = guarded(bytes, 0);
    }
    run_guarded(&g.p, input, g.alias, 2, want);
    for (int backwards = 0; backwards < 2; backwards++) {
        run_text(library, &g, seed, launch, input, got, backwards);
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

static void make_folder(char *folder) {
    strcpy(folder, "/tmp/ttt-rows-XXXXXX");
    assert_non_null(mkdtemp(folder));
}

static void remove_folder(const char *folder) {
    char line[256];
    snprintf(line, sizeof line, "rm -r '%s'", folder);
    assert_int_equal(system(line), 0);
}

/* TTT_TEST_SEED=N: that program alone; its text stays in the folder that is named. */
static void text_gives_the_runners_bits(void **unused) {
    (void)unused;
    char folder[32];
    make_folder(folder);
    if (!succeeds(folder, "cc --version")) {
        remove_folder(folder);
        print_message("no C compiler: skipped\n");
        skip();
    }
    const char *only = getenv("TTT_TEST_SEED");
    uint64_t first = only ? strtoull(only, NULL, 10) : 1, last = only ? first : 200;
    kern_row_launch *launch = calloc((size_t)(last - first + 1), sizeof *launch);
    assert_non_null(launch);
    write_texts(folder, "rows.c", first, last, launch);
    if (!succeeds(folder,
                  "cc -std=gnu11 -O0 -w -ffp-contract=off -fPIC -shared -o rows.so rows.c -lm")) {
        show_log(folder);
        fail_msg("%s/rows.c: not C", folder);
    }
    char path[64];
    snprintf(path, sizeof path, "%s/rows.so", folder);
    void *library = dlopen(path, RTLD_NOW);
    assert_non_null(library);
    if (only) print_message("%s\n", folder);
    for (uint64_t seed = first; seed <= last; seed++)
        check_seed(library, seed, &launch[seed - first]);
    dlclose(library);
    free(launch);
    if (!only) remove_folder(folder);
}

static void text_is_cuda(void **unused) {
    (void)unused;
    char folder[32];
    make_folder(folder);
    if (!succeeds(folder, "clang --version")) {
        remove_folder(folder);
        print_message("no Clang: skipped\n");
        skip();
    }
    kern_row_launch launch[20];
    write_texts(folder, "rows.cu", 31, 50, launch);
    if (!succeeds(folder,
                  "clang -x cuda -nocudainc -nocudalib --cuda-device-only "
                  "--cuda-gpu-arch=sm_80 -ffp-contract=off -w -O0 -S -o rows.ptx rows.cu")) {
        show_log(folder);
        fail_msg("%s/rows.cu: not CUDA", folder);
    }
    for (int i = 0; i < 20; i++) {
        char line[64];
        snprintf(line, sizeof line, "grep -q '.entry rows_%d(' rows.ptx", 31 + i);
        assert_true(succeeds(folder, line));
    }
    remove_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_gives_the_runners_bits),
        cmocka_unit_test(text_is_cuda),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
