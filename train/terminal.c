#include "train/terminal.h"

#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "data/utf8.h"

int train_terminal_room(FILE *out) {
    enum { USUAL = 80, MOST = 1 << 16 };
    struct winsize size = {.ws_col = 0};
    if (!isatty(fileno(out))) return INT_MAX;
    long columns = ioctl(fileno(out), TIOCGWINSZ, &size) ? 0 : size.ws_col;
    const char *told = getenv("COLUMNS");
    if (columns < 1 && told) columns = strtol(told, NULL, 10);
    if (columns < 1 || columns > MOST) columns = USUAL;
    return columns > 1 ? (int)columns - 1 : 1;
}

/* The character that text [not empty] begins with, and its bytes; 0 for a byte that is no UTF-8. */
static uint32_t decode(int *bytes, const char *text) {
    const unsigned char *b = (const unsigned char *)text;
    int length = data_utf8_character(text, (int64_t)strlen(text));
    *bytes = length > 0 ? length : 1;
    if (length <= 0) return 0;
    uint32_t point = length == 1 ? b[0] : b[0] & (0x7fu >> length);
    for (int i = 1; i < length; i++) point = point << 6 | (b[i] & 0x3f);
    return point;
}

/* Controls, line ends of Unicode's own, and what turns the direction of the text around it. */
static bool is_control(uint32_t point) {
    return point < ' ' || (point >= 0x7f && point < 0xa0) || point == 0x2028 || point == 0x2029 ||
           (point >= 0x202a && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069);
}

static bool is_wide(uint32_t point) {
    static const struct {
        uint32_t first, last;
    } wide[] = {{0x1100, 0x115f},   {0x2e80, 0xa4cf},   {0xac00, 0xd7a3},  {0xf900, 0xfaff},
                {0xfe30, 0xfe6f},   {0xff00, 0xff60},   {0xffe0, 0xffe6},  {0x1f300, 0x1f64f},
                {0x1f680, 0x1f6ff}, {0x1f900, 0x1faff}, {0x20000, 0x3fffd}};
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        if (point >= wide[i].first && point <= wide[i].last) return true;
    return false;
}

char *train_terminal_plain(const char *text) {
    static const char letters[] = "abtnvfr"; /* of \a to \r */
    char *plain = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&plain, &size);
    ASSERT(to);
    for (int bytes; *text; text += bytes) {
        unsigned char first = (unsigned char)*text;
        if (!is_control(decode(&bytes, text)))
            fwrite(text, 1, (size_t)bytes, to);
        else if (first >= '\a' && first <= '\r')
            fprintf(to, "\\%c", letters[first - '\a']);
        else
            for (int i = 0; i < bytes; i++) fprintf(to, "\\x%02x", (unsigned char)text[i]);
    }
    ASSERT(!fclose(to));
    return plain;
}

void train_terminal_say(FILE *out, const char *format, ...) {
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    ASSERT(vasprintf(&text, format, arguments) >= 0);
    va_end(arguments);
    char *plain = train_terminal_plain(text);
    fprintf(out, "%s\n", plain);
    free(plain);
    free(text);
}

char *train_terminal_word(const char *text) {
    static const char usual[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_-./=,:+@%";
    char *plain = train_terminal_plain(text), *word = NULL;
    size_t size = 0;
    bool quoted = !*text || text[strspn(text, usual)], escaped = strcmp(plain, text) != 0;
    FILE *to = open_memstream(&word, &size);
    ASSERT(to);
    fputs(escaped ? "$'" : quoted ? "'" : "", to);
    for (const char *c = text; *c; c++)
        if (escaped && (*c == '\'' || *c == '\\'))
            fprintf(to, "\\%c", *c);
        else
            fputs(*c == '\'' ? "'\\''" : (const char[]){*c, 0}, to);
    if (quoted) fputc('\'', to);
    ASSERT(!fclose(to));
    free(plain);
    plain = train_terminal_plain(word);
    free(word);
    return plain;
}

static int columns_of(int *bytes, const char *text) {
    return is_wide(decode(bytes, text)) ? 2 : 1;
}

int train_terminal_columns(const char *text) {
    int columns = 0;
    for (int bytes; *text; text += bytes) columns += columns_of(&bytes, text);
    return columns;
}

char *train_terminal_cut(char *text, int room) {
    char *at = text;
    for (int bytes; *at; at += bytes)
        if ((room -= columns_of(&bytes, at)) < 0) break;
    *at = 0;
    return text;
}

const char *train_terminal_tail(const char *text, int room) {
    int bytes;
    for (int columns = train_terminal_columns(text); columns > room; text += bytes)
        columns -= columns_of(&bytes, text);
    return text;
}
