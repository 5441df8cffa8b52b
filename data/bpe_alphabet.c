#include "data/bpe_model.h"

/* Bytes that are printable in Latin-1 stand for themselves; the others, in increasing order, for
 * U+0100 and on. */
enum { PRINTABLE = 94 + 12 + 82, OTHERS = 33 + 34 + 1 };

int data_bpe_alphabet_byte(int i) {
    ASSERT(i >= 0 && i < PRINTABLE + OTHERS);
    if (i < 94) return 33 + i;
    if (i < 94 + 12) return 161 + i - 94;
    if (i < PRINTABLE) return 174 + i - 94 - 12;
    i -= PRINTABLE;
    return i < 33 ? i : i < 33 + 34 ? 127 + i - 33 : 173;
}

static int byte_of(uint32_t character) {
    if (character >= 0x100 + OTHERS) return -1;
    if (character >= 0x100) return data_bpe_alphabet_byte((int)(character - 0x100) + PRINTABLE);
    bool printable = (character >= 33 && character <= 126) ||
                     (character >= 161 && character <= 172) || character >= 174;
    return printable ? (int)character : -1;
}

static uint32_t character_of(unsigned char byte) {
    if ((byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174) return byte;
    if (byte < 33) return 0x100u + byte;
    return byte == 173 ? 0x100 + OTHERS - 1 : 0x100u + 33 + byte - 127;
}

int64_t data_bpe_spell(char *text, const char *bytes, int64_t length) {
    int64_t at = 0;
    for (int64_t i = 0; i < length; i++) {
        uint32_t character = character_of((unsigned char)bytes[i]);
        if (character >= 0x80) text[at++] = (char)(0xC0 | character >> 6);
        text[at++] = (char)(character < 0x80 ? character : 0x80 | (character & 63));
    }
    return at;
}

int64_t data_bpe_unspell(char *bytes, const char *text, int64_t length) {
    const unsigned char *b = (const unsigned char *)text;
    int64_t count = 0;
    for (int64_t i = 0; i < length; i++) {
        uint32_t character = b[i];
        if (character >= 0x80) character = (character & 31) << 6 | (b[++i] & 63);
        bytes[count++] = (char)byte_of(character);
    }
    return count;
}

int64_t data_bpe_from_alphabet(char *bytes, const char *text, int64_t length) {
    const unsigned char *b = (const unsigned char *)text;
    int64_t count = 0;
    for (int64_t i = 0; i < length; count++) {
        uint32_t character = b[i++];
        if (character >= 0x80) { /* all of the alphabet has two bytes at most */
            if (character < 0xC2 || character > 0xDF || i == length || (b[i] & 0xC0) != 0x80)
                return -1;
            character = (character & 31) << 6 | (b[i++] & 63);
        }
        int byte = byte_of(character);
        if (byte < 0 || count == DATA_BPE_LONGEST) return -1;
        bytes[count] = (char)byte;
    }
    return count;
}
