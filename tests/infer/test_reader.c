/* Texts into sessions: whatever the pieces in which bytes come, and wherever reading is stopped,
 * the session is that of the tokens that were read. */
#include "tests/infer/tiny.h"

#include "infer/reader.h"

enum { BYTES = 1500, MOST = 2 * BYTES };

#define BYTE_MODEL "model.vocab=257 model.bos=256 model.init_std=0.2 inner.lr=0.02"

/* What a reader told, and after how many tokens it is stopped. */
typedef struct {
    int32_t token[MOST];
    double nll[MOST];
    int64_t count, stop;
    kern_status end;
} record;

static kern_status note(void *context, const int32_t *token, const double *nll, int64_t count) {
    record *r = context;
    assert_true(r->count + count <= MOST);
    memcpy(r->token + r->count, token, (size_t)count * sizeof *token);
    memcpy(r->nll + r->count, nll, (size_t)count * sizeof *nll);
    r->count += count;
    return r->count >= r->stop ? kern_fail(r->end, "the reason") : KERN_OK;
}

static infer_session *begin_session(const tiny *m) {
    infer_session *session;
    infer_session_spec spec = {
        .conf = m->conf, .device = test_device(), .inner = true, .threads = 1};
    omp_set_num_threads(1);
    assert_ok(infer_session_create(&session, &spec));
    infer_session_set_values(session, tiny_values(m));
    return session;
}

static void some_text(char *text) {
    uint64_t random = 3;
    for (int i = 0; i < BYTES; i++) text[i] = (char)(97 + 12 * (tiny_random(&random) + 1));
}

/* Reads the text in pieces; the status that ended it. */
static kern_status read_text(record *r, infer_session *session, const char *text, int64_t piece) {
    infer_reader *reader;
    infer_reader_spec spec = {.session = session,
                              .vocabulary = data_vocabulary_byte(),
                              .losses = true,
                              .seen = note,
                              .context = r};
    kern_status status = KERN_OK;
    assert_ok(infer_reader_create(&reader, &spec));
    for (int64_t at = 0; at < BYTES && status == KERN_OK; at += piece) {
        int64_t n = BYTES - at < piece ? BYTES - at : piece;
        status = infer_reader_push(reader, text + at, n, at + n == BYTES);
    }
    infer_reader_destroy(reader);
    return status;
}

static void test_pieces(void **state) {
    (void)state;
    static record whole, r;
    char text[BYTES];
    tiny m;
    tiny_begin(&m, BYTE_MODEL);
    some_text(text);
    infer_session *session = begin_session(&m);
    whole = (record){.stop = MOST};
    assert_ok(read_text(&whole, session, text, BYTES));
    assert_int_equal(whole.count, BYTES + 1);
    assert_int_equal(whole.token[0], 256);
    for (int i = 0; i < BYTES; i++) assert_int_equal(whole.token[i + 1], text[i]);
    for (int64_t piece = 1; piece < BYTES; piece = piece * 5 + 2) {
        infer_session_reset(session);
        r = (record){.stop = MOST};
        assert_ok(read_text(&r, session, text, piece));
        assert_int_equal(r.count, whole.count);
        assert_memory_equal(r.token, whole.token, (size_t)r.count * sizeof *r.token);
        tiny_assert_close(r.nll + 1, whole.nll + 1, BYTES, 1e-12, "pieces");
    }
    infer_session_destroy(session);
    tiny_end(&m);
}

/* The session goes on from what it read of the text as if nothing else had ever been there. */
static void assert_settled(tiny *m, infer_session *session, infer_session *plain,
                           const char *text) {
    static double expected[40], nll[40];
    int32_t token[BYTES + 1] = {256}, other[40];
    int64_t count = infer_session_position(session);
    for (int i = 0; i < BYTES; i++) token[i + 1] = text[i];
    tiny_tokens(m, other, 40, 7);
    infer_session_reset(plain);
    assert_ok(infer_session_read(plain, token, count, NULL));
    const float *a = infer_session_logits(session), *b = infer_session_logits(plain);
    for (int i = 0; i < 257; i++) assert_true(fabs((double)(a[i] - b[i])) < 1e-5);
    assert_ok(infer_session_read(session, other, 40, nll));
    assert_ok(infer_session_read(plain, other, 40, expected));
    tiny_assert_close(nll, expected, 40, 1e-12, "after the stop");
}

/* Stopped, also just behind a chunk whose step knew the token after it, any text can follow. */
static void test_stopped_reading_goes_on(void **state) {
    (void)state;
    static record r;
    char text[BYTES];
    tiny m;
    tiny_begin(&m, BYTE_MODEL);
    some_text(text);
    infer_session *session = begin_session(&m), *plain = begin_session(&m);
    for (int64_t stop = 1; stop < BYTES; stop = stop * 3 + 1) {
        infer_session_reset(session);
        r = (record){.stop = stop, .end = KERN_ERR_INTERRUPTED};
        assert_int_equal(read_text(&r, session, text, 700), KERN_ERR_INTERRUPTED);
        assert_ok(infer_session_settle(session));
        assert_in_range(infer_session_position(session), r.count, r.count + 1);
        assert_settled(&m, session, plain, text);
    }
    infer_session_destroy(session);
    infer_session_destroy(plain);
    tiny_end(&m);
}

/* So it is where the rest of a text never comes: behind whole chunks, and where a part of it ends
 * with a chunk that was begun before and whose step is still to come. */
static void test_rest_never_comes(void **state) {
    (void)state;
    char text[BYTES];
    tiny m;
    tiny_begin(&m, BYTE_MODEL);
    some_text(text);
    infer_session *session = begin_session(&m), *plain = begin_session(&m);
    const int64_t parts[][2] = {{2, 100}, {2, 700}, {3, 1}, {3, 1200}, {0, 600}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        infer_reader *reader;
        infer_reader_spec spec = {.session = session, .vocabulary = data_vocabulary_byte()};
        int64_t first = parts[i][0];
        infer_session_reset(session);
        assert_ok(infer_reader_create(&reader, &spec));
        if (first) assert_ok(infer_reader_push(reader, text, first, true));
        assert_ok(infer_reader_push(reader, text + first, parts[i][1], false));
        infer_reader_destroy(reader);
        assert_ok(infer_session_settle(session));
        assert_settled(&m, session, plain, text);
    }
    infer_session_destroy(session);
    infer_session_destroy(plain);
    tiny_end(&m);
}

/* An error of who is told ends the reading, with its message. */
static void test_errors_are_passed_on(void **state) {
    (void)state;
    static record r;
    char text[BYTES];
    tiny m;
    tiny_begin(&m, BYTE_MODEL);
    some_text(text);
    infer_session *session = begin_session(&m);
    r = (record){.stop = 1, .end = KERN_ERR_FILE};
    assert_int_equal(read_text(&r, session, text, BYTES), KERN_ERR_FILE);
    assert_string_equal(kern_error(), "the reason");
    infer_session_destroy(session);
    tiny_end(&m);
}

/* A vocabulary whose words never end before the text does, and the bytes that it looked at. */
static int64_t looked_at;

static kern_status encode_late(data_tokens *tokens, int64_t *consumed,
                               const data_vocabulary *vocabulary, void *scratch, const char *text,
                               int64_t bytes, bool last, bool special) {
    (void)vocabulary;
    (void)scratch;
    (void)text;
    (void)special;
    looked_at += bytes;
    *consumed = last ? bytes : 0;
    if (last) {
        assert_ok(data_tokens_reserve(tokens, 1));
        tokens->ids[tokens->count++] = 7;
    }
    return KERN_OK;
}

static void test_endless_words(void **state) {
    (void)state;
    static record r;
    char text[BYTES];
    tiny m;
    tiny_begin(&m, BYTE_MODEL);
    some_text(text);
    data_vocabulary endless = {.name = "endless", .size = 257, .bos = 256, .encode = encode_late};
    infer_session *session = begin_session(&m);
    infer_reader *reader;
    r = (record){.stop = MOST};
    infer_reader_spec spec = {
        .session = session, .vocabulary = &endless, .losses = true, .seen = note, .context = &r};
    assert_ok(infer_reader_create(&reader, &spec));
    for (int i = 0; i < BYTES; i++) assert_ok(infer_reader_push(reader, text + i, 1, false));
    assert_ok(infer_reader_push(reader, NULL, 0, true));
    assert_int_equal(r.count, 2);
    assert_int_equal(r.token[1], 7);
    assert_in_range(looked_at, BYTES, 4 * BYTES);
    infer_reader_destroy(reader);
    infer_session_destroy(session);
    tiny_end(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),           cmocka_unit_test(test_stopped_reading_goes_on),
        cmocka_unit_test(test_rest_never_comes), cmocka_unit_test(test_errors_are_passed_on),
        cmocka_unit_test(test_endless_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
