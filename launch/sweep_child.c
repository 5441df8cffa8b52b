/* The processes of a study's points. */
#include "launch/sweep.h"

#include "train/files.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TAIL = 4096 };

/* Between fork and exec: nothing but calls that are safe there. */
static _Noreturn void become(char *const *words, int out, int log, int lock, pid_t parent) {
    int nothing = open("/dev/null", O_RDONLY);
    setpgid(0, 0); /* Ctrl-C is for the study, which tells its points once */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    fcntl(lock, F_SETFD, 0);
    if (getppid() == parent && nothing >= 0 && dup2(nothing, 0) >= 0 && dup2(out, 1) >= 0 &&
        dup2(log, 2) >= 0)
        execvp(words[0], words);
    _exit(127);
}

static void write_command(int log, char *const *words) {
    dprintf(log, "$");
    for (char *const *word = words; *word; word++) dprintf(log, " %s", *word);
    dprintf(log, "\n");
}

kern_status launch_child_start(pid_t *child, char *const *words, const launch_point *point,
                               int lock) {
    kern_status status = KERN_OK;
    char *out_path = train_text("%s.out", point->files);
    char *log_path = train_text("%s.log", point->files);
    int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    int out = open(out_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    pid_t parent = getpid();
    if (out < 0 || log < 0)
        TRY(kern_fail(KERN_ERR_FILE, "cannot write %s: %s", out < 0 ? out_path : log_path,
                      strerror(errno)));
    write_command(log, words);
    *child = fork();
    if (*child == 0) become(words, out, log, lock, parent);
    if (*child < 0) TRY(kern_fail(KERN_ERR_MEMORY, "no more processes: %s", strerror(errno)));
done:
    if (out >= 0) close(out);
    if (log >= 0) close(log);
    free(out_path);
    free(log_path);
    return status;
}

/* The last line of the log, of those that begin with "ttt " where there are such; free(). */
static char *last_words(const launch_point *point) {
    char *path = train_text("%s.log", point->files), tail[TAIL + 1], *next = tail, *line;
    const char *last = "", *said = NULL;
    int log = open(path, O_RDONLY | O_CLOEXEC);
    off_t end = log >= 0 ? lseek(log, 0, SEEK_END) : 0;
    ssize_t got = log >= 0 ? pread(log, tail, TAIL, end > TAIL ? end - TAIL : 0) : 0;
    if (log >= 0) close(log);
    free(path);
    tail[got > 0 ? got : 0] = 0;
    while ((line = strsep(&next, "\n"))) {
        if (*line == '$') said = NULL; /* what an earlier command said is not this one's error */
        if (*line) last = line;
        if (!strncmp(line, "ttt ", 4)) said = line;
    }
    return train_text("%s", said ? said : last);
}

bool launch_child_ended(pid_t child, char **error, const launch_point *point) {
    int state;
    pid_t ended;
    *error = NULL;
    while ((ended = waitpid(child, &state, WNOHANG)) < 0) ASSERT(errno == EINTR);
    if (!ended) return false;
    if (WIFEXITED(state) && WEXITSTATUS(state) == 0) return true;
    if (WIFSIGNALED(state))
        *error =
            train_text("killed by signal %d (%s)%s", WTERMSIG(state), strsignal(WTERMSIG(state)),
                       WTERMSIG(state) == SIGKILL ? "; was there no memory left?" : "");
    else
        *error = last_words(point);
    return true;
}
