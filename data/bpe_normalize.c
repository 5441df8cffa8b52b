#include "data/bpe_normalize.h"
#include "data/utf8.h"
#include "kernels/base.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* The first byte of the first character that a normal form may change, U+0300. */
enum { FIRST_LEAD = 0xCC };

/* The library that is the measure (tokenizers 0.23) knows Unicode 9. These characters came later
 * and have a part in normal forms since; there they have none, whatever utf8proc knows of them.
 * Compared over all characters, and over all pairs that compose in Unicode 18. */
static const struct {
    int32_t first, last;
} inert[] = {
    {0x5c8, 0x5c9},     {0x7fd, 0x7fd},     {0x897, 0x89f},     {0x8ca, 0x8d3},
    {0x9fe, 0x9fe},     {0xc3c, 0xc3c},     {0xd3b, 0xd3c},     {0xeba, 0xeba},
    {0x1715, 0x1715},   {0x1abf, 0x1af0},   {0x1df6, 0x1dfa},   {0xa82c, 0xa82c},
    {0x105c9, 0x105c9}, {0x105d2, 0x105d2}, {0x105da, 0x105da}, {0x105e4, 0x105e4},
    {0x10d24, 0x10d27}, {0x10d69, 0x10d6d}, {0x10eab, 0x10eac}, {0x10ecb, 0x10ecf},
    {0x10ef0, 0x10efb}, {0x10efd, 0x10eff}, {0x10f46, 0x10f50}, {0x10f82, 0x10f85},
    {0x11070, 0x11070}, {0x1133b, 0x1133b}, {0x11382, 0x11385}, {0x1138b, 0x1138b},
    {0x1138e, 0x1138e}, {0x11390, 0x11391}, {0x113b8, 0x113b8}, {0x113bb, 0x113bb},
    {0x113c2, 0x113c2}, {0x113c5, 0x113c5}, {0x113c7, 0x113c9}, {0x113ce, 0x113d0},
    {0x1145e, 0x1145e}, {0x11839, 0x1183a}, {0x11930, 0x11930}, {0x11935, 0x11935},
    {0x11938, 0x11938}, {0x1193d, 0x1193e}, {0x11943, 0x11943}, {0x119e0, 0x119e0},
    {0x11a34, 0x11a34}, {0x11a47, 0x11a47}, {0x11a99, 0x11a99}, {0x11d42, 0x11d42},
    {0x11d44, 0x11d45}, {0x11d97, 0x11d97}, {0x11f41, 0x11f42}, {0x1611e, 0x16129},
    {0x1612f, 0x1612f}, {0x16d63, 0x16d63}, {0x16d67, 0x16d6a}, {0x16ff0, 0x16ff1},
    {0x1d127, 0x1d128}, {0x1d250, 0x1d252}, {0x1d25b, 0x1d25c}, {0x1d25f, 0x1d25f},
    {0x1d280, 0x1d281}, {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae},
    {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef}, {0x1e5ee, 0x1e5ef}, {0x1e6e3, 0x1e6e3},
    {0x1e6e6, 0x1e6e6}, {0x1e6ee, 0x1e6ef}, {0x1e6f5, 0x1e6f5},
};

static bool is_inert(int32_t code) {
    int low = 0, high = sizeof inert / sizeof *inert;
    if (code < inert[0].first) return false;
    while (low < high) {
        int middle = (low + high) / 2;
        if (inert[middle].last < code)
            low = middle + 1;
        else
            high = middle;
    }
    return low < (int)(sizeof inert / sizeof *inert) && inert[low].first <= code;
}

/* Of a whole character. */
static int32_t code_of(const char *text, int length) {
    const unsigned char *t = (const unsigned char *)text;
    if (length == 1) return t[0];
    int32_t code = t[0] & (0xFF >> (length + 1));
    for (int i = 1; i < length; i++) code = code << 6 | (t[i] & 63);
    return code;
}

bool data_bpe_cluster_begins(const char *text, int64_t bytes) {
    if ((unsigned char)*text < FIRST_LEAD) return true;
    int length = data_utf8_character(text, bytes);
    if (length <= 0) return true;
    int32_t code = code_of(text, length);
    if (is_inert(code)) return true;
    if ((code >= 0x1161 && code <= 0x1175) || (code >= 0x11A8 && code <= 0x11C2)) return false;
    utf8proc_category_t category = utf8proc_category(code);
    return category != UTF8PROC_CATEGORY_MN && category != UTF8PROC_CATEGORY_MC &&
           category != UTF8PROC_CATEGORY_ME;
}

/* Of the character that text [bytes] begins with, or of a byte that is of none. */
static int64_t step(const char *text, int64_t bytes) {
    int length = data_utf8_character(text, bytes);
    return length > 0 ? length : 1;
}

int64_t data_bpe_clusters(const char *text, int64_t bytes) {
    int64_t count = 0;
    for (int64_t at = 0; at < bytes; at += step(text + at, bytes - at))
        count += data_bpe_cluster_begins(text + at, bytes - at);
    return count;
}

int64_t data_bpe_cluster_at(const char *text, int64_t bytes, int64_t number) {
    for (int64_t at = 0; at < bytes; at += step(text + at, bytes - at))
        if (data_bpe_cluster_begins(text + at, bytes - at) && number-- == 0) return at;
    return bytes;
}

/* Where the character ends before `end` that begins there, or byte. */
static int64_t step_back(const char *text, int64_t end) {
    for (int64_t at = end - 1; at >= 0 && at >= end - 4; at--)
        if (data_utf8_character(text + at, end - at) == end - at) return at;
    return end - 1;
}

int64_t data_bpe_whole_clusters(const char *text, int64_t bytes) {
    int64_t end = bytes;
    for (int64_t at = bytes - 1; at >= 0 && at >= bytes - 3; at--)
        if (data_utf8_character(text + at, bytes - at) < 0) end = at;
    while (end > 0) {
        int64_t at = step_back(text, end);
        if (data_bpe_cluster_begins(text + at, end - at)) return at;
        end = at;
    }
    return 0;
}

static void append(data_bpe_normal *to, const char *text, int64_t bytes) {
    if (bytes == 0) return;
    to->text = kern_grow(to->text, &to->capacity, to->bytes + bytes, 1);
    memcpy(to->text + to->bytes, text, (size_t)bytes);
    to->bytes += bytes;
}

static unsigned class_of(int32_t code) {
    return (unsigned)utf8proc_get_property(code)->combining_class;
}

static int by_number(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* Marks codes [count] by their classes, those of one class in the order in which they came.
 * utf8proc does so too, but takes the square of their number. */
static void sort_marks(data_bpe_normal *to, int32_t *codes, int64_t count) {
    bool sorted = true;
    for (int64_t i = 1; i < count; i++)
        sorted = sorted && class_of(codes[i - 1]) <= class_of(codes[i]);
    if (sorted) return;
    to->marks = kern_grow(to->marks, &to->marks_capacity, count, sizeof *to->marks);
    for (int64_t i = 0; i < count; i++)
        to->marks[i] = (uint64_t)class_of(codes[i]) << 56 | (uint64_t)i << 21 | (uint64_t)codes[i];
    qsort(to->marks, (size_t)count, sizeof *to->marks, by_number);
    for (int64_t i = 0; i < count; i++) codes[i] = (int32_t)(to->marks[i] & 0x1FFFFF);
}

static void sort_all_marks(data_bpe_normal *to, int64_t count) {
    for (int64_t begin = 0, end; begin < count; begin = end + 1) {
        for (end = begin; end < count && class_of(to->codes[end]) > 0;) end++;
        sort_marks(to, to->codes + begin, end - begin);
    }
}

/* Of characters that are not inert. */
static void append_composed(data_bpe_normal *to, const char *text, int64_t bytes) {
    enum { MOST = 8 }; /* codes that a character consists of, at most 4 */
    int64_t count = 0;
    int ignored = 0;
    for (int64_t at = 0; at < bytes;) {
        int length = data_utf8_character(text + at, bytes - at);
        to->codes = kern_grow(to->codes, &to->codes_capacity, count + MOST, sizeof *to->codes);
        count += utf8proc_decompose_char(code_of(text + at, length), to->codes + count, MOST - 1,
                                         UTF8PROC_COMPOSE, &ignored);
        at += length;
    }
    sort_all_marks(to, count);
    int64_t got = utf8proc_reencode(to->codes, count, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    ASSERT(got > 0);
    append(to, (const char *)to->codes, got);
}

/* How many bytes at the beginning of a cluster stay as they are: those of a character that takes
 * part in nothing. */
static int64_t kept_part(const char *text, int64_t bytes) {
    int length = data_utf8_character(text, bytes);
    if (length <= 0) return 1;
    bool alone = length == bytes && (unsigned char)*text < FIRST_LEAD;
    return alone || is_inert(code_of(text, length)) ? length : 0;
}

void data_bpe_normalize(data_bpe_normal *to, const char *text, int64_t bytes) {
    to->bytes = 0;
    for (int64_t at = 0, end; at < bytes; at = end) {
        end = at;
        while (end < bytes && (unsigned char)text[end] < FIRST_LEAD) end++;
        if (end < bytes && end > at) end = at + step_back(text + at, end - at);
        append(to, text + at, end - at);
        if (end == bytes) break;
        int64_t begin = end;
        do end += step(text + end, bytes - end);
        while (end < bytes && !data_bpe_cluster_begins(text + end, bytes - end));
        int64_t kept = kept_part(text + begin, end - begin);
        append(to, text + begin, kept);
        if (begin + kept < end) append_composed(to, text + begin + kept, end - begin - kept);
    }
}

void data_bpe_normal_free(data_bpe_normal *normal) {
    free(normal->text);
    free(normal->codes);
    free(normal->marks);
}
