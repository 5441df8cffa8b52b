/* How a tokenizer.json cuts a text, and in what normal form, against Hugging Face's library. */
#include "tests/data/tokenizers.h"

#define HASH_OF_TOKENS "9bf64aef" /* of cuts.json, by the program that knew these alone */

/* Every way to cut a text that is supported, by the Python package tokenizers: make_cuts.py. */
static void test_ways_to_cut(void **state) {
    (void)state;
    json_t *file = load_json("cuts.json"), *made = json_object_get(file, "tokenizer"), *row, *text;
    size_t i, k;
    assert_int_equal(json_array_size(json_object_get(file, "cases")), 64);
    json_array_foreach(json_object_get(file, "cases"), i, row) {
        data_vocabulary *vocabulary;
        const char *name = json_string_value(json_object_get(row, "name"));
        json_object_set(made, "normalizer", json_object_get(row, "normalizer"));
        json_object_set(made, "pre_tokenizer", json_object_get(row, "pre_tokenizer"));
        assert_ok(parse_json(&vocabulary, made));
        json_array_foreach(json_object_get(file, "texts"), k, text) {
            const json_t *ids = json_array_get(json_object_get(row, "ids"), k);
            for (int64_t piece = 0; piece < 8; piece += 1 + piece / 2) {
                data_tokens tokens = encode_all(vocabulary, json_string_value(text),
                                                (int64_t)json_string_length(text), piece, true);
                assert_ids(&tokens, ids, name);
                free(tokens.ids);
            }
        }
        data_vocabulary_destroy(vocabulary);
    }
    json_decref(file);
}

static void cut_with(data_vocabulary **vocabulary, json_t *made, const char *normalizer,
                     const char *pre_tokenizer) {
    json_error_t error;
    json_object_set_new(made, "normalizer", json_loads(normalizer, JSON_DECODE_ANY, &error));
    json_object_set_new(made, "pre_tokenizer", json_loads(pre_tokenizer, 0, &error));
    assert_ok(parse_json(vocabulary, made));
}

/* Tokens give back the text that was encoded: with the space, in its normal form, without what was
 * removed. Bytes that are not UTF-8 stay. Long texts are cut long before their end is there. */
static void test_texts_that_change(void **state) {
    (void)state;
    static const struct {
        const char *normalizer, *pre_tokenizer, *text, *decoded;
    } rows[] = {
        {"{\"type\":\"NFC\"}", "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}",
         "cafe\xCC\x81 e\xCC\x81\xFF\xFE\xCC\x81 x\xE1",
         " caf\xC3\xA9 \xC3\xA9\xFF\xFE\xCC\x81 x\xE1"},
        {"null",
         "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Punctuation\",\"behavior\":"
         "\"Removed\"},{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]}",
         "a.b\xFF.c,",
         "ab\xFF"
         "c"},
    };
    json_t *file = load_json("cuts.json"), *made = json_object_get(file, "tokenizer");
    data_vocabulary *vocabulary;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cut_with(&vocabulary, made, rows[i].normalizer, rows[i].pre_tokenizer);
        for (int64_t piece = 0; piece < 4; piece++) {
            data_tokens tokens =
                encode_all(vocabulary, rows[i].text, (int64_t)strlen(rows[i].text), piece, false);
            int64_t bytes;
            char *again = decode_all(vocabulary, &tokens, &bytes);
            assert_int_equal(bytes, strlen(rows[i].decoded));
            assert_memory_equal(again, rows[i].decoded, (size_t)bytes);
            free(again);
            free(tokens.ids);
        }
        data_vocabulary_destroy(vocabulary);
    }
    cut_with(&vocabulary, made, "{\"type\":\"NFC\"}", "{\"type\":\"ByteLevel\"}");
    data_encoder *encoder;
    data_tokens tokens = {0};
    char text[3001] = "";
    int64_t consumed;
    for (int i = 0; i < 500; i++) memcpy(text + 6 * i, "caf e\xCC", 6);
    for (int i = 0; i < 500; i++)
        text[6 * i + 5] = '\x81', text[6 * i + 4] = '\xCC', text[6 * i + 3] = 'e';
    assert_ok(data_encoder_create(&encoder, vocabulary));
    assert_ok(data_encode(&tokens, &consumed, encoder, text, 3000, false, false));
    assert_true(consumed == 0); /* one word */
    for (int i = 0; i < 500; i += 2) text[6 * i] = ' ';
    assert_ok(data_encode(&tokens, &consumed, encoder, text, 3000, false, false));
    assert_true(consumed >= 3000 - 24 && consumed % 6 == 0);
    data_encoder_destroy(encoder);
    free(tokens.ids);
    data_vocabulary_destroy(vocabulary);
    json_decref(file);
}

/* A hash covers what changes ids, and that of a vocabulary of before is what it was. */
static void test_hashes(void **state) {
    (void)state;
    json_t *file = load_json("cuts.json"), *made = json_object_get(file, "tokenizer"), *row;
    char hashes[64][9];
    int count = 0;
    size_t i;
    json_t *added = json_object_get(made, "added_tokens");
    for (int k = 0; k < 2; k++) json_array_remove(added, json_array_size(added) - 1);
    json_array_foreach(json_object_get(file, "cases"), i, row) {
        static const char *const known[] = {"Split Isolated False",
                                            "Split Isolated True",
                                            "Split Removed True",
                                            "Digits False",
                                            "Digits True",
                                            "Llama 3",
                                            "GPT-4",
                                            "StarCoder",
                                            "DeepSeek"};
        data_vocabulary *vocabulary;
        const char *name = json_string_value(json_object_get(row, "name"));
        bool before = false;
        for (size_t k = 0; k < sizeof known / sizeof *known; k++)
            before = before || !strcmp(name, known[k]);
        json_object_set(made, "normalizer", json_object_get(row, "normalizer"));
        json_object_set(made, "pre_tokenizer", json_object_get(row, "pre_tokenizer"));
        assert_ok(parse_json(&vocabulary, made));
        if (before)
            assert_string_equal(vocabulary->hash, HASH_OF_TOKENS);
        else
            for (int k = 0; k < count; k++) assert_string_not_equal(hashes[k], vocabulary->hash);
        if (!before) memcpy(hashes[count++], vocabulary->hash, 9);
        data_vocabulary_destroy(vocabulary);
    }
    json_decref(file);
}

/* Added tokens are numbered on from the model's, as the package does it, whatever ids they declare
 * (of its 0.23: with 300, 256 and 5 declared behind 256 tokens they are 256, 257 and 258). */
static void test_declared_ids(void **state) {
    (void)state;
    json_t *file = load_json("cuts.json"), *made = json_object_get(file, "tokenizer"), *token;
    data_vocabulary *vocabulary;
    char hash[9];
    size_t i;
    cut_with(&vocabulary, made, "null", "{\"type\":\"ByteLevel\"}");
    memcpy(hash, vocabulary->hash, 9);
    data_vocabulary_destroy(vocabulary);
    json_array_foreach(json_object_get(made, "added_tokens"), i, token)
        json_object_set_new(token, "id", json_integer(i == 1 ? 5 : 500 - (json_int_t)i));
    cut_with(&vocabulary, made, "null", "{\"type\":\"ByteLevel\"}");
    assert_string_equal(vocabulary->hash, hash);
    data_vocabulary_destroy(vocabulary);
    json_decref(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ways_to_cut),
        cmocka_unit_test(test_texts_that_change),
        cmocka_unit_test(test_hashes),
        cmocka_unit_test(test_declared_ids),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
