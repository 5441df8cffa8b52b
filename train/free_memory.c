/* Memory that is left: of the machine, and of the control groups that the process is in. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/fit.h"

enum { PATH_BYTES = 4096, LINE_BYTES = 4200 };

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

double train_free_memory(void) {
    double machine = number_after("/proc/meminfo", "MemAvailable:") * 1024;
    double groups = control_groups_left();
    double left = machine < 0 ? groups : fmin(machine, groups);
    return isfinite(left) ? left * 0.95 : 0;
}

double train_memory_limit(const ttt_conf *conf) {
    if (conf->train.memory_limit > 0) return conf->train.memory_limit;
    double left = train_free_memory();
    return left > 0 ? left : HUGE_VAL;
}
