#include "launch/gnuplot.h"

#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "train/files.h"

extern char **environ;

/* The standard streams of a child, as nameless files: nobody waits for anybody. */
enum { STREAMS = 3, MESSAGE_BYTES = 400 };

static void close_streams(FILE *stream[STREAMS]) {
    for (int i = 0; i < STREAMS; i++)
        if (stream[i]) fclose(stream[i]);
}

static kern_status open_streams(FILE *stream[STREAMS], const char *script) {
    for (int i = 0; i < STREAMS; i++)
        if (!(stream[i] = tmpfile()))
            return kern_fail(KERN_ERR_FILE, "no temporary file for gnuplot: %s", strerror(errno));
    fputs(script, stream[0]);
    if (fflush(stream[0]) || fseek(stream[0], 0, SEEK_SET))
        return kern_fail(KERN_ERR_FILE, "no room for a script of gnuplot: %s", strerror(errno));
    return KERN_OK;
}

/* What the child wrote to a stream, with a 0 byte behind it; free with free(). */
static char *contents(size_t *bytes, FILE *stream) {
    int64_t capacity = 0;
    char *text = NULL;
    size_t got;
    *bytes = 0;
    rewind(stream);
    do {
        text = kern_grow(text, &capacity, (int64_t)*bytes + 4097, 1);
        got = fread(text + *bytes, 1, (size_t)capacity - *bytes - 1, stream);
        *bytes += got;
    } while (got);
    text[*bytes] = 0;
    return text;
}

/* Runs gnuplot on its standard input to the end. *code receives its exit code. */
static kern_status run(int *code, FILE *stream[STREAMS]) {
    char name[] = "gnuplot";
    char *words[] = {name, NULL};
    posix_spawn_file_actions_t actions;
    pid_t child;
    int state;
    ASSERT(!posix_spawn_file_actions_init(&actions));
    for (int i = 0; i < STREAMS; i++)
        ASSERT(!posix_spawn_file_actions_adddup2(&actions, fileno(stream[i]), i));
    int reason = posix_spawnp(&child, name, &actions, NULL, words, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (reason)
        return kern_fail(KERN_ERR_FILE,
                         "gnuplot, which draws pictures, cannot be called: %s; install it (apt-get "
                         "install gnuplot-nox), or leave the picture out: --csv has its numbers",
                         strerror(reason));
    while (waitpid(child, &state, 0) < 0) ASSERT(errno == EINTR);
    *code = WIFEXITED(state) ? WEXITSTATUS(state) : 128;
    return KERN_OK;
}

static kern_status complain(FILE *errors, const char *what) {
    size_t bytes;
    char *text = contents(&bytes, errors);
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ') *c = ' ';
    kern_status status =
        kern_fail(KERN_ERR_FILE, "gnuplot %s: %.*s", what, MESSAGE_BYTES,
                  text[strspn(text, " ")] ? text + strspn(text, " ") : "it does not say why");
    free(text);
    return status;
}

kern_status launch_gnuplot_check(const char *terminal) {
    kern_status status = KERN_OK;
    FILE *stream[STREAMS] = {NULL};
    char *script = train_text("set terminal %s\n", terminal);
    int code;
    TRY(open_streams(stream, script));
    TRY(run(&code, stream));
    if (code) TRY(complain(stream[2], strcmp(terminal, "svg") ? "cannot draw PNG" : "has no SVG"));
done:
    close_streams(stream);
    free(script);
    return status;
}

kern_status launch_gnuplot_draw(const char *path, const char *script) {
    static const char signature[] = "\x89PNG\r\n\x1a\n";
    kern_status status = KERN_OK;
    FILE *stream[STREAMS] = {NULL};
    char *picture = NULL;
    size_t bytes;
    bool drawn = false;
    int code;
    TRY(open_streams(stream, script));
    TRY(run(&code, stream));
    picture = contents(&bytes, stream[1]);
    if (code || bytes < sizeof signature - 1 || memcmp(picture, signature, sizeof signature - 1))
        TRY(complain(stream[2], "did not draw"));
    drawn = true;
    TRY(train_write_file(path, picture, bytes));
done:
    free(picture);
    close_streams(stream);
    return status == KERN_OK || drawn ? status : kern_fail_context(status, "%s", path);
}

kern_status launch_gnuplot_svg(char **svg, const char *script) {
    kern_status status = KERN_OK;
    FILE *stream[STREAMS] = {NULL};
    char *text = NULL;
    size_t bytes;
    int code;
    *svg = NULL;
    TRY(open_streams(stream, script));
    TRY(run(&code, stream));
    text = contents(&bytes, stream[1]);
    char *begins = strstr(text, "<svg");
    if (code || !begins || !strstr(begins, "</svg>")) TRY(complain(stream[2], "did not draw"));
    *svg = train_text("%s", begins);
done:
    free(text);
    close_streams(stream);
    return status;
}

void launch_gnuplot_quote(FILE *script, const char *text) {
    fputc('\'', script);
    for (; *text; text++) {
        if (*text == '\'') fputc('\'', script);
        fputc((unsigned char)*text < ' ' ? ' ' : *text, script);
    }
    fputc('\'', script);
}
