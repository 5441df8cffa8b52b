/* Asking and scoring with something in a model's place: one that finds the value by searching the
 * prompt scores 1 in every task, with bytes and with GPT-2's vocabulary; where an answer ends. */
#include "infer/needle.h"
#include "tests/data/tokenizers.h"

enum { ANSWER_TOKENS = 40 };

/* Gives what stands in the prompt behind the first place where its last `tail` bytes stand, then
 * special tokens. */
typedef struct {
    const data_vocabulary *vocabulary;
    int64_t tail, asked, texts;
    data_tokens answer;
    int32_t first; /* of the prompt */
} searcher;

static kern_status begin_search(void *context, const int32_t *prompt, int64_t count) {
    searcher *s = context;
    int64_t bytes;
    data_tokens tokens = {.ids = malloc((size_t)count * sizeof(int32_t)), .count = count - 1};
    memcpy(tokens.ids, prompt + 1, (size_t)tokens.count * sizeof(int32_t));
    char *text = decode_all(s->vocabulary, &tokens, &bytes);
    text = realloc(text, (size_t)bytes + 1);
    text[bytes] = 0;
    const char *found = strstr(text, text + bytes - s->tail);
    assert_non_null(found);
    free(s->answer.ids);
    s->answer = encode_all(s->vocabulary, found + s->tail, 60, 0, false);
    s->first = prompt[0];
    s->asked = 0;
    s->texts++;
    free(text);
    free(tokens.ids);
    return KERN_OK;
}

static kern_status next_found(void *context, int32_t *token) {
    searcher *s = context;
    *token = s->asked < s->answer.count ? s->answer.ids[s->asked] : s->vocabulary->bos;
    s->asked++;
    return KERN_OK;
}

/* The sum of the scores of 5 samples of each task. */
static double sum_of_scores(const data_vocabulary *vocabulary, int64_t length, int64_t tail) {
    data_needle_maker *maker;
    infer_needle_result result = {.bytes = 0};
    infer_needle_spec spec = {vocabulary, NULL, true, ANSWER_TOKENS};
    searcher s = {.vocabulary = vocabulary, .tail = tail};
    const infer_answerer answerer = {&s, begin_search, next_found};
    assert_ok(data_encoder_create(&spec.encoder, vocabulary));
    assert_ok(data_needle_maker_create(&maker, vocabulary, TESTS_DIR "/../README.md", true));
    double sum = 0;
    for (int task = 1; task <= 3; task++)
        for (int64_t i = 0; i < 5; i++) {
            data_needle sample;
            const data_needle_spec of = {task, length, ANSWER_TOKENS, (int)(25 * i), i, 11};
            assert_ok(data_needle_make(&sample, maker, &of));
            assert_ok(infer_needle_ask(&result, &sample, &answerer, &spec));
            assert_int_equal(s.first, vocabulary->bos);
            assert_int_equal(result.prompt_tokens + ANSWER_TOKENS, sample.length);
            assert_int_equal(result.answer_tokens, s.asked);
            assert_int_equal(strlen(result.answer), result.bytes);
            sum += result.score;
            data_needle_clear(&sample);
        }
    free(s.answer.ids);
    free(result.answer);
    data_needle_maker_destroy(maker);
    data_encoder_destroy(spec.encoder);
    return sum;
}

static void test_searcher(void **state) {
    (void)state;
    data_vocabulary *gpt2 = open_tokenizer("gpt2_vocab.bpe.gz", NULL);
    assert_true(sum_of_scores(data_vocabulary_byte(), 1500, 12) == 15);
    assert_true(sum_of_scores(gpt2, 700, 12) == 15);
    /* " is" alone stands before much else. */
    assert_true(sum_of_scores(data_vocabulary_byte(), 1500, 3) < 8);
    data_vocabulary_destroy(gpt2);
}

/* Gives the bytes of a text, one a token. */
typedef struct {
    const char *text;
    int64_t asked, texts;
} speaker;

static kern_status begin_text(void *context, const int32_t *prompt, int64_t count) {
    speaker *s = context;
    assert_true(count > 0 && prompt[0] == 'Q');
    s->asked = 0;
    s->texts++;
    return KERN_OK;
}

static kern_status next_byte(void *context, int32_t *token) {
    speaker *s = context;
    if (s->text[s->asked] == '!') return kern_fail(KERN_ERR_INTERRUPTED, "interrupted");
    *token = s->text[s->asked] == '#' ? 256 : (unsigned char)s->text[s->asked];
    s->asked++;
    return KERN_OK;
}

/* An answer ends with the last reference, before begin of document, or when it is long enough. */
static void test_ends(void **state) {
    (void)state;
    static const struct {
        const char *said, *kept;
        int64_t asked;
        double score;
    } rows[] = {
        {"xx UP and 77 and more and", "xx UP and 77", 12, 1},
        {"no#77 up", "no", 3, 0},
        {"77 only........................", "77 only.............", 20, 0.5},
        {"............up77....", "............up77", 16, 1},
        {"...................77 up", "...................7", 20, 0},
    };
    char input[] = "Q", prefix[] = "A", up[] = "Up", number[] = "77", *outputs[] = {up, number};
    data_needle sample = {.input = input, .prefix = prefix, .outputs = outputs, .output_count = 2};
    infer_needle_spec spec = {data_vocabulary_byte(), NULL, false, 20};
    infer_needle_result result = {.bytes = 0};
    speaker s = {.texts = 0};
    const infer_answerer answerer = {&s, begin_text, next_byte};
    assert_ok(data_encoder_create(&spec.encoder, spec.vocabulary));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        s.text = rows[i].said;
        assert_ok(infer_needle_ask(&result, &sample, &answerer, &spec));
        assert_string_equal(result.answer, rows[i].kept);
        assert_int_equal(s.asked, rows[i].asked);
        assert_true(result.score == rows[i].score);
        assert_int_equal(result.prompt_tokens, 2);
        assert_int_equal(s.texts, i + 1);
    }
    s.text = "77 u!p";
    assert_failure(infer_needle_ask(&result, &sample, &answerer, &spec), KERN_ERR_INTERRUPTED,
                   NULL);
    free(result.answer);
    data_encoder_destroy(spec.encoder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_searcher),
        cmocka_unit_test(test_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
