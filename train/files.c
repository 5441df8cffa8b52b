#include "train/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/aside.h"

char *train_text(const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    ASSERT(length >= 0);
    int64_t capacity = 0;
    char *text = kern_grow(NULL, &capacity, (int64_t)length + 1, 1);
    vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    va_end(arguments);
    return text;
}

kern_status train_tell_text(char **text, const kern_comm *job) {
    kern_status status = KERN_OK;
    int64_t bytes = *text && job->rank == 0 ? (int64_t)strlen(*text) + 1 : 0;
    if (job->ranks == 1) return status;
    TRY(job->agree_i64(job, &bytes, 1, KERN_MAX));
    if (job->rank) {
        free(*text);
        *text = bytes ? kern_array(bytes, 1) : NULL;
    }
    if (bytes) TRY(job->tell(job, *text, (size_t)bytes, 0));
done:
    return status;
}

static kern_status make_one(const char *path) {
    struct stat info;
    if (!mkdir(path, 0777)) return KERN_OK;
    int reason = errno;
    if (reason == EEXIST && stat(path, &info)) { /* a link that leads nowhere yet */
        char *target;
        kern_status status = data_aside_target(&target, path);
        if (status != KERN_OK) return status;
        reason = mkdir(target, 0777) ? errno : 0;
        free(target);
        if (!reason) return KERN_OK;
    }
    if (reason == EEXIST && !stat(path, &info)) {
        if (S_ISDIR(info.st_mode)) return KERN_OK;
        return kern_fail(KERN_ERR_FILE,
                         "%s is a file where a directory is needed; move it away or "
                         "choose another directory",
                         path);
    }
    return kern_fail(KERN_ERR_FILE, "cannot create the directory %s: %s", path, strerror(reason));
}

kern_status train_make_directory(const char *path) {
    kern_status status = KERN_OK;
    char *partial = train_text("%s", path);
    for (char *slash = strchr(partial + 1, '/'); *path && slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        status = make_one(partial);
        *slash = '/';
        if (status != KERN_OK) goto done;
    }
    status = make_one(partial);
done:
    free(partial);
    return status;
}

kern_status train_sync(const char *path) {
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return kern_fail(KERN_ERR_FILE, "cannot open %s: %s", path, strerror(errno));
    int failed = fsync(descriptor) ? errno : 0;
    close(descriptor);
    /* File systems that cannot sync a directory say EINVAL; they give no such promise anyway. */
    if (failed && failed != EINVAL)
        return kern_fail(KERN_ERR_FILE, "cannot sync %s to the disk: %s", path, strerror(failed));
    return KERN_OK;
}

kern_status train_write_all(int descriptor, const void *bytes, size_t count, const char *path) {
    const char *next = bytes;
    while (count) {
        ssize_t written = write(descriptor, next, count);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) {
            int reason = written < 0 ? errno : ENOSPC;
            return kern_fail(KERN_ERR_FILE, "cannot write %s: %s%s", path, strerror(reason),
                             reason == ENOSPC || reason == EDQUOT || reason == EFBIG
                                 ? "; make room, then go on with --resume"
                                 : "");
        }
        next += written;
        count -= (size_t)written;
    }
    return KERN_OK;
}

kern_status train_write_file(const char *path, const void *bytes, size_t count) {
    kern_status status = KERN_OK;
    data_aside *file = NULL;
    TRY(data_aside_create(&file, path));
    TRY(data_aside_write(file, 0, bytes, count));
    TRY(data_aside_commit(file));
done:
    data_aside_destroy(file);
    return status;
}

kern_status train_read_file(char **text, size_t *count, const char *path, size_t limit) {
    kern_status status = KERN_OK;
    int64_t capacity = 0;
    char *bytes = NULL;
    size_t used = 0, got = 0;
    *text = NULL;
    *count = 0;
    FILE *file = fopen(path, "rbe");
    if (!file) return kern_fail(KERN_ERR_FILE, "cannot open %s: %s", path, strerror(errno));
    do {
        bytes = kern_grow(bytes, &capacity, (int64_t)used + 4096, 1);
        got = fread(bytes + used, 1, (size_t)capacity - used - 1, file);
        used += got;
    } while (got && used <= limit);
    if (ferror(file))
        status = kern_fail(KERN_ERR_FILE, "cannot read %s: %s", path, strerror(errno));
    else if (used > limit)
        status = kern_fail(KERN_ERR_DATA, "%s is longer than %zu bytes", path, limit);
    fclose(file);
    if (status != KERN_OK) {
        free(bytes);
        return status;
    }
    bytes[used] = 0;
    *text = bytes;
    *count = used;
    return KERN_OK;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where) {
    (void)info, (void)kind, (void)where;
    return remove(path) && errno != ENOENT;
}

kern_status train_remove(const char *path) {
    struct stat info;
    if (lstat(path, &info) && errno == ENOENT) return KERN_OK;
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS))
        return kern_fail(KERN_ERR_FILE, "cannot remove %s: %s", path, strerror(errno));
    return KERN_OK;
}

kern_status train_rename(const char *from, const char *to) {
    if (rename(from, to))
        return kern_fail(KERN_ERR_FILE, "cannot rename %s to %s: %s", from, to, strerror(errno));
    const char *slash = strrchr(to, '/');
    char *parent = slash ? train_text("%.*s", (int)(slash - to) + 1, to) : train_text(".");
    kern_status status = train_sync(parent);
    free(parent);
    return status;
}

static int by_bytes(const void *left, const void *right) {
    return strcmp(*(char *const *)left, *(char *const *)right);
}

kern_status train_list(char ***names, int64_t *count, const char *directory) {
    int64_t capacity = 0;
    *names = NULL;
    *count = 0;
    DIR *stream = opendir(directory);
    if (!stream)
        return kern_fail(KERN_ERR_FILE, "cannot open the directory %s: %s", directory,
                         strerror(errno));
    for (struct dirent *entry; (entry = readdir(stream));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        *names = kern_grow(*names, &capacity, *count + 1, sizeof **names);
        (*names)[(*count)++] = train_text("%s", entry->d_name);
    }
    closedir(stream);
    if (*count) qsort(*names, (size_t)*count, sizeof **names, by_bytes);
    return KERN_OK;
}

void train_free_names(char **names, int64_t count) {
    for (int64_t i = 0; i < count; i++) free(names[i]);
    free(names);
}
