#include "data/utf8.h"

#include <string.h>

int data_utf8_character(const char *text, int64_t bytes) {
    const unsigned char *b = (const unsigned char *)text;
    if (b[0] < 0x80) return 1;
    if (b[0] < 0xC2 || b[0] > 0xF4) return 0;
    int length = b[0] < 0xE0 ? 2 : b[0] < 0xF0 ? 3 : 4;
    unsigned low = b[0] == 0xE0 ? 0xA0 : b[0] == 0xF0 ? 0x90 : 0x80;
    unsigned high = b[0] == 0xED ? 0x9F : b[0] == 0xF4 ? 0x8F : 0xBF;
    for (int i = 1; i < length; i++) {
        if (i == bytes) return -1;
        if (b[i] < low || b[i] > high) return 0;
        low = 0x80;
        high = 0xBF;
    }
    return length;
}

int64_t data_utf8_prefix(const char *text, int64_t bytes) {
    int64_t i = 0;
    while (i < bytes) {
        uint64_t word;
        while (bytes - i >= (int64_t)sizeof word) {
            memcpy(&word, text + i, sizeof word);
            if (word & 0x8080808080808080u) break;
            i += (int64_t)sizeof word;
        }
        if (i == bytes) break;
        int length = data_utf8_character(text + i, bytes - i);
        if (length <= 0) break;
        i += length;
    }
    return i;
}

int64_t data_utf8_mark(const char *text, int64_t bytes) {
    return bytes >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3) ? 3 : 0;
}
