#include "data/lines.h"

#include "data/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A line as it is read: [at, end) is left. */
typedef struct {
    char *begin, *at, *end;
    data_line_fault *fault;
} scan;

static bool __attribute__((format(printf, 3, 4)))
fail(const scan *s, const char *at, const char *format, ...) {
    va_list values;
    va_start(values, format);
    vsnprintf(s->fault->reason, sizeof s->fault->reason, format, values);
    va_end(values);
    s->fault->byte = at - s->begin + 1;
    s->fault->cut = at == s->end;
    return false;
}

static bool ends_inside(const scan *s, const char *of) {
    return fail(s, s->end, "ends inside of %s", of);
}

static void skip_space(scan *s) {
    while (s->at < s->end && (*s->at == ' ' || (*s->at >= '\t' && *s->at <= '\r'))) s->at++;
}

/* Takes one of the characters and returns it, or fails: 0. */
static char expect(scan *s, const char *characters, const char *called) {
    skip_space(s);
    if (s->at == s->end) return ends_inside(s, "its object");
    if (*s->at && strchr(characters, *s->at)) return *s->at++;
    return fail(s, s->at, "is no JSON object: %s is missing", called);
}

/* Takes the rest of a text whose first quote is taken, whatever it consists of. */
static bool skip_text(scan *s) {
    while (s->at < s->end && *s->at != '"') s->at += *s->at == '\\' && s->at + 1 < s->end ? 2 : 1;
    if (s->at == s->end) return ends_inside(s, "a text");
    s->at++;
    return true;
}

/* Takes a value. Which bracket closes which, and what a number is, does not matter here. */
static bool skip_value(scan *s) {
    int64_t depth = 0;
    do {
        skip_space(s);
        if (s->at == s->end) return ends_inside(s, "a value");
        if (*s->at == '"') {
            s->at++;
            if (!skip_text(s)) return false;
        } else if (*s->at == '{' || *s->at == '[') {
            depth++;
            s->at++;
        } else if (*s->at && strchr("}],:", *s->at)) {
            if (!depth) return fail(s, s->at, "is no JSON object: a value is missing");
            depth -= *s->at == '}' || *s->at == ']';
            s->at++;
        } else {
            while (s->at < s->end && (!*s->at || !strchr("{}[],:\" \t\r", *s->at))) s->at++;
        }
    } while (depth > 0);
    return true;
}

/* The four digits at `at`; -1 where they are none. */
static int hexadecimal(const scan *s, const char *at) {
    int value = 0;
    for (int i = 0; i < 4; i++, at++) {
        if (at >= s->end) return -1;
        int digit = *at >= '0' && *at <= '9' ? *at - '0' : (*at | 32) - 'a' + 10;
        if (digit < 0 || digit > 15 || (digit > 9 && (*at | 32) < 'a')) return -1;
        value = value * 16 + digit;
    }
    return value;
}

static char *put_character(char *to, unsigned code) {
    if (code < 0x80) {
        *to++ = (char)code;
        return to;
    }
    int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned char first[] = {0, 0xC0, 0xE0, 0xF0};
    *to++ = (char)(first[more] | code >> 6 * more);
    while (more--) *to++ = (char)(0x80 | (code >> 6 * more & 0x3F));
    return to;
}

static bool is_high(int code) {
    return code >= 0xD800 && code < 0xDC00;
}

static bool is_low(int code) {
    return code >= 0xDC00 && code < 0xE000;
}

/* \uXXXX, or two of them that are one character; `at` is behind the u. */
static bool take_unicode(scan *s, char **to) {
    enum { UNKNOWN = 0xFFFD };
    int code = hexadecimal(s, s->at), low = -1;
    if (code < 0) {
        if (s->end - s->at < 4) return ends_inside(s, "a text");
        return fail(s, s->at, "has no four digits behind \\u");
    }
    s->at += 4;
    if (is_high(code) && s->end - s->at >= 6 && s->at[0] == '\\' && s->at[1] == 'u')
        low = hexadecimal(s, s->at + 2);
    if (is_low(low)) {
        s->at += 6;
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    } else if (is_high(code) || is_low(code)) {
        code = UNKNOWN;
    }
    *to = put_character(*to, (unsigned)code);
    return true;
}

static bool take_escape(scan *s, char **to) {
    static const char names[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    if (s->at == s->end) return ends_inside(s, "a text");
    char c = *s->at++;
    if (c == 'u') return take_unicode(s, to);
    const char *name = c ? strchr(names, c) : NULL;
    if (!name) return fail(s, s->at - 1, "has a \\ before a character that it cannot stand before");
    *(*to)++ = meanings[name - names];
    return true;
}

/* Takes and decodes the rest of a text whose first quote is taken. What is decoded is never longer
 * than what stood there. */
static bool take_text(scan *s, char **text, int64_t *bytes) {
    char *to = s->at;
    *text = to;
    for (;;) {
        char *run = s->at;
        while (s->at < s->end && *s->at != '"' && *s->at != '\\' && (unsigned char)*s->at >= ' ')
            s->at++;
        int64_t length = s->at - run, valid = data_utf8_prefix(run, length);
        if (valid < length)
            return fail(s, run + valid, "has a byte 0x%02X that is no UTF-8",
                        (unsigned char)run[valid]);
        memmove(to, run, (size_t)length);
        to += length;
        if (s->at == s->end) return ends_inside(s, "a text");
        char c = *s->at++;
        if (c == '"') break;
        if (c != '\\')
            return fail(s, s->at - 1, "has a byte 0x%02X that must be escaped", (unsigned char)c);
        if (!take_escape(s, &to)) return false;
    }
    *bytes = to - *text;
    return true;
}

/* Takes a key; *same receives whether it is the field's name. */
static bool take_key(scan *s, bool *same, const char *field) {
    char *key = s->at;
    data_line_fault odd;
    scan within = {s->begin, key, NULL, &odd};
    int64_t bytes;
    if (!skip_text(s)) return false;
    within.end = s->at;
    bytes = s->at - 1 - key;
    if (field && memchr(key, '\\', (size_t)bytes) && !take_text(&within, &key, &bytes)) bytes = -1;
    *same = field && bytes == (int64_t)strlen(field) && !memcmp(key, field, (size_t)bytes);
    return true;
}

static const char *kind_of_value(char c) {
    switch (c) {
    case '{': return "an object";
    case '[': return "a list";
    case 'n': return "null";
    case 't':
    case 'f': return "a truth value";
    default: return "a number";
    }
}

/* Takes a key and its value. *found: the field's last value is a text; *fault has a reason where it
 * is something else. */
static bool take_pair(scan *s, bool *found, char **text, int64_t *bytes, const char *field) {
    bool same;
    if (!take_key(s, &same, field) || !expect(s, ":", "a colon")) return false;
    if (!same) return skip_value(s);
    skip_space(s);
    *found = s->at < s->end && *s->at == '"';
    if (*found) {
        s->at++;
        return take_text(s, text, bytes);
    }
    if (s->at < s->end)
        fail(s, s->at, "has %s and no text in its field '%.30s'", kind_of_value(*s->at), field);
    return skip_value(s);
}

bool data_line_field(char **text, int64_t *bytes, data_line_fault *fault, char *line,
                     int64_t line_bytes, const char *field) {
    scan s = {line, line, line + line_bytes, fault};
    bool found = field == NULL;
    *text = NULL;
    *bytes = 0;
    *fault = (data_line_fault){0};
    if (!expect(&s, "{", "{")) return false;
    for (char next = expect(&s, "\"}", "a name in quotes"); next != '}';) {
        if (!next || !take_pair(&s, &found, text, bytes, field)) return false;
        next = expect(&s, ",}", "a comma or }");
        if (!next || (next == ',' && !expect(&s, "\"", "a name in quotes"))) return false;
    }
    skip_space(&s);
    if (s.at < s.end) return fail(&s, s.at, "goes on behind its object");
    if (found) return true;
    if (!*fault->reason) fail(&s, s.begin, "has no field '%.60s'", field);
    fault->cut = false;
    return false;
}
