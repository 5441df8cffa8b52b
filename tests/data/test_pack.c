/* Packing: every byte arrives, what is short stays out, and a killed pack leaves what was there. */
#include "data/pack.h"
#include "tests/data/shards.h"

#include <signal.h>
#include <zlib.h>

static kern_status pack(data_pack_report *report, const char *out, int64_t min_tokens,
                        int64_t shard_tokens, const char *const *inputs) {
    data_pack_options options = {
        .out = out,
        .inputs = inputs,
        .how = {.input = DATA_INPUT_TEXT},
        .vocabulary = data_vocabulary_byte(),
        .split = "validation",
        .source = "words",
        .min_tokens = min_tokens,
        .shard_tokens = shard_tokens,
        .threads = 2,
    };
    while (inputs[options.input_count]) options.input_count++;
    return data_pack(report, &options);
}

static data_shard *open_shard(const char *name) {
    data_shard *shard;
    assert_ok(data_shard_open(&shard, in_folder(name)));
    return shard;
}

static char *make_text(const char *name, size_t bytes, uint64_t seed) {
    char *text = malloc(bytes);
    for (size_t i = 0; i < bytes; i++) text[i] = (char)next_random(&seed);
    write_file(in_folder(name), text, bytes);
    return text;
}

/* Bytes that pass for a text: any but control characters. */
static void make_letters(char *text, const char *name, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        if (!((unsigned char)text[i] & 0x60)) text[i] = '\n';
    write_file(in_folder(name), text, bytes);
}

static void check_document(data_shard *shard, int64_t i, const char *name, const char *text,
                           int64_t bytes) {
    assert_string_equal(data_shard_document_name(shard, i), name);
    int64_t begin = data_shard_document_begin(shard, i);
    assert_int_equal(data_shard_document_begin(shard, i + 1) - begin, bytes + 1);
    int32_t *tokens = malloc((size_t)(bytes + 1) * sizeof *tokens);
    assert_ok(data_shard_read(tokens, shard, begin, bytes + 1));
    assert_int_equal(tokens[0], 256);
    for (int64_t k = 0; k < bytes; k++) assert_int_equal(tokens[k + 1], (unsigned char)text[k]);
    free(tokens);
}

static void test_every_byte_arrives(void **state) {
    (void)state;
    data_pack_report report;
    char *large = make_text("large.txt", 200001, 1), *small = make_text("small.md", 10, 2);
    char *exact = make_text("exact.txt", 65536, 3); /* one full buffer */
    write_file(in_folder("empty.txt"), "", 0);
    gzFile zipped = gzopen(in_folder("zipped.txt.gz"), "wb");
    assert_int_equal(gzwrite(zipped, large, 200001), 200001);
    gzclose(zipped);
    const char *inputs[] = {in_folder("small.md"), in_folder("*.txt"), in_folder("zipped.txt.gz"),
                            NULL};
    assert_ok(pack(&report, in_folder("all.h5"), 2, 0, inputs));
    assert_int_equal(report.documents, 4);
    assert_int_equal(report.left_out, 1);
    assert_int_equal(report.left_out_tokens, 1);
    assert_int_equal(report.shards, 1);
    assert_int_equal(report.bytes, 200001 * 2 + 10 + 65536);
    assert_int_equal(report.tokens, report.bytes + 4);
    data_shard *shard = open_shard("all.h5");
    assert_string_equal(data_shard_describe(shard)->split, "validation");
    assert_string_equal(data_shard_describe(shard)->source, "words");
    check_document(shard, 0, "small", small, 10);
    check_document(shard, 1, "exact", exact, 65536);
    check_document(shard, 2, "large", large, 200001);
    check_document(shard, 3, "zipped", large, 200001);
    data_pack_statistics found;
    assert_ok(data_pack_check(&found, shard));
    assert_int_equal(found.shortest, 11);
    assert_int_equal(found.longest, 200002);
    assert_int_equal(found.distinct, 257);
    data_shard_destroy(shard);
    /* 11 tokens are enough where 11 are asked for. */
    const char *one[] = {in_folder("small.md"), in_folder("exact.txt"), NULL};
    assert_ok(pack(&report, in_folder("all.h5"), 11, 0, one));
    assert_int_equal(report.documents, 2);
    assert_ok(pack(&report, in_folder("all.h5"), 12, 0, one));
    assert_int_equal(report.documents, 1);
    free(large);
    free(small);
    free(exact);
}

static void test_shards_of_bounded_size(void **state) {
    (void)state;
    data_pack_report report;
    char *texts[5];
    for (int i = 0; i < 5; i++) {
        char name[32];
        snprintf(name, sizeof name, "part%d.txt", i);
        texts[i] = make_text(name, i == 3 ? 5000 : 999, (uint64_t)i);
    }
    const char *inputs[] = {in_folder("part?.txt"), NULL};
    assert_ok(pack(&report, in_folder("bound.h5"), 2, 2000, inputs));
    assert_int_equal(report.shards, 4); /* 0 and 1; 2; 3, which is longer; 4 */
    assert_false(exists(in_folder("bound.h5")));
    data_shard *shard = open_shard("bound-00000.h5");
    assert_int_equal(data_shard_describe(shard)->documents, 2);
    check_document(shard, 1, "part1", texts[1], 999);
    data_shard_destroy(shard);
    shard = open_shard("bound-00002.h5");
    check_document(shard, 0, "part3", texts[3], 5000);
    data_shard_destroy(shard);
    assert_failure(pack(&report, in_folder("bound.h5"), 2, 2000, inputs), KERN_ERR_USAGE,
                   "bound-00000.h5", "earlier", NULL);
    /* A number that ours may reach is enough; another name is another file. */
    write_file(in_folder("gap-00007.h5"), "mine", 4);
    write_file(in_folder("gapped-00000.h5"), "mine", 4);
    assert_failure(pack(&report, in_folder("gap.h5"), 2, 2000, inputs), KERN_ERR_USAGE,
                   "gap-00007.h5", NULL);
    assert_int_equal(unlink(in_folder("gap-00007.h5")), 0);
    assert_ok(pack(&report, in_folder("gap.h5"), 2, 2000, inputs));
    for (int i = 0; i < 5; i++) free(texts[i]);
}

static void test_documents_of_one_name(void **state) {
    (void)state;
    data_pack_report report;
    assert_int_equal(mkdir(in_folder("sub"), 0777), 0);
    free(make_text("same.txt", 10, 1));
    free(make_text("sub/same.txt", 10, 2));
    free(make_text("other.v2.txt", 10, 2));
    const char *inputs[] = {in_folder("same.txt"), in_folder("sub/*.txt"), in_folder("other*.txt"),
                            NULL};
    assert_ok(pack(&report, in_folder("same.h5"), 2, 0, inputs));
    data_shard *shard = open_shard("same.h5");
    assert_string_equal(data_shard_document_name(shard, 0), in_folder("same.txt"));
    assert_string_equal(data_shard_document_name(shard, 1), in_folder("sub/same.txt"));
    assert_string_equal(data_shard_document_name(shard, 2), "other.v2");
    data_shard_destroy(shard);
    const char *twice[] = {in_folder("same.txt"), in_folder("s*e.txt"), NULL};
    assert_failure(pack(&report, in_folder("same.h5"), 2, 0, twice), KERN_ERR_USAGE, "same.txt",
                   "twice", NULL);
}

static void test_refuses(void **state) {
    (void)state;
    data_pack_report report;
    write_file(in_folder("kept.h5"), "kept", 4);
    free(make_text("text.txt", 100, 1));
    const char *absent[] = {in_folder("text.txt"), in_folder("absent.txt"), NULL};
    assert_failure(pack(&report, in_folder("kept.h5"), 2, 0, absent), KERN_ERR_FILE, "absent.txt",
                   "No such file", NULL);
    const char *nothing[] = {in_folder("no*.text"), NULL};
    assert_failure(pack(&report, in_folder("kept.h5"), 2, 0, nothing), KERN_ERR_USAGE, "no*.text",
                   NULL);
    const char *directory[] = {folder, NULL};
    assert_failure(pack(&report, in_folder("kept.h5"), 2, 0, directory), KERN_ERR_USAGE,
                   "is a folder", NULL);
    const char *text[] = {in_folder("text.txt"), NULL};
    assert_failure(pack(&report, in_folder("kept.h5"), 102, 0, text), KERN_ERR_DATA, "kept.h5",
                   "102 tokens", NULL);
    assert_failure(pack(&report, in_folder("no/where.h5"), 2, 0, text), KERN_ERR_FILE, "where.h5",
                   NULL);
    gzFile zipped = gzopen(in_folder("cut.gz"), "wb");
    for (int i = 0; i < 100000; i++) gzprintf(zipped, "%d ", i ^ i << 7);
    gzclose(zipped);
    const char *cut[] = {in_folder("cut.gz"), NULL};
    size_t size;
    unsigned char *bytes = read_file(in_folder("cut.gz"), &size);
    write_file(in_folder("cut.gz"), bytes, 100000);
    assert_failure(pack(&report, in_folder("kept.h5"), 2, 0, cut), KERN_ERR_DATA, "cut.gz",
                   "too early", NULL);
    bytes[50000] ^= 1; /* seen by the checksum at the end at the latest */
    write_file(in_folder("cut.gz"), bytes, size);
    free(bytes);
    assert_failure(pack(&report, in_folder("kept.h5"), 2, 0, cut), KERN_ERR_DATA, "cut.gz",
                   "damaged", NULL);
    bytes = read_file(in_folder("kept.h5"), &size);
    assert_string_equal((char *)bytes, "kept");
    free(bytes);
    assert_false(exists(in_folder("kept.h5.partial")));
}

/* A shard whose documents do not begin where it says: check looks at the tokens themselves. */
static void test_check_sees_misplaced_beginnings(void **state) {
    (void)state;
    data_shard_writer *writer;
    data_vocabulary other = *data_vocabulary_byte();
    data_pack_statistics found;
    assert_ok(data_shard_create(&writer, in_folder("bos.h5"), &other, "train", ""));
    fill_document(writer, "x", 0, 100);
    assert_ok(data_shard_append(writer, (int32_t[]){256}, 1));
    data_shard_keep_document(writer);
    assert_ok(data_shard_complete(writer));
    assert_ok(data_shard_commit(writer));
    data_shard_writer_destroy(writer);
    data_shard *shard = open_shard("bos.h5");
    assert_failure(data_pack_check(&found, shard), KERN_ERR_DATA, "bos.h5", "token 100",
                   "inside a document", NULL);
    data_shard_destroy(shard);
    assert_ok(data_shard_create(&writer, in_folder("bos.h5"), &other, "train", ""));
    fill_document(writer, "x", 0, 100);
    data_shard_keep_document(writer);
    other.bos = 255;
    assert_ok(data_shard_complete(writer));
    assert_ok(data_shard_commit(writer));
    data_shard_writer_destroy(writer);
    shard = open_shard("bos.h5");
    assert_failure(data_pack_check(&found, shard), KERN_ERR_DATA, "bos.h5", "token 0", "is not",
                   NULL);
    data_shard_destroy(shard);
}

/* A partial file is refused, or complete: the kill came between its flush and its renaming. */
static void check_partial(const char *path) {
    data_shard *shard;
    data_pack_statistics found;
    if (exists(path) && data_shard_open(&shard, path) == KERN_OK) {
        assert_ok(data_pack_check(&found, shard));
        data_shard_destroy(shard);
    }
}

/* Twenty times the same: a child packs over a shard that is there and is killed somewhere. */
static void test_killed_pack_leaves_a_whole_shard(void **state) {
    (void)state;
    data_pack_report report;
    enum { BYTES = 12000000 };
    free(make_text("old.txt", 1000, 1));
    free(make_text("new.txt", BYTES, 2));
    const char *old[] = {in_folder("old.txt"), NULL}, *new[] = {in_folder("new.txt"), NULL};
    double begin = kern_seconds();
    assert_ok(pack(&report, in_folder("killed.h5"), 2, 0, new));
    double whole = kern_seconds() - begin;
    assert_ok(pack(&report, in_folder("killed.h5"), 2, 0, old));
    for (int i = 0; i < 20; i++) {
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) _exit(pack(&report, in_folder("killed.h5"), 2, 0, new) != KERN_OK);
        usleep((useconds_t)(whole * 1e6 * i / 20));
        assert_int_equal(kill(child, SIGKILL), 0);
        int how;
        assert_int_equal(waitpid(child, &how, 0), child);
        data_shard *shard = open_shard("killed.h5");
        data_pack_statistics found;
        assert_ok(data_pack_check(&found, shard));
        bool replaced = found.longest == BYTES + 1;
        assert_true(replaced || found.longest == 1001);
        data_shard_destroy(shard);
        check_partial(in_folder("killed.h5.partial"));
        if (replaced) assert_ok(pack(&report, in_folder("killed.h5"), 2, 0, old));
    }
    assert_ok(pack(&report, in_folder("killed.h5"), 2, 0, new));
    assert_false(exists(in_folder("killed.h5.partial")));
}

static void note_progress(void *context, int64_t done, int64_t all) {
    int64_t *noted = context;
    assert_true(done >= noted[0] && done <= all);
    noted[0] = done;
    noted[1] = all;
    noted[2]++;
}

/* Bytes on the disk are counted, of gzipped files too, up to the last. */
static void test_progress(void **state) {
    (void)state;
    enum { BYTES = 3000000 };
    int64_t noted[3] = {0};
    const char *inputs[] = {in_folder("far-a.txt"), in_folder("far-b.txt.gz"),
                            in_folder("far-c.jsonl")};
    char *text = make_text("far-a.txt", BYTES, 3);
    make_letters(text, "far-a.txt", BYTES);
    gzFile file = gzopen(inputs[1], "wb");
    assert_int_equal(gzwrite(file, text, BYTES), BYTES);
    assert_int_equal(gzclose(file), Z_OK);
    write_file(inputs[2], "{\"text\":\"abc\"}\n", 15);
    data_pack_report report;
    const data_pack_options options = {.out = in_folder("far.h5"),
                                       .inputs = inputs,
                                       .input_count = 3,
                                       .vocabulary = data_vocabulary_byte(),
                                       .split = "train",
                                       .source = "",
                                       .threads = 2,
                                       .progress = note_progress,
                                       .context = noted};
    assert_ok(data_pack(&report, &options));
    struct stat zipped;
    assert_int_equal(stat(inputs[1], &zipped), 0);
    assert_int_equal(noted[1], BYTES + zipped.st_size + 15);
    assert_int_equal(noted[0], noted[1]);
    assert_true(noted[2] > 20);
    free(text);
}

static int pack_and_measure(void) {
    data_pack_report report;
    const char *inputs[] = {in_folder("long.txt"), NULL};
    size_t before = kern_peak_resident_bytes();
    if (pack(&report, in_folder("long.h5"), 2, 0, inputs) != KERN_OK) return 1;
    return kern_peak_resident_bytes() - before < 40000000 ? 0 : 2;
}

static void test_memory_does_not_grow_with_the_text(void **state) {
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip(); /* what was freed stays resident in its quarantine */
#endif
    free(make_text("long.txt", 80000000, 1));
    assert_int_equal(run_with_file_limit(pack_and_measure, 1 << 30), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_byte_arrives),
        cmocka_unit_test(test_shards_of_bounded_size),
        cmocka_unit_test(test_documents_of_one_name),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_check_sees_misplaced_beginnings),
        cmocka_unit_test(test_killed_pack_leaves_a_whole_shard),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_memory_does_not_grow_with_the_text),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
