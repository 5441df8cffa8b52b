/* The vocabulary that a checkpoint carries: the same as that of the file it came from, for each
 * kind of file and option; damaged in any way it is refused. */
#include "tests/data/shards.h"
#include "tests/data/tokenizers.h"
#include "train/checkpoint.h"
#include "train/files.h"
#include "train/vocabulary.h"

#define REGEX "[a-z]+|\"\\\\s\xC3\xA9|[^a-z]"

static train_state read_state; /* what the last one that was read says */

/* A checkpoint of no tensors; free() its path. */
static char *carry(const data_vocabulary *vocabulary) {
    const train_state state = {.step = 1};
    const train_tensors none = {0};
    ttt_conf *conf;
    assert_ok(conf_create(&conf));
    assert_ok(
        train_checkpoint_save(folder, &state, &none, &none, vocabulary, conf, kern_comm_alone()));
    conf_destroy(conf);
    return train_text("%s/step-00000001", folder);
}

/* Some file systems flush a file that is truncated and written again: slow. */
static void replace(const char *path, const void *bytes, size_t count) {
    unlink(path);
    write_file(path, bytes, count);
}

static char *json_file(void) {
    json_t *file = load_json("splits.json");
    char *path = train_text("%s/splits.json", folder);
    assert_int_equal(json_dump_file(json_object_get(file, "tokenizer"), path, 0), 0);
    json_decref(file);
    return path;
}

static void assert_same_encoding(const data_vocabulary *a, const data_vocabulary *b) {
    char text[4000];
    uint64_t random = 5;
    for (int64_t bytes = 1; bytes < (int64_t)sizeof text; bytes += 97) {
        static const char often[] = "the  in'S 12 \n\"s\xC3\xA9 \xE4\xBD\xA0,<|endoftext|>";
        for (int64_t i = 0; i < bytes; i++)
            text[i] = next_random(&random) % 8 ? often[(size_t)i % (sizeof often - 1)]
                                               : (char)next_random(&random);
        for (int special = 0; special < 2; special++) {
            data_tokens left = encode_all(a, text, bytes, 0, special);
            data_tokens right = encode_all(b, text, bytes, 0, special);
            assert_same_tokens(&left, &right, a->name);
            free(left.ids);
            free(right.ids);
        }
    }
}

static void check_carried(const char *path, const char *pattern, const char *begin) {
    data_vocabulary *original;
    const data_vocabulary *carried;
    const data_bpe_options options = {.pattern = pattern, .begin = begin};
    assert_ok(data_bpe_open(&original, path, &options));
    char *checkpoint = carry(original), *copy = train_text("%s/tokenizer", checkpoint);
    assert_ok(train_checkpoint_vocabulary(&carried, &read_state, checkpoint));
    assert_string_equal(carried->name, original->name);
    assert_string_equal(carried->hash, original->hash);
    assert_int_equal(carried->size, original->size);
    assert_int_equal(carried->bos, original->bos);
    if (begin) assert_string_equal(carried->begin, begin);
    assert_int_equal(!carried->pattern, !original->pattern);
    if (pattern) assert_string_equal(carried->pattern, pattern);
    assert_same_encoding(original, carried);
    size_t bytes;
    unsigned char *file = read_file(copy, &bytes);
    assert_int_equal(bytes, original->file_bytes);
    assert_memory_equal(file, original->file, bytes);
    free(file);
    free(copy);
    free(checkpoint);
    data_vocabulary_destroy(carried);
    data_vocabulary_destroy(original);
}

static void what_is_carried_is_the_same(void **state) {
    (void)state;
    char *json = json_file();
    check_carried(TOKENIZERS "gpt2_vocab.bpe.gz", NULL, NULL);
    check_carried(TOKENIZERS "gpt2_vocab.bpe.gz", "o200k_base", NULL);
    check_carried(TOKENIZERS "llama3.part.tiktoken.gz", "llama3", NULL);
    check_carried(TOKENIZERS "llama3.part.tiktoken.gz", REGEX, "<|endoftext|>");
    check_carried(TOKENIZERS "roberta-merges.txt", NULL, NULL); /* with its vocab.json */
    check_carried(TOKENIZERS "roberta-merges.txt", "o200k_base", "</s>");
    check_carried(json, NULL, NULL);
    check_carried(json, REGEX, NULL);
    check_carried(json, NULL,
                  "<\xEF\xBD\x9C"
                  "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>");
    free(json);
}

static void bytes_need_no_file(void **state) {
    (void)state;
    const data_vocabulary *carried;
    char *checkpoint = carry(data_vocabulary_byte());
    char *file = train_text("%s/tokenizer", checkpoint);
    assert_false(exists(file));
    assert_ok(train_checkpoint_vocabulary(&carried, &read_state, checkpoint));
    assert_ptr_equal(carried, data_vocabulary_byte());
    free(file);
    free(checkpoint);
}

/* Single bits and lengths; for the description all of them. */
static void damage_is_refused(void **state) {
    (void)state;
    static const char *const names[] = {"vocabulary.json", "tokenizer", "state.json"};
    data_vocabulary *original = open_tokenizer("llama3.part.tiktoken.gz", "llama3");
    const data_vocabulary *carried;
    char *checkpoint = carry(original);
    for (int i = 0; i < 3; i++) {
        char *path = train_text("%s/%s", checkpoint, names[i]);
        size_t bytes;
        unsigned char *file = read_file(path, &bytes);
        size_t step = i == 1 ? 8 * bytes / 100 : 1;
        for (size_t bit = 0; bit < 8 * bytes; bit += step) {
            file[bit / 8] ^= (unsigned char)(1u << bit % 8);
            replace(path, file, bytes);
            assert_failure(train_checkpoint_vocabulary(&carried, &read_state, checkpoint),
                           KERN_ERR_DATA, path, NULL);
            assert_null(carried);
            file[bit / 8] ^= (unsigned char)(1u << bit % 8);
        }
        replace(path, file, bytes - 1);
        assert_failure(train_checkpoint_vocabulary(&carried, &read_state, checkpoint),
                       KERN_ERR_DATA, path, NULL);
        assert_int_equal(unlink(path), 0);
        assert_failure(train_checkpoint_vocabulary(&carried, &read_state, checkpoint),
                       KERN_ERR_FILE, path, NULL);
        replace(path, file, bytes);
        free(file);
        free(path);
    }
    assert_ok(train_checkpoint_vocabulary(&carried, &read_state, checkpoint));
    data_vocabulary_destroy(carried);
    free(checkpoint);
    data_vocabulary_destroy(original);
}

/* The description edited, with what the message must say; NULL: it is then still right. */
static const struct {
    const char *from, *to, *says;
} edits[] = {
    {"\"llama3\",", "\"gpt2\",", "says gpt2"},
    {"\"hash\": \"", "\"hash\": \"0", "says llama3"},
    {"\"size\": ", "\"size\": 1", "says llama3"},
    {"\"bos\": ", "\"bos\": 1", "says llama3"},
    {"\"bos\": ", "\"boss\": ", "fields"},
    {"\"size\": ", "\"size\": -1, \"size\": ", "fields"},
    {"\"size\": ", "\"more\": 1, \"size\": ", "fields"},
    {"\"pattern\": \"llama3\"", "\"pattern\": 3", "fields"},
    {"\"pattern\": \"llama3\"", "\"pattern\": \"[\"", "tokenizer"},
    {"\"pattern\": \"llama3\"", "\"pattern\": \"llama4\"", "llama"},
    {"<|", "<||", "is called"},
    {"{", "[", "fields"},
    {"}", "", "fields"},
    {"\"bos\":", " \"bos\":", NULL},
};

static void what_does_not_agree_is_refused(void **state) {
    (void)state;
    data_vocabulary *original = open_tokenizer("llama3.part.tiktoken.gz", "llama3");
    const data_vocabulary *carried;
    char *checkpoint = carry(original), *path = train_text("%s/vocabulary.json", checkpoint);
    size_t bytes;
    unsigned char *file = read_file(path, &bytes);
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        const char *place = strstr((char *)file, edits[i].from);
        if (!place) fail_msg("no %s in %s", edits[i].from, (char *)file);
        char *text = train_text("%.*s%s%s", (int)(place - (char *)file), (char *)file, edits[i].to,
                                place + strlen(edits[i].from));
        replace(path, text, strlen(text));
        kern_status status = train_vocabulary_read(&carried, checkpoint, true);
        if (edits[i].says) {
            if (status == KERN_OK) fail_msg("read: %s", text);
            assert_null(carried);
            assert_non_null(strstr(kern_error(), edits[i].says));
        } else {
            assert_ok(status);
        }
        data_vocabulary_destroy(carried);
        free(text);
    }
    /* The description of bytes with a file, that of a file without one. */
    replace(path, file, bytes);
    assert_failure(train_vocabulary_read(&carried, checkpoint, false), KERN_ERR_DATA, "is byte",
                   NULL);
    free(file);
    free(path);
    free(checkpoint);
    data_vocabulary_destroy(original);
}

/* A description mutated with the right checksum, as by someone who edits the file. */
static void mutated_descriptions_are_read_safely(void **state) {
    (void)state;
    data_vocabulary *original = open_tokenizer("llama3.part.tiktoken.gz", "llama3");
    char *checkpoint = carry(original), *path = train_text("%s/vocabulary.json", checkpoint);
    size_t bytes;
    unsigned char *file = read_file(path, &bytes);
    uint64_t random = 17;
    int refusals = 0;
    for (int round = 0; round < 400; round++) {
        const data_vocabulary *carried;
        unsigned char *copy = malloc(bytes);
        memcpy(copy, file, bytes);
        for (uint64_t edit = 1 + next_random(&random) % 3; edit > 0; edit--) {
            static const char words[] = "\"\\{}[]:,0-9.eE\xFF\n";
            size_t at = next_random(&random) % bytes;
            copy[at] = next_random(&random) % 2
                           ? (unsigned char)words[next_random(&random) % sizeof words]
                           : copy[next_random(&random) % bytes];
        }
        replace(path, copy, next_random(&random) % 8 ? bytes : next_random(&random) % bytes);
        kern_status status = train_vocabulary_read(&carried, checkpoint, true);
        assert_true(status == KERN_OK || status == KERN_ERR_DATA || status == KERN_ERR_USAGE);
        assert_int_equal(status == KERN_OK, carried != NULL);
        refusals += status != KERN_OK;
        if (carried) assert_string_equal(carried->hash, original->hash);
        data_vocabulary_destroy(carried);
        free(copy);
    }
    assert_true(refusals > 200);
    free(file);
    free(path);
    free(checkpoint);
    data_vocabulary_destroy(original);
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    const data_vocabulary *byte = data_vocabulary_byte();
    conf_model model = {.vocab = 257, .bos = 256};
    assert_ok(train_vocabulary_fit(byte, &model, "a run"));
    model.vocab = 320;
    assert_ok(train_vocabulary_fit(byte, &model, "a run"));
    model.vocab = 256;
    assert_failure(train_vocabulary_fit(byte, &model, "a run"), KERN_ERR_CONFIG, "byte of a run",
                   "257 ids and the model 256", NULL);
    model = (conf_model){.vocab = 257, .bos = 0};
    assert_failure(train_vocabulary_fit(byte, &model, "a run"), KERN_ERR_CONFIG, "token 256",
                   "with 0", NULL);
    model.bos = -1;
    assert_ok(train_vocabulary_fit(byte, &model, "a run"));
}

/* One difference at a time is enough. */
static void shards_of_another_vocabulary_are_refused(void **state) {
    (void)state;
    const data_vocabulary *byte = data_vocabulary_byte();
    const int64_t lengths[] = {100, 0};
    data_source *source;
    char *path = train_text("%s/x.h5", folder);
    make_shard(path, byte, 0, lengths);
    assert_ok(data_source_open(&source, path, 10, false));
    assert_ok(train_vocabulary_match(byte, source, "it"));
    data_vocabulary other[4] = {*byte, *byte, *byte, *byte};
    other[0].name = "bytes";
    other[1].hash = "19ea78f9";
    other[2].size++;
    other[3].bos--;
    for (int i = 0; i < 4; i++)
        assert_failure(train_vocabulary_match(&other[i], source, "it"), KERN_ERR_CONFIG,
                       "byte (hash 19ea78f8, 257 ids", "it has", other[i].name, other[i].hash,
                       NULL);
    data_source_destroy(source);
    free(path);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(what_is_carried_is_the_same),
        TEST(bytes_need_no_file),
        TEST(damage_is_refused),
        TEST(what_does_not_agree_is_refused),
        TEST(mutated_descriptions_are_read_safely),
        TEST(what_does_not_fit_is_refused),
        TEST(shards_of_another_vocabulary_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
