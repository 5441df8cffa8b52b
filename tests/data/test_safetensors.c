/* Tensor files against bytes made by hand, files of another writer, and every way to be malformed.
 */
#include "data/checksum.h"
#include "data/safetensors.h"
#include "tests/data/files.h"

#include <dirent.h>
#include <math.h>
#include <unistd.h>

static void write_tensors(const char *path, const char *header, size_t data_bytes) {
    size_t length = strlen(header);
    uint64_t size = length;
    unsigned char *bytes = calloc(1, 8 + length + data_bytes + 1);
    memcpy(bytes, &size, 8);
    memcpy(bytes + 8, header, length);
    for (size_t i = 0; i < data_bytes; i++) bytes[8 + length + i] = (unsigned char)i;
    write_file(path, bytes, 8 + length + data_bytes);
    free(bytes);
}

/* Two halves and four floats, laid out as the format's rules say. */
static const char by_hand[] =
    "\0\0\0\0\0\0\0\0"
    "{\"__metadata__\":{\"made by\":\"hand \\\"\xc3\xa9\\\"\",\"format\":\"pt\"},"
    "\"w\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"
    "\"a\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[16,20]},"
    "\"none\":{\"dtype\":\"U8\",\"shape\":[0,3],\"data_offsets\":[20,20]}}";
static const unsigned char by_hand_data[20] = {0, 0, 0x80, 0x3f, 0, 0, 0,    0x40, 0,    0,
                                               0, 0, 0,    0,    0, 0, 0x80, 0x3f, 0x80, 0xbf};

static size_t make_by_hand(unsigned char *bytes) {
    size_t length = sizeof by_hand - 1, padded = (length + 7) / 8 * 8;
    memcpy(bytes, by_hand, length);
    memset(bytes + length, ' ', padded - length);
    memcpy(bytes + padded, by_hand_data, sizeof by_hand_data);
    uint64_t size = padded - 8;
    memcpy(bytes, &size, 8);
    return padded + sizeof by_hand_data;
}

static void test_reads_bytes_made_by_hand(void **state) {
    (void)state;
    unsigned char bytes[512];
    write_file(in_folder("hand"), bytes, make_by_hand(bytes));
    data_safetensors *file;
    assert_ok(data_safetensors_open(&file, in_folder("hand")));
    assert_int_equal(data_safetensors_count(file), 3);
    assert_string_equal(data_safetensors_metadata(file, "made by"), "hand \"\xc3\xa9\"");
    assert_null(data_safetensors_metadata(file, "made"));
    const data_tensor *w = data_safetensors_find(file, "w");
    assert_non_null(w);
    assert_int_equal(w->dtype, DATA_F32);
    assert_int_equal(w->rank, 2);
    assert_int_equal(w->shape[1], 2);
    assert_int_equal(w->bytes, 16);
    float values[4];
    memcpy(values, w->data, sizeof values);
    assert_true(values[0] == 1.0f && values[1] == 2.0f && values[2] == 0.0f);
    assert_int_equal(data_safetensors_find(file, "none")->elements, 0);
    assert_null(data_safetensors_find(file, "b"));
    assert_string_equal(data_safetensors_tensors(file)[0].name, "a");
    const data_tensor *found;
    assert_ok(data_safetensors_expect(&found, file, "w", DATA_F32, 2, (int64_t[]){2, 2}));
    assert_failure(data_safetensors_expect(&found, file, "w", DATA_F32, 2, (int64_t[]){4, 1}),
                   KERN_ERR_DATA, "hand", "w", "F32 [4, 1]", "F32 [2, 2]", NULL);
    assert_failure(data_safetensors_expect(&found, file, "x", DATA_F32, 0, NULL), KERN_ERR_DATA,
                   "x", "nothing", NULL);
    data_safetensors_destroy(file);
}

static kern_status write_by_hand(const char *path, uint32_t *crc, int64_t *bytes) {
    kern_status status = KERN_OK;
    data_safetensors_writer *writer = NULL;
    TRY(data_safetensors_create(&writer, path));
    TRY(data_safetensors_put_metadata(writer, "made by", "hand \"\xc3\xa9\""));
    TRY(data_safetensors_declare(writer, "none", DATA_U8, 2, (int64_t[]){0, 3}));
    TRY(data_safetensors_declare(writer, "a", DATA_BF16, 1, (int64_t[]){2}));
    TRY(data_safetensors_declare(writer, "w", DATA_F32, 2, (int64_t[]){2, 2}));
    TRY(data_safetensors_write(writer, "a", by_hand_data + 16, 4));
    TRY(data_safetensors_write(writer, "w", by_hand_data, 3));
    TRY(data_safetensors_write(writer, "w", by_hand_data + 3, 13));
    TRY(data_safetensors_finish(writer, crc, bytes));
done:
    data_safetensors_writer_destroy(writer);
    return status;
}

/* Declares the tensors, and writes those bytes of "w" and, behind them, all of "a". */
static void write_parts(data_safetensors_writer *writer, int parts, const int (*part)[2],
                        bool whole_a) {
    assert_ok(data_safetensors_put_metadata(writer, "made by", "hand \"\xc3\xa9\""));
    assert_ok(data_safetensors_declare(writer, "none", DATA_U8, 2, (int64_t[]){0, 3}));
    assert_ok(data_safetensors_declare(writer, "a", DATA_BF16, 1, (int64_t[]){2}));
    assert_ok(data_safetensors_declare(writer, "w", DATA_F32, 2, (int64_t[]){2, 2}));
    assert_ok(data_safetensors_settle(writer));
    for (int i = 0; i < parts; i++)
        assert_ok(data_safetensors_write_at(writer, "w", (size_t)part[i][0],
                                            by_hand_data + part[i][0], (size_t)part[i][1]));
    if (whole_a) assert_ok(data_safetensors_write(writer, "a", by_hand_data + 16, 4));
}

/* A file of several writers has the bytes and the checksum of one writer's. */
static void test_parts_make_the_same_file(void **state) {
    (void)state;
    const char *path = in_folder("parts");
    data_safetensors_writer *first, *second;
    data_safetensors_part part[3];
    uint32_t crc, expected_crc;
    int64_t bytes, expected_bytes;
    assert_ok(write_by_hand(in_folder("alone"), &expected_crc, &expected_bytes));
    assert_failure(data_safetensors_join(&second, path), KERN_ERR_FILE, "parts", NULL);
    for (int complete = 0; complete < 2; complete++) {
        assert_ok(data_safetensors_create(&first, path));
        write_parts(first, complete + 1, (const int[][2]){{0, 3}, {9, 7}}, false);
        assert_ok(data_safetensors_join(&second, path));
        write_parts(second, 1, (const int[][2]){{3, 6}}, true);
        assert_ok(data_safetensors_parts(part, second));
        data_safetensors_writer_destroy(second);
        data_safetensors_add_parts(first, part);
        if (complete)
            assert_ok(data_safetensors_finish(first, &crc, &bytes));
        else
            assert_failure(data_safetensors_finish(first, &crc, &bytes), KERN_ERR_USAGE,
                           "tensor w: 9 of 16", NULL);
        data_safetensors_writer_destroy(first);
    }
    assert_int_equal(crc, expected_crc);
    assert_int_equal(bytes, expected_bytes);
    size_t sizes[2];
    unsigned char *alone = read_file(in_folder("alone"), &sizes[0]);
    unsigned char *parts = read_file(in_folder("parts"), &sizes[1]);
    assert_int_equal(sizes[0], sizes[1]);
    assert_memory_equal(alone, parts, sizes[0]);
    free(alone);
    free(parts);
}

static void test_writes_the_same_bytes(void **state) {
    (void)state;
    unsigned char expected[512];
    size_t expected_size = make_by_hand(expected), size;
    uint32_t crc, again;
    int64_t bytes, bytes_again;
    assert_ok(write_by_hand(in_folder("written"), &crc, &bytes));
    unsigned char *written = read_file(in_folder("written"), &size);
    assert_int_equal(size, expected_size);
    assert_memory_equal(written, expected, size);
    free(written);
    assert_int_equal(bytes, size);
    assert_ok(data_crc32_file(&again, &bytes_again, in_folder("written")));
    assert_int_equal(crc, again);
    assert_int_equal(bytes, bytes_again);
    assert_false(exists(in_folder("written.partial")));
}

static void test_checksum_is_the_usual_one(void **state) {
    (void)state;
    assert_int_equal(data_crc32(0, "123456789", 9), 0xCBF43926u); /* the published check value */
    uint32_t first = data_crc32(0, "1234", 4), second = data_crc32(0, "56789", 5);
    assert_int_equal(data_crc32_join(first, second, 5), 0xCBF43926u);
    assert_int_equal(data_crc32(first, "", 0), first);
}

static void test_every_type_survives(void **state) {
    (void)state;
    static const struct {
        const char *name;
        size_t bytes;
    } types[] = {{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1},
                 {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},
                 {"U32", 4},  {"F32", 4}, {"F64", 8}, {"I64", 8},     {"U64", 8}};
    data_safetensors_writer *writer;
    assert_ok(data_safetensors_create(&writer, in_folder("types")));
    for (size_t i = 0; i < 15; i++)
        assert_ok(data_safetensors_declare(writer, types[i].name, data_dtype_find(types[i].name), 3,
                                           (int64_t[]){1, 3, 1}));
    unsigned char values[24] = {1, 2, 3};
    for (size_t i = 0; i < 15; i++)
        assert_ok(data_safetensors_write(writer, types[i].name, values, 3 * types[i].bytes));
    assert_ok(data_safetensors_finish(writer, NULL, NULL));
    data_safetensors_writer_destroy(writer);
    data_safetensors *file;
    assert_ok(data_safetensors_open(&file, in_folder("types")));
    for (size_t i = 0; i < 15; i++) {
        const data_tensor *tensor = data_safetensors_find(file, types[i].name);
        assert_non_null(tensor);
        assert_string_equal(data_dtype_name(tensor->dtype), types[i].name);
        assert_int_equal(tensor->bytes, 3 * types[i].bytes);
        assert_memory_equal(tensor->data, values, tensor->bytes);
        assert_int_equal((uintptr_t)tensor->data % types[i].bytes, 0);
    }
    data_safetensors_destroy(file);
}

static void test_refuses_malformed(void **state) {
    (void)state;
#define T(dtype, shape, begin, end)                                                                \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"
    static const struct {
        const char *header, *reason;
        size_t data_bytes;
    } cases[] = {
        {"[1]                ", "'{'", 0},
        {" {}                ", "'{'", 0},
        {"{\"a\":" T("F32", "[2]", 0, 8), "not valid", 8},
        {"{\"a\":" T("F32", "[2]", 0, 8) "} x", "not valid", 8},
        {"{\"a\":" T("F32", "[2]", 0, 8) ",\"a\":" T("F32", "[2]", 8, 16) "}", "duplicate", 16},
        {"{\"a\":" T("F33", "[2]", 0, 8) "}", "dtype F33", 8},
        {"{\"a\":" T("F32", "[3]", 0, 8) "}", "ask for 12", 8},
        {"{\"a\":" T("F32", "[2]", 0, 8) "}", "outside", 7},
        {"{\"a\":" T("F32", "[2]", 0, 8) "}", "belong to no tensor", 9},
        {"{\"a\":" T("F32", "[2]", 8, 0) "}", "outside", 8},
        {"{\"a\":" T("F32", "[2]", -8, 0) "}", "outside", 8},
        {"{\"a\":" T("F32", "[-2]", 0, 8) "}", "axis 0", 8},
        {"{\"a\":" T("F32", "[2.0]", 0, 8) "}", "axis 0", 8},
        {"{\"a\":" T("F32", "2", 0, 8) "}", "no shape", 8},
        {"{\"a\":" T("F32", "[4294967296,4294967296]", 0, 8) "}", "overflows", 8},
        {"{\"a\":" T("F64", "[2305843009213693953]", 0, 8) "}", "overflows", 8},
        {"{\"a\":" T("F32", "[99999999999999999999]", 0, 8) "}", "not valid", 8},
        {"{\"a\":" T("F32", "[2]", 0, 8) ",\"b\":" T("U8", "[4]", 4, 8) "}", "overlaps", 8},
        {"{\"a\":" T("F32", "[1]", 0, 4) ",\"b\":" T("U8", "[4]", 5, 9) "}", "hole", 9},
        {"{\"a\":" T("F32", "[1]", 4, 8) "}", "hole", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", "two integers", 4},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", "two integers", 4},
        {"{\"a\":[]}", "no dtype", 0},
        {"{\"__metadata__\":3}", "__metadata__", 0},
        {"{\"__metadata__\":{\"x\":3}}", "__metadata__.x", 0},
        {"{}", "belong to no tensor", 9},
        {"{\"\xff\":" T("F32", "[2]", 0, 8) "}", "decode", 8},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_tensors(in_folder("bad"), cases[i].header, cases[i].data_bytes);
        data_safetensors *file;
        kern_status status = data_safetensors_open(&file, in_folder("bad"));
        if (status == KERN_OK) fail_msg("accepted: %s", cases[i].header);
        assert_null(file);
        assert_failure(status, KERN_ERR_DATA, "/bad: ", cases[i].reason, NULL);
    }
}

static void test_refuses_foreign_sizes(void **state) {
    (void)state;
    data_safetensors *file;
    assert_failure(data_safetensors_open(&file, in_folder("absent")), KERN_ERR_FILE, "absent",
                   "No such file", NULL);
    assert_failure(data_safetensors_open(&file, folder), KERN_ERR_FILE, "not a file", NULL);
    write_file(in_folder("short"), "123456789", 9);
    assert_failure(data_safetensors_open(&file, in_folder("short")), KERN_ERR_DATA, "9 bytes",
                   NULL);
    write_file(in_folder("long"), "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
    assert_failure(data_safetensors_open(&file, in_folder("long")), KERN_ERR_DATA, "header of",
                   NULL);
    unsigned char bytes[512];
    size_t size = make_by_hand(bytes);
    for (size_t shorter = 0; shorter < size; shorter++) {
        write_file(in_folder("torn"), bytes, shorter);
        assert_failure(data_safetensors_open(&file, in_folder("torn")), KERN_ERR_DATA, "torn",
                       NULL);
    }
}

/* Reading a mapped file that was shortened would end the process. */
static void test_names_a_file_that_changed(void **state) {
    (void)state;
    data_safetensors *file;
    unsigned char bytes[512];
    size_t size = make_by_hand(bytes);
    write_file(in_folder("changed"), bytes, size);
    assert_ok(data_safetensors_open(&file, in_folder("changed")));
    const data_tensor *tensor = &data_safetensors_tensors(file)[0];
    assert_ok(data_safetensors_unchanged(file, tensor));
    assert_int_equal(truncate(in_folder("changed"), (off_t)size - 1), 0);
    assert_failure(data_safetensors_unchanged(file, tensor), KERN_ERR_DATA, "changed", tensor->name,
                   NULL);
    assert_int_equal(truncate(in_folder("changed"), (off_t)size + 1), 0);
    assert_failure(data_safetensors_unchanged(file, tensor), KERN_ERR_DATA, "changed", NULL);
    /* One that takes its name leaves what was opened as it is. */
    assert_int_equal(truncate(in_folder("changed"), (off_t)size), 0);
    write_file(in_folder("newer"), "123", 3);
    assert_int_equal(rename(in_folder("newer"), in_folder("changed")), 0);
    assert_ok(data_safetensors_unchanged(file, tensor));
    data_safetensors_destroy(file);
}

static void test_writer_refuses(void **state) {
    (void)state;
    data_safetensors_writer *writer, *second;
    assert_failure(data_safetensors_create(&writer, in_folder("no/where")), KERN_ERR_FILE, "where",
                   NULL);
    assert_ok(data_safetensors_create(&writer, in_folder("refused")));
    assert_failure(data_safetensors_create(&second, in_folder("refused")), KERN_ERR_FILE,
                   "another process", NULL);
    int64_t one = 1, huge[2] = {INT64_MAX / 2, 2};
    assert_ok(data_safetensors_declare(writer, "a", DATA_F32, 1, &one));
    assert_failure(data_safetensors_declare(writer, "a", DATA_F32, 1, &one), KERN_ERR_USAGE,
                   "taken", NULL);
    assert_failure(data_safetensors_declare(writer, "b", DATA_F32, 2, huge), KERN_ERR_USAGE, "b",
                   NULL);
    assert_failure(data_safetensors_declare(writer, "\xff", DATA_F32, 1, &one), KERN_ERR_USAGE,
                   "UTF-8", NULL);
    assert_failure(data_safetensors_write(writer, "c", &one, 4), KERN_ERR_USAGE, "not declared",
                   NULL);
    assert_failure(data_safetensors_write(writer, "a", &one, 5), KERN_ERR_USAGE, "more bytes",
                   NULL);
    assert_ok(data_safetensors_write(writer, "a", &one, 3));
    assert_failure(data_safetensors_finish(writer, NULL, NULL), KERN_ERR_USAGE, "3 of 4", NULL);
    data_safetensors_writer_destroy(writer);
    assert_false(exists(in_folder("refused")));
    assert_false(exists(in_folder("refused.partial")));
}

static int write_megabyte(void) {
    data_safetensors_writer *writer = NULL;
    static char zeros[1 << 20];
    int64_t size = sizeof zeros;
    kern_status status = data_safetensors_create(&writer, in_folder("old"));
    if (status == KERN_OK) status = data_safetensors_declare(writer, "a", DATA_U8, 1, &size);
    if (status == KERN_OK) status = data_safetensors_write(writer, "a", zeros, sizeof zeros);
    if (status == KERN_OK) status = data_safetensors_finish(writer, NULL, NULL);
    data_safetensors_writer_destroy(writer);
    if (status != KERN_ERR_FILE) return 1;
    return strstr(kern_error(), "/old: cannot be written") ? 0 : 2;
}

static void test_full_disk_keeps_the_old_file(void **state) {
    (void)state;
    write_file(in_folder("old"), "kept", 4);
    assert_int_equal(run_with_file_limit(write_megabyte, 300000), 0);
    assert_int_equal(run_with_file_limit(write_megabyte, 20), 0);
    assert_int_equal(run_with_file_limit(write_megabyte, 2 << 20), 1); /* it can succeed */
    write_file(in_folder("old"), "kept", 4);
    assert_int_equal(run_with_file_limit(write_megabyte, 300000), 0);
    size_t size;
    unsigned char *bytes = read_file(in_folder("old"), &size);
    assert_string_equal((char *)bytes, "kept");
    free(bytes);
    assert_false(exists(in_folder("old.partial")));
}

/* A leftover of a killed writer, longer than the new file, must not shine through. */
static void test_reuses_what_a_killed_writer_left(void **state) {
    (void)state;
    char junk[4096];
    memset(junk, 'x', sizeof junk);
    write_file(in_folder("again.partial"), junk, sizeof junk);
    assert_int_equal(chmod(in_folder("again.partial"), S_ISVTX | 0600), 0); /* as writers mark it */
    assert_ok(write_by_hand(in_folder("again"), NULL, NULL));
    data_safetensors *file;
    assert_ok(data_safetensors_open(&file, in_folder("again")));
    data_safetensors_destroy(file);
    assert_false(exists(in_folder("again.partial")));
}

/* Files of another implementation. */
static void test_reads_files_of_another_writer(void **state) {
    (void)state;
    const char *place = TESTS_DIR "/golden";
    DIR *files = opendir(place);
    assert_non_null(files);
    int seen = 0;
    for (struct dirent *item; (item = readdir(files));) {
        char path[1024];
        if (!strstr(item->d_name, ".safetensors")) continue;
        snprintf(path, sizeof path, "%s/%s", place, item->d_name);
        data_safetensors *file;
        assert_ok(data_safetensors_open(&file, path));
        const data_tensor *loss = data_safetensors_find(file, "loss");
        assert_non_null(loss);
        assert_int_equal(loss->dtype, DATA_F64);
        double first;
        memcpy(&first, loss->data, sizeof first);
        assert_true(first > 2.0 && first < 10.0 && isfinite(first));
        assert_non_null(data_safetensors_metadata(file, "config"));
        assert_non_null(data_safetensors_find(file, "tokens"));
        data_safetensors_destroy(file);
        seen++;
    }
    closedir(files);
    if (!seen) skip();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_bytes_made_by_hand),
        cmocka_unit_test(test_writes_the_same_bytes),
        cmocka_unit_test(test_parts_make_the_same_file),
        cmocka_unit_test(test_checksum_is_the_usual_one),
        cmocka_unit_test(test_every_type_survives),
        cmocka_unit_test(test_refuses_malformed),
        cmocka_unit_test(test_refuses_foreign_sizes),
        cmocka_unit_test(test_names_a_file_that_changed),
        cmocka_unit_test(test_writer_refuses),
        cmocka_unit_test(test_full_disk_keeps_the_old_file),
        cmocka_unit_test(test_reuses_what_a_killed_writer_left),
        cmocka_unit_test(test_reads_files_of_another_writer),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
