/* What patterns match, over all characters, against the regular expressions of others. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "data/bpe_pattern.h"
#include "data/bpe_unicode.h"
#include "tests/data/files.h"

#include <pcre2.h>

enum { CHARACTERS = 0x110000 - 0x800, BLOCK = 1000 };

/* How many characters match, and these as the digits of a number of base 31, modulo 2^32: of
 * tiktoken 0.14, and those with \\w, \\W or ^ after a brace of tokenizers 0.23; both Unicode 16. */
static const struct {
    const char *regex;
    int count;
    uint32_t digest;
} rows[] = {
    {"\\p{Lu}", 1858, 0x83405ae1},
    {"\\p{Ll}", 2258, 0x7f0eb033},
    {"\\p{Lt}", 31, 0x554c4736},
    {"\\p{Lm}", 404, 0xbee4a160},
    {"\\p{Lo}", 136477, 0x9671dd90},
    {"\\p{Mn}", 2020, 0x1512f34d},
    {"\\p{Mc}", 468, 0x62ef7351},
    {"\\p{Me}", 13, 0x4644c44d},
    {"\\p{Nd}", 760, 0x40761edc},
    {"\\p{Nl}", 236, 0x97014e2b},
    {"\\p{No}", 915, 0xb517869a},
    {"\\p{Pc}", 10, 0x2e6a72e6},
    {"\\p{Pd}", 27, 0x2253a37f},
    {"\\p{Ps}", 79, 0xe388c0e1},
    {"\\p{Pe}", 77, 0xd132f04a},
    {"\\p{Pi}", 12, 0xcfa4a291},
    {"\\p{Pf}", 10, 0x4a0f1a44},
    {"\\p{Po}", 640, 0x216676ac},
    {"\\p{Sm}", 950, 0x0348455d},
    {"\\p{Sc}", 63, 0x513475e9},
    {"\\p{Sk}", 125, 0xac907178},
    {"\\p{So}", 7376, 0x9ef2d37d},
    {"\\p{Zs}", 17, 0x3727172b},
    {"\\p{Zl}", 1, 0x00002028},
    {"\\p{Zp}", 1, 0x00002029},
    {"\\p{Cc}", 65, 0x55df867f},
    {"\\p{Cf}", 170, 0x904f34db},
    {"\\p{Cn}", 819533, 0x724ea23e},
    {"\\p{Co}", 137468, 0xea43483e},
    {"\\p{L}", 141028, 0x7c7aa1ea},
    {"\\p{LC}", 4147, 0x365adc36},
    {"\\p{M}", 2501, 0x417cbded},
    {"\\p{N}", 1911, 0xc1066893},
    {"\\p{P}", 855, 0x4cd13a95},
    {"\\p{S}", 8514, 0xa8611377},
    {"\\p{Z}", 19, 0x090b83ca},
    {"\\p{C}", 957236, 0xba5fe9ba},
    {"\\p{Han}", 99030, 0x381004d2},
    {"\\pL", 141028, 0x7c7aa1ea},
    {"\\PL", 971036, 0x2078e31e},
    {"\\P{M}", 1109563, 0x079955db},
    {"\\P{Mn}", 1110044, 0x0124ad5f},
    {"\\P{C}", 154828, 0xcaeab792},
    {"\\P{Cn}", 292531, 0x72285594},
    {"\\P{Han}", 1013034, 0xb29874fc},
    {"\\p{lu}", 1858, 0x83405ae1},
    {"[^\\r\\n\\p{L}\\p{N}]", 969123, 0xbc603516},
    {"[^\\s\\p{L}\\p{N}]", 969100, 0xaf97e0a7},
    {"[^\\r\\n\\p{L}\\p{P}\\p{S}]", 961665, 0x27759391},
    {"[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]", 141271, 0x4d892c0c},
    {"[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]", 141640, 0x59602ee4},
    {"[\\p{Mn}a-f]", 2026, 0x0e1cee30},
    {"[^\\p{Mn}\\p{Lo}]", 973567, 0xa5035221},
    {"[\\P{L}x-z^-]", 971039, 0xa81d36cb},
    {"[^\\P{L}\\p{Ll}]", 138770, 0x3153e485},
    {"[^\\P{Nd}]", 760, 0x40761edc},
    {"[\\P{Cn}]", 292531, 0x72285594},
    {"[^\\pL\\PM]", 2501, 0x417cbded},
    {"\\d", 760, 0x40761edc},
    {"\\D", 1111304, 0x98442c8e},
    {"[\\D]", 1111304, 0x98442c8e},
    {"[^\\D]", 760, 0x40761edc},
    {"[^\\d\\s]", 1111279, 0xa3463504},
    {"[\\S]", 1112039, 0x27d0a6d8},
    {"\\S", 1112039, 0x27d0a6d8},
    {"[^\\S\\p{N}]", 25, 0xc16bf75a},
    {"[]\\p{Nd}^-]", 763, 0x72e7e96a},
    {"\\p{Greek}", 518, 0x85082640},
    {"[^\\P{Greek}]", 518, 0x85082640},
    {"\\P{Any}", 0, 0x00000000},
    {"[\\x{30}-\\x{39}\\-a]", 12, 0xcaab8caf},
    {"[\\w\\-]", 144666, 0x8e83b216},
    {"[^\\w]", 967399, 0xabc5ffcd},
    {"[^\\W\\d]", 143905, 0xc7d64fed},
    {"[\\W_]", 967400, 0xba64637e},
    {"\\p{^L}", 971036, 0x2078e31e},
    {"\\P{^Lu}", 1858, 0x83405ae1},
    {"[\\p{^Nd}]", 1111304, 0x98442c8e},
};

static int64_t put_character(char *to, uint32_t c) {
    unsigned char bytes[4] = {(unsigned char)c};
    int64_t length = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (int64_t i = length - 1; i > 0; i--, c >>= 6) bytes[i] = (unsigned char)(0x80 | (c & 63));
    if (length > 1) bytes[0] = (unsigned char)((0xF00 >> length & 0xFF) | c);
    memcpy(to, bytes, (size_t)length);
    return length;
}

/* Every character once; free() it. At byte starts[i] begins the i-th; starts [CHARACTERS + 1]. */
static char *all_characters(uint32_t *starts) {
    char *text = malloc(4 * (size_t)CHARACTERS);
    assert_non_null(text);
    int64_t bytes = 0;
    for (uint32_t c = 0; c < 0x110000; c++) {
        if (c >= 0xD800 && c < 0xE000) continue;
        *starts++ = (uint32_t)bytes;
        bytes += put_character(text + bytes, c);
    }
    *starts = (uint32_t)bytes;
    return text;
}

static bool newer_library(void) {
    char version[64];
    pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, version);
    return strtol(version, NULL, 10) > DATA_BPE_UNICODE;
}

/* In blocks, of which most have only characters that PCRE2 knows. */
static void check_row(data_bpe_matcher *matcher, size_t row, const char *text,
                      const uint32_t *starts) {
    data_bpe_pattern *pattern;
    int count = 0;
    uint32_t digest = 0;
    assert_ok(data_bpe_pattern_create(&pattern, rows[row].regex, "made"));
    for (int64_t first = 0; first < CHARACTERS; first += BLOCK) {
        const char *block = text + starts[first];
        int64_t behind = first + BLOCK < CHARACTERS ? first + BLOCK : CHARACTERS;
        int64_t bytes = starts[behind] - starts[first], begin, end = 0, i = first;
        bool plain = data_bpe_pattern_plain(pattern, block, bytes);
        data_bpe_found found;
        while (true) {
            assert_ok(data_bpe_match(&found, &begin, &end, matcher, pattern, block, bytes, end,
                                     true, plain));
            if (found != DATA_BPE_MATCH) break;
            while (starts[i] - starts[first] < begin) i++;
            digest = digest * 31 + (uint32_t)(i < 0xD800 ? i : i + 0x800);
            count++;
        }
    }
    if (count != rows[row].count || digest != rows[row].digest)
        fail_msg("%s: %d characters, digest %08x", rows[row].regex, count, digest);
    data_bpe_pattern_destroy(pattern);
}

static void test_every_character(void **state) {
    (void)state;
    if (newer_library()) skip();
    uint32_t *starts = malloc((CHARACTERS + 1) * sizeof *starts);
    assert_non_null(starts);
    char *text = all_characters(starts);
    data_bpe_matcher *matcher;
    assert_ok(data_bpe_matcher_create(&matcher));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) check_row(matcher, i, text, starts);
    data_bpe_matcher_destroy(matcher);
    free(starts);
    free(text);
}

/* Each character alone among others, at different places in a text; those found are the ones of
 * which tiktoken 0.14 and PCRE2 10.42 say different things. */
static void test_finds_later_characters(void **state) {
    (void)state;
    int count = 0;
    uint32_t digest = 0;
    for (uint32_t c = 0; c < 0x110000; c++) {
        char text[200];
        if (c >= 0xD800 && c < 0xE000) continue;
        memset(text, 'a', sizeof text);
        memcpy(text + 100, "\xE3\x80\x81\xD0\xB0\xF0\x9F\x98\x80", 9);
        put_character(text + 1 + c % 90, c);
        bool found = data_bpe_unicode_has_later(text, 109 + c % 91);
        if (found) digest = digest * 31 + c;
        count += found;
    }
    assert_int_equal(count, 10302);
    assert_int_equal(digest, 0x35eb2f56u);
}

/* The patterns of a class of which something was taken out are still the same pattern. */
static void test_around_what_was_moved(void **state) {
    (void)state;
    static const struct {
        const char *regex, *text;
        int64_t begin, end;
    } cases[] = {
        {"x[a\\P{L}-]+", "bxa-1ab", 1, 6},
        {"[+-9\\P{N}]{2}$", "a1ab,", 3, 5},
        {"[^\\P{L}^]+\\d", "^ab^cd1", 4, 7},
        {"(?<=\\p{Mn}|x)b", "bxb", 2, 3},
        {"[\\P{L}^a]+", "b^a1ab", 1, 5},
        {"[]\\PL^]+", "a]^1]b", 1, 5},
        {"(?i:K|S)\\pL", "\xE2\x84\xAA\xC5\xBF", 0, 5},
    };
    data_bpe_matcher *matcher;
    assert_ok(data_bpe_matcher_create(&matcher));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        data_bpe_pattern *pattern;
        data_bpe_found found;
        int64_t begin = -1, end = -1;
        assert_ok(data_bpe_pattern_create(&pattern, cases[i].regex, "made"));
        assert_ok(data_bpe_match(&found, &begin, &end, matcher, pattern, cases[i].text,
                                 (int64_t)strlen(cases[i].text), 0, true, false));
        if (found != DATA_BPE_MATCH || begin != cases[i].begin || end != cases[i].end)
            fail_msg("%s: %lld to %lld", cases[i].regex, (long long)begin, (long long)end);
        data_bpe_pattern_destroy(pattern);
    }
    data_bpe_matcher_destroy(matcher);
}

static void test_refuses(void **state) {
    (void)state;
    static const struct {
        const char *regex, *word;
    } cases[] = {
        {"[a-\\p{L}]", "'-\\p' at byte 2"},   {"[\\p{L}-z]", "'-' at byte 6"},
        {"[a--b]", "'--' at byte 2"},         {"[a~~b]", "'~~' at byte 2"},
        {"[a&&b]", "'&&' at byte 2"},         {"[a[b]]", "'[' at byte 2"},
        {"x[ab", "without an end at byte 1"}, {"a\\p{L", "'\\p{' at byte 1"},
        {"a\\p", "'\\p' at byte 1"},          {"\\p{Nonsense}", "unknown property"},
        {"a\\hb", "'\\h' at byte 1"},         {"ab\\", "at byte 2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        data_bpe_pattern *pattern;
        assert_failure(data_bpe_pattern_create(&pattern, cases[i].regex, "made.json"),
                       KERN_ERR_DATA, "made.json", cases[i].word, NULL);
        assert_null(pattern);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_character),
        cmocka_unit_test(test_finds_later_characters),
        cmocka_unit_test(test_around_what_was_moved),
        cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
