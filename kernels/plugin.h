/* Plug-ins: libraries that the program opens when what they give is asked for, because those that
 * they need cost every run, or are not everywhere. Local. */
#ifndef KERNELS_PLUGIN_H
#define KERNELS_PLUGIN_H

#include "kernels/base.h"

typedef struct {
    const char *file;    /* "libttt_cuda.so" */
    const char *given;   /* the variable of the environment that may name another */
    const char *symbol;  /* the function that it gives */
    const char *purpose; /* begins every message: "device cuda" */
    const char *build;   /* what a build without it lacks, after "; " */
} kern_plugin;

/* Sets *function (a pointer to a function of any type) to that of the plug-in, which lies where the
 * environment says, beside the program, or where an installed program has its libraries.
 * KERN_ERR_CONFIG: there is none, it cannot be opened, or it was built from other sources. */
kern_status kern_plugin_open(void *function, const kern_plugin *plugin);

/* What program and plug-ins each have of their own: a hash of the headers that they share, written
 * by kernels/sources.cmake. Where they differ, so may what is in memory. A plug-in is built such
 * that its own is called kern_plugin_sources. */
enum { KERN_SOURCES = 40 };
extern const char kern_sources[KERN_SOURCES];

#endif
