/* Merging against its definition, known patterns against PCRE2, and the worst texts. */
#include <time.h>

#include "tests/data/tokenizers.h"
#include "tests/sanitized.h"

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

/* The first 344 merges of GPT-2, and pieces on both sides of the shortest length that is merged
 * another way. */
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
    for (int round = 0; round < 120; round += SANITIZED ? 4 : 1) {
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

enum { MERGES = 1400, LONGEST_PART = 64 };

/* A list of merges in any order: a merge may come before those that make its halves. Tokens are
 * ids: 0..93 printable characters, 256.. the merges. */
typedef struct {
    int32_t left[MERGES], right[MERGES];
    char text[256 + MERGES][LONGEST_PART];
    int64_t count;
} merge_list;

static void begin_merges(merge_list *list) {
    memset(list, 0, sizeof *list);
    for (int i = 0; i < 94; i++) list->text[i][0] = (char)(33 + i);
}

/* Unless another merge gives the same text. */
static void add_merge(merge_list *list, int32_t left, int32_t right) {
    char both[2 * LONGEST_PART];
    int length = snprintf(both, sizeof both, "%s%s", list->text[left], list->text[right]);
    if (length >= LONGEST_PART || list->count == MERGES) return;
    for (int64_t i = 0; i < list->count; i++)
        if (!strcmp(list->text[256 + i], both)) return;
    list->left[list->count] = left;
    list->right[list->count] = right;
    strcpy(list->text[256 + list->count++], both);
}

/* The vocabulary of these merges in the order given: merge order[i] has rank i. */
static data_vocabulary *open_merges(const merge_list *list, const int32_t *order) {
    char *file = malloc((MERGES + 1) * 2 * LONGEST_PART);
    int64_t bytes = sprintf(file, "#version\n"); /* or '#' would begin another such line */
    data_vocabulary *vocabulary;
    data_bpe_options all = {.pattern = "[\\s\\S]+"};
    for (int64_t i = 0; i < list->count; i++)
        bytes += sprintf(file + bytes, "%s %s\n", list->text[list->left[order[i]]],
                         list->text[list->right[order[i]]]);
    assert_ok(data_bpe_parse(&vocabulary, file, (size_t)bytes, "merges", &all));
    free(file);
    return vocabulary;
}

/* rank[i] is that of merge i; what tokens at [i, i + 1] merge into, -1 where they do not. */
static int32_t merge_of(const merge_list *list, const int32_t *ids, int64_t i, int64_t count) {
    for (int32_t m = 0; i >= 0 && i + 1 < count && m < list->count; m++)
        if (list->left[m] == ids[i] && list->right[m] == ids[i + 1]) return m;
    return -1;
}

/* By the definition again, with the place of each pair remembered. Ids are those of the file. */
static data_tokens merge_by_list(const merge_list *list, const int32_t *rank, const char *text,
                                 int64_t bytes) {
    data_tokens tokens = {0};
    int32_t *merge = malloc((size_t)bytes * sizeof *merge);
    assert_ok(data_tokens_reserve(&tokens, bytes));
    int32_t *ids = tokens.ids;
    for (int64_t i = 0; i < bytes; i++) ids[i] = text[i] - 33;
    for (int64_t i = 0; i < bytes; i++) merge[i] = merge_of(list, ids, i, bytes);
    for (;;) {
        int64_t best = -1;
        for (int64_t i = 0; i < bytes; i++)
            if (merge[i] >= 0 && (best < 0 || rank[merge[i]] < rank[merge[best]])) best = i;
        if (best < 0) break;
        ids[best] = 256 + merge[best];
        bytes--;
        for (int64_t i = best + 1; i < bytes; i++) {
            ids[i] = ids[i + 1];
            merge[i] = merge[i + 1];
        }
        merge[best] = merge_of(list, ids, best, bytes);
        if (best > 0) merge[best - 1] = merge_of(list, ids, best - 1, bytes);
    }
    for (int64_t i = 0; i < bytes; i++)
        if (ids[i] >= 256) ids[i] = 256 + rank[ids[i] - 256];
    tokens.count = bytes;
    free(merge);
    return tokens;
}

static void assert_merged_as_listed(const merge_list *list, const int32_t *order,
                                    const data_vocabulary *vocabulary, const char *text,
                                    int64_t bytes) {
    int32_t rank[MERGES];
    for (int32_t i = 0; i < list->count; i++) rank[order[i]] = i;
    data_tokens plain = merge_by_list(list, rank, text, bytes);
    data_tokens tokens = encode_all(vocabulary, text, bytes, 0, false);
    assert_same_tokens(&tokens, &plain, "merges in any order");
    free(tokens.ids);
    free(plain.ids);
}

/* Random merges of a few letters, each before or after those that make its halves, and pieces of
 * all the lengths at which another way is taken. */
static void test_merges_in_any_order(void **state) {
    (void)state;
    static const int64_t lengths[] = {1,   2,   15,  16,  17,  23,  24,  25,  26,  64,  240,
                                      255, 256, 257, 258, 272, 480, 495, 496, 511, 512, 900};
    merge_list *list = malloc(sizeof *list);
    int32_t order[MERGES];
    char text[1024];
    uint64_t random = 7;
    for (int round = 0; round < 40; round += SANITIZED ? 5 : 1) {
        int32_t letters = 1 + round % 4;
        begin_merges(list);
        for (int i = 0; i < 60; i++) {
            int32_t half[2];
            for (int k = 0; k < 2; k++) {
                int64_t one = (int64_t)(next_random(&random) % (uint64_t)(letters + list->count));
                half[k] = (int32_t)(one < letters ? one : 256 + one - letters);
            }
            add_merge(list, half[0], half[1]);
        }
        for (int32_t i = 0; i < list->count; i++) {
            int32_t k = (int32_t)(next_random(&random) % (uint64_t)(i + 1));
            order[i] = order[k];
            order[k] = i;
        }
        data_vocabulary *vocabulary = open_merges(list, order);
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
            for (int64_t i = 0; i < lengths[l]; i++)
                text[i] = (char)(33 + next_random(&random) % (uint64_t)letters);
            assert_merged_as_listed(list, order, vocabulary, text, lengths[l]);
        }
        data_vocabulary_destroy(vocabulary);
    }
    free(list);
}

/* A walk along which each pair merges before the one to its left: where its pairs lie depends on
 * its last letter, so that no window that ends in it is right. */
static void test_the_end_decides_the_beginning(void **state) {
    (void)state;
    enum { LETTERS = 89, STEPS = 12, WALK = LETTERS * STEPS };
    merge_list *list = malloc(sizeof *list);
    int32_t order[MERGES];
    char walk[WALK + 1], text[6000];
    uint64_t random = 11;
    begin_merges(list);
    for (int i = 0, letter = 0; i <= WALK; i++) {
        walk[i] = (char)(33 + letter);
        letter = (letter + 1 + i / LETTERS) % LETTERS;
        if (i < WALK) add_merge(list, walk[i] - 33, letter);
    }
    assert_int_equal(list->count, WALK);
    for (int32_t i = 0; i < WALK; i++) order[i] = WALK - 1 - i;
    /* A letter that is left over joins the pair behind it, which was there first. */
    for (int i = 0; i + 1 < WALK; i += 4) {
        order[list->count] = (int32_t)list->count;
        add_merge(list, walk[i] - 33, 256 + i + 1);
    }
    data_vocabulary *vocabulary = open_merges(list, order);
    for (int round = 0; round < 60; round += SANITIZED ? 5 : 1) {
        /* Short stretches of it, long ones, or one over and over. */
        int64_t most = round % 3 == 0 ? 200 : round % 3 == 1 ? WALK : 400, bytes = 0;
        int64_t length = 1 + (int64_t)(next_random(&random) % (uint64_t)most), begin = 0;
        while (bytes + length < (int64_t)sizeof text) {
            memcpy(text + bytes, walk + begin, (size_t)length);
            bytes += length;
            if (round % 3 == 2) continue;
            length = 1 + (int64_t)(next_random(&random) % (uint64_t)most);
            begin = (int64_t)(next_random(&random) % (uint64_t)(WALK + 1 - length));
        }
        assert_merged_as_listed(list, order, vocabulary, text, bytes);
    }
    data_vocabulary_destroy(vocabulary);
    free(list);
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
        for (int round = 0; round < 500; round += SANITIZED ? 5 : 1) {
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

/* A megabyte (sanitized, a quarter) of one thing: merging that looks at all pairs each time would
 * take hours. */
static void test_worst_cases(void **state) {
    (void)state;
    enum { BYTES = SANITIZED ? 1 << 18 : 1 << 20 };
    static const char *const units[] = {"a", " ", "\xF0\x9F\x98\x80", "\xFF", "'", "A\n"};
    char *text = malloc(BYTES);
    data_vocabulary *gpt2 = open_tokenizer("gpt2_vocab.bpe.gz", "o200k_base");
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        size_t length = strlen(units[u]);
        for (size_t i = 0; i < BYTES; i++) text[i] = units[u][i % length];
        clock_t begin = clock(); /* of this process alone: others may use the machine */
        assert_round_trip(gpt2, text, BYTES);
        assert_true(clock() - begin < 60 * CLOCKS_PER_SEC);
    }
    data_vocabulary_destroy(gpt2);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merging_against_its_definition),
        cmocka_unit_test(test_merges_in_any_order),
        cmocka_unit_test(test_the_end_decides_the_beginning),
        cmocka_unit_test(test_known_patterns_cut_as_written),
        cmocka_unit_test(test_worst_cases),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
