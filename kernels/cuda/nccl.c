#include "kernels/cuda/nccl.h"

#include <stdlib.h>

#include "kernels/cuda/symbols.h"

kern_status kern_nccl_open(kern_nccl *table) {
    const char *given = getenv("TTT_NCCL");
    void *library = dlopen(given ? given : "libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return kern_fail(KERN_ERR_CONFIG,
                         "several ranks on GPUs need NCCL: %s; install libnccl2 of NVIDIA's "
                         "repository, or let TTT_NCCL name it",
                         dlerror());
    bool there = kern_symbol(&table->error, library, "ncclGetErrorString");
#define FILL(name, arguments) there = kern_symbol(&table->name, library, "nccl" #name) && there;
    KERN_NCCL(FILL)
    return there ? KERN_OK : kern_fail(KERN_ERR_CONFIG, "NCCL: the library lacks functions");
}
