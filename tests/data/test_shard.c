/* Shards: what was written is read, and whatever is not whole and ours is refused by name. */
#include "data/checksum.h"
#include "data/h5.h"
#include "data/seal.h"
#include "data/shard.h"
#include "tests/data/shards.h"

#include <hdf5.h>

static const int64_t lengths[] = {70000, 1, 2, 100000, 5, 0};
enum { DOCUMENTS = 5, TOKENS = 170008 };

static void test_reads_what_was_written(void **state) {
    (void)state;
    make_shard(in_folder("a.h5"), data_vocabulary_byte(), 0, lengths);
    assert_false(exists(in_folder("a.h5.partial")));
    assert_false(exists(in_folder("a.h5.spool")));
    data_shard *shard;
    assert_ok(data_shard_open(&shard, in_folder("a.h5")));
    const data_shard_about *about = data_shard_describe(shard);
    assert_string_equal(about->tokenizer, "byte");
    assert_string_equal(about->tokenizer_hash, data_vocabulary_byte()->hash);
    assert_string_equal(about->split, "train");
    assert_string_equal(about->source, "made for a test");
    assert_int_equal(about->vocabulary, 257);
    assert_int_equal(about->bos, 256);
    assert_int_equal(about->documents, DOCUMENTS);
    assert_int_equal(about->tokens, TOKENS);
    int32_t *tokens = malloc(TOKENS * sizeof *tokens);
    assert_ok(data_shard_read(tokens, shard, 0, TOKENS));
    for (int64_t d = 0, at = 0; d < DOCUMENTS; at += lengths[d++]) {
        char name[32];
        snprintf(name, sizeof name, "book %d", (int)d);
        assert_string_equal(data_shard_document_name(shard, d), name);
        assert_int_equal(data_shard_document_begin(shard, d), at);
        assert_int_equal(tokens[at], 256);
        for (int64_t i = 1; i < lengths[d]; i++) assert_int_equal(tokens[at + i], token_of(d, i));
    }
    int32_t some[3];
    assert_ok(data_shard_read(some, shard, 65535, 3)); /* across a checksum's border */
    assert_memory_equal(some, tokens + 65535, sizeof some);
    free(tokens);
    data_shard_destroy(shard);
}

static void test_equal_contents_give_equal_files(void **state) {
    (void)state;
    make_shard(in_folder("b.h5"), data_vocabulary_byte(), 0, lengths);
    sleep(1); /* a time stamp in the file would differ */
    make_shard(in_folder("c.h5"), data_vocabulary_byte(), 0, lengths);
    size_t size, size_again;
    unsigned char *bytes = read_file(in_folder("b.h5"), &size);
    unsigned char *again = read_file(in_folder("c.h5"), &size_again);
    assert_int_equal(size, size_again);
    assert_memory_equal(bytes, again, size);
    free(bytes);
    free(again);
}

/* The same tokens as two documents, and as one that has a begin-of-document token inside. */
static uint32_t fingerprint_of(bool one) {
    static const int32_t tokens[] = {1, 2, 256, 3};
    data_shard_writer *writer;
    data_shard *shard;
    assert_ok(data_shard_create(&writer, in_folder("d.h5"), data_vocabulary_byte(), "train", ""));
    assert_ok(data_shard_begin_document(writer, "first"));
    assert_ok(data_shard_append(writer, tokens, one ? 4 : 2));
    data_shard_keep_document(writer);
    if (!one) {
        assert_ok(data_shard_begin_document(writer, "second"));
        assert_ok(data_shard_append(writer, tokens + 3, 1));
        data_shard_keep_document(writer);
    }
    assert_ok(data_shard_complete(writer));
    assert_ok(data_shard_commit(writer));
    data_shard_writer_destroy(writer);
    assert_ok(data_shard_open(&shard, in_folder("d.h5")));
    int32_t read[5];
    assert_int_equal(data_shard_describe(shard)->tokens, 5);
    assert_ok(data_shard_read(read, shard, 0, 5));
    assert_int_equal(read[0], 256);
    assert_memory_equal(read + 1, tokens, sizeof tokens);
    uint32_t fingerprint = data_shard_fingerprint(shard);
    data_shard_destroy(shard);
    return fingerprint;
}

static void test_fingerprint_knows_documents(void **state) {
    (void)state;
    assert_int_equal(fingerprint_of(true), fingerprint_of(true));
    assert_int_not_equal(fingerprint_of(true), fingerprint_of(false));
}

/* The file as another program sees it: through HDF5 alone. */
static void test_is_plain_hdf5(void **state) {
    (void)state;
    make_shard(in_folder("a.h5"), data_vocabulary_byte(), 0, lengths);
    hid_t file = H5Fopen(in_folder("a.h5"), H5F_ACC_RDONLY, H5P_DEFAULT);
    assert_true(file >= 0);
    hid_t dataset = H5Dopen2(file, "/tokens", H5P_DEFAULT);
    assert_true(dataset >= 0);
    hid_t type = H5Dget_type(dataset);
    assert_true(H5Tequal(type, H5T_STD_U16LE) > 0);
    int *tokens = malloc(TOKENS * sizeof *tokens);
    assert_true(H5Dread(dataset, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, tokens) >= 0);
    assert_int_equal(tokens[70001], 256);
    assert_int_equal(tokens[69999], token_of(0, 69999));
    free(tokens);
    assert_true(H5Aexists(file, "tokenizer_hash") > 0);
    H5Tclose(type);
    H5Dclose(dataset);
    assert_true(H5Fclose(file) >= 0);
}

static void test_wide_tokens(void **state) {
    (void)state;
    data_vocabulary large = *data_vocabulary_byte();
    large.name = "large";
    large.size = 128256;
    large.bos = 128000;
    make_shard(in_folder("wide.h5"), &large, 0, (int64_t[]){100, 70000, 0});
    data_shard *shard;
    assert_ok(data_shard_open(&shard, in_folder("wide.h5")));
    int32_t tokens[102];
    assert_ok(data_shard_read(tokens, shard, 0, 102));
    assert_int_equal(tokens[0], 128000);
    assert_int_equal(tokens[100], 128000);
    assert_int_equal(tokens[101], token_of(1, 1));
    data_shard_destroy(shard);
}

/* A writer that claims a smaller vocabulary than its tokens need. */
static void test_refuses_tokens_out_of_the_vocabulary(void **state) {
    (void)state;
    data_vocabulary small = *data_vocabulary_byte();
    data_shard_writer *writer;
    assert_ok(data_shard_create(&writer, in_folder("small.h5"), &small, "train", ""));
    fill_document(writer, "x", 0, 100);
    assert_ok(data_shard_append(writer, (int32_t[]){250}, 1));
    data_shard_keep_document(writer);
    small.size = 250;
    small.bos = 0;
    assert_ok(data_shard_complete(writer));
    assert_ok(data_shard_commit(writer));
    data_shard_writer_destroy(writer);
    data_shard *shard;
    int32_t token;
    assert_ok(data_shard_open(&shard, in_folder("small.h5")));
    assert_failure(data_shard_read(&token, shard, 100, 1), KERN_ERR_DATA, "small.h5", "token 100",
                   "250", "vocabulary", NULL);
    data_shard_destroy(shard);
}

/* The document's begin would be the first id beyond the vocabulary. */
static void test_refuses_a_begin_out_of_the_vocabulary(void **state) {
    (void)state;
    data_vocabulary small = *data_vocabulary_byte();
    data_shard_writer *writer;
    assert_ok(data_shard_create(&writer, in_folder("begin.h5"), &small, "train", ""));
    fill_document(writer, "x", 0, 100);
    data_shard_keep_document(writer);
    small.size = small.bos;
    assert_ok(data_shard_complete(writer));
    assert_ok(data_shard_commit(writer));
    data_shard_writer_destroy(writer);
    data_shard *shard;
    assert_failure(data_shard_open(&shard, in_folder("begin.h5")), KERN_ERR_DATA, "begin.h5",
                   "vocabulary cannot be", NULL);
}

static void test_refuses_torn_files(void **state) {
    (void)state;
    make_shard(in_folder("whole.h5"), data_vocabulary_byte(), 0, lengths);
    size_t size;
    data_shard *shard;
    unsigned char *bytes = read_file(in_folder("whole.h5"), &size);
    for (size_t shorter = 0; shorter < size; shorter += 1 + shorter / 7) {
        write_file(in_folder("torn.h5"), bytes, shorter);
        assert_failure(data_shard_open(&shard, in_folder("torn.h5")), KERN_ERR_DATA, "torn.h5",
                       NULL);
        assert_null(shard);
    }
    write_file(in_folder("torn.h5"), bytes, size - 1);
    assert_failure(data_shard_open(&shard, in_folder("torn.h5")), KERN_ERR_DATA, "truncated", NULL);
    unsigned char *longer = realloc(bytes, size + 1);
    longer[size] = 0;
    write_file(in_folder("torn.h5"), longer, size + 1);
    assert_failure(data_shard_open(&shard, in_folder("torn.h5")), KERN_ERR_DATA, "not whole", NULL);
    memset(longer, 0, DATA_SEAL_BYTES); /* as a killed writer leaves it */
    write_file(in_folder("torn.h5"), longer, size);
    assert_failure(data_shard_open(&shard, in_folder("torn.h5")), KERN_ERR_DATA, "unfinished",
                   NULL);
    free(longer);
}

static void test_refuses_foreign_files(void **state) {
    (void)state;
    data_shard *shard;
    assert_failure(data_shard_open(&shard, in_folder("absent")), KERN_ERR_FILE, "absent",
                   "No such file", NULL);
    assert_failure(data_shard_open(&shard, folder), KERN_ERR_FILE, "not a file", NULL);
    write_file(in_folder("text"), "Call me Ishmael.", 16);
    assert_failure(data_shard_open(&shard, in_folder("text")), KERN_ERR_DATA, "no shard", NULL);
    hid_t file = H5Fcreate(in_folder("other.h5"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(file >= 0 && H5Fclose(file) >= 0);
    assert_failure(data_shard_open(&shard, in_folder("other.h5")), KERN_ERR_DATA,
                   "HDF5 file, but no shard", NULL);
}

/* One bit of the tokens: refused when the block is read, not before, and only that block. */
/* What a later program may write: whole, and of another version. */
static void test_refuses_other_versions(void **state) {
    (void)state;
    make_shard(in_folder("later.h5"), data_vocabulary_byte(), 0, lengths);
    size_t size;
    unsigned char *bytes = read_file(in_folder("later.h5"), &size);
    bytes[8] = 2; /* behind the magic */
    uint32_t crc = data_crc32(0, bytes, DATA_SEAL_BYTES - sizeof crc);
    memcpy(bytes + DATA_SEAL_BYTES - sizeof crc, &crc, sizeof crc);
    write_file(in_folder("later.h5"), bytes, size);
    free(bytes);
    data_shard *shard;
    assert_failure(data_shard_open(&shard, in_folder("later.h5")), KERN_ERR_DATA, "later.h5",
                   "format version 2, this program reads 1", NULL);
    assert_null(shard);
}

static void test_refuses_flipped_tokens_where_they_are(void **state) {
    (void)state;
    make_shard(in_folder("flip.h5"), data_vocabulary_byte(), 0, lengths);
    size_t size;
    unsigned char *bytes = read_file(in_folder("flip.h5"), &size);
    uint64_t tokens_begin;
    memcpy(&tokens_begin, bytes + 24, sizeof tokens_begin);
    bytes[tokens_begin + 2 * 100000] ^= 4;
    write_file(in_folder("flip.h5"), bytes, size);
    free(bytes);
    data_shard *shard;
    int32_t tokens[10];
    assert_ok(data_shard_open(&shard, in_folder("flip.h5")));
    assert_ok(data_shard_read(tokens, shard, 65526, 10));
    assert_failure(data_shard_read(tokens, shard, 65526, 11), KERN_ERR_DATA, "flip.h5", "65536",
                   "131071", "checksum", NULL);
    assert_ok(data_shard_read(tokens, shard, 131072, 10));
    data_shard_destroy(shard);
}

static int write_large_shard(void) {
    data_shard_writer *writer = NULL;
    int32_t tokens[1000] = {0};
    kern_status status =
        data_shard_create(&writer, in_folder("full.h5"), data_vocabulary_byte(), "train", "");
    if (status == KERN_OK) status = data_shard_begin_document(writer, "zeros");
    for (int i = 0; i < 500 && status == KERN_OK; i++)
        status = data_shard_append(writer, tokens, 1000);
    if (status == KERN_OK) data_shard_keep_document(writer);
    if (status == KERN_OK) status = data_shard_complete(writer);
    if (status == KERN_OK) status = data_shard_commit(writer);
    data_shard_writer_destroy(writer);
    if (status != KERN_ERR_FILE) return 1;
    if (!strstr(kern_error(), "/full.h5: ")) return 2;
    /* HDF5 must not be left with a file that it cannot close: it would try again at exit. */
    return H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL) == 0 ? 0 : 3;
}

static void test_full_disk_keeps_the_old_shard(void **state) {
    (void)state;
    static const rlim_t limits[] = {100, 5000, 999999, 1000003, 1001000, 1005000};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        write_file(in_folder("full.h5"), "kept", 4);
        assert_int_equal(run_with_file_limit(write_large_shard, limits[i]), 0);
        size_t size;
        unsigned char *bytes = read_file(in_folder("full.h5"), &size);
        assert_string_equal((char *)bytes, "kept");
        free(bytes);
        assert_false(exists(in_folder("full.h5.partial")));
        assert_false(exists(in_folder("full.h5.spool")));
    }
    assert_int_equal(run_with_file_limit(write_large_shard, 2000000), 1); /* it can succeed */
}

/* HDF5 fails behind a call of its own: what the system said is in the message. */
static int write_with_hdf5(void) {
    static int64_t values[1 << 16];
    hid_t file, dataset = -1;
    kern_status status = data_h5_create(&file, in_folder("cause.h5"), DATA_SEAL_BYTES);
    if (status == KERN_OK)
        status = data_h5_create_array(&dataset, file, "cause.h5", "x", H5T_STD_I64LE, 1 << 16);
    if (status == KERN_OK)
        status = data_h5_write_range(dataset, "cause.h5", H5T_STD_I64LE, 0, 1 << 16, values);
    return status == KERN_ERR_FILE && strstr(kern_error(), "cause.h5: HDF5 cannot write") &&
                   strstr(kern_error(), ": File too large")
               ? 0
               : 1;
}

static int open_with_hdf5(void) {
    hid_t file;
    struct rlimit none = {4, 4};
    while (dup(2) >= 0 && dup(2) < 64) continue;
    if (setrlimit(RLIMIT_NOFILE, &none)) return 9;
    return data_h5_open(&file, in_folder("whole.h5")) == KERN_ERR_FILE &&
                   strstr(kern_error(), "whole.h5: HDF5 cannot open it: Too many open files")
               ? 0
               : 1;
}

static void test_says_what_the_system_said(void **state) {
    (void)state;
    hid_t file;
    assert_int_equal(run_with_file_limit(write_with_hdf5, 100000), 0);
    assert_int_equal(run_with_file_limit(open_with_hdf5, 100000), 0);
    assert_failure(data_h5_create(&file, folder, 0), KERN_ERR_FILE, folder, ": Is a directory",
                   NULL);
    assert_failure(data_h5_open(&file, in_folder("absent")), KERN_ERR_FILE,
                   "absent: HDF5 cannot open it: No such file or directory", NULL);
    /* What was told once is not told of another file. */
    write_file(in_folder("text"), "Call me Ishmael.", 16);
    assert_failure(data_h5_open(&file, in_folder("text")), KERN_ERR_DATA, "HDF5 cannot open it",
                   NULL);
    assert_null(strstr(kern_error(), "No such file"));
}

static void test_drops_and_moves_documents(void **state) {
    (void)state;
    data_shard_writer *one, *two;
    assert_ok(data_shard_create(&one, in_folder("one.h5"), data_vocabulary_byte(), "train", ""));
    assert_ok(data_shard_create(&two, in_folder("two.h5"), data_vocabulary_byte(), "train", ""));
    fill_document(one, "dropped", 7, 9000);
    data_shard_drop_document(one);
    fill_document(one, "stays", 0, 50);
    data_shard_keep_document(one);
    fill_document(one, "goes", 1, 9000);
    assert_ok(data_shard_move_document(two, one));
    data_shard_keep_document(two);
    assert_int_equal(data_shard_kept_tokens(one), 50);
    assert_int_equal(data_shard_kept_tokens(two), 9000);
    assert_ok(data_shard_complete(one));
    assert_ok(data_shard_complete(two));
    assert_false(exists(in_folder("one.h5")));
    assert_ok(data_shard_commit(one));
    assert_ok(data_shard_commit(two));
    data_shard_writer_destroy(one);
    data_shard_writer_destroy(two);
    data_shard *shard;
    int32_t token;
    assert_ok(data_shard_open(&shard, in_folder("two.h5")));
    assert_string_equal(data_shard_document_name(shard, 0), "goes");
    assert_ok(data_shard_read(&token, shard, 8999, 1));
    assert_int_equal(token, token_of(1, 8999));
    data_shard_destroy(shard);
}

static void test_byte_vocabulary(void **state) {
    (void)state;
    const data_vocabulary *byte = data_vocabulary_byte(), *found;
    char text[256];
    data_encoder *encoder;
    data_tokens tokens = {0};
    int64_t consumed;
    for (int i = 0; i < 256; i++) text[i] = (char)i;
    assert_ok(data_encoder_create(&encoder, byte));
    assert_ok(data_encode(&tokens, &consumed, encoder, text, 256, true, false));
    assert_int_equal(tokens.count, 256);
    assert_int_equal(consumed, 256);
    for (int i = 0; i < 256; i++) {
        const char *decoded;
        assert_int_equal(tokens.ids[i], i);
        assert_int_equal(byte->decode(&decoded, byte, i), 1);
        assert_int_equal((unsigned char)*decoded, i);
    }
    data_encoder_destroy(encoder);
    free(tokens.ids);
    const char *nothing;
    assert_int_equal(byte->decode(&nothing, byte, 256), 0);
    assert_int_equal(byte->decode(&nothing, byte, -1), 0);
    /* The hash, by the rule in the header: lengths and bytes of all tokens. */
    uint32_t crc = 0;
    for (int i = 0; i < 257; i++) {
        const char *decoded;
        uint32_t bytes = (uint32_t)byte->decode(&decoded, byte, i);
        unsigned char row[5] = {(unsigned char)bytes, 0, 0, 0, (unsigned char)*decoded};
        for (size_t k = 0; k < 4 + bytes; k++) {
            crc = k || i ? crc : 0xFFFFFFFFu;
            crc ^= row[k];
            for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
        }
    }
    char hash[16];
    snprintf(hash, sizeof hash, "%08x", ~crc);
    assert_string_equal(byte->hash, hash);
    assert_ok(data_vocabulary_find(&found, "byte"));
    assert_ptr_equal(found, byte);
    assert_failure(data_vocabulary_find(&found, "bite"), KERN_ERR_USAGE, "bite", "byte", NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_what_was_written),
        cmocka_unit_test(test_equal_contents_give_equal_files),
        cmocka_unit_test(test_fingerprint_knows_documents),
        cmocka_unit_test(test_is_plain_hdf5),
        cmocka_unit_test(test_wide_tokens),
        cmocka_unit_test(test_refuses_tokens_out_of_the_vocabulary),
        cmocka_unit_test(test_refuses_a_begin_out_of_the_vocabulary),
        cmocka_unit_test(test_refuses_torn_files),
        cmocka_unit_test(test_refuses_foreign_files),
        cmocka_unit_test(test_refuses_other_versions),
        cmocka_unit_test(test_refuses_flipped_tokens_where_they_are),
        cmocka_unit_test(test_full_disk_keeps_the_old_shard),
        cmocka_unit_test(test_says_what_the_system_said),
        cmocka_unit_test(test_drops_and_moves_documents),
        cmocka_unit_test(test_byte_vocabulary),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
