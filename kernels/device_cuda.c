/* Finds and opens the plug-in of the CUDA device. It is none of the program's libraries, because
 * those of CUDA cost every run on the CPU 220 MB. */
#include <dlfcn.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/cuda/plugin.h"

static const char plugin_name[] = "libttt_cuda.so";

/* The plug-in's path: as TTT_CUDA_PLUGIN says, or beside the program (in the build folder), or
 * where an installed program has its libraries. False: there is none, and `path` is the first. */
static bool find_plugin(char *path, size_t size) {
    static const char *const folders[] = {".", "../lib/ttt"};
    const char *given = getenv("TTT_CUDA_PLUGIN");
    if (given) {
        snprintf(path, size, "%s", given);
        return access(path, R_OK) == 0;
    }
    char program[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    program[length > 0 ? length : 0] = '\0';
    const char *folder = dirname(program);
    for (int i = 1; i >= 0; i--) {
        snprintf(path, size, "%s/%s/%s", folder, folders[i], plugin_name);
        if (access(path, R_OK) == 0) return true;
    }
    return false;
}

/* What a name asks for: cuda[:INDEX][+tf32]. */
static kern_status parse(kern_cuda_wish *wish, const char *name) {
    const char *at = name + strlen("cuda");
    long index = 0;
    if (*at == ':' && at[1] >= '0' && at[1] <= '9') {
        char *end;
        index = strtol(at + 1, &end, 10);
        at = end;
    }
    bool tf32 = !strcmp(at, "+tf32");
    *wish = (kern_cuda_wish){.name = name, .index = (int)index, .tf32 = tf32};
    if ((tf32 || !*at) && index < 1024 && strlen(name) < KERN_CUDA_NAME) return KERN_OK;
    return kern_fail(KERN_ERR_CONFIG,
                     "there is no device '%s'; cuda:1 is the second GPU, cuda+tf32 multiplies f32 "
                     "as TF32",
                     name);
}

#define AGAIN "build both again (bash launch/build.sh build), or install both again"

/* A plug-in that was left from another build would take and give other structures than we. */
static kern_status check_sources(void *plugin, const char *path) {
    const char *theirs = dlsym(plugin, "kern_cuda_sources");
    if (theirs && !strncmp(theirs, kern_cuda_sources, KERN_CUDA_SOURCES)) return KERN_OK;
    return kern_fail(KERN_ERR_CONFIG,
                     "device cuda: %s was built from other sources than this program; " AGAIN,
                     path);
}

static kern_status open_plugin(kern_cuda_opener **opener) {
    kern_status status = KERN_OK;
    char path[2 * PATH_MAX];
    if (!find_plugin(path, sizeof path))
        return kern_fail(KERN_ERR_CONFIG,
                         "device cuda: this build has no plug-in for it (%s); "
                         "-DTTT_CUDA=ON builds it where there is a CUDA toolkit",
                         path);
    void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!plugin)
        return kern_fail(
            KERN_ERR_CONFIG,
            "device cuda: %s; if its sources are older or newer than this program's, " AGAIN,
            dlerror());
    TRY(check_sources(plugin, path));
    void *symbol = dlsym(plugin, "kern_cuda_open");
    if (!symbol) return kern_fail(KERN_ERR_CONFIG, "device cuda: %s is no plug-in", path);
    memcpy(opener, &symbol, sizeof symbol);
done:
    return status;
}

kern_status kern_device_cuda(const kern_device **device, const char *name) {
    kern_status status = KERN_OK;
    static kern_cuda_opener *open_gpu;
    kern_cuda_wish wish;
    *device = NULL;
    TRY(parse(&wish, name));
    if (!open_gpu) TRY(open_plugin(&open_gpu));
    status = open_gpu(device, &wish);
done:
    return status;
}
