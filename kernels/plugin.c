#include "kernels/plugin.h"

#include <dlfcn.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* False: there is none, and `path` is where it would be: as was said, or beside the program. */
static bool find(char *path, size_t size, const kern_plugin *plugin) {
    static const char *const folders[] = {".", "..", "../lib/ttt"}; /* tests lie one down */
    const char *given = getenv(plugin->given);
    if (given) {
        snprintf(path, size, "%s", given);
        return access(path, R_OK) == 0;
    }
    char program[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    program[length > 0 ? length : 0] = '\0';
    const char *folder = dirname(program);
    for (int i = 2; i >= 0; i--) {
        snprintf(path, size, "%s/%s/%s", folder, folders[i], plugin->file);
        if (access(path, R_OK) == 0) return true;
    }
    return false;
}

#define AGAIN "build both again (bash launch/build.sh build), or install both again"

/* A plug-in that was left from another build would take and give other structures than we. */
static kern_status check_sources(void *opened, const kern_plugin *plugin, const char *path) {
    const char *theirs = dlsym(opened, "kern_plugin_sources");
    if (theirs && !strncmp(theirs, kern_sources, KERN_SOURCES)) return KERN_OK;
    return kern_fail(KERN_ERR_CONFIG,
                     "%s: %s was built from other sources than this program; " AGAIN,
                     plugin->purpose, path);
}

kern_status kern_plugin_open(void *function, const kern_plugin *plugin) {
    char path[2 * PATH_MAX];
    if (!find(path, sizeof path, plugin))
        return kern_fail(KERN_ERR_CONFIG, "%s: this build has no plug-in for it (%s); %s",
                         plugin->purpose, path, plugin->build);
    void *opened = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!opened)
        return kern_fail(KERN_ERR_CONFIG,
                         "%s: %s; if its sources are older or newer than this program's, " AGAIN,
                         plugin->purpose, dlerror());
    kern_status status = check_sources(opened, plugin, path);
    if (status != KERN_OK) return status;
    void *symbol = dlsym(opened, plugin->symbol);
    if (!symbol) return kern_fail(KERN_ERR_CONFIG, "%s: %s is no plug-in", plugin->purpose, path);
    memcpy(function, &symbol, sizeof symbol);
    return KERN_OK;
}
