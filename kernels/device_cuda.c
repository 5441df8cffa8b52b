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

/* The number behind "cuda:", 0 without; -1 if it is none. */
static int index_of(const char *name) {
    char *end;
    if (!name[4]) return 0;
    long index = name[5] >= '0' && name[5] <= '9' ? strtol(name + 5, &end, 10) : -1;
    return index >= 0 && index < 1024 && !*end ? (int)index : -1;
}

kern_status kern_device_cuda(const kern_device **device, const char *name) {
    static kern_cuda_opener *open_gpu;
    char path[2 * PATH_MAX];
    int index = index_of(name);
    *device = NULL;
    if (index < 0)
        return kern_fail(KERN_ERR_CONFIG, "there is no device '%s'; cuda:1 is the second GPU",
                         name);
    if (!open_gpu) {
        if (!find_plugin(path, sizeof path))
            return kern_fail(KERN_ERR_CONFIG,
                             "device cuda: this build has no plug-in for it (%s); "
                             "-DTTT_CUDA=ON builds it where there is a CUDA toolkit",
                             path);
        void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!plugin) return kern_fail(KERN_ERR_CONFIG, "device cuda: %s", dlerror());
        void *symbol = dlsym(plugin, "kern_cuda_open");
        if (!symbol) return kern_fail(KERN_ERR_CONFIG, "device cuda: %s is no plug-in", path);
        memcpy(&open_gpu, &symbol, sizeof open_gpu);
    }
    return open_gpu(device, index);
}
