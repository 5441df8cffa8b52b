/* Files of ranks and files of merges, line by line. */
#include "data/bpe_model.h"

enum { BASE64_LONGEST = (DATA_BPE_LONGEST + 2) / 3 * 4 };

bool data_bpe_next_line(data_bpe_line *l, const char **at, const char *end) {
    while (*at < end) {
        const char *newline = memchr(*at, '\n', (size_t)(end - *at));
        l->begin = *at;
        l->end = newline ? newline : end;
        l->number++;
        *at = newline ? newline + 1 : end;
        if (l->end > l->begin && l->end[-1] == '\r') l->end--;
        if (l->end > l->begin) return true;
    }
    return false;
}

static kern_status wrong(const char *called, const data_bpe_line *l, const char *what) {
    return kern_fail(KERN_ERR_DATA, "%s: line %lld: %s", called, (long long)l->number, what);
}

static int digit_of(char c) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *place = c ? strchr(digits, c) : NULL;
    return place ? (int)(place - digits) : -1;
}

/* The bytes that `text` [length] is the base64 of, and their number; -1 where it is none. */
static int64_t from_base64(char *bytes, const char *text, int64_t length) {
    int64_t count = 0;
    uint32_t bits = 0;
    if (length == 0 || length % 4 || length > BASE64_LONGEST) return -1;
    int padding = text[length - 1] != '=' ? 0 : text[length - 2] != '=' ? 1 : 2;
    for (int64_t i = 0; i < length; i++) {
        int digit = i >= length - padding ? 0 : digit_of(text[i]);
        if (digit < 0) return -1;
        bits = bits << 6 | (uint32_t)digit;
        if (i % 4 != 3) continue;
        for (int k = 16; k >= 0; k -= 8) bytes[count++] = (char)(bits >> k & 255);
    }
    return count - padding;
}

static int64_t number_of(const char *text, const char *end) {
    int64_t number = 0;
    if (text == end || end - text > 9) return -1;
    for (; text < end; text++) {
        if (*text < '0' || *text > '9') return -1;
        number = number * 10 + (*text - '0');
    }
    return number;
}

/* Padding and nothing else: Whisper's file has "=" for a token without bytes, which nothing is
 * encoded to. */
static bool is_empty(const char *text, const char *end) {
    while (text < end && *text == '=') text++;
    return text == end;
}

kern_status data_bpe_read_ranks(data_bpe *bpe, const char *file, size_t bytes, const char *called) {
    kern_status status = KERN_OK;
    const char *at = file;
    char token[BASE64_LONGEST];
    for (data_bpe_line l = {0}; data_bpe_next_line(&l, &at, file + bytes);) {
        const char *space = memchr(l.begin, ' ', (size_t)(l.end - l.begin));
        int64_t length = space ? from_base64(token, l.begin, space - l.begin) : -1;
        int64_t rank = space ? number_of(space + 1, l.end) : -1;
        bool empty = space > l.begin && is_empty(l.begin, space);
        if ((length <= 0 && !empty) || length > DATA_BPE_LONGEST || rank < 0)
            TRY(wrong(called, &l, "is not a token in base64, a space and its rank"));
        if (!(empty ? data_bpe_put_empty(bpe, rank) : data_bpe_put_token(bpe, rank, token, length)))
            TRY(wrong(called, &l, "its rank is taken or too large"));
    }
    TRY(data_bpe_index_tokens(bpe, called));
    data_bpe_pair_by_rank(bpe);
    bpe->whole_first = true;
done:
    return status;
}

/* A merge "a b": the bytes of both, one behind the other, and how many are the left one's. */
static kern_status read_merge(char *bytes, int64_t *left, int64_t *length, const char *called,
                              const data_bpe_line *l) {
    const char *space = memchr(l->begin, ' ', (size_t)(l->end - l->begin));
    int64_t right = -1;
    *left = space ? data_bpe_from_alphabet(bytes, l->begin, space - l->begin) : -1;
    if (*left > 0) right = data_bpe_from_alphabet(bytes + *left, space + 1, l->end - space - 1);
    if (right <= 0) return wrong(called, l, "is not two tokens with a space between");
    *length = *left + right;
    return *length <= DATA_BPE_LONGEST ? KERN_OK : wrong(called, l, "makes a token too long");
}

/* Calls for each merge: first to put the tokens, then, when all can be found, the pairs. */
static kern_status read_all_merges(data_bpe *bpe, const char *file, size_t bytes,
                                   const char *called, bool pairs) {
    kern_status status = KERN_OK;
    char token[2 * DATA_BPE_LONGEST];
    const char *at = file;
    int64_t left = 0, length = 0, rank = 0;
    for (data_bpe_line l = {0}; data_bpe_next_line(&l, &at, file + bytes);) {
        if (l.number == 1 && *l.begin == '#') continue;
        TRY(read_merge(token, &left, &length, called, &l));
        int32_t id = (int32_t)rank + 256;
        rank++;
        if (!pairs) {
            if (!data_bpe_put_token(bpe, id, token, length))
                TRY(wrong(called, &l, "is one merge too many"));
            continue;
        }
        int32_t a = data_bpe_find_token(bpe, token, left);
        int32_t b = data_bpe_find_token(bpe, token + left, length - left);
        if (a < 0 || b < 0) TRY(wrong(called, &l, "merges what no line makes"));
        data_bpe_put_pair(bpe, a, b, id, id);
    }
    if (rank == 0) TRY(kern_fail(KERN_ERR_DATA, "%s: has no merges", called));
done:
    return status;
}

kern_status data_bpe_read_merges(data_bpe *bpe, const char *file, size_t bytes,
                                 const char *called) {
    kern_status status = KERN_OK;
    for (int i = 0; i < 256; i++) {
        char byte = (char)data_bpe_alphabet_byte(i);
        data_bpe_put_token(bpe, i, &byte, 1);
    }
    TRY(read_all_merges(bpe, file, bytes, called, false));
    TRY(data_bpe_index_tokens(bpe, called));
    TRY(read_all_merges(bpe, file, bytes, called, true));
done:
    return status;
}
