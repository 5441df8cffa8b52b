#include "kernels/cuda/nccl.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

static bool fill(void *entry, void *library, const char *name) {
    void *symbol = dlsym(library, name);
    memcpy(entry, &symbol, sizeof symbol);
    return symbol != NULL;
}

kern_status kern_nccl_open(kern_nccl *table) {
    const char *given = getenv("TTT_NCCL");
    void *library = dlopen(given ? given : "libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return kern_fail(KERN_ERR_CONFIG,
                         "several ranks on GPUs need NCCL: %s; install libnccl2 of NVIDIA's "
                         "repository, or let TTT_NCCL name it",
                         dlerror());
    bool there = fill(&table->error, library, "ncclGetErrorString");
#define FILL(name, arguments) there = fill(&table->name, library, "nccl" #name) && there;
    KERN_NCCL(FILL)
    return there ? KERN_OK : kern_fail(KERN_ERR_CONFIG, "NCCL: the library lacks functions");
}
