/* Needles in haystacks: what the generator promises of its samples, RULER's lines read byte by byte
 * and written back, damaged lines refused by number, the score. */
#include <ctype.h>

#include "data/needle.h"
#include "tests/data/tokenizers.h"

static const char book[] =
    "It was a \"quiet\" morning.  Nobody spoke!\n\nThen the door\topened, and "
    "what came in?\r\nA sheep came in. It said nothing (as sheep do). And "
    "that was na\303\257ve \377 of it";

static data_needle make(data_needle_maker *maker, int task, int64_t length, int64_t index,
                        int depth, uint64_t seed) {
    data_needle sample;
    data_needle_spec spec = {.task = task,
                             .length = length,
                             .answer_tokens = 40,
                             .depth = depth,
                             .index = index,
                             .seed = seed};
    assert_ok(data_needle_make(&sample, maker, &spec));
    return sample;
}

static data_needle_maker *open_maker(const data_vocabulary *vocabulary, const char *text) {
    data_needle_maker *maker;
    if (text) write_file(in_folder("book.txt"), text, strlen(text));
    assert_ok(
        data_needle_maker_create(&maker, vocabulary, text ? in_folder("book.txt") : NULL, true));
    return maker;
}

static void assert_same(const data_needle *a, const data_needle *b) {
    assert_int_equal(a->index, b->index);
    assert_string_equal(a->input, b->input);
    assert_string_equal(a->prefix, b->prefix);
    assert_int_equal(a->output_count, b->output_count);
    for (int64_t i = 0; i < a->output_count; i++) assert_string_equal(a->outputs[i], b->outputs[i]);
    assert_int_equal(a->length, b->length);
    assert_int_equal(a->length_w_temp, b->length_w_temp);
    assert_int_equal(a->position, b->position);
}

static int64_t count(const char *text, const char *part) {
    int64_t found = 0;
    for (; (text = strstr(text, part)); text++) found++;
    return found;
}

static void assert_value(const char *value, int task) {
    static const char uuid[] = "xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx";
    const char *pattern = task == 3 ? uuid : "9999999";
    assert_int_equal(strlen(value), strlen(pattern));
    for (size_t i = 0; pattern[i]; i++) {
        bool fits = value[i] == pattern[i];
        if (pattern[i] == '9') fits = isdigit(value[i]) && (i || value[i] != '0');
        if (pattern[i] == 'x') fits = strchr("0123456789abcdef", value[i]) != NULL;
        if (pattern[i] == 'y') fits = strchr("89ab", value[i]) != NULL;
        if (!fits) fail_msg("'%s' is not like '%s'", value, pattern);
    }
}

/* The value stands once in the input, behind the words that the prefix repeats; the input says no
 * more of it, and there is no room for another word. Whether it fills the length to the last token.
 */
static bool check_sample(const data_vocabulary *vocabulary, const data_needle *s, int task,
                         int64_t length) {
    assert_int_equal(s->output_count, 1);
    assert_value(s->outputs[0], task);
    char needle[200];
    snprintf(needle, sizeof needle, "%s %s.", s->prefix, s->outputs[0]);
    assert_int_equal(count(s->input, s->outputs[0]), 1);
    assert_int_equal(count(s->input, needle), 1);
    char *prompt = data_needle_prompt(s);
    data_tokens all = encode_all(vocabulary, prompt, (int64_t)strlen(prompt), 0, false);
    assert_int_equal(s->length, 1 + all.count + 40);
    assert_true(s->length <= length);
    assert_true(s->length > length - (task == 1 ? 120 : 12));
    int64_t before = strstr(s->input, s->outputs[0]) - s->input;
    data_tokens part = encode_all(vocabulary, prompt, before, 0, false);
    assert_int_equal(s->position, part.count);
    free(part.ids);
    free(all.ids);
    free(prompt);
    return s->length == length;
}

static void check_tasks(const data_vocabulary *vocabulary, int64_t least) {
    data_needle_maker *maker = open_maker(vocabulary, book);
    int full = 0;
    for (int task = 1; task <= 3; task++)
        for (int64_t length = least; length <= 4 * least; length += least / 3)
            for (int64_t index = 0; index < 5; index++) {
                data_needle s = make(maker, task, length, index, (int)(25 * index), 7);
                full += check_sample(vocabulary, &s, task, length);
                data_needle_clear(&s);
            }
    assert_true(full > 0);
    data_needle_maker_destroy(maker);
}

static void test_samples(void **state) {
    (void)state;
    check_tasks(data_vocabulary_byte(), 460);
    data_vocabulary *gpt2 = open_tokenizer("gpt2_vocab.bpe.gz", NULL);
    check_tasks(gpt2, 150);
    data_vocabulary_destroy(gpt2);
}

/* Everything but the depth decides about key, value and the text around; the depth only moves the
 * needle, from the first sentence to behind the last. */
static void test_seeds(void **state) {
    (void)state;
    data_needle_maker *maker = open_maker(data_vocabulary_byte(), book);
    data_needle one = make(maker, 2, 900, 3, 0, 7), again = make(maker, 2, 900, 3, 0, 7);
    assert_same(&one, &again);
    data_needle_clear(&again);
    const struct {
        int task;
        int64_t length, index;
        uint64_t seed;
    } other[] = {{3, 900, 3, 7}, {2, 901, 3, 7}, {2, 900, 4, 7}, {2, 900, 3, 8}};
    for (int i = 0; i < 4; i++) {
        data_needle s =
            make(maker, other[i].task, other[i].length, other[i].index, 0, other[i].seed);
        assert_string_not_equal(s.outputs[0], one.outputs[0]);
        data_needle_clear(&s);
    }
    double last = -1;
    for (int depth = 0; depth <= 100; depth += 20) {
        data_needle s = make(maker, 2, 900, 3, depth, 7);
        assert_string_equal(s.outputs[0], one.outputs[0]);
        assert_string_equal(s.prefix, one.prefix);
        assert_int_equal(strlen(s.input), strlen(one.input));
        assert_true(data_needle_depth(&s) > last);
        last = data_needle_depth(&s);
        const char *head = strchr(s.input, '\n') + 1, *needle = strstr(s.input, s.prefix);
        const char *tail = strstr(needle, ".");
        if (depth == 0) assert_ptr_equal(needle, head);
        if (depth == 100) assert_int_equal(tail[1], '\n');
        /* It stands at the border of a sentence. */
        if (depth > 0 && depth < 100) assert_non_null(strchr(".!?\")", needle[-2]));
        data_needle_clear(&s);
    }
    data_needle_clear(&one);
    data_needle_maker_destroy(maker);
}

static void test_noise(void **state) {
    (void)state;
    data_needle_maker *maker = open_maker(data_vocabulary_byte(), NULL);
    data_needle top = make(maker, 1, 2000, 0, 0, 1), end = make(maker, 1, 2000, 0, 100, 1);
    int64_t lines = count(top.input, "\n") - 3; /* the first line, the needle, the question */
    assert_true(lines > 10);
    assert_int_equal(count(end.input, "\n") - 3, lines);
    const char *line = strchr(end.input, '\n') + 1;
    char *one = strndup(line, (size_t)(strchr(line, '\n') - line + 1));
    assert_int_equal(count(top.input, one), lines);
    assert_int_equal(count(end.input, one), lines);
    assert_true(strstr(top.input, top.outputs[0]) < strstr(top.input, one));
    free(one);
    data_needle_clear(&top);
    data_needle_clear(&end);
    data_needle_maker_destroy(maker);
    assert_int_equal(data_needle_depth_of(0, 1), 0);
    int sum = 0;
    for (int i = 0; i < 40; i++) sum += data_needle_depth_of(i, 40) * (i + 1);
    assert_int_equal(sum, 54646); /* numpy: (linspace(0, 100, 40).round() * arange(1, 41)).sum() */
}

/* White space is one space, foreign bytes are question marks, a text that ends begins again. */
static void test_haystack(void **state) {
    (void)state;
    data_needle_maker *maker = open_maker(data_vocabulary_byte(), book);
    data_needle s = make(maker, 2, 3000, 0, 100, 7);
    assert_true(count(s.input,
                      "morning. Nobody spoke! Then the door opened, and what came in? A sheep "
                      "came in.") > 5);
    assert_true(count(s.input, "na\303\257ve ? of it It was a \"quiet\"") > 5);
    data_needle_clear(&s);
    int between = 0; /* the end of the text ends a sentence, whatever its last word */
    for (int depth = 0; depth <= 100; depth++) {
        s = make(maker, 2, 3000, 0, depth, 7);
        between += strstr(s.input, "? of it The number kept for ") != NULL;
        data_needle_clear(&s);
    }
    assert_true(between > 5);
    data_needle_maker_destroy(maker);
}

static void test_refused(void **state) {
    (void)state;
    data_needle sample;
    data_needle_maker *maker = open_maker(data_vocabulary_byte(), NULL);
    data_needle_spec spec = {.task = 2, .length = 1000, .answer_tokens = 40};
    assert_failure(data_needle_make(&sample, maker, &spec), KERN_ERR_USAGE, "task 2", "--text",
                   NULL);
    assert_null(sample.input);
    spec.task = 1;
    spec.length = 200;
    assert_failure(data_needle_make(&sample, maker, &spec), KERN_ERR_USAGE,
                   "a length of 200 tokens", "--answer-tokens", NULL);
    data_needle_maker_destroy(maker);
    write_file(in_folder("blank.txt"), " \n\t \n", 5);
    assert_failure(
        data_needle_maker_create(&maker, data_vocabulary_byte(), in_folder("blank.txt"), true),
        KERN_ERR_DATA, "blank.txt has no words", NULL);
    assert_failure(
        data_needle_maker_create(&maker, data_vocabulary_byte(), in_folder("gone"), true),
        KERN_ERR_FILE, "gone", NULL);
    assert_null(maker);
}

static void test_score(void **state) {
    (void)state;
    char a[] = "12345", b[] = "AbC", *outputs[] = {a, b};
    data_needle sample = {.outputs = outputs, .output_count = 2};
    const struct {
        const char *answer;
        double score;
    } rows[] = {{" 12345 and aBc.", 1}, {"1234", 0}, {"", 0}, {"0123456", 0.5}, {"ABC", 0.5}};
    for (int i = 0; i < 5; i++)
        assert_true(data_needle_score(&sample, rows[i].answer, (int64_t)strlen(rows[i].answer)) ==
                    rows[i].score);
    assert_true(data_needle_score(&sample, "1\0002345\00012345", 12) == 0.5);
}

/* Lines as Python's json writes them: escapes, characters beyond U+FFFF, extra fields, any order.
 */
static const char ruler[] =
    "{\"index\": 7, \"input\": \"A \\u00e9\\n\\t\\\"x\\\" \\ud83d\\ude00 \\\\n\", \"outputs\": "
    "[\"42\", \"b\"], \"length\": 4050, \"length_w_model_temp\": 4061, \"answer_prefix\": \" The "
    "answer is\", \"token_position_answer\": 12}\n"
    "\n"
    "{\"extra\": {\"a\": [1.5, null]}, \"token_position_answer\": 0, \"answer_prefix\": \"\", "
    "\"length_w_model_temp\": 1, \"length\": 1, \"outputs\": [\"z\"], \"input\": \"\303\251\", "
    "\"index\": 0}";

static void test_ruler(void **state) {
    (void)state;
    data_needle_reader *reader;
    data_needle s;
    bool more;
    write_file(in_folder("r.jsonl"), ruler, sizeof ruler - 1);
    assert_ok(data_needle_reader_open(&reader, in_folder("r.jsonl")));
    assert_ok(data_needle_read(&s, &more, reader));
    assert_true(more);
    char *prompt = data_needle_prompt(&s);
    assert_string_equal(prompt, "A \303\251\n\t\"x\" \360\237\230\200 \\n The answer is");
    free(prompt);
    assert_int_equal(s.index, 7);
    assert_int_equal(s.output_count, 2);
    assert_string_equal(s.outputs[0], "42");
    assert_string_equal(s.outputs[1], "b");
    assert_int_equal(s.length, 4050);
    assert_int_equal(s.length_w_temp, 4061);
    assert_int_equal(s.position, 12);
    assert_true(data_needle_depth(&s) == -1);
    data_needle_clear(&s);
    assert_ok(data_needle_read(&s, &more, reader));
    assert_true(more);
    prompt = data_needle_prompt(&s);
    assert_string_equal(prompt, "\303\251");
    free(prompt);
    data_needle_clear(&s);
    assert_ok(data_needle_read(&s, &more, reader));
    assert_false(more);
    data_needle_reader_close(reader);
    assert_failure(data_needle_reader_open(&reader, in_folder("gone")), KERN_ERR_FILE, "gone",
                   NULL);
}

/* Files of 2024: the input ends with the beginning of the answer. */
static void test_ruler_of_2024(void **state) {
    (void)state;
    static const char text[] = "{\"index\": 3, \"input\": \"What? It is\", \"outputs\": [\"42\"], "
                               "\"length\": 4050, \"truncation\": -1}\n";
    data_needle_reader *reader;
    data_needle s;
    bool more;
    write_file(in_folder("old.jsonl"), text, sizeof text - 1);
    assert_ok(data_needle_reader_open(&reader, in_folder("old.jsonl")));
    assert_ok(data_needle_read(&s, &more, reader));
    char *prompt = data_needle_prompt(&s);
    assert_string_equal(prompt, "What? It is");
    free(prompt);
    assert_int_equal(s.length_w_temp, 4050);
    assert_int_equal(s.position, -1);
    data_needle_clear(&s);
    data_needle_reader_close(reader);
}

/* How many samples a file of this text has, and that nothing else is wrong with it. */
static int count_samples(const char *text, size_t bytes) {
    data_needle_reader *reader;
    data_needle sample;
    int count = 0;
    write_file(in_folder("c.jsonl"), text, bytes);
    assert_ok(data_needle_reader_open(&reader, in_folder("c.jsonl")));
    for (bool more = true; more; count += more) {
        assert_ok(data_needle_read(&sample, &more, reader));
        data_needle_clear(&sample);
    }
    data_needle_reader_close(reader);
    return count;
}

#define MARK "\357\273\277"

/* A byte order mark is no part of the first line; anywhere else it is none. */
static void test_mark(void **state) {
    (void)state;
    static const struct {
        const char *before, *word; /* what refuses it, NULL: nothing */
    } rows[] = {{MARK, NULL},
                {MARK "\r\n", NULL},
                {"\n" MARK, "c.jsonl, line 2"},
                {MARK MARK, "c.jsonl, line 1"}};
    assert_int_equal(count_samples(MARK, 3), 0);
    for (int i = 0; i < 4; i++) {
        char text[sizeof ruler + 8];
        size_t bytes = (size_t)snprintf(text, sizeof text, "%s%s", rows[i].before, ruler);
        if (!rows[i].word) {
            assert_int_equal(count_samples(text, bytes), 2);
            continue;
        }
        data_needle_reader *reader;
        data_needle sample;
        bool more;
        write_file(in_folder("c.jsonl"), text, bytes);
        assert_ok(data_needle_reader_open(&reader, in_folder("c.jsonl")));
        assert_failure(data_needle_read(&sample, &more, reader), KERN_ERR_DATA, rows[i].word, NULL);
        data_needle_reader_close(reader);
    }
}

/* What is written is read back the same. */
static void test_round_trip(void **state) {
    (void)state;
    data_needle_maker *maker = open_maker(data_vocabulary_byte(), book);
    data_needle sample = make(maker, 3, 700, 5, 50, 9), read;
    char *line = data_needle_line(&sample);
    write_file(in_folder("w.jsonl"), line, strlen(line));
    free(line);
    data_needle_reader *reader;
    bool more;
    assert_ok(data_needle_reader_open(&reader, in_folder("w.jsonl")));
    assert_ok(data_needle_read(&read, &more, reader));
    assert_true(more);
    assert_same(&sample, &read);
    data_needle_clear(&read);
    data_needle_reader_close(reader);
    data_needle_clear(&sample);
    data_needle_maker_destroy(maker);
}

/* The second line is damaged in one way: refused with the number 3 (an empty line counts) and the
 * field. */
static void test_damaged_lines(void **state) {
    (void)state;
    static const struct {
        const char *old, *changed, *word;
    } rows[] = {
        {"\"index\"", "\"indes\"", "\"index\""},
        {"\"index\": 0", "\"index\": 0.5", "whole number"},
        {"\"input\"", "\"inputs\"", "\"input\""},
        {"\"input\": \"\303\251\"", "\"input\": \"\"", "not empty"},
        {"\"input\": \"\303\251\"", "\"input\": \"\303\"", "no JSON"},
        {"\"input\": \"\303\251\"", "\"input\": \"\\u0000\"", "no JSON"},
        {"\"input\": \"\303\251\"", "\"input\": \"\\ud800\"", "no JSON"},
        {"\"outputs\"", "\"output\"", "\"outputs\""},
        {"[\"z\"]", "[]", "\"outputs\""},
        {"[\"z\"]", "[\"\"]", "none of them empty"},
        {"[\"z\"]", "[\"z\", 3]", "\"outputs\""},
        {"[\"z\"]", "\"z\"", "\"outputs\""},
        {"\"length\": 1", "\"length\": \"1\"", "\"length\""},
        {"\"length_w_model_temp\": 1", "\"length_w_model_temp\": \"1\"", "\"length_w_model_temp\""},
        {"\"answer_prefix\": \"\"", "\"answer_prefix\": null", "\"answer_prefix\""},
        {"\"token_position_answer\": 0", "\"token_position_answer\": 0.5",
         "\"token_position_answer\""},
        {"{\"extra\"", "[{\"extra\"", "no JSON"},
        {"\"index\": 0}", "\"index\": 0", "no JSON"},
        {"\"index\": 0}", "\"index\": 0, \"index\": 1}", "no JSON"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        data_needle_reader *reader;
        data_needle s;
        bool more;
        const char *second = strstr(ruler, "{\"extra\""), *at = strstr(second, rows[i].old);
        assert_non_null(at);
        char text[2048];
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - ruler), ruler, rows[i].changed,
                 at + strlen(rows[i].old));
        write_file(in_folder("d.jsonl"), text, strlen(text));
        assert_ok(data_needle_reader_open(&reader, in_folder("d.jsonl")));
        assert_ok(data_needle_read(&s, &more, reader));
        data_needle_clear(&s);
        assert_failure(data_needle_read(&s, &more, reader), KERN_ERR_DATA, "d.jsonl, line 3",
                       rows[i].word, NULL);
        assert_null(s.input);
        data_needle_reader_close(reader);
    }
}

/* Thousands of changed files: refused by line, or read within bounds. */
static void test_mutations(void **state) {
    (void)state;
    uint64_t random = 1;
    int refused = 0, whole = 0;
    for (int round = 0; round < 3000; round++) {
        char text[sizeof ruler];
        memcpy(text, ruler, sizeof ruler);
        for (uint64_t changes = 1 + next_random(&random) % 3; changes; changes--) {
            size_t at = next_random(&random) % (sizeof ruler - 1);
            text[at] = next_random(&random) % 8 == 0
                           ? (char)next_random(&random)
                           : ruler[next_random(&random) % (sizeof ruler - 1)];
        }
        data_needle_reader *reader;
        data_needle s;
        bool more = true;
        unlink(in_folder("m.jsonl")); /* rewriting a file is slow on some file systems */
        write_file(in_folder("m.jsonl"), text, sizeof ruler - 1 - (round % 8 == 0));
        assert_ok(data_needle_reader_open(&reader, in_folder("m.jsonl")));
        kern_status status = KERN_OK;
        while (status == KERN_OK && more) {
            status = data_needle_read(&s, &more, reader);
            if (status != KERN_OK || !more) break;
            char *prompt = data_needle_prompt(&s);
            assert_int_equal(strlen(prompt), strlen(s.input) + strlen(s.prefix));
            assert_true(data_needle_score(&s, prompt, (int64_t)strlen(prompt)) <= 1);
            free(prompt);
            data_needle_clear(&s);
        }
        if (status != KERN_OK)
            assert_failure(status, KERN_ERR_DATA, "m.jsonl, line ", NULL), refused++;
        else
            whole++;
        data_needle_reader_close(reader);
    }
    if (refused < 1000 || whole < 100) fail_msg("%d refused, %d read", refused, whole);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),       cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_noise),         cmocka_unit_test(test_haystack),
        cmocka_unit_test(test_refused),       cmocka_unit_test(test_score),
        cmocka_unit_test(test_ruler),         cmocka_unit_test(test_ruler_of_2024),
        cmocka_unit_test(test_mark),          cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_damaged_lines), cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
