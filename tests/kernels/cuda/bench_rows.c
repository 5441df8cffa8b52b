/* With TTT_BENCH_ROWS=cpu row programs are run by the CPU's runner, which gives the same bits as
 * their text (test_rows_text, test_device_rows): a model has hundreds of them, and the host's
 * compiler takes half a second for each. Their text is then a mark, for the stand-in for NVRTC. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/rows_text.h"
#include "tests/kernels/cuda/bench.h"

typedef struct {
    kern_rows *rows;
    int operands, threads;
} program;

static program *programs;
static int64_t count, capacity;

static const char mark[] = "/* bench: program ";

char *kern_row_text_itself(const kern_row_program *program, const char *name,
                           kern_row_launch *launch);

/* What stands for kern_row_text in the bench. */
char *kern_row_text(const kern_row_program *of, const char *name, kern_row_launch *launch) {
    const char *how = getenv("TTT_BENCH_ROWS");
    if (!how || strcmp(how, "cpu") != 0) return kern_row_text_itself(of, name, launch);
    programs = kern_grow(programs, &capacity, count + 1, sizeof *programs);
    program made = {kern_rows_create(of), of->operands, omp_get_max_threads()};
    programs[count++] = made;
    *launch = (kern_row_launch){.threads = 256,
                                .blocks = 1,
                                .workspace = kern_rows_workspace(made.rows, made.threads),
                                .memories = of->operands + 1};
    char text[128];
    snprintf(text, sizeof text, "%s%lld of %ld */", mark, (long long)(count - 1), (long)getpid());
    return strdup(text);
}

int64_t bench_marked(const char *text) {
    const char *at = strstr(text, mark);
    return at ? strtoll(at + strlen(mark), NULL, 10) : -1;
}

int bench_marked_operands(int64_t index) {
    return programs[index].operands;
}

void bench_run_marked(int64_t index, void *const *memory) {
    const program *p = &programs[index];
    int before = omp_get_max_threads();
    omp_set_num_threads(p->threads);
    kern_rows_run(p->rows, memory, memory[p->operands]);
    omp_set_num_threads(before);
}
