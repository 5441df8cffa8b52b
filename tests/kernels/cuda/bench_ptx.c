/* Where the bench finds PTX: of the kernels in a folder (TTT_BENCH_PTX), of row programs by a
 * compiler (TTT_BENCH_ROWS). */
#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base.h"
#include "kernels/cuda/device.h"
#include "tests/kernels/cuda/bench.h"

_Noreturn static void complain(const char *what, const char *why) {
    char text[1024];
    snprintf(text, sizeof text, "bench: %s: %s", what, why);
    kern_assert_failed(text, __FILE__, __LINE__);
}

/* ---- kernels ---- */

static char *read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) complain(path, "cannot be read");
    ASSERT(!fseek(file, 0, SEEK_END));
    long bytes = ftell(file);
    char *text = kern_array(bytes + 1, 1);
    rewind(file);
    ASSERT(bytes >= 0 && fread(text, 1, (size_t)bytes, file) == (size_t)bytes);
    fclose(file);
    return text;
}

/* All kernels of the folder. */
static const ptx_kernel *read_folder(const char *folder) {
    const ptx_kernel *first = NULL;
    DIR *open = opendir(folder);
    if (!open) complain(folder, "TTT_BENCH_PTX is not a folder");
    for (struct dirent *entry = readdir(open); entry; entry = readdir(open)) {
        char path[2048];
        size_t length = strlen(entry->d_name);
        if (length < 4 || strcmp(entry->d_name + length - 4, ".ptx") != 0) continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        char *text = read_file(path);
        first = ptx_read(text, entry->d_name, first);
        free(text);
    }
    closedir(open);
    return first;
}

const ptx_kernel *bench_ptx(const kern_block_kernel *kernel) {
    static const ptx_kernel *all;
    const char *folder = getenv("TTT_BENCH_PTX");
    if (!folder || !kernel->thread) return NULL;
    if (!all) all = read_folder(folder);
    const ptx_kernel *found = ptx_find(all, kernel->name);
    if (!found) complain(kernel->name, "no such kernel in TTT_BENCH_PTX");
    if (ptx_argument_bytes(found) != kernel->args)
        complain(kernel->name, "its arguments are not as large as in C");
    return found;
}

/* ---- row programs ---- */

static char *by_clang(const char *text, char *log, size_t log_bytes) {
    char path[] = "/tmp/ttt-bench-XXXXXX", line[256], *made = NULL;
    if (!mkdtemp(path)) complain(path, "cannot be made");
    snprintf(line, sizeof line,
             "cd %s && clang -x cuda -nocudainc -nocudalib --cuda-device-only "
             "--cuda-gpu-arch=sm_80 --cuda-path=/nonexistent -ffp-contract=off -O1 -w -S "
             "-o rows.ptx - 2>log",
             path);
    FILE *pipe = popen(line, "w");
    ASSERT(pipe);
    fputs(text, pipe);
    bool failed = pclose(pipe) != 0;
    snprintf(line, sizeof line, "%s/%s", path, failed ? "log" : "rows.ptx");
    char *said = read_file(line);
    if (failed) {
        snprintf(log, log_bytes, "%s", said);
        free(said);
    } else {
        made = said;
    }
    snprintf(line, sizeof line, "rm -r %s", path);
    ASSERT(!system(line));
    return made;
}

/* Functions of NVRTC that the plug-in does not use, too. */
typedef struct {
    int (*create)(void **, const char *, const char *, int, const char *const *,
                  const char *const *);
    int (*compile)(void *, int, const char *const *);
    int (*log_size)(void *, size_t *);
    int (*log)(void *, char *);
    int (*ptx_size)(void *, size_t *);
    int (*ptx)(void *, char *);
    int (*destroy)(void **);
} nvrtc;

static void find(void *library, const char *name, void *to) {
    void *found = dlsym(library, name);
    if (!found) complain(name, "not in TTT_BENCH_ROWS");
    memcpy(to, &found, sizeof found);
}

static const nvrtc *open_nvrtc(const char *path) {
    static nvrtc n;
    if (n.create) return &n;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) complain("TTT_BENCH_ROWS", dlerror());
    find(library, "nvrtcCompileProgram", &n.compile);
    find(library, "nvrtcGetProgramLogSize", &n.log_size);
    find(library, "nvrtcGetProgramLog", &n.log);
    find(library, "nvrtcGetPTXSize", &n.ptx_size);
    find(library, "nvrtcGetPTX", &n.ptx);
    find(library, "nvrtcDestroyProgram", &n.destroy);
    find(library, "nvrtcCreateProgram", &n.create);
    return &n;
}

static char *by_nvrtc(const nvrtc *n, const char *text, int options, const char *const *option,
                      char *log, size_t log_bytes) {
    void *program;
    size_t bytes;
    char *made = NULL;
    ASSERT(!n->create(&program, text, "rows.cu", 0, NULL, NULL));
    if (n->compile(program, options, option)) {
        ASSERT(!n->log_size(program, &bytes));
        char *whole = kern_array((int64_t)bytes + 1, 1);
        ASSERT(!n->log(program, whole));
        snprintf(log, log_bytes, "%s", whole);
        free(whole);
    } else {
        ASSERT(!n->ptx_size(program, &bytes));
        made = kern_array((int64_t)bytes + 1, 1);
        ASSERT(!n->ptx(program, made));
    }
    n->destroy(&program);
    return made;
}

bool bench_makes_ptx(void) {
    const char *how = getenv("TTT_BENCH_ROWS");
    return how && strcmp(how, "cpu") != 0;
}

char *bench_rows_ptx(const char *text, int options, const char *const *option, char *log,
                     size_t log_bytes) {
    const char *how = getenv("TTT_BENCH_ROWS");
    if (!strcmp(how, "clang")) return by_clang(text, log, log_bytes);
    return by_nvrtc(open_nvrtc(how), text, options, option, log, log_bytes);
}
