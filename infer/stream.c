#include "infer/stream.h"

#include <stdlib.h>
#include <string.h>

#include "data/utf8.h"

struct infer_stream {
    const char *const *stop;
    int stops;
    char *held, *shown;
    int64_t held_count, held_capacity, shown_count, shown_capacity;
    bool stopped;
};

infer_stream *infer_stream_create(const char *const *stop, int stops) {
    infer_stream *s = kern_array(1, sizeof *s);
    s->stop = stop;
    s->stops = stops;
    for (int i = 0; i < stops; i++) ASSERT(*stop[i]);
    return s;
}

void infer_stream_destroy(infer_stream *s) {
    if (!s) return;
    free(s->held);
    free(s->shown);
    free(s);
}

void infer_stream_reset(infer_stream *s) {
    s->held_count = s->shown_count = 0;
    s->stopped = false;
}

bool infer_stream_stopped(const infer_stream *s) {
    return s->stopped;
}

/* Where the earliest stop string begins in what is held; -1: there is none. */
static int64_t find_stop(const infer_stream *s) {
    for (int64_t at = 0; at < s->held_count; at++)
        for (int i = 0; i < s->stops; i++) {
            size_t length = strlen(s->stop[i]);
            if ((size_t)(s->held_count - at) >= length && !memcmp(s->held + at, s->stop[i], length))
                return at;
        }
    return -1;
}

/* Bytes at the end that a stop string may begin with. */
static int64_t possible_stop(const infer_stream *s) {
    int64_t most = 0;
    for (int i = 0; i < s->stops; i++) {
        int64_t length = (int64_t)strlen(s->stop[i]) - 1;
        if (length > s->held_count) length = s->held_count;
        for (; length > most; length--)
            if (!memcmp(s->held + s->held_count - length, s->stop[i], (size_t)length))
                most = length;
    }
    return most;
}

static void show(infer_stream *s, const char *bytes, int64_t count) {
    s->shown = kern_grow(s->shown, &s->shown_capacity, s->shown_count + count, 1);
    memcpy(s->shown + s->shown_count, bytes, (size_t)count);
    s->shown_count += count;
}

void infer_stream_push(infer_stream *s, const char *bytes, int64_t count, bool last,
                       const char **text, int64_t *shown) {
    static const char replacement[] = "\xef\xbf\xbd";
    s->shown_count = 0;
    if (!s->stopped && count) {
        s->held = kern_grow(s->held, &s->held_capacity, s->held_count + count, 1);
        memcpy(s->held + s->held_count, bytes, (size_t)count);
        s->held_count += count;
    }
    int64_t stop = s->stopped ? -1 : find_stop(s), end = s->held_count, at = 0;
    if (stop >= 0) {
        s->stopped = last = true;
        end = stop;
    } else if (!last) {
        end -= possible_stop(s);
    }
    while (at < end) {
        int length = data_utf8_character(s->held + at, end - at);
        if (length < 0 && (!last || end < s->held_count) && stop < 0) break;
        if (length > 0)
            show(s, s->held + at, length);
        else
            show(s, replacement, 3);
        at += length > 0 ? length : 1;
    }
    if (last) at = s->held_count;
    s->held_count -= at;
    if (s->held_count) memmove(s->held, s->held + at, (size_t)s->held_count);
    *text = s->shown;
    *shown = s->shown_count;
}
