/* Calls of the libraries: counted, and made to fail. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base.h"
#include "tests/kernels/cuda/bench.h"

enum { NAMES = 64, NAME = 64 };

static struct {
    char name[NAME];
    int64_t calls;
} counted[NAMES];

size_t bench_number(const char *variable, size_t otherwise) {
    const char *value = getenv(variable);
    return value ? strtoull(value, NULL, 10) : otherwise;
}

static void write_counts(void) {
    FILE *file = fopen(getenv("TTT_BENCH_CALLS"), "w");
    ASSERT(file);
    for (int i = 0; i < NAMES && *counted[i].name; i++)
        fprintf(file, "%s %lld\n", counted[i].name, (long long)counted[i].calls);
    fclose(file);
}

static void count(const char *call) {
    static int wanted = -1;
    int i = 0;
    if (wanted < 0) {
        wanted = getenv("TTT_BENCH_CALLS") != NULL;
        if (wanted) ASSERT(!atexit(write_counts));
    }
    if (!wanted) return;
    while (*counted[i].name && strcmp(counted[i].name, call) != 0) i++;
    ASSERT(i < NAMES - 1);
    snprintf(counted[i].name, NAME, "%s", call);
    counted[i].calls++;
}

bool bench_fails(const char *call) {
    static int64_t left = -1, any;
    static char name[NAME];
    count(call);
    if (left < 0) {
        const char *given = getenv("TTT_BENCH_FAIL");
        left = 0;
        if (given && sscanf(given, "%63[^:]", name) == 1 && strchr(given, ':'))
            left = strtoll(strchr(given, ':') + 1, NULL, 10);
        any = !strcmp(name, "any");
    }
    return left && (any || !strcmp(name, call)) && !--left;
}
