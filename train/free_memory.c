/* Memory that is left: of the machine, of the control groups that the process is in, and of its own
 * limits (ulimit -v, -d). */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "kernels/crowding.h"
#include "train/fit.h"

enum { PATH_BYTES = 4096, LINE_BYTES = 4200, BORDERS = 32 << 20 };

/* The number that a one-line file holds; -1 where there is none ("max", no such file). */
static double number_in(const char *directory, const char *name) {
    char path[PATH_BYTES], line[64];
    double number = -1;
    if (snprintf(path, sizeof path, "%s/%s", directory, name) >= (int)sizeof path) return -1;
    FILE *file = fopen(path, "r");
    if (!file) return -1;
    if (fgets(line, sizeof line, file) && line[0] >= '0' && line[0] <= '9')
        number = strtod(line, NULL);
    fclose(file);
    return number;
}

/* The number after `key` in a file of lines "key number"; -1 where there is none. */
static double number_after(const char *path, const char *key) {
    char line[LINE_BYTES];
    double number = -1;
    size_t length = strlen(key);
    FILE *file = fopen(path, "r");
    if (!file) return -1;
    while (number < 0 && fgets(line, sizeof line, file))
        if (!strncmp(line, key, length)) number = strtod(line + length, NULL);
    fclose(file);
    return number;
}

/* What a group allows beyond what it uses; file pages that nobody maps can be given up. */
static double group_left(const char *directory, bool unified) {
    char path[PATH_BYTES];
    double most = number_in(directory, unified ? "memory.max" : "memory.limit_in_bytes");
    double used = number_in(directory, unified ? "memory.current" : "memory.usage_in_bytes");
    if (most < 0 || used < 0) return HUGE_VAL;
    if (snprintf(path, sizeof path, "%s/memory.stat", directory) < (int)sizeof path) {
        double cache = number_after(path, unified ? "inactive_file " : "total_inactive_file ");
        if (cache > 0) used -= cache;
    }
    return most > used ? most - used : 0;
}

/* The least that the group `path` and the groups above it leave. */
static double groups_left(const char *root, const char *path, bool unified) {
    char directory[PATH_BYTES];
    double left = HUGE_VAL;
    size_t top = strlen(root);
    if (snprintf(directory, sizeof directory, "%s%s", root, path) >= (int)sizeof directory)
        return left;
    for (char *end = directory + strlen(directory); end;) {
        *end = 0;
        left = fmin(left, group_left(directory, unified));
        end = strlen(directory) > top ? strrchr(directory, '/') : NULL;
    }
    return left;
}

/* Lines "number:controllers:path" of /proc/self/cgroup; no controllers: the unified hierarchy. */
static double control_groups_left(void) {
    char line[LINE_BYTES];
    double left = HUGE_VAL;
    FILE *file = fopen("/proc/self/cgroup", "r");
    if (!file) return left;
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':'),
             *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path) continue;
        *path++ = 0;
        controllers++;
        if (!*controllers)
            left = fmin(left, groups_left("/sys/fs/cgroup", path, true));
        else if (!strcmp(controllers, "memory"))
            left = fmin(left, groups_left("/sys/fs/cgroup/memory", path, false));
    }
    fclose(file);
    return left;
}

/* What a limit leaves of what /proc/self/status says is used. */
static double limit_left(struct rlimit limit, const char *used) {
    if (limit.rlim_cur == RLIM_INFINITY) return HUGE_VAL;
    return fmax(0, (double)limit.rlim_cur - number_after("/proc/self/status", used) * 1024);
}

static double stack_bytes(void) {
    pthread_attr_t attributes;
    size_t bytes = 0;
    ASSERT(!pthread_getattr_default_np(&attributes));
    ASSERT(!pthread_attr_getstacksize(&attributes, &bytes));
    pthread_attr_destroy(&attributes);
    return (double)bytes;
}

/* Of address space (ulimit -v) and private memory (ulimit -d). Such limits are on what is reserved,
 * used or not: stacks of threads count whole, so they are made before and those to come counted;
 * and large buffers begin at a border of 2 MB. */
static double own_limits_left(void) {
    struct rlimit space, data;
    if (getrlimit(RLIMIT_AS, &space) || getrlimit(RLIMIT_DATA, &data)) return HUGE_VAL;
    if (space.rlim_cur == RLIM_INFINITY && data.rlim_cur == RLIM_INFINITY) return HUGE_VAL;
    int threads = 0;
#pragma omp parallel reduction(+ : threads)
    threads++;
    ASSERT(threads > 0);
    double left = fmin(limit_left(space, "VmSize:"), limit_left(data, "VmData:"));
    return fmax(0, left - kern_watch_threads() * stack_bytes() - BORDERS);
}

double train_free_memory(void) {
    double machine = number_after("/proc/meminfo", "MemAvailable:") * 1024;
    double left = fmin(control_groups_left(), own_limits_left());
    if (machine >= 0) left = fmin(left, machine);
    return isfinite(left) ? fmax(1, left * 0.95) : 0; /* nothing left is not unknown */
}

double train_memory_limit(const ttt_conf *conf, const kern_device *device) {
    if (conf->train.memory_limit > 0) return conf->train.memory_limit;
    if (device->machine->memory > 0) return device->machine->memory;
    double left = train_free_memory();
    return left > 0 ? left : HUGE_VAL;
}

double train_rank_limit(const ttt_conf *conf, const kern_device *device, const kern_ranks *ranks) {
    bool shared = conf->train.memory_limit <= 0 && device->machine->memory <= 0;
    return train_memory_limit(conf, device) / (shared && ranks->on_machine ? ranks->on_machine : 1);
}
