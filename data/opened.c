#include "data/opened.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST = 64 };

struct data_opened {
    char *path;
    data_opened_same *same;
    const void *context;
    int descriptor; /* -1: closed */
    int users;
    data_opened *older, *newer; /* of those that are open, by when they were taken */
};

/* The limit is the process's, so what counts against it has to be global. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static data_opened *oldest, *newest;
static int count;

/* Most of what the process may open is left to everything else. */
int data_opened_most(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur / 4 >= MOST) return MOST;
    return limit.rlim_cur < 8 ? 1 : (int)(limit.rlim_cur / 4);
}

static void unlink_file(data_opened *file) {
    *(file->older ? &file->older->newer : &oldest) = file->newer;
    *(file->newer ? &file->newer->older : &newest) = file->older;
    file->older = file->newer = NULL;
}

static void append_file(data_opened *file) {
    file->older = newest;
    *(newest ? &newest->newer : &oldest) = file;
    newest = file;
}

static void close_file(data_opened *file) {
    unlink_file(file);
    close(file->descriptor);
    file->descriptor = -1;
    count--;
}

static kern_status open_file(data_opened *file) {
    struct stat about;
    int most = data_opened_most();
    for (data_opened *next, *old = oldest; old && count >= most; old = next) {
        next = old->newer;
        if (!old->users) close_file(old);
    }
    int descriptor = open(file->path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0 || fstat(descriptor, &about)) {
        int error = errno;
        if (descriptor >= 0) close(descriptor);
        return kern_fail(KERN_ERR_FILE, "%s: cannot be opened: %s", file->path, strerror(error));
    }
    if (!S_ISREG(about.st_mode)) {
        close(descriptor);
        return kern_fail(KERN_ERR_FILE, "%s: is not a file", file->path);
    }
    file->descriptor = descriptor;
    append_file(file);
    count++;
    return KERN_OK;
}

kern_status data_opened_create(data_opened **out, int *descriptor, const char *path,
                               data_opened_same *same, const void *context) {
    kern_status status = KERN_OK;
    data_opened *file = NULL;
    *out = NULL;
    TRY(kern_alloc_zero((void **)&file, sizeof *file, path));
    *file = (data_opened){.descriptor = -1, .same = same, .context = context};
    TRY(kern_alloc((void **)&file->path, strlen(path) + 1, path));
    memcpy(file->path, path, strlen(path) + 1);
    pthread_mutex_lock(&lock);
    status = open_file(file);
    *descriptor = file->descriptor;
    file->users = status == KERN_OK;
    pthread_mutex_unlock(&lock);
    TRY(status);
    *out = file;
    file = NULL;
done:
    data_opened_destroy(file);
    return status;
}

void data_opened_destroy(data_opened *file) {
    if (!file) return;
    ASSERT(!file->users);
    pthread_mutex_lock(&lock);
    if (file->descriptor >= 0) close_file(file);
    pthread_mutex_unlock(&lock);
    kern_free(file->path);
    kern_free(file);
}

static kern_status open_again(data_opened *file) {
    kern_status status = open_file(file);
    if (status != KERN_OK || file->same(file->context, file->descriptor)) return status;
    close_file(file);
    return kern_fail(KERN_ERR_DATA, "%s: was replaced while in use", file->path);
}

kern_status data_opened_take(int *descriptor, data_opened *file) {
    kern_status status = KERN_OK;
    pthread_mutex_lock(&lock);
    if (file->descriptor < 0) {
        TRY(open_again(file));
    } else if (file != newest) {
        unlink_file(file);
        append_file(file);
    }
    file->users++;
    *descriptor = file->descriptor;
done:
    pthread_mutex_unlock(&lock);
    return status;
}

void data_opened_give(data_opened *file) {
    pthread_mutex_lock(&lock);
    ASSERT(file->users > 0);
    file->users--;
    pthread_mutex_unlock(&lock);
}

int data_opened_count(void) {
    pthread_mutex_lock(&lock);
    int now = count;
    pthread_mutex_unlock(&lock);
    return now;
}
