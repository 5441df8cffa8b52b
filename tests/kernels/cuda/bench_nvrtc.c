/* NVRTC by the host's compiler: the machine code is a shared library, whole; or it is PTX. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernels/base.h"
#include "kernels/cuda/libraries.h"
#include "tests/kernels/cuda/bench.h"

enum { FAILED = 6, INVALID = 5, TOLD = 99, LOG_BYTES = 4000 };

#define MAY_FAIL(call)                                                                             \
    if (bench_fails("nvrtc" #call)) return TOLD

typedef struct {
    char *text, *code;
    size_t bytes;
    char log[LOG_BYTES];
} program;

static int bench_CreateProgram(void **made, const char *text, const char *name, int headers,
                               const char *const *header, const char *const *header_name) {
    MAY_FAIL(CreateProgram);
    if (!name || headers || header || header_name) return INVALID;
    program *p = kern_array(1, sizeof *p);
    p->text = strdup(text);
    ASSERT(p->text);
    *made = p;
    return 0;
}

static size_t size_of(int file) {
    off_t end = lseek(file, 0, SEEK_END);
    ASSERT(end >= 0 && lseek(file, 0, SEEK_SET) == 0);
    return (size_t)end;
}

/* The contents of a file, and a 0. */
static char *read_all(int file, size_t *bytes) {
    *bytes = size_of(file);
    char *data = kern_array((int64_t)*bytes + 1, 1);
    for (size_t done = 0; done < *bytes;) {
        ssize_t got = read(file, data + done, *bytes - done);
        ASSERT(got > 0);
        done += (size_t)got;
    }
    return data;
}

static void write_all(int file, const char *data, size_t bytes) {
    for (size_t done = 0; done < bytes;) {
        ssize_t put = write(file, data + done, bytes - done);
        ASSERT(put > 0);
        done += (size_t)put;
    }
    ASSERT(lseek(file, 0, SEEK_SET) == 0);
}

/* Files that have no name in any folder. */
static int unnamed(const char *for_what) {
    int file = memfd_create(for_what, 0);
    ASSERT(file >= 0);
    return file;
}

static int bench_CompileProgram(void *handle, int options, const char *const *option) {
    MAY_FAIL(CompileProgram);
    program *p = handle;
    char line[512];
    if (options < 2 || strcmp(option[1], "--fmad=false")) return INVALID;
    int64_t marked = bench_marked(p->text);
    if (marked >= 0) {
        p->bytes = sizeof marked;
        p->code = kern_array(1, p->bytes);
        memcpy(p->code, &marked, p->bytes);
        return 0;
    }
    if (bench_makes_ptx()) {
        p->code = bench_rows_ptx(p->text, options, option, p->log, sizeof p->log);
        p->bytes = p->code ? strlen(p->code) + 1 : 0;
        return p->code ? 0 : FAILED;
    }
    int text = unnamed("text"), code = unnamed("code"), log = unnamed("log"), status;
    write_all(text, p->text, strlen(p->text));
    snprintf(line, sizeof line,
             "exec cc -std=gnu11 -x c -O1 -w -ffp-contract=off -fPIC -shared "
             "-o /dev/fd/%d /dev/fd/%d -lm >/dev/fd/%d 2>&1",
             code, text, log);
    status = system(line);
    size_t bytes;
    char *said = read_all(log, &bytes);
    snprintf(p->log, sizeof p->log, "%s", said);
    free(said);
    if (!status) p->code = read_all(code, &p->bytes);
    close(text);
    close(code);
    close(log);
    return status ? FAILED : 0;
}

static int bench_GetProgramLogSize(void *handle, size_t *bytes) {
    MAY_FAIL(GetProgramLogSize);
    *bytes = strlen(((program *)handle)->log) + 1;
    return 0;
}

static int bench_GetProgramLog(void *handle, char *log) {
    MAY_FAIL(GetProgramLog);
    strcpy(log, ((program *)handle)->log);
    return 0;
}

/* Before the code stand its bytes: what loads it is told no more than where it begins. */
static int bench_GetCUBINSize(void *handle, size_t *bytes) {
    MAY_FAIL(GetCUBINSize);
    *bytes = ((program *)handle)->bytes + sizeof(size_t);
    return 0;
}

static int bench_GetCUBIN(void *handle, char *code) {
    MAY_FAIL(GetCUBIN);
    const program *p = handle;
    memcpy(code, &p->bytes, sizeof p->bytes);
    memcpy(code + sizeof p->bytes, p->code, p->bytes);
    return 0;
}

static int bench_DestroyProgram(void **handle) {
    program *p = *handle;
    free(p->text);
    free(p->code);
    free(p);
    *handle = NULL;
    return 0;
}

static int bench_Version(int *major, int *minor) {
    MAY_FAIL(Version);
    *major = 0; /* the bench's own */
    *minor = bench_makes_ptx() ? 2 : 1;
    return 0;
}

static const char *bench_error(int status) {
    return status == TOLD     ? "told to fail by TTT_BENCH_FAIL"
           : status == FAILED ? "NVRTC_ERROR_COMPILATION"
                              : "invalid";
}

#define FILL(name, arguments) .name = bench_##name,
const kern_nvrtc kern_nvrtc_table = {KERN_NVRTC(FILL).error = bench_error};

/* By a path that is new: the linker takes one that it has seen for the same library. */
static void *load(const char *code, size_t bytes) {
    char path[] = "/tmp/ttt-bench-XXXXXX";
    int file = mkstemp(path);
    ASSERT(file >= 0);
    write_all(file, code, bytes);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) fprintf(stderr, "bench: %s\n", dlerror());
    close(file);
    unlink(path);
    return library;
}

bench_code *bench_load_code(const void *code) {
    size_t bytes;
    const char *data = (const char *)code + sizeof bytes;
    bench_code *made = kern_array(1, sizeof *made);
    memcpy(&bytes, code, sizeof bytes);
    made->marked = -1;
    if (bytes == sizeof made->marked)
        memcpy(&made->marked, data, bytes);
    else if (*data != '\x7f') /* as a shared library begins */
        made->ptx = ptx_read(data, "a row program", NULL);
    else
        made->library = load(data, bytes);
    if (made->library || made->ptx || made->marked >= 0) return made;
    free(made);
    return NULL;
}
