#include "data/files.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static kern_status add_path(data_files *files, const char *path) {
    char *copy = strdup(path);
    if (!copy) return kern_fail(KERN_ERR_MEMORY, "no memory for the name of a file");
    files->paths =
        kern_grow(files->paths, &files->capacity, files->count + 1, sizeof *files->paths);
    files->paths[files->count++] = copy;
    return KERN_OK;
}

kern_status data_files_add(data_files *files, const char *pattern) {
    kern_status status = KERN_OK;
    if (!strpbrk(pattern, "*?[") || access(pattern, F_OK) == 0) return add_path(files, pattern);
    glob_t found = {0};
    int result = glob(pattern, 0, NULL, &found);
    if (result == GLOB_NOMATCH)
        status = kern_fail(KERN_ERR_USAGE, "no file matches %s", pattern);
    else if (result)
        status = kern_fail(KERN_ERR_FILE, "%s: a folder of it cannot be read", pattern);
    for (size_t i = 0; status == KERN_OK && i < found.gl_pathc; i++)
        status = add_path(files, found.gl_pathv[i]);
    globfree(&found);
    return status;
}

kern_status data_files_add_list(data_files *files, const char *list) {
    kern_status status = KERN_OK;
    char *copy = strdup(list), *rest = NULL;
    if (!copy) return kern_fail(KERN_ERR_MEMORY, "no memory for the names of files");
    for (char *word = strtok_r(copy, ",", &rest); word && status == KERN_OK;
         word = strtok_r(NULL, ",", &rest)) {
        word += strspn(word, " \t\n");
        size_t length = strlen(word);
        while (length && strchr(" \t\n", word[length - 1])) word[--length] = 0;
        if (*word) status = data_files_add(files, word);
    }
    free(copy);
    return status;
}

void data_files_clear(data_files *files) {
    for (int64_t i = 0; i < files->count; i++) free(files->paths[i]);
    free(files->paths);
    *files = (data_files){0};
}
