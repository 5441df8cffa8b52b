#include "launch/prompt.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/stream.h"
#include "kernels/doing.h"
#include "launch/progress_line.h"
#include "launch/ranks.h"
#include "launch/together.h"
#include "train/signals.h"

enum { BLOCK = 1 << 16, PATIENCE_MS = 200, SHOWN_BYTES = 4096 };

/* A prompt as it is read. */
typedef struct {
    const launch_prompt *given;
    launch_progress_line line;
    int64_t bytes, read; /* of the prompt (0: unknown), and of its tokens read so far */
} reading;

static kern_status stop_if_asked(void) {
    return launch_asked_to_stop() ? kern_fail(KERN_ERR_INTERRUPTED, "stopped") : KERN_OK;
}

static kern_status seen(void *context, const int32_t *token, const double *nll, int64_t count) {
    kern_status status = KERN_OK;
    reading *r = context;
    const launch_prompt *given = r->given;
    for (int64_t i = 0; i < count; i++) {
        const char *text;
        r->read += given->vocabulary->decode(&text, given->vocabulary, token[i]);
    }
    if (given->read) TRY(given->read(given->context, token, nll, count));
    if (r->bytes >= SHOWN_BYTES && r->read > 0) launch_progress_show(&r->line, r->read, r->bytes);
    TRY(stop_if_asked());
done:
    return status;
}

static kern_status begin(infer_reader **reader, reading *r, const char *label) {
    infer_reader_spec spec = {.session = r->given->session,
                              .vocabulary = r->given->vocabulary,
                              .losses = r->given->losses,
                              .seen = seen,
                              .context = r};
    r->line = (launch_progress_line){.label = label, .unit = "bytes", .began = kern_seconds()};
    return infer_reader_create(reader, &spec);
}

/* The end of a reading that met this. */
static kern_status settle(kern_status met, const launch_prompt *prompt) {
    if (met == KERN_OK || met == KERN_ERR_NUMERIC || met == KERN_ERR_DEVICE) return met;
    kern_status status = infer_session_settle(prompt->session);
    return status == KERN_OK ? met : status;
}

kern_status launch_prompt_bytes(const launch_prompt *prompt, const char *bytes, int64_t count) {
    kern_status status = KERN_OK;
    infer_reader *reader = NULL;
    reading r = {.given = prompt, .bytes = count};
    TRY(begin(&reader, &r, "prompt"));
    TRY(infer_reader_push(reader, bytes, count, true));
done:
    launch_progress_clear(&r.line);
    infer_reader_destroy(reader);
    return settle(status, prompt);
}

kern_status launch_prompt_text(const launch_prompt *prompt, const char *text) {
    return launch_prompt_bytes(prompt, text, (int64_t)strlen(text));
}

static kern_status find_size(int64_t *bytes, const char *path) {
    kern_status status = KERN_OK;
    data_stream *stream = NULL;
    struct stat info;
    if (!strcmp(path, "-")) path = "/dev/stdin"; /* opened anew: it is only looked at */
    *bytes = data_stream_size(path);
    /* Looking into a pipe would take bytes out of it, or meet its writer's end. */
    if (!stat(path, &info) && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) goto done;
    TRY(data_stream_open(&stream, &(data_stream_options){.path = path}));
    if (data_stream_is_compressed(stream)) *bytes = 0;
done:
    data_stream_destroy(stream);
    return status;
}

kern_status launch_prompt_size(int64_t *bytes, const char *path) {
    kern_status status = launch_ranks_rank() ? KERN_OK : find_size(bytes, path);
    if (launch_ranks_rank()) *bytes = 0;
    launch_tell_number(bytes);
    return launch_first_says(status);
}

/* The file's next bytes, which the first rank reads; 0 at the end, and after a signal. */
static kern_status next_block(data_stream *stream, char *block, int64_t *got) {
    kern_status status = KERN_OK;
    *got = 0;
    kern_doing_long("waiting for text");
    if (stream) status = data_stream_read(stream, block, BLOCK, got);
    kern_doing_long(NULL);
    /* What came before the signal is read to its end. */
    if (status == KERN_ERR_INTERRUPTED) *got = status = KERN_OK;
    TRY(launch_first_says(status));
    launch_tell_number(got);
    launch_tell_bytes(block, *got);
done:
    return status;
}

kern_status launch_prompt_file(const launch_prompt *prompt, const char *path) {
    kern_status status = KERN_OK;
    infer_reader *reader = NULL;
    data_stream *stream = NULL;
    reading r = {.given = prompt};
    static char block[BLOCK];
    int64_t got = 1;
    TRY(launch_prompt_size(&r.bytes, path));
    data_stream_options options = {path, false, train_signals_received};
    if (launch_ranks_rank() == 0) status = data_stream_open(&stream, &options);
    TRY(launch_first_says(status));
    TRY(begin(&reader, &r, data_stream_name(path)));
    while (got > 0) {
        TRY(next_block(stream, block, &got));
        TRY(infer_reader_push(reader, block, got, got == 0));
    }
    TRY(stop_if_asked());
done:
    launch_progress_clear(&r.line);
    data_stream_destroy(stream);
    infer_reader_destroy(reader);
    return settle(status, prompt);
}

/* The next bytes of the standard input, 0 at the end; a signal is an end, too. */
static kern_status next_bytes(int64_t *got, char *to) {
    struct pollfd wait = {.fd = STDIN_FILENO, .events = POLLIN};
    *got = 0;
    while (poll(&wait, 1, PATIENCE_MS) <= 0)
        if (train_signals_received()) return KERN_OK;
    ssize_t count = read(STDIN_FILENO, to, BLOCK);
    if (count < 0)
        return kern_fail(KERN_ERR_FILE, "cannot read the standard input: %s", strerror(errno));
    *got = count;
    return KERN_OK;
}

static kern_status find_line(const char **line, int64_t *count, launch_lines *lines) {
    kern_status status = KERN_OK;
    int64_t searched = lines->taken;
    const char *end = NULL;
    *line = NULL;
    for (;;) {
        if (lines->count > searched)
            end = memchr(lines->bytes + searched, '\n', (size_t)(lines->count - searched));
        if (end || lines->ended) break;
        lines->count -= lines->taken;
        if (lines->count) memmove(lines->bytes, lines->bytes + lines->taken, (size_t)lines->count);
        lines->taken = 0;
        searched = lines->count;
        lines->bytes = kern_grow(lines->bytes, &lines->capacity, lines->count + BLOCK, 1);
        int64_t got;
        TRY(next_bytes(&got, lines->bytes + lines->count));
        if (train_signals_received()) TRY(kern_fail(KERN_ERR_INTERRUPTED, "stopped"));
        lines->count += got;
        lines->ended = got == 0;
    }
    if (lines->taken == lines->count) goto done;
    *line = lines->bytes + lines->taken;
    *count = end ? end - *line : lines->count - lines->taken;
    lines->taken += *count + (end != NULL);
    if (end && *count && (*line)[*count - 1] == '\r') --*count;
done:
    return status;
}

kern_status launch_prompt_line(const char **line, int64_t *count, launch_lines *lines) {
    kern_status status = KERN_OK;
    bool first = launch_ranks_rank() == 0;
    *line = NULL;
    *count = 0;
    kern_doing_long("waiting for a line");
    if (first) status = find_line(line, count, lines);
    kern_doing_long(NULL);
    TRY(launch_first_says(status));
    int64_t there = *line ? *count : -1;
    launch_tell_number(&there);
    if (there < 0) goto done;
    if (!first) lines->bytes = kern_grow(lines->bytes, &lines->capacity, there + 1, 1);
    if (!first) *line = lines->bytes;
    *count = there;
    launch_tell_bytes((char *)(uintptr_t)*line, there);
done:
    return status;
}
