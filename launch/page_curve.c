/* Losses of metrics.jsonl, thinned. The lines of many long runs are scanned for two numbers; a
 * parser of JSON would take ten times as long. */
#include "launch/page.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    int64_t count, capacity;
    double *step, *loss;
} samples;

/* The number behind a key in a line; NAN where it has none. */
static double number_after(const char *line, const char *end, const char *key) {
    size_t length = strlen(key);
    const char *at = memmem(line, (size_t)(end - line), key, length);
    char text[32];
    if (!at) return NAN;
    at += length;
    while (at < end && (*at == ' ' || *at == ':')) at++;
    size_t digits = 0;
    while (at < end && digits < sizeof text - 1 && strchr("0123456789+-.eE", *at))
        text[digits++] = *at++;
    text[digits] = 0;
    return digits ? strtod(text, NULL) : NAN;
}

static void scan(samples *all, int64_t *last, const char *text, const char *end) {
    int64_t capacity = 0;
    for (const char *line = text, *next; line < end; line = next + 1) {
        next = memchr(line, '\n', (size_t)(end - line));
        if (!next) break; /* torn */
        double step = number_after(line, next, "\"step\""), loss = NAN;
        if (isnan(step)) continue;
        *last = (int64_t)step;
        loss = number_after(line, next, "\"loss\"");
        if (isnan(loss)) continue;
        all->step = kern_grow(all->step, &all->capacity, all->count + 1, sizeof *all->step);
        all->loss = kern_grow(all->loss, &capacity, all->count + 1, sizeof *all->loss);
        all->step[all->count] = step;
        all->loss[all->count++] = loss;
    }
}

static void add(launch_curve *curve, const samples *all, int64_t i) {
    curve->step[curve->count] = all->step[i];
    curve->loss[curve->count++] = all->loss[i];
}

/* Of each of half as many stretches the least and the greatest loss, in their order. */
static void thin(launch_curve *curve, const samples *all) {
    int64_t stretches = LAUNCH_CURVE_POINTS / 2;
    if (all->count <= LAUNCH_CURVE_POINTS) stretches = 0;
    for (int64_t i = 0; i < all->count && !stretches; i++) add(curve, all, i);
    for (int64_t s = 0; s < stretches; s++) {
        int64_t begin = all->count * s / stretches, end = all->count * (s + 1) / stretches;
        int64_t least = begin, most = begin;
        for (int64_t i = begin; i < end; i++) {
            if (all->loss[i] < all->loss[least]) least = i;
            if (all->loss[i] > all->loss[most]) most = i;
        }
        add(curve, all, least < most ? least : most);
        if (least != most) add(curve, all, least < most ? most : least);
    }
}

void launch_curve_read(launch_curve *curve, const char *path) {
    struct stat info;
    samples all = {0};
    int file = open(path, O_RDONLY | O_CLOEXEC);
    *curve = (launch_curve){.count = 0};
    if (file < 0) return;
    if (!fstat(file, &info) && info.st_size > 0) {
        size_t bytes = (size_t)info.st_size;
        void *text = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, file, 0);
        if (text != MAP_FAILED) {
            scan(&all, &curve->last, text, (char *)text + bytes);
            thin(curve, &all);
            munmap(text, bytes);
        }
    }
    close(file);
    free(all.step);
    free(all.loss);
}
