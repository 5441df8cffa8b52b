/* Tokenizers against the answers of others: OpenAI's tiktoken (vectors.json, raw_bytes.json) for
 * four vocabularies, Hugging Face's library (splits.json), and a plain quadratic merging. Of three
 * vocabularies tests/data/tokenizer has the tokens that can occur in the vectors. */
#include "tests/data/tokenizers.h"

#include <zlib.h>

static const struct {
    const char *name, *file;
} vocabularies[] = {
    {"gpt2", "gpt2_vocab.bpe.gz"},
    {"cl100k_base", "cl100k_base.part.tiktoken.gz"},
    {"o200k_base", "o200k_base.part.tiktoken.gz"},
    {"llama3", "llama3.part.tiktoken.gz"},
};
enum { VOCABULARIES = 4 };

static void check_vectors(const data_vocabulary *vocabulary, const char *name) {
    json_t *file = load_json("vectors.json"), *vector;
    size_t i;
    assert_int_equal(json_array_size(json_object_get(file, "vectors")), 60);
    json_array_foreach(json_object_get(file, "vectors"), i, vector) {
        int64_t bytes;
        char *text = from_hex(json_string_value(json_object_get(vector, "utf8_hex")), &bytes);
        const json_t *ids = json_object_get(json_object_get(vector, "ids"), name);
        const char *what = json_string_value(json_object_get(vector, "name"));
        for (int64_t piece = 0; piece < 8; piece++) {
            data_tokens tokens = encode_all(vocabulary, text, bytes, piece, false);
            assert_ids(&tokens, ids, what);
            free(tokens.ids);
        }
        assert_round_trip(vocabulary, text, bytes);
        free(text);
    }
    json_decref(file);
}

static void test_vectors(void **state) {
    (void)state;
    for (int i = 0; i < VOCABULARIES; i++) {
        data_vocabulary *vocabulary = open_tokenizer(vocabularies[i].file, vocabularies[i].name);
        assert_string_equal(vocabulary->name, vocabularies[i].name);
        check_vectors(vocabulary, vocabularies[i].name);
        data_vocabulary_destroy(vocabulary);
    }
}

/* As one piece by a pattern that takes all; and, as these do not make patterns and merging meet, by
 * the vocabulary's own pattern. */
static void test_bytes_that_are_not_utf8(void **state) {
    (void)state;
    json_t *file = load_json("raw_bytes.json"), *row;
    for (int v = 0; v < VOCABULARIES; v++) {
        data_vocabulary *vocabulary = open_tokenizer(vocabularies[v].file, vocabularies[v].name);
        const json_t *byte_ids =
            json_object_get(json_object_get(file, "byte_ids"), vocabularies[v].name);
        for (size_t byte = 0; byte < 256; byte++) {
            char text = (char)byte;
            data_tokens tokens = encode_all(vocabulary, &text, 1, 0, false);
            assert_int_equal(tokens.count, 1);
            assert_int_equal(tokens.ids[0], json_integer_value(json_array_get(byte_ids, byte)));
            free(tokens.ids);
        }
        size_t i;
        json_array_foreach(json_object_get(file, "whole_piece"), i, row) {
            int64_t bytes;
            const char *hex = json_string_value(json_object_get(row, "hex"));
            char *text = from_hex(hex, &bytes);
            for (int64_t piece = 0; piece < 3; piece++) {
                data_tokens tokens = encode_all(vocabulary, text, bytes, piece, false);
                assert_ids(&tokens,
                           json_object_get(json_object_get(row, "ids"), vocabularies[v].name), hex);
                free(tokens.ids);
            }
            free(text);
        }
        data_vocabulary_destroy(vocabulary);
    }
    json_decref(file);
}

static void test_sizes_and_special_tokens(void **state) {
    (void)state;
    data_vocabulary *gpt2 = open_tokenizer("gpt2_vocab.bpe.gz", NULL); /* its pattern is known */
    assert_int_equal(gpt2->size, 50257);
    assert_int_equal(gpt2->bos, 50256);
    assert_string_equal(gpt2->pattern, "gpt2");
    assert_string_equal(gpt2->begin, "<|endoftext|>");
    const char *text = "a<|endoftext|>b<|endof";
    data_tokens ordinary = encode_all(gpt2, text, 22, 0, false);
    for (int64_t i = 0; i < ordinary.count; i++) assert_true(ordinary.ids[i] < 50256);
    for (int64_t piece = 0; piece < 23; piece++) {
        data_tokens special = encode_all(gpt2, text, 22, piece, true);
        assert_int_equal(special.count, 3 + 4); /* ..., "<", "|", "end", "of" */
        assert_int_equal(special.ids[0], 64);
        assert_int_equal(special.ids[1], 50256);
        assert_int_equal(special.ids[2], 65);
        free(special.ids);
    }
    free(ordinary.ids);
    /* What was read can be read again from memory: a checkpoint keeps it so. */
    data_vocabulary *again;
    data_bpe_options options = {.pattern = gpt2->pattern, .begin = gpt2->begin};
    assert_ok(data_bpe_parse(&again, gpt2->file, gpt2->file_bytes, "kept", &options));
    assert_string_equal(again->hash, gpt2->hash);
    assert_string_equal(again->name, gpt2->name);
    assert_int_equal(again->bos, gpt2->bos);
    data_vocabulary_destroy(again);
    data_vocabulary_destroy(gpt2);
}

/* GPT-2's vocabulary written as a tokenizer.json, with merges in one of the two ways. */
static json_t *json_of_gpt2(const data_vocabulary *gpt2, bool pairs) {
    json_t *vocab = json_object(), *merges = json_array();
    int64_t id = 0;
    char *file = strndup(gpt2->file, gpt2->file_bytes), *rest = NULL;
    for (char *line = strtok_r(file, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *space = strchr(line, ' ');
        if (!strncmp(line, "#version", 8)) continue;
        json_array_append_new(merges,
                              pairs ? json_pack("[s%, s]", line, (size_t)(space - line), space + 1)
                                    : json_string(line));
        memmove(space, space + 1, strlen(space));
        json_object_set_new(vocab, line, json_integer(256 + id++));
    }
    free(file);
    for (int i = 0; i < 256; i++) { /* the byte alphabet, in the order of ids */
        int character = i < 94    ? 33 + i
                        : i < 106 ? 161 + i - 94
                        : i < 188 ? 174 + i - 106
                                  : 256 + i - 188;
        char text[3] = {(char)character};
        if (character >= 128) {
            text[0] = (char)(0xC0 | character >> 6);
            text[1] = (char)(0x80 | (character & 63));
        }
        json_object_set_new(vocab, text, json_integer(i));
    }
    json_object_set_new(vocab, "<|endoftext|>", json_integer(50256));
    return json_pack("{s:[{s:i, s:s, s:b}], s:n, s:{s:s, s:b}, s:{s:s, s:o, s:o}}", "added_tokens",
                     "id", 50256, "content", "<|endoftext|>", "special", 1, "normalizer",
                     "pre_tokenizer", "type", "ByteLevel", "add_prefix_space", 0, "model", "type",
                     "BPE", "vocab", vocab, "merges", merges);
}

static kern_status parse_json(data_vocabulary **vocabulary, const json_t *value) {
    char *text = json_dumps(value, JSON_COMPACT);
    kern_status status = data_bpe_parse(vocabulary, text, strlen(text), "made.json", NULL);
    free(text);
    return status;
}

static void test_tokenizer_json_of_gpt2(void **state) {
    (void)state;
    data_vocabulary *gpt2 = open_tokenizer("gpt2_vocab.bpe.gz", NULL);
    for (int pairs = 0; pairs < 2; pairs++) {
        data_vocabulary *same;
        json_t *file = json_of_gpt2(gpt2, pairs);
        assert_ok(parse_json(&same, file));
        assert_string_equal(same->hash, gpt2->hash);
        assert_string_equal(same->name, "gpt2");
        assert_int_equal(same->size, 50257);
        assert_int_equal(same->bos, 50256);
        check_vectors(same, "gpt2");
        data_vocabulary_destroy(same);
        json_decref(file);
    }
    data_vocabulary_destroy(gpt2);
}

static void test_several_patterns_and_added_tokens(void **state) {
    (void)state;
    json_t *file = load_json("splits.json"), *row;
    data_vocabulary *vocabulary;
    size_t i;
    assert_ok(parse_json(&vocabulary, json_object_get(file, "tokenizer")));
    assert_int_equal(data_vocabulary_special_id(vocabulary, "<think>"), -1);
    json_array_foreach(json_object_get(file, "cases"), i, row) {
        const json_t *text = json_object_get(row, "text");
        for (int64_t piece = 0; piece < 20; piece += 1 + piece / 5) {
            data_tokens tokens = encode_all(vocabulary, json_string_value(text),
                                            (int64_t)json_string_length(text), piece, true);
            assert_ids(&tokens, json_object_get(row, "ids"), json_string_value(text));
            free(tokens.ids);
        }
        assert_round_trip(vocabulary, json_string_value(text), (int64_t)json_string_length(text));
    }
    data_vocabulary_destroy(vocabulary);
    json_decref(file);
}

static void refused(const json_t *base, const char *key, json_t *value, const char *word) {
    data_vocabulary *vocabulary;
    json_t *file = json_deep_copy(base), *at = file;
    char path[64];
    snprintf(path, sizeof path, "%s", key);
    char *slash = strchr(path, '/');
    if (slash) *slash = 0, at = json_object_get(file, path);
    json_object_set_new(at, slash ? slash + 1 : path, value);
    assert_failure(parse_json(&vocabulary, file), KERN_ERR_DATA, "made.json", word, NULL);
    assert_null(vocabulary);
    json_decref(file);
}

static void test_refuses_by_name(void **state) {
    (void)state;
    json_t *file = load_json("splits.json"), *base = json_object_get(file, "tokenizer");
    refused(base, "normalizer", json_pack("{s:s}", "type", "NFKC"), "normalizer NFKC");
    refused(base, "normalizer",
            json_pack("{s:s,s:[{s:s}]}", "type", "Sequence", "normalizers", "type", "Lowercase"),
            "normalizer Lowercase");
    refused(base, "model/type", json_string("Unigram"), "model type Unigram");
    refused(base, "model/byte_fallback", json_true(), "byte_fallback");
    refused(base, "model/dropout", json_real(0.1), "dropout");
    refused(base, "model/end_of_word_suffix", json_string("</w>"), "end_of_word_suffix");
    refused(base, "pre_tokenizer", json_pack("{s:s}", "type", "Metaspace"), "Metaspace");
    refused(base, "pre_tokenizer", json_null(), "pre_tokenizer");
    refused(base, "pre_tokenizer",
            json_pack("{s:s,s:b}", "type", "ByteLevel", "add_prefix_space", 1), "add_prefix_space");
    refused(base, "pre_tokenizer",
            json_pack("{s:s,s:{s:s},s:s}", "type", "Split", "pattern", "Regex", "[a&&b]",
                      "behavior", "Isolated"),
            "'&&' at byte 2");
    refused(base, "pre_tokenizer",
            json_pack("{s:s,s:{s:s},s:s}", "type", "Split", "pattern", "Regex", "(a", "behavior",
                      "Isolated"),
            "parenthesis");
    refused(base, "pre_tokenizer",
            json_pack("{s:s,s:{s:s},s:s}", "type", "Split", "pattern", "Regex", "a", "behavior",
                      "MergedWithNext"),
            "MergedWithNext");
    refused(base, "model/merges", json_pack("[s]", "zz qq"), "merge 0");
    refused(base, "added_tokens",
            json_pack("[{s:i,s:s,s:b}]", "id", 3, "content", "x", "lstrip", 1), "lstrip");
    json_decref(file);
    data_vocabulary *vocabulary;
    const struct {
        const char *text, *pattern, *begin, *word;
        kern_status status;
    } rows[] = {
        {"", NULL, NULL, "no merges", KERN_ERR_DATA},
        {"#version: 0.2\nh e\nhe l l\n", NULL, NULL, "line 3", KERN_ERR_DATA},
        {"#version: 0.2\nh e\nq rs\n", NULL, NULL, "line 3: merges", KERN_ERR_DATA},
        {"#version: 0.2\nh e\nh e\n", NULL, NULL, "same bytes", KERN_ERR_DATA},
        {"IQ== 0\nIg== x\n", "gpt2", NULL, "line 2", KERN_ERR_DATA},
        {"IQ== 0\nIg== 0\n", "gpt2", NULL, "taken", KERN_ERR_DATA},
        {"IQ== 0\nIg== 99999999\n", "gpt2", NULL, "large", KERN_ERR_DATA},
        {"IQ== 0\nIg=a 1\n", "gpt2", NULL, "line 2", KERN_ERR_DATA},
        {"IQ== 0\nIg== 1\n", "gpt2", NULL, "byte 0x00 has no token", KERN_ERR_DATA},
        {"#version: 0.2\nh e\n", "gpt3", NULL, "no pattern is called 'gpt3'", KERN_ERR_USAGE},
        {"#version: 0.2\nh e\n", NULL, "<bos>", "called <bos>", KERN_ERR_USAGE},
        {"{\"model\": [}", NULL, NULL, "line 1", KERN_ERR_DATA},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        data_bpe_options options = {rows[i].pattern, rows[i].begin};
        assert_failure(
            data_bpe_parse(&vocabulary, rows[i].text, strlen(rows[i].text), "made", &options),
            rows[i].status, rows[i].word, NULL);
        assert_null(vocabulary);
    }
    assert_failure(data_bpe_open(&vocabulary, "/nowhere/x", NULL), KERN_ERR_FILE, "/nowhere/x",
                   NULL);
}

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

/* Words of ASCII take a shorter way in the known patterns. Written with brackets around it, a
 * pattern is not known; the tokens are the same. And however the text is cut into calls. */
static void test_known_patterns_cut_as_written(void **state) {
    (void)state;
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
        data_vocabulary *known = open_tokenizer("gpt2_vocab.bpe.gz", vocabularies[v].name);
        data_vocabulary *plain = open_tokenizer("gpt2_vocab.bpe.gz", written[v]);
        for (int round = 0; round < 200; round++) {
            int64_t bytes = 0;
            while (bytes < 300) {
                uint64_t dice = next_random(&random);
                static const char common[] = "thE's LL've reMd sT 12\n \r\t.\"-";
                append_character(text, &bytes,
                                 dice % 16 ? (uint32_t)common[(dice >> 8) % 30]
                                           : foreign[(dice >> 8) % 8]);
                if (dice >> 60 == 0) text[bytes++] = (char)0xC3; /* not UTF-8, as a rule */
            }
            data_tokens a = encode_all(known, text, bytes, 0, false);
            data_tokens b = encode_all(plain, text, bytes, 0, false);
            data_tokens c = encode_all(known, text, bytes, 1 + round % 40, false);
            assert_same_tokens(&a, &b, vocabularies[v].name);
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
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_bytes_that_are_not_utf8),
        cmocka_unit_test(test_sizes_and_special_tokens),
        cmocka_unit_test(test_tokenizer_json_of_gpt2),
        cmocka_unit_test(test_several_patterns_and_added_tokens),
        cmocka_unit_test(test_refuses_by_name),
        cmocka_unit_test(test_merging_against_its_definition),
        cmocka_unit_test(test_known_patterns_cut_as_written),
        cmocka_unit_test(test_worst_cases),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
