/* Texts as they are found: compressed, foreign, lines of JSON under any name, and what is wrong
 * with a line. */
#include "data/documents.h"
#include "data/kinds.h"
#include "data/pack.h"
#include "tests/data/shards.h"

#include <jansson.h>
#include <zlib.h>
#include <zstd.h>

enum { MOST = 1 << 22 };

static char got[MOST];

/* All of a file in pieces of that size, which end in `got`. */
static kern_status read_stream(const char *path, int64_t piece, int64_t *bytes) {
    kern_status status = KERN_OK;
    data_stream *stream = NULL;
    int64_t more;
    *bytes = 0;
    TRY(data_stream_open(&stream, &(data_stream_options){.path = path}));
    for (;;) {
        TRY(data_stream_read(stream, got + *bytes, piece, &more));
        if (!more) break;
        assert_true(more <= piece && *bytes + more < MOST - piece);
        *bytes += more;
    }
    struct stat about;
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(data_stream_consumed(stream), about.st_size);
done:
    data_stream_destroy(stream);
    return status;
}

static void assert_reads(const char *path, const char *text, int64_t bytes) {
    static const int64_t pieces[] = {1, 4097, 1 << 20};
    for (int i = bytes > 20000; i < 3; i++) {
        int64_t found;
        assert_ok(read_stream(path, pieces[i], &found));
        assert_int_equal(found, bytes);
        assert_memory_equal(got, text, (size_t)bytes);
    }
}

static char *make_text(int64_t bytes) {
    char *text = malloc((size_t)bytes + 1);
    uint64_t random = 5;
    for (int64_t i = 0; i < bytes; i++) text[i] = (char)('a' + next_random(&random) % 26);
    return text;
}

/* A gzip member or a zstd frame of text [bytes] at the end of the file. */
static void append(FILE *file, const char *text, int64_t bytes, bool gzip) {
    char *packed = malloc((size_t)bytes + 1000);
    size_t length;
    if (gzip) {
        z_stream zip = {.next_in = (Bytef *)(uintptr_t)text,
                        .avail_in = (unsigned)bytes,
                        .next_out = (Bytef *)packed,
                        .avail_out = (unsigned)bytes + 1000};
        assert_int_equal(deflateInit2(&zip, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
        assert_int_equal(deflate(&zip, Z_FINISH), Z_STREAM_END);
        length = zip.total_out;
        deflateEnd(&zip);
    } else {
        ZSTD_CCtx *context = ZSTD_createCCtx();
        ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
        length = ZSTD_compress2(context, packed, (size_t)bytes + 1000, text, (size_t)bytes);
        assert_false(ZSTD_isError(length));
        ZSTD_freeCCtx(context);
    }
    assert_int_equal(fwrite(packed, 1, length, file), length);
    free(packed);
}

static void damage_file(const char *path, const char *like, size_t keep, size_t flip) {
    size_t size;
    unsigned char *bytes = read_file(like, &size);
    assert_true(keep <= size && flip < size);
    if (flip) bytes[flip] ^= 16;
    write_file(path, bytes, keep ? keep : size);
    free(bytes);
}

static void check_compressed(const char *path, bool gzip) {
    enum { BYTES = 700000 };
    char *text = make_text(BYTES);
    int64_t found;
    const char *damaged = in_folder("damaged");
    FILE *file = fopen(path, "wb");
    if (!gzip) fwrite("\x53\x2A\x4D\x18\x05\0\0\0hello", 1, 13, file); /* a skippable frame */
    append(file, text, 300000, gzip);
    append(file, text, 0, gzip);
    append(file, text + 300000, BYTES - 300000, gzip);
    if (gzip) fwrite("\0\0\0\0", 1, 4, file); /* padding */
    fclose(file);
    assert_reads(path, text, BYTES);
    /* Cut inside of the last one: what comes before it is whole. */
    damage_file(damaged, path, 400000, 0);
    assert_failure(read_stream(damaged, 1 << 20, &found), KERN_ERR_DATA, "damaged", "end too early",
                   NULL);
    damage_file(damaged, path, 0, 100000);
    assert_failure(read_stream(damaged, 1 << 20, &found), KERN_ERR_DATA, "damaged",
                   "data are damaged", NULL);
    file = fopen(path, "ab");
    fputs("something else", file);
    fclose(file);
    assert_failure(read_stream(path, 1 << 20, &found), KERN_ERR_DATA, "data are damaged", NULL);
    file = fopen(path, "wb");
    append(file, text, 0, gzip);
    fclose(file);
    assert_reads(path, text, 0);
    free(text);
}

static void test_compressed(void **state) {
    (void)state;
    check_compressed(in_folder("gzip.txt"), true);
    check_compressed(in_folder("zstd.txt"), false);
}

/* What is no text has a name and advice, whatever it is called, also inside of gzip. */
static void test_kinds(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        int length;
        const char *name;
    } cases[] = {
        {"\xFD"
         "7zXZ\0abc",
         9, "an xz file"},
        {"BZh91AY&SY", 10, "a bzip2 file"},
        {"]\0\0\x80\0\xFF\xFF\xFF\xFF", 9, "an lzma file"},
        {"PK\x03\x04zzzz", 8, "a zip archive"},
        {"PAR1\x15\x04", 6, "a Parquet file"},
        {"\xFF\xFF\xFF\xFF\x58\1\0\0", 8, "an Arrow file"},
        {"Obj\x01\x04\x14", 6, "an Avro file"},
        {"%PDF-1.7\n", 9, "a PDF file"},
        {"\xFF\xFEh\0i\0", 6, "UTF-16"},
        {"\xFE\xFF\0h\0i", 6, "UTF-16"},
        {"\xFF\xFE\0\0h\0\0\0", 8, "UTF-32"},
        {"h\0e\0l\0l\0o\0 \0\x39\x20s\0", 16, "UTF-16 (without its mark)"},
        {"\0h\0e\0l\0l\0o\0\r\0\n\0s", 16, "UTF-16 (without its mark)"},
        {"version https://git-lfs.github.com/spec/v1\n", 43, "a pointer of Git LFS"},
        {"TTTSHARDxx", 10, "a shard"},
        {"\x89HDF\r\n\x1A\n", 8, "an HDF5 file"},
        {"\x08\0\0\0\0\0\0\0{\"a\":{}}", 16, "a safetensors file"},
        {"\x04\x22\x4D\x18zz", 6, "an lz4 file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t found;
        write_file(in_folder("k.txt"), cases[i].bytes, (size_t)cases[i].length);
        assert_failure(read_stream(in_folder("k.txt"), 99, &found), KERN_ERR_DATA, "k.txt: is ",
                       cases[i].name, NULL);
        FILE *file = fopen(in_folder("k.txt"), "wb");
        append(file, cases[i].bytes, cases[i].length, i % 2);
        fclose(file);
        assert_failure(read_stream(in_folder("k.txt"), 99, &found), KERN_ERR_DATA, "inside of",
                       cases[i].name, NULL);
    }
    static const char *const texts[] = {"",
                                        "P",
                                        "PK",
                                        "PAR",
                                        "ustar",
                                        "%PD",
                                        "BZh9 is a text",
                                        "{\"",
                                        "\xEF\xBB\xBFmark",
                                        "\xFF\xFF\xFE",
                                        "\x1F\x8B no gzip"};
    static const char zeros[64] = "no text, but bytes that somebody wants as they are";
    write_file(in_folder("k.txt"), zeros, sizeof zeros);
    assert_reads(in_folder("k.txt"), zeros, sizeof zeros);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        write_file(in_folder("k.txt"), texts[i], strlen(texts[i]));
        assert_reads(in_folder("k.txt"), texts[i], (int64_t)strlen(texts[i]));
    }
}

static bool find(const char *text, const char *field, char **value, int64_t *bytes,
                 data_line_fault *fault) {
    static char line[4096];
    size_t length = strlen(text);
    memcpy(line, text, length);
    return data_line_field(value, bytes, fault, line, (int64_t)length, field);
}

static const struct {
    const char *line, *text; /* text NULL: refused */
    int byte;
    const char *reason;
} field_cases[] = {
    {"{\"text\":\"a\"}", "a", 0, 0},
    {" { \"id\" : 1 , \"text\" : \"a b\" } \r", "a b", 0, 0},
    {"{\"te\\u0078t\": \"key\"}", "key", 0, 0},
    {"{\"text\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}", "\"\\/\b\f\n\r\t", 0, 0},
    {"{\"text\":\"\\u00e9\\u20AC\\uD83D\\uDE00\"}", "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", 0, 0},
    {"{\"text\":\"\\ud83d\"}", "\xEF\xBF\xBD", 0, 0},
    {"{\"text\":\"\\uD800\\uDFFF\\uDBFF\\uDC00\"}", "\xF0\x90\x8F\xBF\xF4\x8F\xB0\x80", 0, 0},
    {"{\"text\":\"\\uDFFF\\uE000\\uDBFF\"}", "\xEF\xBF\xBD\xEE\x80\x80\xEF\xBF\xBD", 0, 0},
    {"{\"text\":\"a\\ude00b\"}",
     "a\xEF\xBF\xBD"
     "b",
     0, 0},
    {"{\"text\":\"\\ud83d\\ud83d\\ude00\\ud83dx\\u0041\"}",
     "\xEF\xBF\xBD\xF0\x9F\x98\x80\xEF\xBF\xBDxA", 0, 0},
    {"{\"text\":\"first\",\"text\":\"last\"}", "last", 0, 0},
    {"{\"text\":null,\"text\":\"last\"}", "last", 0, 0},
    {"{\"a\":NaN,\"b\":-Infinity,\"c\":1e99999,\"d\":123456789012345678901234567890,"
     "\"text\":\"x\"}",
     "x", 0, 0},
    {"{\"a\":\"\xE9\",\"\xE9\":\"\\ud800\\x\",\"text\":\"x\"}", "x", 0, 0},
    {"{\"a\":{\"text\":\"inner\",\"b\":[[],{},\"]}\\\"\",{\"c\":[1,2]}]},\"text\":\"x\"}", "x", 0,
     0},
    {"{\"a\":true,\"b\":null,\"text\":\"x\",\"a\":false}", "x", 0, 0},
    {"{\"text\":\"a\\u0000\"}", "a", 0, 0},
    {"{}", NULL, 1, "has no field 'text'"},
    {"{\"id\":\"text\"}", NULL, 1, "has no field 'text'"},
    {"{\"text\":null}", NULL, 9, "has null and no text in its field 'text'"},
    {"{\"text\":\"x\",\"text\":[\"y\"]}", NULL, 20, "has a list"},
    {"{\"text\":-1}", NULL, 9, "has a number"},
    {"{\"text\":\"caf\xE9\"}", NULL, 13, "has a byte 0xE9 that is no UTF-8"},
    {"{\"text\":\"\xED\xA0\x80\"}", NULL, 10, "0xED"},
    {"{\"text\":\"a\tb\"}", NULL, 11, "has a byte 0x09"},
    {"{\"text\":\"\\q\"}", NULL, 11, "has a \\"},
    {"{\"text\":\"\\u12G4\"}", NULL, 12, "no four digits"},
    {"{\"text\":\"cut", NULL, 13, "ends inside of a text"},
    {"{\"text\":\"cut\\", NULL, 14, "ends inside of a text"},
    {"{\"text\":\"cut\\u12", NULL, 17, "ends inside of a text"},
    {"{\"text\":\"whole\"", NULL, 16, "ends inside of its object"},
    {"{\"text\":\"whole\",", NULL, 17, "ends inside of its object"},
    {"{\"text\":\"whole\",\"a\":[1", NULL, 23, "ends inside of a value"},
    {"{\"text\":", NULL, 9, "ends inside of a value"},
    {"", NULL, 1, "ends inside of its object"},
    {"[\"text\"]", NULL, 1, "no JSON object"},
    {"text", NULL, 1, "no JSON object"},
    {"{\"text\":\"a\"} {\"text\":\"b\"}", NULL, 14, "goes on"},
    {"{\"text\":\"a\",}", NULL, 13, "a name in quotes is missing"},
    {"{\"text\" \"a\"}", NULL, 9, "a colon is missing"},
    {"{\"a\":,\"text\":\"a\"}", NULL, 6, "a value is missing"},
    {"{text:\"a\"}", NULL, 2, "a name in quotes is missing"},
};

static void test_field(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof field_cases / sizeof *field_cases; i++) {
        char *text;
        int64_t bytes;
        data_line_fault fault;
        bool found = find(field_cases[i].line, "text", &text, &bytes, &fault);
        if (found != (field_cases[i].text != NULL))
            fail_msg("%s: %s", field_cases[i].line, fault.reason);
        if (found) {
            assert_memory_equal(text, field_cases[i].text, strlen(field_cases[i].text));
            assert_int_equal(bytes, strlen(field_cases[i].text) +
                                        (strstr(field_cases[i].line, "u0000") != 0));
        } else if (fault.byte != field_cases[i].byte ||
                   !strstr(fault.reason, field_cases[i].reason)) {
            fail_msg("%s: byte %d, %s", field_cases[i].line, (int)fault.byte, fault.reason);
        }
    }
    /* Deeper than any recursion. */
    enum { DEPTH = 2000000 };
    char *deep = malloc(2 * DEPTH + 64), *text;
    int64_t bytes;
    data_line_fault fault;
    int at = sprintf(deep, "{\"a\":");
    for (int i = 0; i < DEPTH; i++) deep[at++] = i % 2 ? '[' : '{';
    for (int i = DEPTH; i-- > 0;) deep[at++] = i % 2 ? ']' : '}';
    at += sprintf(deep + at, ",\"text\":\"x\"}");
    assert_true(data_line_field(&text, &bytes, &fault, deep, at, "text"));
    assert_int_equal(bytes, 1);
    free(deep);
}

/* Lines of any bytes: what jansson reads, this reads too, with the same text; none is read outside
 * of its memory. */
static void test_field_of_any_line(void **state) {
    (void)state;
    static const char *const parts[] = {
        "{",    "}",       "[",         "]",           ",",     ":",
        "\"",   "\\",      "\"text\":", "\"text\":\"", "\"a\"", "\"\\u00e9",
        "1",    "-2e5",    "true",      "null",        " ",     "\\u",
        "d83d", "\\ude00", "00",        "\xC3\xA9",    "\xE9",  "\"a\":",
        "x",    "\",",     "\"}",       "\\n",         "\t",    "{\"text\":\"b\"}"};
    uint64_t random = 9;
    int same = 0;
    for (int round = 0; round < 200000; round++) {
        char line[256], *text;
        size_t length = 0;
        if (next_random(&random) % 4) length = (size_t)sprintf(line, "{\"text\":\"");
        for (uint64_t count = next_random(&random) % 9; count; count--) {
            const char *part = parts[next_random(&random) % (sizeof parts / sizeof *parts)];
            length += (size_t)sprintf(line + length, "%s", part);
        }
        if (next_random(&random) % 4) length += (size_t)sprintf(line + length, "\"}");
        char *exact = malloc(length ? length : 1);
        memcpy(exact, line, length);
        int64_t bytes;
        data_line_fault fault;
        bool found = data_line_field(&text, &bytes, &fault, exact, (int64_t)length, "text");
        json_error_t error;
        json_t *object = json_loadb(line, length, JSON_ALLOW_NUL, &error);
        const json_t *value = json_object_get(object, "text");
        if (json_is_string(value)) {
            if (!found || bytes != (int64_t)json_string_length(value) ||
                memcmp(text, json_string_value(value), (size_t)bytes) != 0)
                fail_msg("%.*s: %s", (int)length, line, fault.reason);
            same++;
        }
        if (!found) assert_true(fault.byte >= 1 && fault.byte <= (int64_t)length + 1);
        json_decref(object);
        free(exact);
    }
    assert_true(same > 2000);
}

/* The documents of a file, with a | behind each, and of lines with their number. */
static kern_status read_documents(char *all, const char *path, data_documents_options options,
                                  data_bad_lines *bad) {
    kern_status status = KERN_OK;
    data_documents *documents;
    data_document_part part;
    char copy[256], *paths[] = {copy};
    snprintf(copy, sizeof copy, "%s", path);
    *all = 0;
    assert_ok(data_documents_create(&documents, paths, 1, &options));
    for (;;) {
        char text[8];
        TRY(data_documents_read(&part, text, documents, sizeof text - 1));
        if (bad) *bad = *data_documents_bad(documents);
        if (part.file < 0) break;
        if (part.begins && part.line) all += sprintf(all, "%d:", (int)part.line);
        memcpy(all, text, (size_t)part.bytes);
        all += part.bytes;
        all += sprintf(all, part.ends ? "|" : "");
    }
done:
    data_documents_destroy(documents);
    return status;
}

static void assert_documents(const char *text, data_documents_options options, const char *wanted) {
    char all[4096];
    write_file(in_folder("documents"), text, strlen(text));
    assert_ok(read_documents(all, in_folder("documents"), options, NULL));
    assert_string_equal(all, wanted);
}

/* Lines of JSON are found by what they are, and texts stay texts. */
static void test_recognition(void **state) {
    (void)state;
    static const char lines[] = "{\"text\":\"one\"}\n\n{\"id\":2,\"text\":\"and two\"}\r\n";
    static const char first_torn[] = "ext\":\"torn\"}\n{\"text\":\"a\"}\n{\"text\":\"b\"}\n";
    data_documents_options plain = {0}, text = {.input = DATA_INPUT_TEXT},
                           by_line = {.input = DATA_INPUT_LINES}, skip = {.skip_bad = true};
    assert_documents(lines, plain, "1:one|3:and two|");
    assert_documents("\xEF\xBB\xBF{\"text\":\"one\"}", plain, "1:one|");
    assert_documents(lines, text, "{\"text\":\"one\"}\n\n{\"id\":2,\"text\":\"and two\"}\r\n|");
    assert_documents(first_torn, skip, "2:a|3:b|");
    static const char *const texts[] = {"a text\n{\"text\":\"one\"}\nof three lines\n",
                                        "{\n \"text\": \"one\"\n}\n",
                                        "{",
                                        "{\"text\":\"cut",
                                        "[Illustration]\n",
                                        "[\"a\"]",
                                        "{a}\n{b}\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char wanted[256];
        snprintf(wanted, sizeof wanted, "%s|", texts[i]);
        assert_documents(texts[i], plain, wanted);
    }
    char all[256];
    write_file(in_folder("documents"), " [\n {\n \"text\": \"a\"}]", 21);
    assert_failure(read_documents(all, in_folder("documents"), plain, NULL), KERN_ERR_DATA,
                   "JSON array of objects", "jq", NULL);
    assert_failure(read_documents(all, in_folder("documents"), by_line, NULL), KERN_ERR_DATA,
                   "line 1, byte 2", "no JSON object", NULL);
    write_file(in_folder("documents"), "[\r\n\t{\r\n\"text\": \"a\"}]", 19);
    assert_failure(read_documents(all, in_folder("documents"), plain, NULL), KERN_ERR_DATA,
                   "JSON array of objects", NULL);
    /* A first line longer than what is looked at. */
    char *longest = malloc(200100);
    int length = sprintf(longest, "{\"a\":\"%0199999d\",\"text\":\"far\"}", 0);
    write_file(in_folder("documents"), longest, (size_t)length);
    assert_ok(read_documents(all, in_folder("documents"), plain, NULL));
    assert_string_equal(all, "1:far|");
    free(longest);
    static const char *const names[] = {"named.jsonl", "named.jsonl.gz", "named.ndjson.zst"};
    for (int i = 0; i < 3; i++) {
        write_file(in_folder(names[i]), "{\"text\":", 8);
        assert_failure(read_documents(all, in_folder(names[i]), plain, NULL), KERN_ERR_DATA,
                       "line 1, byte 9", NULL);
    }
}

static void test_bad_lines(void **state) {
    (void)state;
    char all[4096];
    data_bad_lines bad;
    FILE *file = fopen(in_folder("bad.txt"), "w");
    for (int i = 1; i <= 40; i++) {
        if (i % 3)
            fprintf(file, "{\"text\":\"%d\"}\n", i);
        else if (i % 2)
            fprintf(file, "{\"text\":null}\n");
        else
            fprintf(file, "{\"text\":\"caf\xE9\"}\n");
    }
    fprintf(file, "{\"text\":\"the last");
    fclose(file);
    assert_failure(
        read_documents(all, in_folder("bad.txt"), (data_documents_options){.hint = "a hint"}, NULL),
        KERN_ERR_DATA, "bad.txt: line 3, byte 9: has null", "a hint", NULL);
    assert_string_equal(all, "1:1|2:2|");
    assert_ok(read_documents(all, in_folder("bad.txt"), (data_documents_options){.skip_bad = true},
                             &bad));
    assert_int_equal(bad.count, 14);
    for (int i = 0; i < DATA_BAD_LINES_KEPT; i++) {
        assert_int_equal(bad.first[i].line, 3 * i + 3);
        assert_int_equal(bad.first[i].fault.byte, i % 2 ? 13 : 9);
    }
    assert_non_null(strstr(all, "|38:38|40:40|"));
}

static void take_bad(void *context, const data_bad_lines *lines, char *const *path) {
    int64_t *count = context;
    *count = lines->count;
    assert_string_equal(path[lines->first[0].file], in_folder("bad.txt"));
}

/* Each shard tells of the lines that were left out of what it holds, whatever the threads. */
static void test_bad_lines_in_shards(void **state) {
    (void)state;
    data_pack_report report;
    int64_t count = 0;
    const char *inputs[] = {in_folder("bad.txt")};
    data_pack_options options = {.out = in_folder("bad.h5"),
                                 .inputs = inputs,
                                 .input_count = 1,
                                 .how = {.skip_bad = true},
                                 .vocabulary = data_vocabulary_byte(),
                                 .split = "train",
                                 .source = "",
                                 .threads = 2,
                                 .bad = take_bad,
                                 .context = &count};
    assert_ok(data_pack(&report, &options));
    assert_int_equal(count, 14);
    data_shard *shard;
    assert_ok(data_shard_open(&shard, in_folder("bad.h5")));
    const data_shard_about *about = data_shard_describe(shard);
    assert_int_equal(about->bad_lines, 14);
    static const char first[] = "bad:3, byte 9: has null and no text in its field 'text'\n"
                                "bad:6, byte 13: has a byte 0xE9 that is no UTF-8\n";
    assert_memory_equal(about->bad_lines_told, first, strlen(first));
    assert_non_null(strstr(about->bad_lines_told, "bad:30, "));
    assert_null(strstr(about->bad_lines_told, "bad:33, "));
    data_shard_destroy(shard);
    options.shard_tokens = 30;
    assert_ok(data_pack(&report, &options));
    int64_t sum = 0;
    for (int64_t i = 0; i < report.shards; i++) {
        char *path;
        assert_ok(data_pack_shard_path(&path, options.out, i));
        assert_ok(data_shard_open(&shard, path));
        about = data_shard_describe(shard);
        sum += about->bad_lines;
        assert_true(!about->bad_lines == !about->bad_lines_told);
        assert_true(i != 0 || strstr(about->bad_lines_told, "bad:3, "));
        assert_true(i == 0 || !about->bad_lines_told || !strstr(about->bad_lines_told, "bad:3, "));
        data_shard_destroy(shard);
        free(path);
    }
    assert_true(report.shards > 2);
    assert_int_equal(sum, 14);
    write_file(in_folder("bad.txt"), "{\"text\":1}\n", 11);
    options.shard_tokens = 0;
    assert_failure(data_pack(&report, &options), KERN_ERR_DATA, "nothing to write",
                   "lines that were left out", NULL);
    assert_int_equal(count, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compressed),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_field),
        cmocka_unit_test(test_field_of_any_line),
        cmocka_unit_test(test_recognition),
        cmocka_unit_test(test_bad_lines),
        cmocka_unit_test(test_bad_lines_in_shards),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
