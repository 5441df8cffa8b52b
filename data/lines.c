#include "data/lines.h"

#include "data/utf8.h"

#include <string.h>

enum { PIECE = 1 << 16 };

static bool is_blank(const char *line, int64_t bytes) {
    while (bytes && *line && strchr(" \t\r", *line)) line++, bytes--;
    return bytes == 0;
}

static kern_status next_line(char **line, int64_t *bytes, data_lines *lines, data_stream *stream) {
    kern_status status = KERN_OK;
    int64_t searched = 0, got;
    *line = NULL;
    for (;;) {
        char *begin = lines->held + lines->taken, *end = NULL;
        int64_t there = lines->bytes - lines->taken;
        if (there > searched) end = memchr(begin + searched, '\n', (size_t)(there - searched));
        if (end || (lines->whole && there)) {
            *line = begin;
            *bytes = end ? end - begin : there;
            lines->taken += *bytes + (end != NULL);
            lines->number++;
            break;
        }
        if (lines->whole) break;
        searched = there;
        if (there) memmove(lines->held, begin, (size_t)there);
        lines->taken = 0;
        lines->bytes = there;
        lines->held = kern_grow(lines->held, &lines->capacity, there + PIECE, 1);
        TRY(data_stream_fill(stream, lines->held + there, PIECE, &got));
        lines->bytes += got;
        lines->whole = got < PIECE;
    }
done:
    return status;
}

kern_status data_lines_next(char **line, int64_t *bytes, data_lines *lines, data_stream *stream) {
    kern_status status = KERN_OK;
    do {
        TRY(next_line(line, bytes, lines, stream));
        int64_t mark = *line && lines->number == 1 ? data_utf8_mark(*line, *bytes) : 0;
        if (mark) *line += mark, *bytes -= mark;
    } while (*line && is_blank(*line, *bytes));
done:
    return status;
}

bool data_lines_are_json(char *head, int64_t bytes) {
    int64_t objects = 0, others = 0;
    int64_t mark = data_utf8_mark(head, bytes);
    for (char *line = head + mark, *all = head + bytes; line < all;) {
        char *end = memchr(line, '\n', (size_t)(all - line)), *text;
        int64_t length = (end ? end : all) - line, text_bytes;
        data_line_fault fault;
        bool cut = !end && bytes >= DATA_LINES_LOOKED_AT;
        if (cut && objects + others) break;
        bool object = data_line_field(&text, &text_bytes, &fault, line, length, NULL);
        if (object || (cut && fault.cut))
            objects++;
        else if (!is_blank(line, length))
            others++;
        line += length + 1;
    }
    return objects > others;
}
