/* Which algorithm each product takes. CublasLt's heuristic is asked once for each kind of product;
 * its answers go into a text, which a run keeps, and come from it when the run goes on: bits depend
 * on them. A text is
 *     products of GPU (8.6, 132 multiprocessors), cublasLt 130002
 *     KIND = the 8 words of an algorithm, bytes of workspace
 *     ... */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/cuda.h"

typedef struct {
    char kind[KERN_CUDA_KIND];
    kern_cublas_choice choice;
    bool given; /* by an earlier process: not yet checked */
} entry;

static entry *entries;
static int64_t count, capacity;

static void add(const char *kind, const kern_cublas_choice *choice, bool given) {
    entries = kern_grow(entries, &capacity, count + 1, sizeof *entries);
    entry *e = &entries[count++];
    *e = (entry){.choice = *choice, .given = given};
    snprintf(e->kind, sizeof e->kind, "%s", kind);
}

static kern_status check(entry *e, const kern_cublas_product *p) {
    kern_status status = KERN_OK;
    kern_cublas_choice result = {.status = 1};
    TRY(CUBLAS(MatmulAlgoCheck, p->library, p->description, p->a, p->b, p->c, p->c,
               &e->choice.algorithm, &result));
    if (result.status || result.workspace > e->choice.workspace)
        status = kern_fail(KERN_ERR_DATA, "this library does not take it");
    e->given = false;
done:
    return status;
}

kern_status kern_cuda_algorithm(kern_cublas_choice *choice, const char *kind,
                                const kern_cublas_product *product,
                                kern_status (*ask)(kern_cublas_choice *, const void *),
                                const void *how) {
    kern_status status = KERN_OK;
    for (int64_t i = 0; i < count; i++) {
        entry *e = &entries[i];
        if (strcmp(e->kind, kind) != 0) continue;
        if (e->given && (status = check(e, product)) != KERN_OK)
            return kern_fail_context(status,
                                     "the algorithm that the run keeps for %s; delete its "
                                     "file `algorithms` to have them chosen anew",
                                     kind);
        *choice = e->choice;
        return KERN_OK;
    }
    TRY(ask(choice, how));
    add(kind, choice, false);
done:
    return status;
}

/* ---- as text ---- */

static void first_line(char *line, size_t size) {
    const kern_gpu *gpu = &kern_cuda_gpu;
    int length =
        snprintf(line, size, "products of %s (%d.%d, %d multiprocessors), cublasLt %zu", gpu->name,
                 gpu->major, gpu->minor, gpu->multiprocessors, kern_cublas_table.version());
    if (gpu->cudnn) snprintf(line + length, size - (size_t)length, ", cudnn %zu", gpu->cudnn);
}

char *kern_cuda_chosen(void) {
    char *text = NULL, line[256];
    size_t bytes;
    FILE *file = open_memstream(&text, &bytes);
    ASSERT(file);
    first_line(line, sizeof line);
    fprintf(file, "%s\n", line);
    for (int64_t i = 0; i < count; i++) {
        const kern_cublas_choice *choice = &entries[i].choice;
        fprintf(file, "%s =", entries[i].kind);
        for (int w = 0; w < KERN_CUBLAS_WORDS; w++)
            fprintf(file, " %016" PRIx64, choice->algorithm.word[w]);
        fprintf(file, " %zu\n", choice->workspace);
    }
    ASSERT(!fclose(file));
    return text;
}

/* One line behind the first. */
static bool take(const char *line, size_t length) {
    char text[2 * KERN_CUDA_KIND + 256], *at, *end;
    kern_cublas_choice choice = {.status = 0};
    if (length >= sizeof text) return false;
    memcpy(text, line, length);
    text[length] = '\0';
    at = strstr(text, " = ");
    if (!at || at - text >= KERN_CUDA_KIND) return false;
    *at = '\0';
    at += 3;
    for (int w = 0; w < KERN_CUBLAS_WORDS; w++, at = end) {
        choice.algorithm.word[w] = strtoull(at, &end, 16);
        if (end == at) return false;
    }
    choice.workspace = strtoull(at, &end, 10);
    if (end == at || *end || choice.workspace > KERN_CUBLAS_WORKSPACE_MOST) return false;
    add(text, &choice, true);
    return true;
}

kern_status kern_cuda_choose(const char *chosen, const char *from) {
    char now[256];
    size_t length = strcspn(chosen, "\n");
    first_line(now, sizeof now);
    if (length != strlen(now) || memcmp(chosen, now, length) != 0) {
        fprintf(
            stderr,
            "note: algorithms of products are chosen anew, and bits may differ from here on: %s "
            "has %.*s, and these are %s\n",
            from, (int)length, chosen, now);
        return KERN_OK;
    }
    ASSERT(!count); /* or products were made that chose otherwise */
    int number = 1;
    for (const char *line = chosen + length; *line; line += length) {
        line++;
        length = strcspn(line, "\n");
        if (!*line) break;
        number++;
        if (!line[length] || !take(line, length))
            return kern_fail(KERN_ERR_DATA,
                             "line %d of %s is damaged; delete the file to have algorithms of "
                             "products chosen anew, with which bits may differ",
                             number, from);
    }
    return KERN_OK;
}
