/* The names of the shipped configurations. */
#include "configs/reader.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Names that grow; memory as kern_grow gives it. */
typedef struct {
    char **names;
    int64_t count, capacity;
} name_list;

static kern_status append(name_list *list, const char *name, size_t length) {
    list->names = kern_grow(list->names, &list->capacity, list->count + 1, sizeof *list->names);
    list->names[list->count] = strndup(name, length);
    if (!list->names[list->count]) return kern_fail(KERN_ERR_MEMORY, "no memory for a name");
    list->count++;
    return KERN_OK;
}

/* What a name such as 350m or 8k counts; 0 where it counts nothing. */
static double magnitude(const char *name) {
    static const char units[] = "kmbt";
    char *end;
    double number = strtod(name, &end);
    const char *unit = *end ? strchr(units, *end) : NULL;
    for (const char *at = units; unit && at <= unit; at++) number *= 1000;
    return number;
}

static int by_magnitude(const void *a, const void *b) {
    const char *name_a = *(char *const *)a, *name_b = *(char *const *)b;
    double difference = magnitude(name_a) - magnitude(name_b);
    return difference < 0 ? -1 : difference > 0 ? 1 : strcmp(name_a, name_b);
}

/* The *.yaml of "IN/SUB", without the ending, sorted. A folder that cannot be read holds none. */
static kern_status names_in(name_list *list, const char *in, const char *sub) {
    kern_status status = KERN_OK;
    char path[PATH_MAX];
    if (!*in || snprintf(path, sizeof path, "%s/%s", in, sub) >= PATH_MAX) return KERN_OK;
    DIR *folder = opendir(path);
    if (!folder) return KERN_OK;
    for (struct dirent *entry; (entry = readdir(folder));) {
        size_t length = strlen(entry->d_name);
        if (length > 5 && *entry->d_name != '.' && !strcmp(entry->d_name + length - 5, ".yaml"))
            TRY(append(list, entry->d_name, length - 5));
    }
    if (list->count) qsort(list->names, (size_t)list->count, sizeof *list->names, by_magnitude);
done:
    closedir(folder);
    return status;
}

static kern_status append_new(name_list *list, const char *name) {
    for (int64_t i = 0; i < list->count; i++)
        if (!strcmp(list->names[i], name)) return KERN_OK; /* an earlier folder has it */
    return append(list, name, strlen(name));
}

static kern_status append_composed(name_list *list, const name_list axes[CONF_AXES]) {
    kern_status status = KERN_OK;
    const name_list *sizes = &axes[CONF_SIZE], *methods = &axes[CONF_METHOD];
    const name_list *stages = &axes[CONF_STAGE];
    for (int64_t i = 0; i < sizes->count; i++)
        for (int64_t j = 0; j < methods->count; j++)
            for (int64_t k = 0; k < stages->count; k++) {
                char name[3 * NAME_MAX + 3];
                snprintf(name, sizeof name, "%s-%s-%s", sizes->names[i], methods->names[j],
                         stages->names[k]);
                TRY(append_new(list, name));
            }
done:
    return status;
}

static kern_status append_folder(name_list *list, const char *in) {
    kern_status status = KERN_OK;
    name_list alone = {0}, axes[CONF_AXES] = {{0}};
    TRY(names_in(&alone, in, ""));
    for (int64_t i = 0; i < alone.count; i++) TRY(append_new(list, alone.names[i]));
    for (int axis = 0; axis < CONF_AXES; axis++)
        TRY(names_in(&axes[axis], in, conf_axis_folders[axis]));
    TRY(append_composed(list, axes));
done:
    conf_list_destroy(alone.names, alone.count);
    for (int axis = 0; axis < CONF_AXES; axis++)
        conf_list_destroy(axes[axis].names, axes[axis].count);
    return status;
}

kern_status conf_list(char ***names, int64_t *count) {
    kern_status status = KERN_OK;
    conf_folder folders[CONF_FOLDERS];
    name_list list = {0};
    *names = NULL;
    *count = 0;
    conf_find_folders(folders);
    for (int i = 0; i < CONF_FOLDERS; i++) TRY(append_folder(&list, folders[i].path));
    *names = list.names;
    *count = list.count;
    return KERN_OK;
done:
    conf_list_destroy(list.names, list.count);
    return status;
}

void conf_list_destroy(char **names, int64_t count) {
    for (int64_t i = 0; i < count; i++) free(names[i]);
    free(names);
}
