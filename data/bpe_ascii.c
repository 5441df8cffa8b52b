#include "data/bpe_pattern.h"

/* MARK: neither space, letter, digit nor quote. FOREIGN: the first byte of what is not ASCII. */
enum { MARK, UPPER, LOWER, DIGIT, SPACE, LINE, BLANK, QUOTE, FOREIGN };

void data_bpe_ascii_kinds(unsigned char *kinds) {
    for (int c = 0; c < 256; c++) {
        int kind = MARK;
        if (c >= 0x80) kind = FOREIGN;
        if (c >= 'A' && c <= 'Z') kind = UPPER;
        if (c >= 'a' && c <= 'z') kind = LOWER;
        if (c >= '0' && c <= '9') kind = DIGIT;
        if (c == ' ') kind = SPACE;
        if (c == '\n' || c == '\r') kind = LINE;
        if (c == '\t' || c == '\v' || c == '\f') kind = BLANK;
        if (c == '\'') kind = QUOTE;
        kinds[c] = (unsigned char)kind;
    }
}

/* A text to look at from some byte on; its end is of the kind FOREIGN, as what comes then is not
 * known. */
typedef struct {
    const unsigned char *kinds, *text;
    int64_t bytes;
} view;

static inline int kind_at(const view *v, int64_t i) {
    return i < v->bytes ? v->kinds[v->text[i]] : FOREIGN;
}

/* Letters from byte `begin` on. A letter beyond ASCII may go on with them, and in the capped
 * patterns 's and the like. */
static int64_t word_end(const view *v, data_bpe_words words, int64_t begin) {
    int64_t i = begin;
    int kind = kind_at(v, i);
    while (kind == UPPER) kind = kind_at(v, ++i);
    if (words == DATA_BPE_WORDS_CAPPED) {
        while (kind == LOWER) kind = kind_at(v, ++i);
        int after = kind == QUOTE ? kind_at(v, i + 1) : MARK;
        if (after == UPPER || after == LOWER || after == FOREIGN) return 0;
    } else {
        while (kind == LOWER || kind == UPPER) kind = kind_at(v, ++i);
    }
    return kind == FOREIGN ? 0 : i;
}

/* Marks from byte `begin` on, and in newer patterns the line ends behind them. */
static int64_t marks_end(const view *v, data_bpe_words words, int64_t begin) {
    int64_t i = begin;
    int kind = kind_at(v, i);
    while (kind == MARK || kind == QUOTE) kind = kind_at(v, ++i);
    if (kind == FOREIGN || words == DATA_BPE_WORDS_SPACE) return kind == FOREIGN ? 0 : i;
    while (kind == LINE || (words == DATA_BPE_WORDS_CAPPED && i < v->bytes && v->text[i] == '/'))
        kind = kind_at(v, ++i);
    return i < v->bytes ? i : 0;
}

/* Line ends with no other white space around them; of the oldest pattern only one alone, as it
 * would leave the last of several. */
static int64_t lines_end(const view *v, data_bpe_words words, int64_t begin) {
    int64_t i = begin + 1;
    while (words != DATA_BPE_WORDS_SPACE && kind_at(v, i) == LINE) i++;
    int next = kind_at(v, i);
    return next == MARK || next == QUOTE || next == DIGIT || next == UPPER || next == LOWER ? i : 0;
}

int64_t data_bpe_ascii_end(data_bpe_words words, const unsigned char *kinds, const char *text,
                           int64_t bytes, int64_t at) {
    view v = {kinds, (const unsigned char *)text, bytes};
    if (words == DATA_BPE_WORDS_ANY) return 0;
    int kind = kind_at(&v, at), next;
    switch (kind) {
    case UPPER:
    case LOWER: return word_end(&v, words, at);
    case SPACE:
        next = kind_at(&v, at + 1);
        if (next == UPPER || next == LOWER) return word_end(&v, words, at + 1);
        return next == MARK || next == QUOTE ? marks_end(&v, words, at + 1) : 0;
    case MARK:
        next = kind_at(&v, at + 1);
        if ((next == UPPER || next == LOWER) && words != DATA_BPE_WORDS_SPACE)
            return word_end(&v, words, at + 1);
        return marks_end(&v, words, at);
    case LINE: return lines_end(&v, words, at);
    default: return 0;
    }
}
