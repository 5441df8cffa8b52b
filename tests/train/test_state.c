#include "scratch.h"

#include "data/checksum.h"
#include "train/state.h"

static const train_state sample = {.step = 400,
                                   .samples = 3200,
                                   .tokens = (int64_t)1 << 53,
                                   .seconds = 1.0 / 3,
                                   .config_hash = 0x0123456789abcdefu};
static const train_state_file sample_files[TRAIN_STATE_FILES] = {
    {123456789012, 0x00c0ffee}, {8, 0xffffffff}, {5, 1}, {6, 2}, {7, 3}};

static void written_is_read(void **unused) {
    (void)unused;
    train_state state;
    train_state_file files[TRAIN_STATE_FILES];
    char *path = train_text("%s/state.json", scratch);
    assert_ok(train_state_write(path, &sample, sample_files));
    assert_ok(train_state_read(&state, files, path));
    assert_int_equal(state.step, sample.step);
    assert_int_equal(state.samples, sample.samples);
    assert_int_equal(state.tokens, sample.tokens);
    assert_true(state.seconds == sample.seconds);
    assert_int_equal(state.config_hash, sample.config_hash);
    for (int i = 0; i < TRAIN_STATE_FILES; i++) {
        assert_int_equal(files[i].bytes, sample_files[i].bytes);
        assert_int_equal(files[i].crc, sample_files[i].crc);
    }
    free(path);
}

/* Replaces the checksum by the right one, as someone who edits the file would. */
static size_t seal(char *text, size_t count) {
    static const size_t tail = sizeof ",\n  \"crc32\": \"01234567\"\n}\n" - 1;
    if (count < tail) return count;
    snprintf(text + count - tail, tail + 1, ",\n  \"crc32\": \"%08x\"\n}\n",
             data_crc32(0, text, count - tail));
    return count;
}

/* Puts `text` (sealed) into a file and reads it: `part` must be in the message, or, where it is
 * NULL, reading may succeed or say KERN_ERR_DATA. */
static void try_text(char *text, size_t count, const char *part) {
    train_state state = {.step = 77};
    train_state_file files[TRAIN_STATE_FILES];
    char *path = train_text("%s/state.json", scratch);
    spill(path, text, count);
    kern_status status = train_state_read(&state, files, path);
    if (part) {
        assert_int_equal(status, KERN_ERR_DATA);
        assert_says(part);
        assert_says(path);
    } else if (status == KERN_OK) {
        assert_true(state.step >= 0 && state.samples >= 0 && state.tokens >= 0);
        assert_true(state.seconds >= 0);
        for (int i = 0; i < TRAIN_STATE_FILES; i++) assert_true(files[i].bytes >= -1);
    } else {
        assert_int_equal(status, KERN_ERR_DATA);
    }
    if (status != KERN_OK) assert_int_equal(state.step, 77);
    free(path);
}

static void edit(const char *original, const char *from, const char *to, const char *part) {
    char text[4096];
    const char *place = strstr(original, from);
    assert_non_null(place);
    int count = snprintf(text, sizeof text, "%.*s%s%s", (int)(place - original), original, to,
                         place + strlen(from));
    assert_true(count > 0 && count < (int)sizeof text);
    try_text(text, seal(text, (size_t)count), part);
}

static char *sample_text(size_t *count) {
    char *path = train_text("%s/state.json", scratch);
    assert_ok(train_state_write(path, &sample, sample_files));
    char *text = slurp(count, path);
    free(path);
    return text;
}

/* Even with a right checksum. */
static void impossible_fields_are_refused(void **unused) {
    (void)unused;
    size_t count;
    char *text = sample_text(&count);
    static const char fields[] = "missing, unknown or impossible";
    edit(text, "\"step\": 400", "\"step\": -1", fields);
    edit(text, "\"step\": 400", "\"step\": 4.5", fields);
    edit(text, "\"step\": 400", "\"step\": \"400\"", fields);
    edit(text, "\"step\": 400,", "", fields);
    edit(text, "\"step\": 400", "\"step\": 400, \"more\": 1", fields);
    edit(text, "0123456789abcdef", "0123456789abcde", fields);
    edit(text, "0123456789abcdef", "0123456789ABCDEF", fields);
    edit(text, "00c0ffee", "0x0ffeee", fields);
    edit(text, "123456789012", "-5", fields);
    edit(text, "optimizer.safetensors", "other.safetensors", fields);
    edit(text, "\"version\": 3", "\"version\": 4", "format version 4");
    edit(text, "\"version\": 3", "\"version\": 2", fields); /* had no config.yaml */
    edit(text, "config.yaml", "tokenizer2", fields);
    edit(text, "ttt checkpoint", "a checkpoint", "no checkpoint's state.json");
    edit(text, "{", "[", "no checkpoint's state.json");
    edit(text, "400", "400", NULL); /* unchanged, so that the edits above are known to matter */
    free(text);
}

/* A seeded mutation test: flipped, inserted, deleted and repeated pieces, sealed and unsealed. */
static void mutations_are_read_safely(void **unused) {
    (void)unused;
    size_t length;
    char *original = sample_text(&length);
    uint64_t seed = 11;
    for (int trial = 0; trial < 3000; trial++) {
        char text[4096];
        size_t count = length;
        memcpy(text, original, length);
        for (uint32_t edits = 1 + next_random(&seed) % 4; edits > 0; edits--) {
            size_t place = next_random(&seed) % (count + 1), size = next_random(&seed) % 9;
            if (size > count - place) size = count - place;
            switch (next_random(&seed) % 4) {
            case 0:
                for (size_t i = 0; i < size; i++) text[place + i] = (char)next_random(&seed);
                break;
            case 1:
                memmove(text + place, text + place + size, count - place - size);
                count -= size;
                break;
            case 2:
                memmove(text + place + size, text + place, count - place);
                count += size;
                break;
            default: count = place; break;
            }
        }
        bool changed = count != length || memcmp(text, original, length) != 0;
        if (next_random(&seed) % 2)
            try_text(text, seal(text, count), NULL);
        else
            try_text(text, count, changed ? "torn" : NULL);
    }
    free(original);
}

static void endless_file_is_refused(void **unused) {
    (void)unused;
    size_t count = 1 << 20;
    char *text = malloc(count);
    assert_non_null(text);
    memset(text, ' ', count);
    try_text(text, count, "longer than");
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(written_is_read),
        SCRATCH_TEST(impossible_fields_are_refused),
        SCRATCH_TEST(mutations_are_read_safely),
        SCRATCH_TEST(endless_file_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
