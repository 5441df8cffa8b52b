/* Packing with a tokenizer: every document has the tokens that encoding it alone gives, however
 * many threads, whatever the kind of file; an index tells of several shards. */
#include "data/files.h"
#include "data/pack.h"
#include "tests/data/tokenizers.h"

#include <signal.h>
#include <zlib.h>

static data_vocabulary *gpt2;

static kern_status pack(data_pack_report *report, const char *out, int64_t shard_tokens,
                        int64_t threads, const char *field, const char *const *inputs) {
    data_pack_options options = {
        .out = out,
        .inputs = inputs,
        .vocabulary = gpt2,
        .split = "train",
        .source = "",
        .how = {.field = field},
        .min_tokens = 2,
        .shard_tokens = shard_tokens,
        .threads = threads,
    };
    while (inputs[options.input_count]) options.input_count++;
    return data_pack(report, &options);
}

static data_shard *open_shard(const char *name) {
    data_shard *shard;
    data_pack_statistics found;
    assert_ok(data_shard_open(&shard, in_folder(name)));
    assert_ok(data_pack_check(&found, shard));
    return shard;
}

static void assert_document(data_shard *shard, int64_t i, const char *name, const char *text,
                            int64_t bytes) {
    data_tokens expected = encode_all(gpt2, text, bytes, 0, false), got = {0};
    int64_t begin = data_shard_document_begin(shard, i);
    assert_string_equal(data_shard_document_name(shard, i), name);
    got.count = data_shard_document_begin(shard, i + 1) - begin - 1;
    got.ids = malloc((size_t)(got.count + 1) * sizeof *got.ids);
    assert_ok(data_shard_read(got.ids, shard, begin + 1, got.count));
    assert_same_tokens(&got, &expected, name);
    free(expected.ids);
    free(got.ids);
}

static void assert_same_files(const char *left, const char *right) {
    size_t left_size, right_size;
    unsigned char *a = read_file(in_folder(left), &left_size);
    unsigned char *b = read_file(in_folder(right), &right_size);
    assert_int_equal(left_size, right_size);
    assert_memory_equal(a, b, left_size);
    free(a);
    free(b);
}

static char *make_words(const char *name, int64_t bytes, uint64_t seed) {
    static const char *const words[] = {
        " the", " whale",        "\n",           " 1851",       "  ", "'s", " \xC3\xA9t\xC3\xA9",
        ",",    "<|endoftext|>", "aaaaaaaaaaaa", "\xFF\xFF\xFE"};
    char *text = malloc((size_t)bytes + 16);
    int64_t at = 0;
    while (at < bytes) {
        const char *word = words[next_random(&seed) % (sizeof words / sizeof *words)];
        memcpy(text + at, word, strlen(word));
        at += (int64_t)strlen(word);
    }
    write_file(in_folder(name), text, (size_t)bytes);
    return text;
}

/* Documents smaller and larger than what is read at once, and one that is a single piece. */
static void test_threads_do_not_show(void **state) {
    (void)state;
    enum { LARGE = 9000000, SMALL = 70000, RUN = 3000000 };
    data_pack_report report;
    char *large = make_words("b-large.txt", LARGE, 1), *run = malloc(RUN);
    memset(run, 'a', RUN);
    run[RUN - 1] = '\n';
    write_file(in_folder("c-run.txt"), run, RUN);
    char *small[20];
    for (int i = 0; i < 20; i++) {
        char name[32];
        snprintf(name, sizeof name, "%c-small%02d.txt", i % 2 ? 'a' : 'd', i);
        small[i] = make_words(name, SMALL + i, (uint64_t)i);
    }
    const char *inputs[] = {in_folder("?-*.txt"), NULL};
    assert_ok(pack(&report, in_folder("one.h5"), 0, 1, NULL, inputs));
    assert_int_equal(report.documents, 22);
    assert_int_equal(report.bytes, LARGE + RUN + 20 * SMALL + 190);
    data_shard *shard = open_shard("one.h5");
    assert_string_equal(data_shard_describe(shard)->tokenizer, "gpt2");
    assert_string_equal(data_shard_describe(shard)->tokenizer_hash, gpt2->hash);
    assert_int_equal(data_shard_describe(shard)->bos, 50256);
    assert_document(shard, 0, "a-small01", small[1], SMALL + 1);
    assert_document(shard, 10, "b-large", large, LARGE);
    assert_document(shard, 11, "c-run", run, RUN);
    assert_document(shard, 21, "d-small18", small[18], SMALL + 18);
    data_shard_destroy(shard);
    for (int threads = 2; threads < 6; threads += 3) {
        assert_ok(pack(&report, in_folder("more.h5"), 0, threads, NULL, inputs));
        assert_same_files("one.h5", "more.h5");
    }
    for (int i = 0; i < 20; i++) free(small[i]);
    free(large);
    free(run);
}

static void test_lines(void **state) {
    (void)state;
    static const char lines[] = "\xEF\xBB\xBF{\"text\": \"first \\u00e9\\n\\u0000x\", \"id\": 1}\n"
                                "\r\n"
                                "{\"id\": 2, \"text\": \"\"}\n"
                                "{\"text\": \"<|endoftext|> third\", \"body\": \"b\"}";
    data_pack_report report;
    write_file(in_folder("lines.jsonl"), lines, sizeof lines - 1);
    gzFile zipped = gzopen(in_folder("more.jsonl.gz"), "wb");
    for (int i = 0; i < 30000; i++) gzprintf(zipped, "{\"text\":\"line %d\"}\n", i);
    gzclose(zipped);
    const char *inputs[] = {in_folder("lines.jsonl"), in_folder("more.jsonl.gz"), NULL};
    assert_ok(pack(&report, in_folder("lines.h5"), 0, 3, NULL, inputs));
    assert_int_equal(report.documents, 30002);
    assert_int_equal(report.left_out, 1);
    data_shard *shard = open_shard("lines.h5");
    assert_document(shard, 0, "lines:1", "first \xC3\xA9\n\0x", 11);
    assert_document(shard, 1, "lines:4", "<|endoftext|> third", 19);
    assert_document(shard, 30001, "more:30000", "line 29999", 10);
    data_shard_destroy(shard);
    const char *first[] = {in_folder("lines.jsonl"), NULL};
    assert_failure(pack(&report, in_folder("lines.h5"), 0, 1, "body", first), KERN_ERR_DATA,
                   "lines.jsonl", "line 1, byte 1", "'body'", NULL);
    write_file(in_folder("bad.jsonl"), "{\"text\": \"a\"}\n{\"text\": \n", 25);
    const char *bad[] = {in_folder("bad.jsonl"), NULL};
    assert_failure(pack(&report, in_folder("lines.h5"), 0, 1, NULL, bad), KERN_ERR_DATA,
                   "bad.jsonl", "line 2, byte 10", "ends inside of a value", NULL);
    write_file(in_folder("bad.jsonl"), "{\"text\": \"a\xFF\"}\n", 15);
    assert_failure(pack(&report, in_folder("lines.h5"), 0, 1, NULL, bad), KERN_ERR_DATA,
                   "bad.jsonl", "line 1, byte 12", "0xFF", NULL);
}

/* The first number of that name: the set's, which stands before those of its shards. */
static void assert_index_says(const char *name, const char *key, int64_t expected) {
    char text[4096], pattern[32];
    FILE *file = fopen(in_folder(name), "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    snprintf(pattern, sizeof pattern, "\"%s\": ", key);
    const char *at = strstr(text, pattern);
    assert_non_null(at);
    assert_int_equal(strtoll(at + strlen(pattern), NULL, 10), expected);
}

static void test_index_of_shards(void **state) {
    (void)state;
    data_pack_report report;
    data_files files = {0};
    for (int i = 0; i < 6; i++) {
        char name[32];
        snprintf(name, sizeof name, "p%d.txt", i);
        free(make_words(name, 4000, (uint64_t)i));
    }
    const char *inputs[] = {in_folder("p?.txt"), NULL};
    assert_ok(pack(&report, in_folder("set.h5"), 3000, 2, NULL, inputs));
    assert_true(report.shards > 1);
    assert_ok(data_files_add(&files, in_folder("set-index.json")));
    assert_int_equal(files.count, report.shards);
    int64_t tokens = 0;
    for (int64_t i = 0; i < files.count; i++) {
        data_shard *shard;
        assert_ok(data_shard_open(&shard, files.paths[i]));
        tokens += data_shard_describe(shard)->tokens;
        assert_true(data_shard_describe(shard)->tokens <= 3000);
        data_shard_destroy(shard);
    }
    assert_int_equal(tokens, report.tokens);
    data_files_clear(&files);
    assert_index_says("set-index.json", "documents", report.documents);
    assert_index_says("set-index.json", "tokens", report.tokens);
    assert_int_equal(unlink(in_folder("set-00001.h5")), 0);
    assert_failure(data_files_add(&files, in_folder("set-index.json")), KERN_ERR_FILE,
                   "set-00001.h5 is missing", NULL);
    data_files_clear(&files);
    write_file(in_folder("set-index.json"), "{\"shards\":[{}]}", 15);
    assert_failure(data_files_add(&files, in_folder("set-index.json")), KERN_ERR_DATA,
                   "set-index.json", NULL);
    data_files_clear(&files);
}

/* Killed anywhere, also between the shards' names: where the index stands, the set is whole. */
static void test_killed_pack_leaves_no_index(void **state) {
    (void)state;
    data_pack_report report;
    free(make_words("k0.txt", 3000000, 1));
    free(make_words("k1.txt", 3000000, 2));
    const char *inputs[] = {in_folder("k0.txt"), in_folder("k1.txt"), NULL};
    double whole = 0.3;
    for (int i = 0; i < 12; i++) {
        char command[256];
        fflush(NULL);
        double begin = kern_seconds();
        pid_t child = fork();
        if (child == 0)
            _exit(pack(&report, in_folder("kill.h5"), 1000, 2, NULL, inputs) != KERN_OK);
        if (i) usleep((useconds_t)(whole * 1e6 * i / 11)); /* the first one is not disturbed */
        if (i) assert_int_equal(kill(child, SIGKILL), 0);
        int how;
        assert_int_equal(waitpid(child, &how, 0), child);
        if (!i) whole = kern_seconds() - begin;
        data_files files = {0};
        if (exists(in_folder("kill-index.json"))) {
            assert_ok(data_files_add(&files, in_folder("kill-index.json")));
            assert_int_equal(files.count, 2);
        }
        assert_true(i || files.count == 2);
        data_files_clear(&files);
        for (int s = 0; s < 2; s++) {
            char name[32];
            snprintf(name, sizeof name, "kill-%05d.h5", s);
            if (exists(in_folder(name))) data_shard_destroy(open_shard(name));
        }
        snprintf(command, sizeof command, "rm -f '%s'/kill-*", folder);
        assert_int_equal(system(command), 0);
    }
}

static int make_all(void **state) {
    if (make_folder(state)) return -1;
    gpt2 = open_tokenizer("gpt2_vocab.bpe.gz", NULL);
    return 0;
}

static int remove_all(void **state) {
    data_vocabulary_destroy(gpt2);
    return remove_folder(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_do_not_show),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_index_of_shards),
        cmocka_unit_test(test_killed_pack_leaves_no_index),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
