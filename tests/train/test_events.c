/* The event file is read back by a reader written here from the format alone. */
#include "scratch.h"

#include <time.h>

#include "train/events.h"

/* Table-driven, most significant bit first on reflected data: another way to the same CRC. */
static uint32_t reflect(uint32_t value, int bits) {
    uint32_t out = 0;
    for (int i = 0; i < bits; i++)
        if (value >> i & 1) out |= 1u << (bits - 1 - i);
    return out;
}

static uint32_t other_crc32c(const uint8_t *bytes, size_t count) {
    uint32_t table[256], crc = 0xffffffffu;
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i << 24;
        for (int bit = 0; bit < 8; bit++)
            table[i] = table[i] & 0x80000000u ? table[i] << 1 ^ 0x1edc6f41u : table[i] << 1;
    }
    for (size_t i = 0; i < count; i++)
        crc = crc << 8 ^ table[(crc >> 24 ^ reflect(bytes[i], 8)) & 255];
    return reflect(crc, 32) ^ 0xffffffffu;
}

static uint64_t little(const uint8_t *bytes, int width) {
    uint64_t value = 0;
    for (int i = width; i-- > 0;) value = value << 8 | bytes[i];
    return value;
}

static uint64_t varint(const uint8_t **next) {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
        uint8_t byte = *(*next)++;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return value;
    }
}

typedef struct {
    double wall_time;
    int64_t step;
    char version[32];
    bool session_start;
    int values;
    char tags[8][32];
    float numbers[8];
} event;

static float as_float(const uint8_t *bytes) {
    uint32_t bits = (uint32_t)little(bytes, 4);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void parse_value(event *out, const uint8_t *next, const uint8_t *end) {
    assert_true(out->values < 8);
    while (next < end) {
        uint64_t key = varint(&next);
        if (key == (1 << 3 | 2)) {
            size_t length = varint(&next);
            assert_true(length < 32 && next + length <= end);
            memcpy(out->tags[out->values], next, length);
            next += length;
        } else {
            assert_int_equal(key, 2 << 3 | 5);
            out->numbers[out->values] = as_float(next);
            next += 4;
        }
    }
    assert_ptr_equal(next, end);
    out->values++;
}

static void parse_summary(event *out, const uint8_t *next, const uint8_t *end) {
    while (next < end) {
        assert_int_equal(varint(&next), 1 << 3 | 2);
        size_t length = varint(&next);
        assert_true(next + length <= end);
        parse_value(out, next, next + length);
        next += length;
    }
}

static void parse_event(event *out, const uint8_t *next, const uint8_t *end) {
    memset(out, 0, sizeof *out);
    while (next < end) {
        uint64_t key = varint(&next);
        if (key == (1 << 3 | 1)) {
            uint64_t bits = little(next, 8);
            memcpy(&out->wall_time, &bits, 8);
            next += 8;
        } else if (key == (2 << 3 | 0)) {
            out->step = (int64_t)varint(&next);
        } else {
            assert_int_equal(key & 7, 2);
            size_t length = varint(&next);
            assert_true(next + length <= end);
            if (key >> 3 == 3) memcpy(out->version, next, length);
            if (key >> 3 == 5) parse_summary(out, next, next + length);
            if (key >> 3 == 7) out->session_start = length == 2 && next[0] == 8 && next[1] == 1;
            next += length;
        }
    }
    assert_ptr_equal(next, end);
}

static uint32_t mask(uint32_t crc) {
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

/* Reads records until the file ends, also where it ends within one. */
static int parse_file(event *events, int limit, const char *path) {
    size_t count;
    uint8_t *bytes = (uint8_t *)slurp(&count, path), *next = bytes;
    int found = 0;
    while (count - (size_t)(next - bytes) >= 12) {
        uint64_t length = little(next, 8);
        assert_int_equal(little(next + 8, 4), mask(other_crc32c(next, 8)));
        if (length > count - (size_t)(next - bytes) - 16) break;
        assert_int_equal(little(next + 12 + length, 4), mask(other_crc32c(next + 12, length)));
        assert_true(found < limit);
        parse_event(&events[found++], next + 12, next + 12 + length);
        next += 16 + length;
    }
    free(bytes);
    return found;
}

static void crc_of_known_vectors(void **state) {
    (void)state;
    uint8_t bytes[32];
    assert_int_equal(train_crc32c("", 0), 0);
    assert_int_equal(train_crc32c("123456789", 9), 0xe3069283u);
    memset(bytes, 0, sizeof bytes); /* these three are RFC 3720's */
    assert_int_equal(train_crc32c(bytes, 32), 0x8a9136aau);
    memset(bytes, 255, sizeof bytes);
    assert_int_equal(train_crc32c(bytes, 32), 0x62a8ab43u);
    for (int i = 0; i < 32; i++) bytes[i] = (uint8_t)i;
    assert_int_equal(train_crc32c(bytes, 32), 0x46dd794eu);
    assert_int_equal(other_crc32c(bytes, 32), 0x46dd794eu);
}

static char *only_file(void) {
    char **names;
    int64_t count;
    assert_ok(train_list(&names, &count, scratch));
    assert_int_equal(count, 1);
    char *path = train_text("%s/%s", scratch, names[0]);
    assert_non_null(strstr(path, "/events.out.tfevents."));
    train_free_names(names, count);
    return path;
}

static void scalars_read_back(void **state) {
    (void)state;
    train_events *events;
    const train_value first[] = {{"loss", 2.5, false}, {"outer_grad_norm", 0.0, false}};
    const train_value second[] = {{"loss", 1.0 / 3, false}};
    double before = (double)time(NULL);
    assert_ok(train_events_open(&events, scratch, 0));
    assert_ok(train_events_write(events, 0, 2, first));
    assert_ok(train_events_write(events, 300, 1, second));
    assert_ok(train_events_write(events, (int64_t)1 << 40, 0, NULL));
    train_events_close(events);

    event found[8];
    char *path = only_file();
    assert_int_equal(parse_file(found, 8, path), 4);
    assert_string_equal(found[0].version, "brain.Event:2");
    assert_true(found[0].wall_time >= before && found[0].wall_time < before + 60);
    assert_int_equal(found[1].values, 2);
    assert_string_equal(found[1].tags[0], "loss");
    assert_true(found[1].numbers[0] == 2.5f);
    assert_string_equal(found[1].tags[1], "outer_grad_norm");
    assert_true(found[1].numbers[1] == 0);
    assert_int_equal(found[2].step, 300);
    assert_true(found[2].numbers[0] == (float)(1.0 / 3));
    assert_int_equal(found[3].step, (int64_t)1 << 40);
    assert_false(found[1].session_start);
    free(path);
}

/* A resumed run leaves a torn older file alone, writes one whose name sorts behind it, and begins
 * with the mark. */
static void resuming_writes_a_later_file(void **state) {
    (void)state;
    train_events *events;
    const train_value value = {"loss", 1, false};
    assert_ok(train_events_open(&events, scratch, 0));
    assert_ok(train_events_write(events, 0, 1, &value));
    assert_ok(train_events_write(events, 1, 1, &value));
    train_events_close(events);
    char *first = only_file();
    size_t count;
    char *bytes = slurp(&count, first);
    assert_int_equal(truncate(first, (off_t)count - 3), 0);

    for (int again = 0; again < 2; again++) {
        assert_ok(train_events_open(&events, scratch, 1));
        assert_ok(train_events_write(events, 1, 1, &value));
        train_events_close(events);
    }
    char **names;
    int64_t files;
    event found[8];
    assert_ok(train_list(&names, &files, scratch));
    assert_int_equal(files, 3);
    assert_string_equal(names[0], strrchr(first, '/') + 1);
    assert_int_equal(parse_file(found, 8, first), 2);
    char *last = train_text("%s/%s", scratch, names[2]);
    assert_int_equal(parse_file(found, 8, last), 3);
    assert_string_equal(found[0].version, "brain.Event:2");
    assert_true(found[1].session_start);
    assert_int_equal(found[1].step, 1);
    assert_int_equal(found[2].step, 1);
    train_free_names(names, files);
    free(last);
    free(bytes);
    free(first);
}

static void a_directory_that_cannot_be_is_named(void **state) {
    (void)state;
    train_events *events;
    char *path = train_text("%s/file", scratch), *under = train_text("%s/file/events", scratch);
    spill(path, "x", 1);
    assert_int_equal(train_events_open(&events, under, 0), KERN_ERR_FILE);
    assert_null(events);
    assert_says(path);
    free(path);
    free(under);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc_of_known_vectors),
        SCRATCH_TEST(scalars_read_back),
        SCRATCH_TEST(resuming_writes_a_later_file),
        SCRATCH_TEST(a_directory_that_cannot_be_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
