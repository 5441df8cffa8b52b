/* Finding configurations by name or path, composing them, listing them. */
#include "configs/document.h"
#include "configs/options.h"
#include "configs/reader.h"

#include <ctype.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_DEPTH = 8 };

const char *const conf_axis_folders[CONF_AXES] = {"sizes", "methods", "stages"};

/* "FOLDER OF THE PROGRAM/BELOW"; "" where it is not known. */
static void beside_program(char path[PATH_MAX], const char *below) {
    char program[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    path[0] = 0;
    if (length <= 0) return;
    program[length] = 0;
    char *slash = strrchr(program, '/');
    if (!slash) return;
    *slash = 0;
    if (snprintf(path, PATH_MAX, "%s/%s", program, below) >= PATH_MAX) path[0] = 0;
}

void conf_find_folders(conf_folder folders[CONF_FOLDERS]) {
    const char *own = getenv("TTT_CONFIGS");
    snprintf(folders[0].path, PATH_MAX, "%s", own ? own : "");
    beside_program(folders[1].path, TTT_INSTALLED_CONFIGS);
    snprintf(folders[2].path, PATH_MAX, "%s/configs", TTT_SOURCE_DIR);
    beside_program(folders[3].path, "../configs");
}

static bool is_file(const char *path) {
    struct stat found;
    return !stat(path, &found) && !S_ISDIR(found.st_mode);
}

/* "FOLDER/SUB/NAME.yaml"; false where there is no such file. */
static bool locate(char path[PATH_MAX], const char *in, const char *sub, const char *name) {
    int length = snprintf(path, PATH_MAX, "%s/%s%s%s.yaml", in, sub, *sub ? "/" : "", name);
    return *in && length < PATH_MAX && is_file(path);
}

bool conf_axis_has(const conf_reader *reader, int axis, const char *value) {
    char path[PATH_MAX];
    return !strchr(value, '/') && locate(path, reader->folder, conf_axis_folders[axis], value);
}

/* Whoever names a run, or a checkpoint, means what stands in it. */
static bool is_run(const char *name) {
    char path[PATH_MAX];
    return snprintf(path, sizeof path, "%s/config.yaml", name) < PATH_MAX && is_file(path);
}

static kern_status refuse_run(const char *name) {
    size_t length = strlen(name);
    const char *slash = length && name[length - 1] == '/' ? "" : "/";
    return kern_fail(KERN_ERR_CONFIG,
                     "%.200s is a run or a checkpoint; its configuration is %.200s%sconfig.yaml "
                     "(to go on with a run: ttt train --resume)",
                     name, name, slash);
}

static kern_status read_path(const conf_reader *reader, const char *path) {
    kern_status status = KERN_OK;
    char *text;
    size_t bytes = 0;
    if (reader->depth > MOST_DEPTH)
        return kern_fail(KERN_ERR_CONFIG, "%s: includes are %d deep; does a file include itself?",
                         path, MOST_DEPTH);
    if (is_run(path)) return refuse_run(path);
    TRY(conf_document_load(&text, &bytes, path));
    TRY(conf_read_text(reader, text, bytes, path));
done:
    free(text);
    return status;
}

/* Splits SIZE-METHOD-STAGE at the first and the last dash; false where there are not two. */
static bool split_name(char parts[CONF_AXES][NAME_MAX], const char *name) {
    const char *first = strchr(name, '-'), *last = strrchr(name, '-');
    if (!first || first == last || strlen(name) >= NAME_MAX) return false;
    snprintf(parts[CONF_SIZE], NAME_MAX, "%.*s", (int)(first - name), name);
    snprintf(parts[CONF_METHOD], NAME_MAX, "%.*s", (int)(last - first - 1), first + 1);
    snprintf(parts[CONF_STAGE], NAME_MAX, "%s", last + 1);
    return true;
}

/* Reads the three files of a composition where `in` has them all; *found says whether it had. */
static kern_status read_composed(bool *found, const conf_reader *reader, const char *in,
                                 const char *name) {
    kern_status status = KERN_OK;
    char parts[CONF_AXES][NAME_MAX], paths[CONF_AXES][PATH_MAX];
    conf_reader inner = *reader;
    *found = false;
    if (!split_name(parts, name)) return KERN_OK;
    for (int axis = 0; axis < CONF_AXES; axis++) {
        if (!locate(paths[axis], in, conf_axis_folders[axis], parts[axis])) return KERN_OK;
        inner.axes[axis] = parts[axis];
    }
    *found = true;
    inner.folder = in;
    for (int axis = 0; axis < CONF_AXES; axis++) TRY(read_path(&inner, paths[axis]));
done:
    return status;
}

static kern_status unknown_name(const char *name) {
    if (is_run(name)) return refuse_run(name);
    char **names = NULL;
    int64_t count = 0;
    kern_status status = conf_list(&names, &count);
    if (status != KERN_OK) return status;
    const char *nearest = conf_nearest(name, (const char *const *)names, count);
    if (nearest)
        kern_fail(KERN_ERR_CONFIG, "no configuration '%.100s'; did you mean %s?", name, nearest);
    else
        kern_fail(KERN_ERR_CONFIG,
                  "no configuration '%.100s'; ttt configs lists the names (from "
                  "$TTT_CONFIGS, " TTT_INSTALLED_CONFIGS
                  " beside the program, %s/configs and ../configs beside the "
                  "program), and a path holds a slash or ends in .yaml",
                  name, TTT_SOURCE_DIR);
    conf_list_destroy(names, count);
    return KERN_ERR_CONFIG;
}

static kern_status read_named(const conf_reader *reader, const char *name) {
    conf_folder folders[CONF_FOLDERS];
    char path[PATH_MAX];
    conf_reader alone = {.conf = reader->conf, .depth = reader->depth};
    conf_find_folders(folders);
    for (int i = 0; i < CONF_FOLDERS; i++) {
        bool found;
        if (locate(path, folders[i].path, "", name)) return read_path(&alone, path);
        kern_status status = read_composed(&found, &alone, folders[i].path, name);
        if (found) return status;
    }
    return unknown_name(name);
}

static bool is_path(const char *what) {
    size_t length = strlen(what);
    return strchr(what, '/') || (length > 5 && !strcmp(what + length - 5, ".yaml")) ||
           (length > 4 && !strcmp(what + length - 4, ".yml"));
}

kern_status conf_read_include(const conf_reader *reader, const char *what, const char *file) {
    conf_reader deeper = *reader;
    char path[PATH_MAX];
    deeper.depth++;
    if (deeper.depth > MOST_DEPTH)
        return kern_fail(KERN_ERR_CONFIG, "'%.100s' would be %d deep; does a file include itself?",
                         what, deeper.depth);
    if (!is_path(what)) return read_named(&deeper, what);
    const char *slash = strrchr(file, '/');
    int stem = *what == '/' || !slash ? 0 : (int)(slash - file + 1);
    if (snprintf(path, sizeof path, "%.*s%s", stem, file, what) >= PATH_MAX)
        return kern_fail(KERN_ERR_CONFIG, "'%.100s' makes too long a path", what);
    return read_path(&deeper, path);
}

kern_status conf_rename(ttt_conf *conf, const char *name) {
    size_t length = strlen(name);
    bool good = length > 0 && length < 128 && *name != '.';
    for (size_t i = 0; i < length && good; i++)
        good = isalnum((unsigned char)name[i]) || strchr("._-", name[i]);
    if (!good)
        return kern_fail(KERN_ERR_CONFIG,
                         "name '%.140s' is not fit for a folder; use letters, digits, . _ - (not "
                         "first a dot), at most 127",
                         name);
    char *copy = strdup(name);
    if (!copy) return kern_fail(KERN_ERR_MEMORY, "no memory for a name");
    free((void *)conf->name);
    conf->name = copy;
    return KERN_OK;
}

/* The file's name without folder and ending, other letters than a name may have as dashes. */
static kern_status name_by_path(ttt_conf *conf, const char *path) {
    const char *slash = strrchr(path, '/');
    char name[128];
    snprintf(name, sizeof name, "%s", slash ? slash + 1 : path);
    char *dot = strrchr(name, '.');
    if (dot && dot != name) *dot = 0;
    for (char *at = name; *at; at++)
        if (!isalnum((unsigned char)*at) && !strchr("._-", *at)) *at = '-';
    if (*name == '.') *name = '-';
    return conf_rename(conf, *name ? name : "unnamed");
}

kern_status conf_load(ttt_conf **conf, const char *source, int overrides,
                      const char *const *override) {
    kern_status status = KERN_OK;
    ttt_conf *made;
    *conf = NULL;
    TRY(conf_create(&made));
    conf_reader reader = {.conf = made};
    if (is_path(source)) {
        TRY(name_by_path(made, source)); /* unless the file itself gives one */
        TRY(read_path(&reader, source));
    } else {
        TRY(read_named(&reader, source));
        TRY(conf_rename(made, source));
    }
    for (int i = 0; i < overrides; i++) TRY(conf_set(made, override[i]));
    status = conf_check(made);
    if (status != KERN_OK) {
        TRY(kern_fail_context(status, "%s%s", source, overrides ? " with overrides" : ""));
    }
    *conf = made;
    made = NULL;
done:
    conf_destroy(made);
    return status;
}
