/* Tables of functions that a library has, by their names. Internal to kernels/cuda. */
#ifndef KERNELS_CUDA_SYMBOLS_H
#define KERNELS_CUDA_SYMBOLS_H

#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

/* *entry, a pointer to a function, becomes the library's of that name; whether there is one. */
static inline bool kern_symbol(void *entry, void *library, const char *name) {
    void *symbol = dlsym(library, name);
    memcpy(entry, &symbol, sizeof symbol);
    return symbol != NULL;
}

#endif
