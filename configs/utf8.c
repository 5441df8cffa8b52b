#include "configs/options.h"

#include <string.h>

/* Decodes one character of 2 to 4 bytes; 0 where it is none (cut, overlong, a surrogate, too
 * large). */
static uint32_t decode(const unsigned char *text, size_t bytes, size_t *length) {
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
    *length = n;
    if (text[0] < 0xc0 || text[0] >= 0xf8 || n > bytes) return 0;
    uint32_t point = text[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((text[i] & 0xc0) != 0x80) return 0;
        point = point << 6 | (text[i] & 0x3f);
    }
    bool surrogate = point >= 0xd800 && point <= 0xdfff;
    return point < smallest[n] || point > 0x10ffff || surrogate ? 0 : point;
}

/* Controls of the second page, line separators, byte order marks and non-characters: what YAML
 * would read differently from how it was written. */
static bool unwanted(uint32_t point) {
    return point < 0xa0 || point == 0x2028 || point == 0x2029 || point == 0xfeff ||
           (point & 0xfffe) == 0xfffe;
}

kern_status conf_check_utf8(const char *text, size_t bytes, bool lines) {
    int line = 1;
    if (lines && bytes >= 2 &&
        (!text[0] || !text[1] || !memcmp(text, "\xff\xfe", 2) || !memcmp(text, "\xfe\xff", 2)))
        return kern_fail(KERN_ERR_CONFIG, "it is UTF-16 or UTF-32; save it as UTF-8");
    for (size_t i = 0, length = 1; i < bytes; i += length) {
        unsigned char c = (unsigned char)text[i];
        bool good;
        length = 1;
        if (c < 0x80)
            good = (c >= 0x20 && c != 0x7f) || (lines && (c == '\n' || c == '\t' || c == '\r'));
        else {
            uint32_t point = decode((const unsigned char *)text + i, bytes - i, &length);
            good = point && !unwanted(point);
        }
        if (!good)
            return kern_fail(KERN_ERR_CONFIG,
                             "line %d: byte 0x%02x is a control character or not UTF-8", line, c);
        line += c == '\n';
    }
    return KERN_OK;
}
