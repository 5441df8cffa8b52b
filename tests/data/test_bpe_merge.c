/* Merging against its definition, known patterns against PCRE2, and the worst texts. */
#include "tests/data/tokenizers.h"

/* The definition: the lowest rank first, the leftmost of equals, found by looking at all. */
static data_tokens merge_plainly(const data_vocabulary *gpt2, const char *text, int64_t bytes) {
    char **parts = malloc((size_t)bytes * sizeof *parts);
    for (int64_t i = 0; i < bytes; i++) parts[i] = strndup(text + i, 1);
    data_tokens tokens = {0};
    assert_ok(data_tokens_reserve(&tokens, bytes + 1));
    for (;;) {
        int64_t best = -1;
        int32_t best_id = INT32_MAX;
        for (int64_t i = 0; i + 1 < bytes; i++) {
            char both[512];
            snprintf(both, sizeof both, "%s%s", parts[i], parts[i + 1]);
            for (int32_t id = 256; id < best_id && id < 600; id++) {
                const char *token;
                int64_t length = gpt2->decode(&token, gpt2, id);
                if (length != (int64_t)strlen(both) || memcmp(token, both, (size_t)length))
                    continue;
                best_id = id;
                best = i;
                break;
            }
        }
        if (best < 0) break;
        parts[best] = realloc(parts[best], strlen(parts[best]) + strlen(parts[best + 1]) + 1);
        strcat(parts[best], parts[best + 1]);
        free(parts[best + 1]);
        memmove(parts + best + 1, parts + best + 2, (size_t)(--bytes - best - 1) * sizeof *parts);
    }
    for (int64_t i = 0; i < bytes; i++) {
        for (int32_t id = 0; id < 600; id++) {
            const char *token;
            int64_t length = gpt2->decode(&token, gpt2, id);
            if (length == (int64_t)strlen(parts[i]) && !memcmp(token, parts[i], (size_t)length))
                tokens.ids[tokens.count++] = id;
        }
        free(parts[i]);
    }
    free(parts);
    return tokens;
}

/* A vocabulary of 344 merges in both kinds of file, and pieces on both sides of the length from
 * which on a heap is used. */
static void test_merging_against_its_definition(void **state) {
    (void)state;
    data_vocabulary *gpt2 = open_tokenizer("gpt2_vocab.bpe.gz", NULL), *few;
    data_bpe_options all = {.pattern = "[\\s\\S]+"};
    uint64_t random = 1;
    size_t bytes = 0;
    for (int lines = 0; lines < 345; bytes++) lines += gpt2->file[bytes] == '\n';
    assert_ok(data_bpe_parse(&few, gpt2->file, bytes, "few", &all));
    assert_int_equal(few->size, 601);
    assert_int_equal(few->bos, 600);
    for (int round = 0; round < 120; round++) {
        static const char letters[] = "ttthheeeaanniioorrss  dl";
        char text[200];
        int64_t length = 1 + (int64_t)(next_random(&random) % (round < 60 ? 80 : 200));
        uint64_t kinds = 1 + next_random(&random) % (sizeof letters - 1);
        for (int64_t i = 0; i < length; i++) text[i] = letters[next_random(&random) % kinds];
        data_tokens plain = merge_plainly(few, text, length);
        data_tokens tokens = encode_all(few, text, length, 0, false);
        assert_same_tokens(&tokens, &plain, "random letters");
        free(tokens.ids);
        free(plain.ids);
    }
    data_vocabulary_destroy(few);
    data_vocabulary_destroy(gpt2);
}

static void append_character(char *text, int64_t *bytes, uint32_t c) {
    char *out = text + *bytes;
    if (c < 0x80) {
        out[0] = (char)c;
        *bytes += 1;
    } else if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 63));
        *bytes += 2;
    } else {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 63));
        out[2] = (char)(0x80 | (c & 63));
        *bytes += 3;
    }
}

static const char common[] = "thE's LL've reMd sT 12\n\n \r\t.\"-/''\x1c,";

static void append_letter(char *text, int64_t *bytes, unsigned char byte) {
    append_character(text, bytes, byte > 32 && byte < 127 ? byte : 0x100u + byte);
}

/* Any two of those characters merge, so that each border between pieces shows in the tokens. */
static data_vocabulary *open_pairs(const char *pattern) {
    char merges[1 << 14], seen[256] = {0};
    int64_t bytes = 0;
    data_vocabulary *vocabulary;
    data_bpe_options options = {.pattern = pattern};
    for (size_t i = 0; i < sizeof common - 1; i++) {
        for (size_t k = 0; k < sizeof common - 1 && !seen[(unsigned char)common[i]]; k++) {
            if (memchr(common, common[k], k)) continue;
            append_letter(merges, &bytes, (unsigned char)common[i]);
            merges[bytes++] = ' ';
            append_letter(merges, &bytes, (unsigned char)common[k]);
            merges[bytes++] = '\n';
        }
        seen[(unsigned char)common[i]] = 1;
    }
    assert_ok(data_bpe_parse(&vocabulary, merges, (size_t)bytes, "pairs", &options));
    return vocabulary;
}

/* Words of ASCII take a shorter way in the known patterns. Written with brackets around it, a
 * pattern is not known; the tokens are the same. And however the text is cut into calls. */
static void test_known_patterns_cut_as_written(void **state) {
    (void)state;
    static const char *const names[] = {"gpt2", "cl100k_base", "o200k_base"};
    static const char *const written[] = {
        "(?:'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+)",
        "(?:(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
        " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+)",
        "(?:[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}"
        "]+"
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+"
        "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}|"
        " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+)",
    };
    static const uint32_t foreign[] = {0xE9, 0x301, 0x17F, 0x4E2D, 0xA0, 0x180E, 0x2028, 0x660};
    uint64_t random = 3;
    char text[1600];
    for (int v = 0; v < 3; v++) {
        data_vocabulary *known = open_pairs(names[v]);
        data_vocabulary *plain = open_pairs(written[v]);
        for (int round = 0; round < 500; round++) {
            int64_t bytes = 0;
            while (bytes < 300) {
                uint64_t dice = next_random(&random);
                append_character(text, &bytes,
                                 dice % 16 ? (uint32_t)common[(dice >> 8) % (sizeof common - 1)]
                                           : foreign[(dice >> 8) % 8]);
                if (dice >> 60 == 0) text[bytes++] = (char)0xC3; /* not UTF-8, as a rule */
            }
            data_tokens a = encode_all(known, text, bytes, 0, false);
            data_tokens b = encode_all(plain, text, bytes, 0, false);
            data_tokens c = encode_all(known, text, bytes, 1 + round % 40, false);
            assert_same_tokens(&a, &b, names[v]);
            assert_same_tokens(&c, &a, "in pieces");
            assert_round_trip(known, text, bytes);
            free(a.ids);
            free(b.ids);
            free(c.ids);
        }
        data_vocabulary_destroy(known);
        data_vocabulary_destroy(plain);
    }
}

/* A megabyte of one thing: merging that looks at all pairs each time would take hours. */
static void test_worst_cases(void **state) {
    (void)state;
    enum { BYTES = 1 << 20 };
    static const char *const units[] = {"a", " ", "\xF0\x9F\x98\x80", "\xFF", "'", "A\n"};
    char *text = malloc(BYTES);
    data_vocabulary *gpt2 = open_tokenizer("gpt2_vocab.bpe.gz", "o200k_base");
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        size_t length = strlen(units[u]);
        for (size_t i = 0; i < BYTES; i++) text[i] = units[u][i % length];
        double begin = kern_seconds();
        assert_round_trip(gpt2, text, BYTES);
        assert_true(kern_seconds() - begin < 60);
    }
    data_vocabulary_destroy(gpt2);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merging_against_its_definition),
        cmocka_unit_test(test_known_patterns_cut_as_written),
        cmocka_unit_test(test_worst_cases),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
