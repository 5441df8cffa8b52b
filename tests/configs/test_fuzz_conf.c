/* Files and overrides damaged at random (from a fixed seed): each is read or refused with a
 * message; nothing crashes, leaks or hangs. Worth most in a sanitized build. */
#include "configs/options.h"
#include "configs/reader.h"
#include "tests/configs/texts.h"

enum { MOST_BYTES = 1 << 16, ROUNDS = 6000 };

static uint64_t random_state = 20251223;

static uint64_t draw(uint64_t below) { /* xorshift64* */
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (random_state * UINT64_C(0x2545F4914F6CDD1D) >> 33) % below;
}

static const char *const seeds[] = {
    "quickstart.yaml",  "sizes/125m.yaml",   "methods/e2e.yaml",
    "stages/128k.yaml", "common/paper.yaml",
};

static const char *const tokens[] = {
    "{",      "}",           "[",      "]",        ": ",           "- ",
    "\n",     "\n  ",        "#",      "&a ",      "*a",           "!!int ",
    "'",      "\"",          "|\n",    ">-\n",     "? ",           "---\n",
    "...\n",  "%YAML 1.1\n", "null",   "~",        "when:\n",      "include: ",
    "\t",     "\\",          "\xff",   "\xc3",     "\xe2\x80\xa8", "1e999",
    "{size}", "name: ",      "model:", "train: {", "<<: ",         "99999999999999999999",
    "-",      ",",           "%",      "@",
};

static size_t read_seed(char *text, const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/../configs/%s", TESTS_DIR, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t bytes = fread(text, 1, MOST_BYTES / 4, file);
    fclose(file);
    return bytes;
}

static size_t insert(char *text, size_t bytes, size_t at, const char *what, size_t length) {
    if (bytes + length > MOST_BYTES) return bytes;
    memmove(text + at + length, text + at, bytes - at);
    memcpy(text + at, what, length);
    return bytes + length;
}

static size_t mutate(char *text, size_t bytes) {
    size_t at = draw(bytes + 1), length = draw(20);
    if (at + length > bytes) length = bytes - at;
    switch (draw(6)) {
    case 0: /* another byte */
        if (at < bytes) text[at] = (char)draw(256);
        return bytes;
    case 1: /* a flipped bit */
        if (at < bytes) text[at] = (char)(text[at] ^ (1 << draw(8)));
        return bytes;
    case 2: /* a hole */
        memmove(text + at, text + at + length, bytes - at - length);
        return bytes - length;
    case 3: return at; /* torn */
    case 4: {          /* a piece twice */
        char piece[20];
        memcpy(piece, text + at, length);
        return insert(text, bytes, draw(bytes + 1), piece, length);
    }
    default: {
        const char *token = tokens[draw(sizeof tokens / sizeof *tokens)];
        return insert(text, bytes, at, token, strlen(token));
    }
    }
}

static void damaged_files(void **state) {
    (void)state;
    char *text = malloc(MOST_BYTES);
    char folder[512];
    int64_t good = 0, bad = 0;
    snprintf(folder, sizeof folder, "%s/../configs", TESTS_DIR);
    for (int round = 0; round < ROUNDS; round++) {
        const char *name = seeds[round % (int)(sizeof seeds / sizeof *seeds)];
        size_t bytes = read_seed(text, name);
        for (uint64_t i = 1 + draw(4); i > 0; i--) bytes = mutate(text, bytes);
        char *exact = malloc(bytes ? bytes : 1); /* so that a read past the end is seen */
        memcpy(exact, text, bytes);
        ttt_conf *conf;
        assert_int_equal(conf_create(&conf), KERN_OK);
        conf_reader reader = {.conf = conf, .axes = {"125m", "e2e", "128k"}, .folder = folder};
        kern_fail(KERN_ERR_CONFIG, "nothing");
        if (conf_read_text(&reader, exact, bytes, "FUZZ.yaml") == KERN_OK) {
            good++;
        } else {
            bad++;
            if (!strstr(kern_error(), "FUZZ.yaml"))
                fail_msg("round %d: message without the file: %s", round, kern_error());
        }
        conf_check(conf);
        conf_destroy(conf);
        free(exact);
    }
    free(text);
    assert_true(good > ROUNDS / 20 && bad > ROUNDS / 4); /* neither all refused nor all read */
}

/* Nesting that would overflow the stack of a recursive reader. */
static void deep_files(void **state) {
    (void)state;
    static const char *const openers[] = {"[", "{a: ", "- ", "? "};
    char *text = malloc(MOST_BYTES);
    for (size_t i = 0; i < sizeof openers / sizeof *openers; i++) {
        size_t bytes = 0, length = strlen(openers[i]);
        while (bytes + length < MOST_BYTES / 2) {
            memcpy(text + bytes, openers[i], length);
            bytes += length;
        }
        ttt_conf *conf;
        assert_int_equal(conf_create(&conf), KERN_OK);
        conf_reader reader = {.conf = conf};
        assert_int_equal(conf_read_text(&reader, text, bytes, "DEEP.yaml"), KERN_ERR_CONFIG);
        conf_destroy(conf);
    }
    free(text);
}

static void damaged_overrides(void **state) {
    (void)state;
    int64_t count;
    const conf_option *options = conf_options(&count);
    ttt_conf *conf, *before;
    assert_int_equal(conf_create(&conf), KERN_OK);
    for (int round = 0; round < ROUNDS; round++) {
        char text[256];
        const conf_option *option = &options[draw((uint64_t)count)];
        size_t bytes = (size_t)snprintf(text, 128, "%s=%s", option->name, option->fallback);
        for (uint64_t i = draw(4); i > 0 && bytes < 128; i--) bytes = mutate(text, bytes);
        text[bytes] = 0;
        assert_int_equal(conf_copy(&before, conf), KERN_OK);
        if (conf_set(conf, text) != KERN_OK) assert_true(conf_equal(conf, before));
        conf_destroy(before);
    }
    conf_destroy(conf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_files),
        cmocka_unit_test(deep_files),
        cmocka_unit_test(damaged_overrides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
