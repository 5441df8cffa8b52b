/* Tokenizers against the answers of others: OpenAI's tiktoken (vectors.json, unicode16.json of
 * characters that came with Unicode 15 to 16, raw_bytes.json) for four vocabularies, and Hugging
 * Face's library (splits.json). Of three vocabularies tests/data/tokenizer has the tokens that can
 * occur in the vectors. */
#include "data/bpe_model.h"
#include "tests/data/tokenizers.h"

static const struct {
    const char *name, *file;
} vocabularies[] = {
    {"gpt2", "gpt2_vocab.bpe.gz"},
    {"cl100k_base", "cl100k_base.part.tiktoken.gz"},
    {"o200k_base", "o200k_base.part.tiktoken.gz"},
    {"llama3", "llama3.part.tiktoken.gz"},
};
enum { VOCABULARIES = 4 };

static void check_file(const data_vocabulary *vocabulary, const char *name, const char *vectors,
                       size_t count) {
    json_t *file = load_json(vectors), *vector;
    size_t i;
    assert_int_equal(json_array_size(json_object_get(file, "vectors")), count);
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

static void check_vectors(const data_vocabulary *vocabulary, const char *name) {
    check_file(vocabulary, name, "vectors.json", 60);
    check_file(vocabulary, name, "unicode16.json", 20);
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

/* Written by others with a byte order mark, or with options that ask for nothing. */
static void test_marked_files(void **state) {
    (void)state;
    data_vocabulary *gpt2 = open_tokenizer("gpt2_vocab.bpe.gz", NULL), *marked;
    json_t *file = json_of_gpt2(gpt2, false);
    json_object_set_new(json_object_get(file, "model"), "dropout", json_real(0));
    char *json = json_dumps(file, JSON_COMPACT);
    const char *texts[] = {gpt2->file, json};
    const size_t bytes[] = {gpt2->file_bytes, strlen(json)};
    for (int i = 0; i < 2; i++) {
        char *text = malloc(bytes[i] + 3);
        assert_non_null(text);
        memcpy(text, "\xEF\xBB\xBF", 3);
        memcpy(text + 3, texts[i], bytes[i]);
        assert_ok(data_bpe_parse(&marked, text, bytes[i] + 3, "marked", NULL));
        assert_string_equal(marked->hash, gpt2->hash);
        data_vocabulary_destroy(marked);
        free(text);
    }
    free(json);
    json_decref(file);
    data_vocabulary_destroy(gpt2);
}

static void test_refuses_by_name(void **state) {
    (void)state;
    json_t *file = load_json("splits.json"), *base = json_object_get(file, "tokenizer");
    refused(base, "normalizer", json_pack("{s:s}", "type", "NFKC"), "normalizer NFKC");
    refused(base, "normalizer",
            json_pack("{s:s,s:[{s:s},{s:s}]}", "type", "Sequence", "normalizers", "type", "NFC",
                      "type", "Prepend"),
            "normalizer Prepend");
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
            json_pack("{s:s,s:[{s:s},{s:s}]}", "type", "Sequence", "pretokenizers", "type",
                      "ByteLevel", "type", "Metaspace"),
            "pre_tokenizer Metaspace");
    refused(base, "pre_tokenizer", json_pack("{s:s}", "type", "Digits"), "without ByteLevel");
    refused(base, "pre_tokenizer",
            json_pack("{s:s,s:{s:s},s:s}", "type", "Split", "pattern", "Regex", "[a&&b]",
                      "behavior", "Isolated"),
            "'&&' at byte 2");
    refused(base, "pre_tokenizer",
            json_pack("{s:s,s:{s:s},s:s}", "type", "Split", "pattern", "Regex", "(a", "behavior",
                      "Isolated"),
            "parenthesis");
    refused(base, "pre_tokenizer",
            json_pack("{s:s,s:{s:s},s:s}", "type", "Split", "pattern", "Regex", "a(?im-x:.)",
                      "behavior", "Isolated"),
            "option m of a(?im-x:.)");
    refused(base, "pre_tokenizer",
            json_pack("{s:s,s:{s:s},s:s}", "type", "Split", "pattern", "Regex", "a", "behavior",
                      "MergedWithAll"),
            "MergedWithAll");
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

static char base64_digit(int value) {
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[value];
}

static void assert_tokens(const data_vocabulary *vocabulary, const char *text, int64_t count,
                          const int32_t *ids) {
    data_tokens expected = {.ids = (int32_t *)(uintptr_t)ids, .count = count};
    data_tokens got = encode_all(vocabulary, text, (int64_t)strlen(text), 0, false);
    assert_same_tokens(&got, &expected, text);
    free(got.ids);
}

/* "abc" is a token that merging "a b" first never makes: it is found where whole pieces are looked
 * up before merging, and nowhere else. */
static void test_tokens_out_of_reach(void **state) {
    (void)state;
    static const char merges[] = "#version: 0.2\na b\nb c\na bc\n";
    data_vocabulary *vocabulary;
    assert_ok(data_bpe_parse(&vocabulary, merges, sizeof merges - 1, "made", NULL));
    assert_tokens(vocabulary, "abc", 2, (int32_t[]){256, 66}); /* c is 33 + 66 */
    assert_tokens(vocabulary, "bc", 1, (int32_t[]){257});
    data_vocabulary_destroy(vocabulary);
    data_vocabulary *gpt2 = open_tokenizer("gpt2_vocab.bpe.gz", NULL);
    json_t *file = json_of_gpt2(gpt2, false), *model = json_object_get(file, "model");
    json_object_set_new(model, "merges", json_pack("[s,s,s]", "l o", "o w", "l ow"));
    for (int whole = 0; whole < 2; whole++) {
        json_object_set_new(model, "ignore_merges", json_boolean(whole));
        assert_ok(parse_json(&vocabulary, file));
        if (whole) /* " the" too, which no merge makes any more */
            assert_tokens(vocabulary, "low the", 2, (int32_t[]){9319, 262});
        else
            assert_tokens(vocabulary, "low t", 4, (int32_t[]){5439, 86, 220, 83});
        data_vocabulary_destroy(vocabulary);
    }
    json_decref(file);
    data_vocabulary_destroy(gpt2);
}

/* Two texts of 16 bytes with one hash, one of them a token: only the bytes tell them apart. */
static void test_texts_of_one_hash(void **state) {
    (void)state;
    uint64_t random = 1, first[2] = {0, 0}, second[2];
    char file[8000];
    int length = 0;
    for (int i = 0; i < 16; i++) ((unsigned char *)first)[i] = (unsigned char)(0x80 + i);
    do { /* until these are bytes that make one run of what is not UTF-8 */
        second[0] = (next_random(&random) | 0x8080808080808080u) & 0xBFBFBFBFBFBFBFBFu;
        second[1] = first[1] + data_bpe_mix(first[0]) - data_bpe_mix(second[0]);
    } while ((second[1] & 0xC0C0C0C0C0C0C0C0u) != 0x8080808080808080u);
    assert_true(data_bpe_key((char *)first, 16) == data_bpe_key((char *)second, 16));
    for (int id = 0; id < 256; id++)
        length += snprintf(file + length, 20, "%c%c== %d\n", base64_digit(id >> 2),
                           base64_digit((id & 3) << 4), id);
    for (int i = 0; i < 18; i += 3) { /* the sixteen bytes and two of padding */
        const unsigned char *b = (unsigned char *)first;
        int bits = b[i] << 16 | (i < 15 ? b[i + 1] << 8 | b[i + 2] : 0);
        for (int k = 0; k < 4; k++)
            file[length++] = i == 15 && k > 1 ? '=' : base64_digit(bits >> (18 - 6 * k) & 63);
    }
    length += snprintf(file + length, 20, " 256\n");
    data_vocabulary *vocabulary;
    data_bpe_options options = {.pattern = "gpt2"};
    assert_ok(data_bpe_parse(&vocabulary, file, (size_t)length, "made", &options));
    char text[34]; /* x between, so that they are pieces */
    memcpy(text, first, 16);
    text[16] = 'x';
    memcpy(text + 17, second, 16);
    data_tokens tokens = encode_all(vocabulary, text, 33, 0, false);
    assert_int_equal(tokens.count, 1 + 1 + 16);
    assert_int_equal(tokens.ids[0], 256);
    free(tokens.ids);
    data_vocabulary_destroy(vocabulary);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_bytes_that_are_not_utf8),
        cmocka_unit_test(test_sizes_and_special_tokens),
        cmocka_unit_test(test_tokenizer_json_of_gpt2),
        cmocka_unit_test(test_several_patterns_and_added_tokens),
        cmocka_unit_test(test_marked_files),
        cmocka_unit_test(test_refuses_by_name),
        cmocka_unit_test(test_tokens_out_of_reach),
        cmocka_unit_test(test_texts_of_one_hash),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
