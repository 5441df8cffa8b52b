/* Texts become kernels through NVRTC. Machine code is kept in files, named by a hash of what it was
 * made from; one that is torn or another's is made again, and where none can be written (a full
 * disk, a home that is read-only) everything is compiled in each run. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/cuda/cuda.h"
#include "kernels/rows_text.h"

typedef struct {
    char *data;
    size_t bytes;
} code;

/* Of a file: what stands before the code. */
typedef struct {
    char magic[8];
    uint64_t key, bytes, hash; /* of the code */
} header;

static const char magic[8] = "tttcode1";

typedef struct {
    uint64_t key;
    void *module;
} loaded;

static loaded *known; /* for as long as the program runs */
static int64_t knowns, known_capacity;

/* FNV-1a */
static uint64_t hash_of(uint64_t hash, const void *data, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ ((const unsigned char *)data)[i]) * 0x100000001b3u;
    return hash;
}

static kern_status key_of(uint64_t *key, const char *text) {
    static uint64_t prelude; /* hashed once: it is long, and there are hundreds of texts */
    kern_status status = KERN_OK;
    if (!prelude)
        prelude = hash_of(0xcbf29ce484222325u, kern_row_prelude, strlen(kern_row_prelude));
    int of[4] = {0, 0, kern_cuda_gpu.major, kern_cuda_gpu.minor};
    TRY(NVRTC(Version, &of[0], &of[1]));
    *key = hash_of(prelude, of, sizeof of);
    *key = hash_of(*key, text, strlen(text));
done:
    return status;
}

/* ---- files ---- */

/* TTT_CACHE, or as the XDG specification says. False: there is no such folder. */
static bool folder_of(char *path, size_t size) {
    const char *given = getenv("TTT_CACHE"), *cache = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    if (given)
        snprintf(path, size, "%s", given);
    else if (cache && *cache)
        snprintf(path, size, "%s/ttt", cache);
    else if (home && *home)
        snprintf(path, size, "%s/.cache/ttt", home);
    else
        return false;
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0777);
        *slash = '/';
    }
    return !mkdir(path, 0777) || errno == EEXIST;
}

static bool path_of(char *path, size_t size, uint64_t key) {
    char folder[2048];
    if (!folder_of(folder, sizeof folder)) return false;
    snprintf(path, size, "%s/%016llx.cubin", folder, (unsigned long long)key);
    return true;
}

static bool read_rest(FILE *file, uint64_t key, code *c) {
    header h;
    if (fread(&h, sizeof h, 1, file) != 1 || memcmp(h.magic, magic, sizeof magic) || h.key != key)
        return false;
    if (h.bytes > (uint64_t)1 << 30) return false;
    c->bytes = (size_t)h.bytes;
    c->data = kern_array((int64_t)c->bytes, 1);
    bool whole = fread(c->data, 1, c->bytes, file) == c->bytes && fgetc(file) == EOF;
    if (whole && hash_of(0, c->data, c->bytes) == h.hash) return true;
    free(c->data);
    *c = (code){0};
    return false;
}

static bool read_file(uint64_t key, code *c) {
    char path[4096];
    if (!path_of(path, sizeof path, key)) return false;
    FILE *file = fopen(path, "rb");
    if (!file) return false;
    bool found = read_rest(file, key, c);
    fclose(file);
    return found;
}

/* Under another name until it is whole: others may be writing the same. */
static void write_file(uint64_t key, const code *c) {
    char path[4096], unfinished[4200];
    if (!path_of(path, sizeof path, key)) return;
    snprintf(unfinished, sizeof unfinished, "%s.%ld", path, (long)getpid());
    FILE *file = fopen(unfinished, "wb");
    if (!file) return;
    header h = {.key = key, .bytes = c->bytes, .hash = hash_of(0, c->data, c->bytes)};
    memcpy(h.magic, magic, sizeof magic);
    bool written =
        fwrite(&h, sizeof h, 1, file) == 1 && fwrite(c->data, 1, c->bytes, file) == c->bytes;
    written = !fclose(file) && written;
    if (!written || rename(unfinished, path)) unlink(unfinished);
}

/* ---- compiling ---- */

static kern_status explain(kern_status status, void *handle) {
    size_t bytes = 0;
    if (kern_nvrtc_table.GetProgramLogSize(handle, &bytes) || bytes < 2) return status;
    char *log = kern_array((int64_t)bytes + 1, 1);
    kern_nvrtc_table.GetProgramLog(handle, log);
    status = kern_fail_context(status, "%.1500s", log);
    free(log);
    return status;
}

static kern_status compile(const char *text, code *c) {
    kern_status status = KERN_OK;
    void *handle = NULL;
    char architecture[64];
    snprintf(architecture, sizeof architecture, "--gpu-architecture=sm_%d%d", kern_cuda_gpu.major,
             kern_cuda_gpu.minor);
    const char *const options[] = {architecture, "--fmad=false", "--std=c++17", "-lineinfo"};
    size_t bytes = strlen(kern_row_prelude) + strlen(text) + 1;
    char *whole = kern_array((int64_t)bytes, 1);
    snprintf(whole, bytes, "%s%s", kern_row_prelude, text);
    TRY(NVRTC(CreateProgram, &handle, whole, "rows.cu", 0, NULL, NULL));
    status = NVRTC(CompileProgram, handle, (int)(sizeof options / sizeof *options), options);
    if (status != KERN_OK) {
        status = explain(status, handle);
        goto done;
    }
    TRY(NVRTC(GetCUBINSize, handle, &c->bytes));
    c->data = kern_array((int64_t)c->bytes, 1);
    TRY(NVRTC(GetCUBIN, handle, c->data));
done:
    if (handle) kern_nvrtc_table.DestroyProgram(&handle);
    free(whole);
    return status;
}

static kern_status load(void **library, uint64_t key, const char *text) {
    kern_status status = KERN_OK;
    code c = {0};
    for (int64_t i = 0; i < knowns; i++)
        if (known[i].key == key) {
            *library = known[i].module;
            return KERN_OK;
        }
    bool found = read_file(key, &c);
    if (!found) TRY(compile(text, &c));
    TRY(RUNTIME(LibraryLoadData, library, c.data, NULL, NULL, 0, NULL, NULL, 0));
    if (!found) write_file(key, &c);
    known = kern_grow(known, &known_capacity, knowns + 1, sizeof *known);
    known[knowns++] = (loaded){key, *library};
done:
    free(c.data);
    return status;
}

kern_status kern_cuda_compile(const char *text, const char *name, void **kernel, void **sums) {
    kern_status status = KERN_OK;
    void *library = NULL;
    uint64_t key;
    char second[64];
    snprintf(second, sizeof second, "%s_sums", name);
    TRY(key_of(&key, text));
    TRY(load(&library, key, text));
    TRY(RUNTIME(LibraryGetKernel, kernel, library, name));
    if (sums) TRY(RUNTIME(LibraryGetKernel, sums, library, second));
done:
    return status;
}
