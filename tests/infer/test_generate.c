/* Writing on: what ends it, and what is read when it ends. */
#include "tests/infer/tiny.h"

#include "infer/generate.h"

#define BYTE_MODEL "model.vocab=257 model.bos=256 model.tied=false"

typedef struct {
    char text[64];
    int64_t bytes;
} written;

static bool say(void *context, const char *text, int64_t bytes) {
    written *w = context;
    assert_true(w->bytes + bytes < (int64_t)sizeof w->text);
    if (bytes) memcpy(w->text + w->bytes, text, (size_t)bytes);
    w->bytes += bytes;
    return true;
}

/* A model that has a score other than 0 for one token alone; its sign is that of `factor`. */
static void favour(tiny *m, int32_t token, double factor) {
    const infer_parameter *head = tiny_find(m, "lm_head.weight");
    for (int64_t i = 0; i < head->elements; i++)
        m->parameters[head->offset + i] = i == token ? factor : 0; /* row 0, [D, V] */
}

/* Writes 5 tokens at most, greedily, after one that was read. */
static kern_status write_on(tiny *m, int32_t token, infer_end *end, int64_t *tokens, written *w,
                            int64_t *position) {
    infer_session *session;
    infer_sampler *sampler;
    infer_sampling greedy = {.repetition_penalty = 1, .top_p = 1};
    infer_session_spec spec = {.conf = m->conf, .device = test_device(), .threads = 1};
    int32_t first = 256;
    omp_set_num_threads(1);
    assert_ok(infer_session_create(&session, &spec));
    assert_ok(infer_sampler_create(&sampler, &greedy, 257));
    infer_stream *stream = infer_stream_create(NULL, 0);
    favour(m, token, 1);
    infer_session_set_values(session, tiny_values(m));
    assert_ok(infer_session_read(session, &first, 1, NULL));
    if (infer_session_logits(session)[token] < 0) {
        favour(m, token, -1);
        infer_session_reset(session);
        assert_ok(infer_session_read(session, &first, 1, NULL));
    }
    *w = (written){.bytes = 0};
    infer_generation generation = {.session = session,
                                   .vocabulary = data_vocabulary_byte(),
                                   .sampler = sampler,
                                   .stream = stream,
                                   .tokens = 5,
                                   .say = say,
                                   .context = w};
    kern_status status = infer_generate(end, tokens, &generation);
    *position = infer_session_position(session);
    infer_stream_destroy(stream);
    infer_sampler_destroy(sampler);
    infer_session_destroy(session);
    return status;
}

static void test_ends(void **state) {
    (void)state;
    tiny m;
    written w;
    infer_end end;
    int64_t tokens, position;
    tiny_begin(&m, BYTE_MODEL);
    assert_ok(write_on(&m, 256, &end, &tokens, &w, &position)); /* begin of document */
    assert_int_equal(end, INFER_END_TEXT);
    assert_int_equal(tokens, 0);
    assert_int_equal(position, 1);
    assert_int_equal(w.bytes, 0);
    assert_ok(write_on(&m, 'a', &end, &tokens, &w, &position));
    assert_int_equal(w.bytes, tokens);
    assert_int_equal(w.text[0], 'a');
    assert_int_equal(end, INFER_END_TOKENS);
    assert_int_equal(position, 6);
    tiny_end(&m);
}

/* A model whose scores are no numbers writes nothing and says so. */
static void test_broken_models(void **state) {
    (void)state;
    tiny m;
    written w;
    infer_end end;
    int64_t tokens, position;
    tiny_begin(&m, BYTE_MODEL);
    m.parameters[tiny_find(&m, "final_norm.weight")->offset] = (double)NAN;
    assert_int_equal(write_on(&m, 'a', &end, &tokens, &w, &position), KERN_ERR_NUMERIC);
    assert_non_null(strstr(kern_error(), "not finite"));
    assert_int_equal(tokens, 0);
    tiny_end(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_broken_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
