#include "data/aside.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* The bit that tells a file that a killed writer left from one that only has its name: on files it
 * means nothing else. Where a file system keeps no such bit, what is left is not reused. */
enum { GROWING = S_ISVTX };

struct data_aside {
    char *path, *partial;
    int descriptor;
    bool owned;           /* PATH.partial is ours to remove */
    mode_t mode;          /* of the file in the end */
    struct stat released; /* where there is no descriptor any more */
};

static kern_status cannot_write(const data_aside *file, int error) {
    const char *hint = "";
    if (error == ENOSPC || error == EDQUOT) hint = "; make room on its disk and run again";
    if (error == EFBIG) hint = "; the limit on file sizes (ulimit -f) is too low";
    return kern_fail(KERN_ERR_FILE, "%s: cannot be written: %s%s", file->path, strerror(error),
                     hint);
}

/* Another writer may have renamed the file between our open and our lock; then the lock is on a
 * file that has its final name already, *moved is set and we must begin again. */
static kern_status open_locked(data_aside *file, bool *moved) {
    *moved = false;
    file->descriptor = open(file->partial, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (file->descriptor < 0) return cannot_write(file, errno);
    /* A file system without locks (some network ones) is no reason to refuse. */
    if (flock(file->descriptor, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
        return kern_fail(KERN_ERR_FILE,
                         "%s: another process is writing it; wait until it has finished",
                         file->path);
    struct stat here, there;
    if (fstat(file->descriptor, &here)) return cannot_write(file, errno);
    *moved =
        stat(file->partial, &there) || here.st_ino != there.st_ino || here.st_dev != there.st_dev;
    if (*moved) return KERN_OK;
    if (here.st_size > 0 && !(here.st_mode & GROWING))
        return kern_fail(KERN_ERR_FILE,
                         "%s: it is written as %s, and that is the name of a file that no writer "
                         "left there; give one of them another name, or remove that file",
                         file->path, file->partial);
    file->owned = true;
    file->mode = here.st_mode & 07777 & ~(mode_t)GROWING;
    (void)fchmod(file->descriptor, file->mode | GROWING);
    return ftruncate(file->descriptor, 0) ? cannot_write(file, errno) : KERN_OK;
}

/* The path that a link holds, as seen from where the link is; NULL where it is no link. free(). */
static char *read_link(const char *path) {
    char held[4096], *whole = NULL;
    ssize_t bytes = readlink(path, held, sizeof held);
    const char *slash = strrchr(path, '/');
    if (bytes < 0) return NULL;
    int folder = slash && *held != '/' ? (int)(slash - path + 1) : 0;
    ASSERT(asprintf(&whole, "%.*s%.*s", folder, path, (int)bytes, held) >= 0);
    return whole;
}

/* Renaming replaces what has the name: a link is followed to the file that it means, and a device
 * or a pipe (/dev/stdout) is not a file to replace. */
kern_status data_aside_target(char **target, const char *path) {
    enum { MOST_LINKS = 40 };
    struct stat there;
    *target = NULL;
    bool exists = !stat(path, &there);
    size_t length = strlen(path);
    if (!exists && errno == ELOOP)
        return kern_fail(KERN_ERR_FILE, "%s: cannot be written: %s", path, strerror(errno));
    if ((exists && S_ISDIR(there.st_mode)) || (length && path[length - 1] == '/'))
        return kern_fail(KERN_ERR_FILE, "%s: is a folder; name a file in it", path);
    if (exists && !S_ISREG(there.st_mode))
        return kern_fail(KERN_ERR_FILE,
                         "%s: is a device or a pipe, which writing would replace by a file; name a "
                         "file",
                         path);
    char *at = strdup(path), *next;
    ASSERT(at);
    for (int links = 0; links < MOST_LINKS && (next = read_link(at)); links++) {
        free(at);
        at = next;
    }
    *target = at;
    return KERN_OK;
}

static kern_status name(data_aside **out, const char *named) {
    kern_status status = KERN_OK;
    data_aside *file = NULL;
    char *path = NULL;
    *out = NULL;
    TRY(data_aside_target(&path, named));
    TRY(kern_alloc_zero((void **)&file, sizeof *file, path));
    file->descriptor = -1;
    size_t bytes = strlen(path) + sizeof ".partial";
    TRY(kern_alloc((void **)&file->path, bytes, path));
    TRY(kern_alloc((void **)&file->partial, bytes, path));
    snprintf(file->path, bytes, "%s", path);
    snprintf(file->partial, bytes, "%s.partial", path);
    *out = file;
    file = NULL;
done:
    free(path);
    data_aside_destroy(file);
    return status;
}

kern_status data_aside_create(data_aside **out, const char *path) {
    kern_status status = KERN_OK;
    data_aside *file = NULL;
    *out = NULL;
    TRY(name(&file, path));
    for (bool moved = true; moved;) {
        TRY(open_locked(file, &moved));
        if (moved) close(file->descriptor);
    }
    *out = file;
    file = NULL;
done:
    data_aside_destroy(file);
    return status;
}

kern_status data_aside_join(data_aside **out, const char *path) {
    kern_status status = KERN_OK;
    data_aside *file = NULL;
    *out = NULL;
    TRY(name(&file, path));
    file->descriptor = open(file->partial, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (file->descriptor < 0) TRY(cannot_write(file, errno));
    *out = file;
    file = NULL;
done:
    data_aside_destroy(file);
    return status;
}

void data_aside_destroy(data_aside *file) {
    if (!file) return;
    if (file->owned) unlink(file->partial); /* before the lock goes with the descriptor */
    if (file->descriptor >= 0) close(file->descriptor);
    kern_free(file->path);
    kern_free(file->partial);
    kern_free(file);
}

kern_status data_aside_write(data_aside *file, int64_t offset, const void *memory, size_t bytes) {
    const char *next = memory;
    while (bytes) {
        ssize_t written = pwrite(file->descriptor, next, bytes, (off_t)offset);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return cannot_write(file, written ? errno : ENOSPC);
        next += written;
        offset += written;
        bytes -= (size_t)written;
    }
    return KERN_OK;
}

kern_status data_aside_reserve(data_aside *file, int64_t bytes) {
    struct rlimit limit;
    if (!getrlimit(RLIMIT_FSIZE, &limit) && limit.rlim_cur != RLIM_INFINITY &&
        limit.rlim_cur < (rlim_t)bytes)
        return cannot_write(file, EFBIG);
    if (bytes == 0 || !fallocate(file->descriptor, FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes))
        return KERN_OK;
    bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
    return full ? cannot_write(file, errno) : KERN_OK;
}

kern_status data_aside_flush(data_aside *file) {
    return fsync(file->descriptor) ? cannot_write(file, errno) : KERN_OK;
}

static kern_status flush_folder(const data_aside *file) {
    kern_status status = KERN_OK;
    char *copy = strdup(file->path);
    if (!copy) return kern_fail(KERN_ERR_MEMORY, "%s: no memory for its name", file->path);
    int folder = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(copy);
    /* Some file systems cannot flush a folder and say EINVAL: they have nothing to flush. */
    if (folder < 0 || (fsync(folder) && errno != EINVAL)) status = cannot_write(file, errno);
    if (folder >= 0) close(folder);
    return status;
}

kern_status data_aside_release(data_aside *file) {
    kern_status status = data_aside_flush(file);
    if (status != KERN_OK) return status;
    if (fstat(file->descriptor, &file->released)) return cannot_write(file, errno);
    int descriptor = file->descriptor;
    file->descriptor = -1;
    return close(descriptor) ? cannot_write(file, errno) : KERN_OK;
}

/* That nobody else wrote what waits without a lock. */
static kern_status check_released(data_aside *file) {
    struct stat now;
    const struct stat *then = &file->released;
    if (stat(file->partial, &now)) return cannot_write(file, errno);
    if (now.st_dev == then->st_dev && now.st_ino == then->st_ino && now.st_size == then->st_size)
        return KERN_OK;
    file->owned = false;
    return kern_fail(KERN_ERR_FILE, "%s: another process has begun to write it", file->path);
}

kern_status data_aside_commit(data_aside *file) {
    kern_status status = file->descriptor < 0 ? check_released(file) : data_aside_flush(file);
    if (status != KERN_OK) return status;
    if (rename(file->partial, file->path)) return cannot_write(file, errno);
    file->owned = false;
    (void)chmod(file->path, file->mode);
    /* Some network file systems report a full disk only here. */
    int descriptor = file->descriptor;
    file->descriptor = -1;
    if (descriptor >= 0 && close(descriptor)) return cannot_write(file, errno);
    return flush_folder(file);
}

int data_aside_descriptor(const data_aside *file) {
    return file->descriptor;
}
const char *data_aside_path(const data_aside *file) {
    return file->path;
}
const char *data_aside_partial(const data_aside *file) {
    return file->partial;
}
