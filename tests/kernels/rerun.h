/* A test's program once more, in a process of its own whose environment has it take code paths that
 * other processors take. Sanitizers do not watch those. */
#ifndef TESTS_RERUN_H
#define TESTS_RERUN_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/isa.h"
#include "tests/sanitized.h"

static const char *program; /* argv[0] */

/* Both variables have the value. */
static inline void rerun_with(const char *name, const char *value, const char *more) {
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setenv(name, value, 1);
        setenv(more, value, 1);
        setenv("TEST_RERUN", "1", 1);
        execl(program, program, (char *)NULL);
        _exit(127);
    }
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result));
    assert_int_equal(WEXITSTATUS(result), 0);
}

/* Whether this run is to begin none. */
static inline bool rerun_is_over(void) {
    return SANITIZED || getenv("TEST_RERUN") || getenv("TTT_ISA");
}

/* Instruction sets that this machine has beside its best. */
static inline void rerun_with_others(void) {
    if (kern_isa() > KERN_ISA_V2) rerun_with("TTT_ISA", "v2", "TTT_ISA");
    if (kern_isa() > KERN_ISA_V3) rerun_with("TTT_ISA", "v3", "TTT_ISA");
}

#endif
