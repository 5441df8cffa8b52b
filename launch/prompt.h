/* Files and texts into a session, with a progress line for long ones. All functions are local. */
#ifndef LAUNCH_PROMPT_H
#define LAUNCH_PROMPT_H

#include "infer/reader.h"

/* Told of tokens [count] that were read, and of their nll where losses are wanted (as
 * infer_session_read gives it, else NULL). Anything but KERN_OK ends the reading with this error.
 */
typedef kern_status (*launch_prompt_read)(void *context, const int32_t *token, const double *nll,
                                          int64_t count);

typedef struct {
    infer_session *session;
    const data_vocabulary *vocabulary;
    bool losses;
    launch_prompt_read read; /* or NULL */
    void *context;
} launch_prompt;

/* Read a prompt whole. A signal (train/signals.h) stops between pieces: KERN_ERR_INTERRUPTED; what
 * was read until then stays read. Errors: those of data/stream.h, of infer_reader_push; but for
 * KERN_ERR_NUMERIC and KERN_ERR_DEVICE the session can then be saved, and any text can follow. "-"
 * is the standard input. */
kern_status launch_prompt_file(const launch_prompt *prompt, const char *path);
kern_status launch_prompt_text(const launch_prompt *prompt, const char *text);
kern_status launch_prompt_bytes(const launch_prompt *prompt, const char *bytes, int64_t count);

/* The lines of the standard input. Begins with zeros; free(bytes). */
typedef struct {
    char *bytes;
    int64_t count, capacity, taken; /* bytes that are there, and of them those handed out */
    bool ended;
} launch_lines;

/* The next line without its end, \n or \r\n [*count], there until the next call; NULL after the
 * last one, which need not have an end. Errors: KERN_ERR_FILE; KERN_ERR_INTERRUPTED where a signal
 * came first. */
kern_status launch_prompt_line(const char **line, int64_t *count, launch_lines *lines);

/* The bytes of text in a file; 0 where nobody knows, as of a pipe or what is compressed. Errors:
 * those of data_stream_open. */
kern_status launch_prompt_size(int64_t *bytes, const char *path);

#endif
