/* Lines of a text, and of a line of JSON the text of one field: nothing else in the line may stop
 * it, be it too large a number, a key given twice, NaN, bytes of another encoding. All functions
 * are local; one thread at a time. */
#ifndef DATA_LINES_H
#define DATA_LINES_H

#include "data/stream.h"

/* Begins as zeros; free(held). */
typedef struct {
    char *held; /* bytes that were read: [taken, bytes) are not handed out yet */
    int64_t bytes, capacity, taken;
    int64_t number; /* of the line that was handed out last, from 1 on */
    bool whole;     /* the stream is read to its end */
} data_lines;

/* The next line that is not blank, without its end and without a byte order mark before the first
 * one; *line is NULL behind the last. It may be written over, and is there until the next call.
 * Errors: those of data_stream_read. */
kern_status data_lines_next(char **line, int64_t *bytes, data_lines *lines, data_stream *stream);

/* What is wrong with a line. */
typedef struct {
    int64_t byte;    /* of the line, from 1 on */
    char reason[80]; /* "has no field 'text'" */
    bool cut;        /* it is right up to its end, where more should come */
} data_line_fault;

/* Finds the text of `field` in an object, which is decoded where it lies: the line is written over.
 * Of several such fields the last counts. An escaped surrogate without its other half becomes
 * U+FFFD. field NULL: the line's form is checked alone, and the line stays as it is. Returns false
 * with *fault where the line is no object, or has no such field, or it is no text, or no UTF-8. */
bool data_line_field(char **text, int64_t *bytes, data_line_fault *fault, char *line,
                     int64_t line_bytes, const char *field);

enum { DATA_LINES_LOOKED_AT = 1 << 16 };

/* Whether a text is lines of JSON objects, by its first DATA_LINES_LOOKED_AT bytes or all that it
 * has: more than half of the lines are. A line that is cut there counts only where it is the first.
 */
bool data_lines_are_json(char *head, int64_t bytes);

#endif
