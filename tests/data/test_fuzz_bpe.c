/* Tokenizer files of the three kinds, damaged in thousands of ways: each is refused, or is a
 * vocabulary that gives back every text. Meant for a build with sanitizers. */
#include "tests/data/tokenizers.h"

enum { ROUNDS = 1500 };

static unsigned char *copy_of(const unsigned char *bytes, size_t size) {
    unsigned char *copy = malloc(size * 2 + 64);
    memcpy(copy, bytes, size);
    return copy;
}

/* Cut, flip, repeat, swap, or put a word that files have somewhere else. */
static void damage(unsigned char *bytes, size_t *size, uint64_t *random) {
    static const char *const words[] = {
        "\"",      "[",          "]",       "{",         "}",        "null", "true", "-1",
        "4194303", "9999999999", "\\u0000", "\\u0120",   "=",        " ",    "\n",   "\\\\S",
        "(?",      "[^",         "*)",      "{1,60000}", "\xC4\xA0", "\xFF"};
    int times = 1 + (int)(next_random(random) % 3);
    while (times-- && *size > 8) {
        size_t at = next_random(random) % *size, other = next_random(random) % *size;
        size_t length = 1 + next_random(random) % 16;
        const char *word = words[next_random(random) % (sizeof words / sizeof *words)];
        if (length > *size - at) length = *size - at;
        switch (next_random(random) % 6) {
        case 0: bytes[at] = (unsigned char)next_random(random); break;
        case 1: *size = next_random(random) % 20 ? *size : at; break;
        case 2:
            memmove(bytes + at, bytes + at + length, *size - at - length);
            *size -= length;
            break;
        case 3:
            if (length > *size - other) length = *size - other;
            memmove(bytes + at, bytes + other, length);
            break;
        case 4: bytes[at] ^= (unsigned char)(1u << length % 8); break;
        default:
            length = strlen(word);
            if (*size + length > 2 * *size) break;
            memmove(bytes + at + length, bytes + at, *size - at);
            memcpy(bytes + at, word, length);
            *size += length;
        }
    }
}

/* Encoded whole and in pieces, with special tokens or not, it comes back. A pattern may be one that
 * takes too long; that is an error like another. */
static void use(const data_vocabulary *vocabulary, uint64_t *random) {
    char text[160];
    int64_t bytes = (int64_t)(next_random(random) % sizeof text);
    data_encoder *encoder;
    assert_ok(data_encoder_create(&encoder, vocabulary));
    for (int64_t i = 0; i < bytes; i++) {
        static const char common[] = "the <s>he<t>in  12\r\n\xC3\xA9\xE4\xBD\xA0.,";
        uint64_t dice = next_random(random);
        text[i] = dice % 8 ? common[(dice >> 8) % (sizeof common - 1)] : (char)(dice >> 16);
    }
    for (int special = 0; special < 2; special++) {
        data_tokens tokens = {0};
        int64_t begin = 0, consumed = 0, got;
        kern_status status = KERN_OK;
        for (int64_t end = 0; end < bytes && status == KERN_OK; begin += consumed) {
            end = special ? bytes : end + 1 + (int64_t)(next_random(random) % 50);
            if (end > bytes) end = bytes;
            status = data_encode(&tokens, &consumed, encoder, text + begin, end - begin,
                                 end == bytes, special != 0);
        }
        if (status == KERN_OK) {
            for (int64_t i = 0; i < tokens.count; i++)
                assert_true(tokens.ids[i] >= 0 && tokens.ids[i] < vocabulary->size);
            char *again = decode_all(vocabulary, &tokens, &got);
            assert_int_equal(got, bytes);
            if (bytes) assert_memory_equal(again, text, (size_t)bytes);
            free(again);
        }
        free(tokens.ids);
    }
    data_encoder_destroy(encoder);
}

static void damage_many(const char *file, size_t size, const char *pattern, uint64_t seed) {
    int accepted = 0, refused_ones = 0;
    data_vocabulary *vocabulary;
    data_bpe_options options = {.pattern = pattern};
    assert_ok(data_bpe_parse(&vocabulary, file, size, "sound", &options));
    use(vocabulary, &seed);
    data_vocabulary_destroy(vocabulary);
    for (int round = 0; round < ROUNDS; round++) {
        size_t damaged = size;
        unsigned char *copy = copy_of((const unsigned char *)file, size);
        damage(copy, &damaged, &seed);
        copy = realloc(copy, damaged + !damaged);
        kern_status status =
            data_bpe_parse(&vocabulary, (const char *)copy, damaged, "damaged", &options);
        if (status == KERN_OK) {
            accepted++;
            use(vocabulary, &seed);
        } else {
            refused_ones++;
            assert_null(vocabulary);
            assert_true(status == KERN_ERR_DATA || status == KERN_ERR_USAGE);
            assert_non_null(strstr(kern_error(), status == KERN_ERR_DATA ? "damaged" : ""));
        }
        data_vocabulary_destroy(vocabulary);
        free(copy);
    }
    assert_true(accepted > ROUNDS / 50 && refused_ones > ROUNDS / 50);
}

static void test_damaged_merges(void **state) {
    (void)state;
    data_vocabulary *gpt2 = open_tokenizer("gpt2_vocab.bpe.gz", NULL);
    damage_many(gpt2->file, 1500, "gpt2", 1);
    data_vocabulary_destroy(gpt2);
}

static void test_damaged_ranks(void **state) {
    (void)state;
    char *file = malloc(1 << 14);
    size_t size = 0;
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int id = 0; id < 400; id++) {
        static const unsigned char first[] = "theoin1 ", second[] = "abcdefghijklmnopqrs";
        unsigned b[2] = {(unsigned)id, 0};
        if (id >= 256) b[0] = first[id % 8], b[1] = second[(id - 256) / 8];
        size += (size_t)sprintf(file + size, "%c%c%c= %d\n", digits[b[0] >> 2],
                                digits[(b[0] & 3) << 4 | b[1] >> 4],
                                id < 256 ? '=' : digits[(b[1] & 15) << 2], id);
    }
    damage_many(file, size, "cl100k_base", 2);
    free(file);
}

/* A tokenizer.json of a dozen merges, so that most damage hits what is around the vocabulary. */
static void test_damaged_json(void **state) {
    (void)state;
    json_t *file = load_json("splits.json"), *tokenizer = json_object_get(file, "tokenizer");
    json_t *model = json_object_get(tokenizer, "model"), *vocab = json_object(), *id;
    json_t *merges = json_pack("[s,[s,s],s]", "t h", "th", "e", "i n"), *added;
    const char *key;
    size_t i;
    json_object_foreach(json_object_get(model, "vocab"), key, id) {
        bool one = strlen(key) == 1 || (strlen(key) == 2 && (unsigned char)*key > 0x7F);
        if (one || !strcmp(key, "th") || !strcmp(key, "the") || !strcmp(key, "in"))
            json_object_set(vocab, key, id);
    }
    json_object_set_new(model, "vocab", vocab);
    json_object_set_new(model, "merges", merges);
    json_array_foreach(json_object_get(tokenizer, "added_tokens"), i, added) if (i > 1)
        json_object_set_new(added, "content", json_string(i > 2 ? "<s>" : "<t>"));
    char *text = json_dumps(tokenizer, JSON_COMPACT);
    assert_non_null(text);
    damage_many(text, strlen(text), NULL, 3);
    free(text);
    json_decref(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_damaged_merges),
        cmocka_unit_test(test_damaged_ranks),
        cmocka_unit_test(test_damaged_json),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
