/* Which bytes are UTF-8 (RFC 3629: no surrogates, nothing overlong, nothing above U+10FFFF). Pure
 * functions. */
#ifndef DATA_UTF8_H
#define DATA_UTF8_H

#include <stdint.h>

/* The number of bytes of the character that text [bytes], bytes > 0, begins with; 0 where it does
 * not begin with one; -1 where it may, but the text ends inside of it. */
int data_utf8_character(const char *text, int64_t bytes);

/* The length of the longest prefix of text [bytes] that is UTF-8. */
int64_t data_utf8_prefix(const char *text, int64_t bytes);

/* The length of a byte order mark at the beginning, which some editors put there: 3, or 0. */
int64_t data_utf8_mark(const char *text, int64_t bytes);

#endif
