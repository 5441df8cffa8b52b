#include "train/rundir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "train/files.h"
#include "train/history.h"
#include "train/terminal.h"

static bool is_empty_directory(const char *path) {
    struct stat info;
    char **names = NULL;
    int64_t count = 0;
    if (lstat(path, &info) || !S_ISDIR(info.st_mode)) return false;
    if (train_list(&names, &count, path) != KERN_OK) return false;
    train_free_names(names, count);
    return count == 0;
}

/* What train_run_open and a writer of config.yaml that was killed leave. */
static bool is_remains(const char *name) {
    return !strcmp(name, "lock") || !strcmp(name, "config.yaml.tmp");
}

/* Sets *found to the name of something that a run or a person put into `dir`, or to NULL. */
static kern_status find_content(char **found, const char *dir) {
    char **names = NULL;
    int64_t count = 0;
    *found = NULL;
    kern_status status = train_list(&names, &count, dir);
    if (status != KERN_OK) return status;
    for (int64_t i = 0; i < count && !*found; i++) {
        char *path = train_text("%s/%s", dir, names[i]);
        if (!is_remains(names[i]) && !is_empty_directory(path)) *found = train_text("%s", names[i]);
        free(path);
    }
    train_free_names(names, count);
    return KERN_OK;
}

static bool is_checkpoint(const char *dir) {
    struct stat info;
    char *path = train_text("%s/state.json", dir);
    bool found = !stat(path, &info);
    free(path);
    return found;
}

static kern_status check_content(const train_run *run, bool resume) {
    struct stat info;
    if (resume) {
        if (!stat(run->config, &info)) return KERN_OK;
        return kern_fail(KERN_ERR_USAGE,
                         "%s is not a run that can be resumed: it has no config.yaml; start one "
                         "with `ttt train CONFIG run.dir=%s`",
                         run->dir, run->word);
    }
    char *found;
    kern_status status = find_content(&found, run->dir);
    if (status != KERN_OK || !found) return status;
    if (is_checkpoint(run->dir))
        status = kern_fail(KERN_ERR_USAGE,
                           "%s is a checkpoint; choose another run.dir (a new run can take its "
                           "weights: train.init_from=%s)",
                           run->dir, run->dir);
    else if (!stat(run->config, &info))
        status = kern_fail(KERN_ERR_USAGE,
                           "%s holds a run already; go on with it by `ttt train --resume %s`, or "
                           "choose another run.dir",
                           run->dir, run->word);
    else
        status = kern_fail(KERN_ERR_USAGE,
                           "%s is not empty (it holds %s) and is not a run; choose another run.dir "
                           "(only a run is gone on with, by --resume)",
                           run->dir, found);
    free(found);
    return status;
}

kern_status train_run_check_new(const char *dir) {
    struct stat info;
    if (stat(dir, &info)) return KERN_OK;
    if (!S_ISDIR(info.st_mode)) return train_make_directory(dir); /* says so */
    train_run *run = train_run_join(dir);
    kern_status status = check_content(run, false);
    train_run_close(run);
    return status;
}

/* flock and not a file that exists or not: the kernel gives it back when a process is killed. */
static kern_status take_lock(train_run *run) {
    char *path = train_text("%s/lock", run->dir);
    kern_status status = KERN_OK;
    char owner[320] = "", host[256] = "localhost";
    run->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (run->lock < 0) {
        status = kern_fail(KERN_ERR_FILE, "cannot open %s: %s", path, strerror(errno));
    } else if (flock(run->lock, LOCK_EX | LOCK_NB)) {
        int reason = errno;
        ssize_t got = read(run->lock, owner, sizeof owner - 1);
        owner[got > 0 ? got : 0] = 0;
        if (reason == EWOULDBLOCK)
            status =
                kern_fail(KERN_ERR_FILE,
                          "%s is being trained by another process (%s); wait until it ends, or "
                          "stop it with kill -INT",
                          run->dir, *owner ? owner : "unknown");
        else
            status = kern_fail(KERN_ERR_FILE, "cannot lock %s: %s", path, strerror(reason));
    } else {
        gethostname(host, sizeof host - 1);
        int length = snprintf(owner, sizeof owner, "process %ld on %s", (long)getpid(), host);
        if (ftruncate(run->lock, 0))
            status = kern_fail(KERN_ERR_FILE, "cannot write %s: %s", path, strerror(errno));
        else
            status = train_write_all(run->lock, owner, (size_t)length, path);
    }
    free(path);
    return status;
}

kern_status train_run_check_ours(const train_run *run) {
    struct stat ours, there;
    char *path = train_text("%s/lock", run->dir);
    bool other = !fstat(run->lock, &ours) && !stat(path, &there) &&
                 (ours.st_dev != there.st_dev || ours.st_ino != there.st_ino);
    free(path);
    if (!other) return KERN_OK;
    return kern_fail(
        KERN_ERR_FILE,
        "%s was removed while it was trained, and another run has that name now; it is "
        "left as it is",
        run->dir);
}

train_run *train_run_join(const char *dir) {
    train_run *run = kern_array(1, sizeof *run);
    *run = (train_run){.dir = train_text("%s", dir),
                       .word = train_terminal_word(dir),
                       .config = train_text("%s/config.yaml", dir),
                       .metrics = train_text("%s/metrics.jsonl", dir),
                       .events = train_text("%s/events", dir),
                       .checkpoints = train_text("%s/checkpoints", dir),
                       .eval = train_text("%s/eval", dir),
                       .algorithms = train_text("%s/algorithms", dir),
                       .lock = -1};
    return run;
}

kern_status train_run_open(train_run **run, const char *dir, bool resume) {
    kern_status status = KERN_OK;
    struct stat info;
    train_run *made = train_run_join(dir);
    *run = NULL;
    /* Before the lock file is made, so that a directory that is refused stays as it is. */
    if (!stat(dir, &info))
        TRY(check_content(made, resume));
    else if (resume)
        TRY(kern_fail(KERN_ERR_USAGE,
                      "there is no run %s to resume; start one with `ttt train CONFIG run.dir=%s`",
                      dir, made->word));
    TRY(train_make_directory(dir));
    TRY(take_lock(made));
    TRY(check_content(made, resume)); /* again: another process may have been faster */
    TRY(train_make_directory(made->events));
    TRY(train_make_directory(made->checkpoints));
    TRY(train_make_directory(made->eval));
    if (access(made->checkpoints, W_OK | X_OK)) /* else known only when hours are to be saved */
        TRY(kern_fail(KERN_ERR_FILE, "cannot write in %s: %s", made->checkpoints, strerror(errno)));
    TRY(train_history_clean(made->checkpoints));
    *run = made;
done:
    if (status != KERN_OK) train_run_close(made);
    return status;
}

void train_run_close(train_run *run) {
    if (!run) return;
    if (run->lock >= 0) close(run->lock);
    free(run->dir);
    free(run->word);
    free(run->config);
    free(run->metrics);
    free(run->events);
    free(run->checkpoints);
    free(run->eval);
    free(run->algorithms);
    free(run);
}
